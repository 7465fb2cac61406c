//! What the hostile ones send, one kind after the other at random; and the connections that hold what they can.

use super::{
    http1::{Connection, request},
    service::Random,
    signing::{key, manifest, signed},
};
use ark_lattice::{
    identity::{
        Change, KeyPair, KeyPlace,
        message::{self, Message},
        write_new,
    },
    types::{PeerId, Timestamp},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// The id of the service.
pub(crate) const AUDIENCE: &str = "ark-under-test";
/// One more than an id that is not verified has at once.
const ROTATIONS: usize = 9;
/// A body that is counted, and a connection holds as much of it as it can.
const STALLED_BODY: usize = 600 << 10;

fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    Timestamp::from_seconds(i64::try_from(now).expect("a date"))
}

/// One hostile instance: its key, and what was prepared with it.
pub(crate) struct Hostile {
    id: String,
    key: KeyPair,
    /// A manifest that was changed after it was signed.
    forged: String,
    /// Its key's history, longer by one rotation each.
    rotations: Vec<String>,
    random: Random,
}

impl Hostile {
    pub(crate) fn new(nth: u64) -> Self {
        let id = format!("hostile-{nth}");
        let first = key(2_000 + nth);
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("identity.key");
        write_new(&path, &first).expect("a key file");
        let place = KeyPlace::new(path);
        let rotate = |_| {
            let change = Change { node_id: PeerId::parse(&id).expect("an id"), now: now() };
            place.rotate(&change, None, None, None).expect("another key").log.to_json()
        };
        let rotations = (0..ROTATIONS).map(rotate).collect();
        let forged = signed(&key(1_000), &manifest("forged", 1)).replace("\"local\"", "\"cloud\"");
        Self { id, key: first, forged, rotations, random: Random::seeded(nth + 1) }
    }

    /// Its id and public key, as the admin decides on them.
    pub(crate) fn identity(&self) -> (&str, String) {
        (&self.id, self.key.public_key().to_base64())
    }

    /// The next request: bad signatures, junk, new ids, empty signed pushes, pushed junk, changes of keys, guesses of invites, vouchers,
    /// and pushes of ever new instances, which ask to write.
    pub(crate) fn misdeed(&mut self) -> Vec<u8> {
        match self.random.below(15) {
            0 | 1 => request("POST", "/manifest", "", Some(self.forged.as_bytes())),
            2 => {
                let junk: Vec<u8> = (0..600).map(|_| u8::try_from(self.random.below(256)).expect("a byte")).collect();
                request("POST", "/manifest", "", Some(&junk))
            }
            3 => request("GET", &format!("/{:x}", self.random.below(1 << 40)), "", None),
            4 | 5 => {
                let id = format!("new-{}-{:x}", self.id, self.random.below(1 << 40));
                request("POST", "/manifest", "", Some(signed(&self.key, &manifest(&id, 1)).as_bytes()))
            }
            // Its own id, so that what follows is a registered one's.
            6 => request("POST", "/manifest", "", Some(signed(&self.key, &manifest(&self.id, 1)).as_bytes())),
            7 | 8 => self.signed_request("/lattice/changes", "application/x-ndjson", ""),
            9 => {
                let id = format!("junk-{:x}", self.random.below(1 << 40));
                let line = json!({"seq": 1, "id": id, "at": 1, "hash": "sha256:00", "size": 2, "after": [], "node": {"id": id}});
                self.signed_request("/lattice/changes", "application/x-ndjson", &format!("{line}\n"))
            }
            10 => {
                let at = usize::try_from(self.random.below(20)).expect("a place") % self.rotations.len();
                request("POST", "/v1/trust/rotate", "", Some(self.rotations[at].as_bytes()))
            }
            11 => {
                let id = format!("vouched-{:x}", self.random.below(1 << 40));
                let body = json!({"peer_id": id, "public_key": self.key.public_key().to_base64()});
                self.signed_request("/lattice/trust/vouch", "application/json", &body.to_string())
            }
            12 | 13 => {
                let number = self.random.below(1 << 40);
                let asking = (format!("asks-{number:x}"), key((1 << 41) + number));
                signed_request((&asking.0, &asking.1), "/lattice/changes", "application/x-ndjson", "")
            }
            _ => {
                let guess = [u8::try_from(self.random.below(256)).expect("a byte"); 32];
                let body = json!({
                    "invite": format!("{:016x}", self.random.below(u64::MAX)),
                    "signature": STANDARD.encode([guess, guess].concat()), "proof": STANDARD.encode(guess), "addresses": [],
                });
                self.signed_request("/lattice/trust/join", "application/json", &body.to_string())
            }
        }
    }

    fn signed_request(&self, route: &'static str, kind: &str, body: &str) -> Vec<u8> {
        signed_request((&self.id, &self.key), route, kind, body)
    }
}

/// A request that this instance signed just now.
pub(crate) fn signed_request((id, key): (&str, &KeyPair), route: &'static str, kind: &str, body: &str) -> Vec<u8> {
    let message = Message { method: "POST", route, query: "?", body: body.as_bytes(), node_id: id, audience: AUDIENCE };
    let headers = message::sign(&message, key, now()).expect("a signature");
    let lines: String = headers.into_iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    format!(
        "POST {route} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{lines}\r\n{body}"
    )
    .into_bytes()
}

/// Uploads that stop before their last byte, again and again.
pub(crate) async fn stall(from: Ipv4Addr, port: u16, stop: &AtomicBool) {
    let body = vec![b' '; STALLED_BODY];
    let whole = request("POST", "/sync", "", Some(&body));
    while !stop.load(Ordering::Acquire) {
        if let Ok(mut connection) = Connection::open_from(from, port).await {
            let stalled = async {
                connection.send(&whole[..whole.len() - 1]).await?;
                connection.read_some(&mut [0; 1024]).await
            };
            let _until_it_is_ended = tokio::time::timeout(Duration::from_secs(5), stalled).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Asks for everything and reads a byte a second, again and again.
pub(crate) async fn read_slowly(from: Ipv4Addr, port: u16, stop: &AtomicBool) {
    let ask = request("POST", "/sync", "", Some(b"{\"nodes\":[]}"));
    while !stop.load(Ordering::Acquire) {
        if let Ok(mut stream) = with_small_buffer(from, port).await
            && stream.write_all(&ask).await.is_ok()
        {
            for _ in 0..20 {
                let mut byte = [0];
                if stop.load(Ordering::Acquire) || !matches!(stream.read(&mut byte).await, Ok(1..)) {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn with_small_buffer(from: Ipv4Addr, port: u16) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    socket.bind((from, 0).into())?;
    socket.connect((Ipv4Addr::LOCALHOST, port).into()).await
}
