//! Peers that cost their process next to nothing, so that one machine has room for a thousand: each has a port, an id and a key of its
//! own, signs its heads when it is asked for them, lets others listen, and holds no node. The instance that is measured cannot tell them
//! from others, and is in step with them as long as it holds none either.

use crate::signing::key;
use ark_lattice::{
    manifest::{Head, SetHasher, sign_head},
    types::{PeerId, Timestamp},
};
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// As the service does it.
const HEAD_LIFE: Duration = Duration::from_secs(300);
const NOTICE_EVERY: Duration = Duration::from_secs(20);

/// Starts a peer for as long as the process lives; answers its address.
pub(crate) async fn peer(number: u64, keep_alive: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let peer = Arc::new(Peer { number, keep_alive });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let peer = Arc::clone(&peer);
            tokio::spawn(async move { peer.serve(stream).await });
        }
    });
    url
}

struct Peer {
    number: u64,
    keep_alive: Duration,
}

impl Peer {
    fn index_id(&self) -> String {
        format!("{:032x}", self.number + 1)
    }

    fn head(&self) -> String {
        let now = Timestamp::from_seconds(0).plus(SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
        let head = Head {
            node_id: PeerId::parse(&format!("peer-{}", self.number)).unwrap(),
            index_id: self.index_id(),
            seq: 0,
            floor: 0,
            manifest_hash: SetHasher::default().finish(),
            count: 0,
            issued_at: now,
            expires: now.plus(HEAD_LIFE),
            epoch: None,
        };
        let key = key(self.number);
        sign_head(&head, key.public_key(), |bytes| key.sign(bytes))
    }

    /// Answers one request after the other.
    async fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let mut received = Vec::new();
        loop {
            let Request { line, length } = timeout(self.keep_alive, read(&mut stream, &mut received)).await.ok()??;
            received.drain(..length);
            let (status, body) = match line.as_str() {
                "GET /lattice/head" => ("200 OK", self.head()),
                "POST /manifest" => ("201 Created", "{}".to_owned()),
                "GET /lattice/changes" => {
                    let index_id = self.index_id();
                    let lines =
                        format!("{{\"index_id\":\"{index_id}\",\"since\":0,\"seq\":0,\"floor\":0}}\n{{\"end\":0}}\n");
                    ("200 OK", lines)
                }
                "GET /lattice/notify" => return notify(stream).await,
                _ => ("404 Not Found", "{\"code\":\"not_found\"}".to_owned()),
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.ok()?;
        }
    }
}

/// Method and path; how many bytes the whole request has.
struct Request {
    line: String,
    length: usize,
}

async fn read(stream: &mut TcpStream, received: &mut Vec<u8>) -> Option<Request> {
    loop {
        if let Some(request) = parse(received) {
            return Some(request);
        }
        if stream.read_buf(received).await.ok()? == 0 {
            return None;
        }
    }
}

fn parse(received: &[u8]) -> Option<Request> {
    let end = received.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
    let body =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |text| text.parse().unwrap());
    let first = String::from_utf8_lossy(&received[..end]).lines().next()?.to_owned();
    let target = first.rsplit_once(' ')?.0;
    let line = target.split_once('?').map_or(target, |(line, _)| line).to_owned();
    (received.len() >= end + body).then_some(Request { line, length: end + body })
}

/// Says where the journal stands, and then that we are there, until nobody listens.
async fn notify(mut stream: TcpStream) -> Option<()> {
    let part = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(format!("{head}{}", part("data: {\"seq\":0}\n\n")).as_bytes()).await.ok()?;
    loop {
        tokio::time::sleep(NOTICE_EVERY).await;
        stream.write_all(part(":\n\n").as_bytes()).await.ok()?;
    }
}
