//! The crowd: clients that behave, that read slowly, that go away in the middle, and that send rubbish.

use crate::{
    http1::{Answer, Connection, request},
    ledger::Ledger,
    service::{Random, TOKEN},
    signing::{key, manifest, signed},
    tally::Tally,
};
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// An answer that takes longer hangs. The service promises two seconds where Redis fails; a busy machine may need more.
pub(crate) const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
/// A client of a kind that is cut off by the service is cut off within this.
const CUT_OFF_WITHIN: Duration = Duration::from_secs(60);
/// Nodes that each client writes.
const OWN_NODES: u64 = 4;
/// Nodes that are there from the start.
pub(crate) const SHARED_NODES: u64 = 300;

/// What all clients share.
pub(crate) struct Crowd {
    pub(crate) port: u16,
    pub(crate) pause: Duration,
    pub(crate) tally: Tally,
    pub(crate) stop: CancellationToken,
}

/// What a client is like.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Manner {
    Behaves,
    ReadsSlowly,
    GoesAway,
    SendsRubbish,
}

impl Manner {
    pub(crate) fn of(number: u64) -> Self {
        match number % 10 {
            7 => Self::ReadsSlowly,
            8 => Self::GoesAway,
            9 => Self::SendsRubbish,
            _ => Self::Behaves,
        }
    }
}

/// What a request asks for, and so what may come back.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Needs {
    /// The registry: 503 while Redis is away.
    Registry,
    /// Nothing that fails here.
    Nothing,
}

impl Crowd {
    /// Until the crowd is told to stop; what was acknowledged.
    pub(crate) async fn client(self: Arc<Self>, number: u64, seed: u64) -> Ledger {
        let mut random = Random::seeded(seed);
        let ledger = Ledger { peer: format!("soak-{number}"), key: number % 64, ..Ledger::default() };
        let mut client = Client { crowd: &self, ledger, connection: None, envelope: None, version: 0 };
        while !self.stop.is_cancelled() {
            let pause = self.pause.as_millis() as u64;
            let pause = sleep(Duration::from_millis(random.below(2 * pause) + 1));
            if self.stop.run_until_cancelled(pause).await.is_none() {
                break;
            }
            match Manner::of(number) {
                Manner::Behaves => client.behave(&mut random).await,
                Manner::ReadsSlowly => self.read_slowly(&mut random).await,
                Manner::GoesAway => self.go_away(&mut random).await,
                Manner::SendsRubbish => self.send_rubbish(&mut random).await,
            }
        }
        client.ledger
    }

    async fn connect(&self, receive_buffer: Option<u32>) -> Option<Connection> {
        match timeout(ANSWERS_WITHIN, Connection::open_with(self.port, receive_buffer)).await {
            Ok(Ok(connection)) => Some(connection),
            other => {
                self.tally.wrong("no connection", format!("{:?}", other.map(drop)));
                None
            }
        }
    }

