//! A listener on the way records everything while two instances pair over plain HTTP, and then tries to join with it.

use crate::{
    attacks::bed::{Attacker, JOIN, Victim, challenge_of, join_with, outcome},
    service::{Place, TOKEN, json_of},
};
use ark_lattice::trust::invite::{InviteLine, read_proof};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const CHALLENGE: &str = "/lattice/trust/challenge";

/// What was sent in one direction of all connections, in order.
type Recorded = Arc<Mutex<Vec<u8>>>;

/// Forwards connections to a port and records what the clients send.
async fn listener_on_the_way(to: u16) -> (u16, Recorded) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, recorded) = (listener.local_addr().unwrap().port(), Recorded::default());
    let records = Arc::clone(&recorded);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = TcpStream::connect(("127.0.0.1", to)).await.unwrap().into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            let records = Arc::clone(&records);
            tokio::spawn(async move {
                let mut part = vec![0; 64 << 10];
                while let Ok(count @ 1..) = from_client.read(&mut part).await {
                    records.lock().unwrap().extend_from_slice(&part[..count]);
                    if to_server.write_all(&part[..count]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, recorded)
}

/// A recorded request.
struct Captured {
    headers: Vec<(String, String)>,
    body: String,
}

impl Captured {
    /// The first request to a route.
    fn of(recorded: &Recorded, route: &str) -> Self {
        let text = String::from_utf8_lossy(&recorded.lock().unwrap()).into_owned();
        let text = &text[text.find(&format!("POST {route} ")).expect("it was sent")..];
        let (head, rest) = text.split_once("\r\n\r\n").unwrap();
        let headers = head.lines().skip(1).map(|line| line.split_once(": ").unwrap());
        let headers: Vec<_> = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        let (_, length) = headers.iter().find(|(name, _)| name == "content-length").unwrap();
        let body = rest[..length.parse().unwrap()].to_owned();
        Self { headers, body }
    }

    /// Sends it again, as it was.
    async fn again(&self, victim: &Victim, route: &str) -> (u16, String) {
        let of_connection = ["host", "content-length", "accept-encoding", "connection"];
        let headers = self.headers.iter().filter(|(name, _)| !of_connection.contains(&name.as_str()));
        let request = victim.service.request(Method::POST, route).body(self.body.clone());
        let request = headers.fold(request, |request, (name, value)| request.header(name, value));
        outcome(request.send().await.unwrap()).await
    }
}

#[tokio::test]
async fn what_was_recorded_lets_nobody_join() {
    let victim = Victim::start().await;
    let (port, recorded) = listener_on_the_way(victim.service.port).await;
    let line = InviteLine { addresses: vec![format!("http://127.0.0.1:{port}")], ..victim.invite().await };
    let friend = Place::new().set("ARK_NODE_ID", "friend");
    let service = friend.serve().await;
    let asked = service.request(Method::POST, "/api/federation/join").bearer_auth(TOKEN);
    let joined = json_of(asked.json(&json!({"line": line.text().unwrap()})).send().await.unwrap()).await;
    assert_eq!(joined["status"], "joined", "{joined}");

    let all = String::from_utf8_lossy(&recorded.lock().unwrap()).into_owned();
    assert!(!all.contains(&line.text().unwrap()), "the line does not travel");
    let (challenge, joining) = (Captured::of(&recorded, CHALLENGE), Captured::of(&recorded, JOIN));
    let refused = (401, "invite_refused".to_owned());
    // As it was; and behind the recorded question, which is answered with another nonce.
    assert_eq!(joining.again(&victim, JOIN).await, refused);
    assert_eq!(challenge.again(&victim, CHALLENGE).await.0, 200);
    assert_eq!(joining.again(&victim, JOIN).await, refused);
    victim.has_audited("invite_refused", JOIN, "friend");
    // With a key of its own: the recorded proof is of other nonces and keys.
    let listener = Attacker::new("listener");
    let sent: Value = serde_json::from_str(&joining.body).unwrap();
    let proof = read_proof(sent["proof"].as_str().unwrap()).unwrap();
    let (transcript, _) = challenge_of(&listener, &victim).await;
    assert_eq!(join_with(&listener, &victim, line.id, (&transcript, &proof)).await, refused);
    victim.has_audited("invite_refused", JOIN, "listener");
    assert_eq!(listener.level(&victim).await, None);
    let invites = victim.operator_sees("/api/federation/invites").await;
    assert!(invites["invites"][0]["state"] == "used" && invites.to_string().contains("\"friend\""), "{invites}");
}
