//! Gives the answers of a recorded server to this release: its round has the result of the recorded client's round.

use crate::{
    pair::{Pair, releases},
    service::{Place, Service, TOKEN, json_of, text},
    session::{Message, Session, pairs},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Sessions whose answers contain a proof over a nonce of the request.
const NOT_REPEATABLE: &[&str] = &["network"];

/// A server with the answers of a session, by method and path, in their order.
struct Replay {
    session: Session,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    used: Vec<bool>,
    /// Index of the last push: answers before it show the state before it.
    pushed: usize,
    unknown: Vec<String>,
}

impl Replay {
    /// The answer to a request; `None` for a route that the recorded client did not use.
    fn answer(&self, method: &str, target: &str) -> Option<Message> {
        let mut progress = self.progress.lock().unwrap();
        progress.used.resize(self.session.exchanges.len(), false);
        let path = target.split('?').next().unwrap();
        let of_this_route = self.session.exchanges.iter().enumerate().filter(|(_, exchange)| {
            let request = &exchange.request;
            let asked = pairs(target);
            request.method() == method
                && request.path() == path
                && request.query().iter().all(|pair| asked.contains(pair))
        });
        let candidates: Vec<usize> = of_this_route.map(|(number, _)| number).collect();
        let next = candidates.iter().find(|number| !progress.used[**number] && **number >= progress.pushed);
        let Some(number) = next.or(candidates.last()).copied() else {
            progress.unknown.push(format!("{method} {target}"));
            return None;
        };
        progress.used[number] = true;
        if (method, path) == ("POST", "/lattice/changes") {
            progress.pushed = number;
        }
        Some(self.session.exchanges[number].answer.clone())
    }

    async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let replay = Arc::clone(&self);
            // A closed connection is no failure of the server.
            tokio::spawn(async move { drop(replay.converse(stream).await) });
        }
    }

    /// One request, one answer.
    async fn converse(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut read = Vec::new();
        let head = loop {
            if let Some(end) = memchr::memmem::find(&read, b"\r\n\r\n") {
                break end;
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let text = String::from_utf8_lossy(&read[..head]).into_owned();
        let mut words = text.split(' ');
        let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let length = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: usize = length.map_or(0, |(_, value)| value.trim().parse().unwrap());
        while read.len() < head + 4 + length && stream.read_buf(&mut read).await? > 0 {}
        let answer = match self.answer(&method, &target) {
            Some(answer) => {
                let mut out = format!("HTTP/1.1 {} recorded\r\n", answer.status());
                for (name, value) in &answer.headers {
                    out += &format!("{name}: {value}\r\n");
                }
                let mut out =
                    format!("{out}content-length: {}\r\nconnection: close\r\n\r\n", answer.body.len()).into_bytes();
                out.extend_from_slice(&answer.body);
                out
            }
            None => {
                let body = r#"{"type":"about:blank","title":"Not Found","status":404,"code":"not_found","detail":"no such path"}"#;
                format!("HTTP/1.1 404 Not Found\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into_bytes()
            }
        };
        stream.write_all(&answer).await
    }
}

#[tokio::test]
async fn a_round_with_a_recorded_server_has_the_recorded_result() {
    let mut rounds = 0;
    for release in releases() {
        for session in Session::all(&release) {
            let Some(client) = session.facts["client"].as_str().map(|name| Pair::read(&release, name)) else {
                continue;
            };
            if NOT_REPEATABLE.contains(&session.name.as_str()) {
                continue;
            }
            let (name, facts) = (session.name.clone(), session.facts.clone());
            let at = session.at();
            let (service, replay, round) = round_with(session, &client, at).await;
            let unknown = replay.progress.lock().unwrap().unknown.clone();
            for member in ["success", "outcome", "error", "nodesSent", "nodesReceived", "conflictsResolved"] {
                let (now, then) = (&round[member], &facts["result"][member]);
                assert_eq!(now, then, "{name}: {member}: {round}; unknown there: {unknown:?}");
            }
            assert_eq!(service.1.set_hash().await, text(&facts["client_after"]["set_hash"]), "{name}");
            let conflicts = &service.1.get_json("/conflicts").await["count"];
            assert_eq!(conflicts, &facts["client_after"]["conflicts"], "{name}");
            rounds += 1;
        }
    }
    assert!(rounds >= 6, "{rounds}");
}

/// The recorded heads.log is used: a replayed head is refused.
#[tokio::test]
async fn a_head_that_is_older_than_the_newest_recorded_one_is_refused() {
    for release in releases() {
        let phi = Pair::read(&release, "phi");
        let before = "first-contact-of-two-with-nodes";
        let session = Session::all(&release).into_iter().find(|session| session.name == before).unwrap();
        let (service, _replay, round) = round_with(session, &phi, phi.taken_at()).await;
        assert_eq!(round["success"], false, "{round}");
        assert!(round["error"].as_str().unwrap().contains("older than the newest accepted one"), "{round}");
        assert_eq!(service.1.set_hash().await, text(&phi.expected()["set_hash"]));
    }
}

/// A service on the client's directories, and its round with the recorded server.
async fn round_with(session: Session, client: &Pair, at: f64) -> ((Place, Service), Arc<Replay>, Value) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let place = client.unpack(at, &[(session.server_address(), address.clone())]);
    let replay = Arc::new(Replay { session, progress: Mutex::default() });
    let serving = tokio::spawn(Arc::clone(&replay).serve(listener));
    let service = place.serve().await;
    let body = json!({"peerUrl": format!("http://{address}")});
    let request = service.request(Method::POST, "/api/federation/sync").bearer_auth(TOKEN).json(&body);
    let round = json_of(request.send().await.unwrap()).await["result"][0].clone();
    serving.abort();
    ((place, service), replay, round)
}