    /// Asks for the whole lattice and reads it in small pieces; sometimes leaves before the end.
    async fn read_slowly(&self, random: &mut Random) {
        let Some(mut connection) = self.connect(Some(16 << 10)).await else { return };
        let headers = ["", "Accept: application/x-ndjson\r\n", "Accept-Encoding: gzip\r\n"];
        let headers = format!("{}Connection: close\r\n", headers[random.below(3) as usize]);
        if connection.send(&request("POST", "/sync", &headers, Some(br#"{"nodes":[]}"#))).await.is_err() {
            return self.tally.wrong("a slow reader's connection broke", "while it asked");
        }
        let leaves_after = if random.below(2) == 0 { 20 } else { u64::MAX };
        let (mut pieces, mut end, mut buffer) = (0, Vec::new(), vec![0; 8 << 10]);
        loop {
            match timeout(ANSWERS_WITHIN, connection.read_some(&mut buffer)).await {
                Ok(Ok(0)) => break,
                Ok(Ok(read)) => end.extend_from_slice(&buffer[..read]),
                Ok(Err(error)) => return self.tally.wrong("a slow reader's connection broke", error.to_string()),
                Err(_) => return self.tally.wrong("a slow reader waits in vain", format!("after {pieces} pieces")),
            }
            if pieces == 0 && !end.starts_with(b"HTTP/1.1 200") {
                self.tally.wrong("a slow reader's answer", String::from_utf8_lossy(&end).into_owned());
            }
            end.drain(..end.len().saturating_sub(8));
            pieces += 1;
            let pause = sleep(Duration::from_millis(random.below(60)));
            if pieces >= leaves_after || self.stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
        if !end.ends_with(b"\r\n0\r\n\r\n") {
            self.tally.wrong("a slow reader's answer was cut off", format!("after {pieces} pieces"));
        }
    }

    /// Begins something and is gone: with a part of a body sent, or without having read the answer; by a reset or in order.
    async fn go_away(&self, random: &mut Random) {
        let Some(mut connection) = self.connect(None).await else { return };
        let node = json!({"id": "never", "text": "x".repeat(100_000)}).to_string();
        let authorization = format!("Authorization: Bearer {TOKEN}\r\n");
        let whole = match random.below(4) {
            0 => request("PUT", "/nodes/never", &authorization, Some(node.as_bytes())),
            1 => request("POST", "/manifest", "", Some(signed(&key(1), &manifest("never", 1)).as_bytes())),
            2 => request("POST", "/sync", "", Some(br#"{"nodes":[]}"#)),
            _ => request("GET", "/discover", "", None),
        };
        let has_body = random.below(3) > 0 && whole.starts_with(b"P");
        let sent = if has_body { &whole[..whole.len() - 1 - random.below(12) as usize] } else { &whole[..] };
        // The service may have answered and closed already.
        let _ = timeout(ANSWERS_WITHIN, connection.send(sent)).await;
        let _ = self.stop.run_until_cancelled(sleep(Duration::from_millis(random.below(1500)))).await;
        if random.below(2) == 0 {
            connection.reset();
        }
    }

    /// Sends what is no request, or no right one: it is refused, or cut off.
    async fn send_rubbish(&self, random: &mut Random) {
        let Some(mut connection) = self.connect(None).await else { return };
        let noise: Vec<u8> = (0..random.below(3000) + 1).map(|_| random.below(256) as u8).collect();
        let deep = "[".repeat(2000);
        let json = |body: &[u8]| request("POST", "/manifest", "", Some(body));
        let rubbish = match random.below(9) {
            0 => [&noise[..], b"\r\n\r\n"].concat(),
            1 => b"GET /health HTTP/9.9\r\n\r\n".to_vec(),
            2 => b"POST /sync HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n".to_vec(),
            3 => format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(200_000)).into_bytes(),
            4 => json(&noise),
            5 => json(deep.as_bytes()),
            6 => json(br#"{"manifest": {}, "signature": "", "pubkey": ""}"#),
            7 => json(signed(&key(2), &manifest("rubbish", 1)).replace("local", "other").as_bytes()),
            _ => request("PUT", "/nodes/never", "Authorization: Bearer wrong\r\n", Some(&noise)),
        };
        if timeout(CUT_OFF_WITHIN, connection.send(&rubbish)).await.is_err() {
            return self.tally.wrong("rubbish is not taken in", String::from_utf8_lossy(&rubbish[..40]).into_owned());
        }
        let started = Instant::now();
        match timeout(CUT_OFF_WITHIN, connection.answer()).await {
            Ok(Ok(answer)) => {
                self.tally.answer(answer.status, started.elapsed());
                if !(400..500).contains(&answer.status) {
                    self.tally.wrong(format!("rubbish is answered {}", answer.status), answer.text());
                }
            }
            // Cut off without a word, which rubbish may be.
            Ok(Err(_)) => {}
            Err(_) => self.tally.wrong("rubbish hangs", String::from_utf8_lossy(&rubbish[..40]).into_owned()),
        }
    }
}

/// One that behaves: a connection that is kept, an id and nodes of its own.
struct Client<'a> {
    crowd: &'a Crowd,
    ledger: Ledger,
    connection: Option<Connection>,
    /// The newest statement, where it was acknowledged.
    envelope: Option<String>,
    version: u64,
}

impl Client<'_> {
    async fn behave(&mut self, random: &mut Random) {
        match random.below(20) {
            0 => drop(self.ask(Needs::Nothing, request("GET", "/health", "", None), 200).await),
            1 => drop(self.ask(Needs::Nothing, request("GET", "/metrics", "", None), 200).await),
            2 => drop(self.ask(Needs::Registry, request("GET", "/ready", "", None), 200).await),
            3..=5 => self.discover().await,
            6..=10 => self.publish(random).await,
            11..=12 => self.sync(random).await,
            13..=15 => self.read(random).await,
            16 => self.check_own_statement().await,
            _ => self.write(random).await,
        }
    }

    /// Sends a request and checks what must hold of every answer. Its body, where it is the one that was expected.
    async fn ask(&mut self, needs: Needs, request: Vec<u8>, expected: u16) -> Option<Vec<u8>> {
        let tally = &self.crowd.tally;
        let what = String::from_utf8_lossy(&request).lines().next().unwrap_or_default().to_owned();
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                tally.reconnect();
                self.crowd.connect(None).await?
            }
        };
        let started = Instant::now();
        let answer = match timeout(ANSWERS_WITHIN, connection.exchange(&request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tally.wrong(format!("a connection broke: {error}"), what);
                return None;
            }
            Err(_) => {
                tally.wrong("no answer in time", what);
                return None;
            }
        };
        let (took, status) = (started.elapsed(), answer.status);
        tally.answer(status, took);
        let body = if status == expected || (expected == 200 && status == 201) {
            Some(answer.body.to_vec())
        } else {
            if status == 503 && needs == Needs::Registry {
                self.check_problem(&what, &answer);
            } else {
                tally.wrong(
                    format!("{status} from {}", what.split('/').next().unwrap_or_default()),
                    format!("{what}: {}", answer.text()),
                );
            }
            None
        };
        if !connection.closes() {
            self.connection = Some(connection);
        }
        body
    }

    /// A 503 says that it may be tried again, when, and why.
    fn check_problem(&self, what: &str, answer: &Answer<'_>) {
        let after = answer.header("retry-after").and_then(|seconds| seconds.parse::<u32>().ok());
        let problem: Option<Value> = serde_json::from_slice(answer.body).ok();
        let code = problem.as_ref().and_then(|problem| problem["code"].as_str());
        let media = answer.header("content-type");
        if after.is_none_or(|seconds| seconds == 0)
            || code != Some("registry_unavailable")
            || media != Some("application/problem+json")
        {
            let said = format!("{what}: Retry-After {after:?}, {media:?}, {}", answer.text());
            self.crowd.tally.wrong("a 503 that says too little", said);
        }
    }

    async fn discover(&mut self) {
        let body = self.ask(Needs::Registry, request("GET", "/discover?limit=100", "", None), 200).await;
        if body.is_some_and(|body| !body.starts_with(b"{\"peers\":[") || !body.ends_with(b"}")) {
            self.crowd.tally.wrong("a list of peers that is none", "");
        }
    }

    /// A heartbeat, or a statement newer than all before.
    async fn publish(&mut self, random: &mut Random) {
        // Whether an unanswered statement was taken is not known: an older one may be refused by now.
        let beat = self.envelope.clone().filter(|_| random.below(3) > 0 && self.ledger.statements.settled());
        let renewed = beat.is_some();
        if !renewed {
            self.version += 1;
            self.ledger.statements.sent(self.version);
            self.envelope = Some(signed(&key(self.ledger.key), &manifest(&self.ledger.peer, self.version)));
        }
        let envelope = self.envelope.clone().unwrap_or_default();
        let taken = self.ask(Needs::Registry, request("POST", "/manifest", "", Some(envelope.as_bytes())), 200).await;
        if taken.is_some() && !renewed {
            self.ledger.statements.taken(self.version);
        }
    }

    /// What was acknowledged is there at once.
    async fn check_own_statement(&mut self) {
        if !self.ledger.statements.any_acknowledged() {
            return;
        }
        let path = format!("/manifest/{}", self.ledger.peer);
        let Some(body) = self.ask(Needs::Registry, request("GET", &path, "", None), 200).await else { return };
        let found = sequence_of(&body);
        if !self.ledger.statements.fits(found) {
            let said = format!("{found:?} where {:?} is right", self.ledger.statements);
            self.crowd.tally.wrong("an acknowledged statement is not there", said);
        }
    }

    async fn sync(&mut self, random: &mut Random) {
        let first = random.below(SHARED_NODES);
        let held: Vec<Value> =
            (first..first + 20).map(|number| json!({"id": format!("shared-{number}"), "hash": "other"})).collect();
        let body = json!({"nodes": held, "limit": 20}).to_string();
        let answer = self.ask(Needs::Nothing, request("POST", "/sync", "", Some(body.as_bytes())), 200).await;
        if answer.is_some_and(|body| memchr::memmem::rfind(&body, b"\"delta_count\":20,").is_none()) {
            self.crowd.tally.wrong("a delta of another size", "");
        }
    }

    async fn read(&mut self, random: &mut Random) {
        let path = format!("/nodes/shared-{}", random.below(SHARED_NODES));
        self.ask(Needs::Nothing, request("GET", &path, "", None), 200).await;
        let own = self.ledger.nodes.iter().nth(random.below(OWN_NODES) as usize);
        let Some((id, versions)) = own.map(|(id, versions)| (id.clone(), versions.clone())) else { return };
        if !versions.any_acknowledged() {
            return;
        }
        let path = format!("/nodes/{id}");
        let Some(body) = self.ask(Needs::Nothing, request("GET", &path, "", None), 200).await else { return };
        let found = version_of(&body);
        if !versions.fits(found) {
            self.crowd.tally.wrong("an acknowledged node is not there", format!("{id}: {found:?}, {versions:?}"));
        }
    }

    async fn write(&mut self, random: &mut Random) {
        let id = format!("{}-{}", self.ledger.peer, random.below(OWN_NODES));
        self.version += 1;
        let version = self.version;
        let text = "y".repeat(random.below(2000) as usize);
        let node = json!({"id": id, "type": "sample", "version": version, "text": text}).to_string();
        self.ledger.nodes.entry(id.clone()).or_default().sent(version);
        let authorization = format!("Authorization: Bearer {TOKEN}\r\n");
        let write = request("PUT", &format!("/nodes/{id}"), &authorization, Some(node.as_bytes()));
        if self.ask(Needs::Nothing, write, 200).await.is_some() {
            self.ledger.nodes.entry(id).or_default().taken(version);
        }
    }
}

/// The version of a node of this test.
pub(crate) fn version_of(body: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(body).ok()?["version"].as_u64()
}

/// The number of a statement of this test.
pub(crate) fn sequence_of(body: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(body).ok()?["manifest"]["seq"].as_u64()
}
