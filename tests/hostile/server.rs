//! A peer that does not keep to the protocol: a listener on loopback with a key of its own, which answers byte for byte what it is
//! told to.

use ark_lattice::{
    identity::KeyPair,
    lattice::NodeDocument,
    lattice::index::Snapshot,
    manifest::{Head, sign_head},
    types::{ContentHash, NodeId, PeerId, SetHash, Timestamp},
};
use bytes::Bytes;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

pub(crate) const INDEX: &str = "0123456789abcdef0123456789abcdef";

/// What is asked of it.
#[derive(Debug)]
pub(crate) struct Request {
    /// `head`, `changes`, `nodes`, `offer`, `push`, `notify` or `manifest`.
    pub(crate) route: &'static str,
    /// How often that was asked before.
    pub(crate) before: usize,
    pub(crate) since: u64,
    pub(crate) index_id: String,
}

/// What it does about it. The connection is closed afterwards.
pub(crate) enum Reply {
    /// These bytes, whatever they are.
    Bytes(Vec<u8>),
    /// These bytes, and then nothing, for ever.
    Silence(Vec<u8>),
    /// The first, then the second again and again.
    Endless(Vec<u8>, Vec<u8>),
    /// The first, then the second again and again, one each of these times.
    Slowly(Vec<u8>, Vec<u8>, Duration),
}

type Script = dyn Fn(&Peer, &Request) -> Option<Reply> + Send + Sync;

/// Who it is; what it says where its script says nothing.
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) key: KeyPair,
    script: Box<Script>,
    asked: [AtomicUsize; ROUTES.len()],
    pub(crate) sent: AtomicUsize,
}

const ROUTES: [(&str, &str); 10] = [
    ("/lattice/head", "head"),
    ("/lattice/changes", "changes"),
    ("/lattice/nodes", "nodes"),
    ("/lattice/round", "round"),
    ("/lattice/offer", "offer"),
    ("/lattice/push", "push"),
    ("/lattice/notify", "notify"),
    ("/lattice/identity", "identity"),
    ("/lattice/heads", "heads"),
    ("/manifest", "manifest"),
];

/// A running one; dropped, it is gone.
pub(crate) struct Hostile {
    pub(crate) url: String,
    pub(crate) peer: Arc<Peer>,
    served: JoinHandle<()>,
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.served.abort();
    }
}

impl Hostile {
    pub(crate) async fn start(
        name: &str,
        script: impl Fn(&Peer, &Request) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        Self::start_on("127.0.0.1:0", name, script).await
    }

    /// As [`Self::start`], at this address.
    pub(crate) async fn start_on(
        address: &str,
        name: &str,
        script: impl Fn(&Peer, &Request) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (key, sent) = (KeyPair::generate().unwrap(), AtomicUsize::new(0));
        let peer = Peer { name: name.to_owned(), key, script: Box::new(script), asked: Default::default(), sent };
        let peer = Arc::new(peer);
        let serving = Arc::clone(&peer);
        let served = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let peer = Arc::clone(&serving);
                connections.spawn(async move { drop(peer.serve(stream).await) });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { url, peer, served }
    }
}

impl Peer {
    /// How often it was asked for this.
    pub(crate) fn asked(&self, route: &str) -> usize {
        let at = ROUTES.iter().position(|(_, name)| *name == route).unwrap();
        self.asked[at].load(Ordering::Acquire)
    }

    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let request = self.read(&mut stream).await?;
        let reply = (self.script)(self, &request).or_else(|| self.ordinary(&request));
        let forever = Duration::from_secs(3600);
        match reply {
            None => tokio::time::sleep(forever).await,
            Some(Reply::Bytes(bytes)) => stream.write_all(&bytes).await?,
            Some(Reply::Silence(bytes)) => {
                stream.write_all(&bytes).await?;
                tokio::time::sleep(forever).await;
            }
            Some(Reply::Endless(first, again)) => {
                stream.write_all(&first).await?;
                loop {
                    stream.write_all(&again).await?;
                    self.sent.fetch_add(again.len(), Ordering::AcqRel);
                }
            }
            Some(Reply::Slowly(first, again, pause)) => {
                stream.write_all(&first).await?;
                loop {
                    stream.write_all(&again).await?;
                    self.sent.fetch_add(again.len(), Ordering::AcqRel);
                    tokio::time::sleep(pause).await;
                }
            }
        }
        stream.shutdown().await
    }

    async fn read(&self, stream: &mut TcpStream) -> std::io::Result<Request> {
        let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
        let (head, body_at) = loop {
            if let Some(at) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
                break (String::from_utf8_lossy(&bytes[..at]).into_owned(), at + 4);
            }
            let read = stream.read(&mut buffer).await?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            bytes.extend_from_slice(&buffer[..read]);
        };
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |text| text.trim().parse().unwrap());
        while bytes.len() < body_at + length {
            let read = stream.read(&mut buffer).await?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            bytes.extend_from_slice(&buffer[..read]);
        }
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = if method == "POST" && path == "/lattice/changes" { "/lattice/push" } else { path };
        let path = if path.starts_with("/lattice/heads/") { "/lattice/heads" } else { path };
        let at = ROUTES.iter().position(|(known, _)| *known == path).unwrap_or_else(|| panic!("asked for {target}"));
        let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)).unwrap_or_default();
        Ok(Request {
            route: ROUTES[at].1,
            before: self.asked[at].fetch_add(1, Ordering::AcqRel),
            since: value("since=").parse().unwrap_or(0),
            index_id: value("index_id=").to_owned(),
        })
    }

    /// What one with an empty lattice would say, that wants nothing.
    fn ordinary(&self, request: &Request) -> Option<Reply> {
        Some(Reply::Bytes(match request.route {
            "head" => ok(self.head(|_| {})),
            "changes" => {
                let start = json!({"index_id": request.index_id, "since": request.since, "seq": 9, "floor": 0});
                ok(format!("{start}\n{{\"end\":9}}\n"))
            }
            "nodes" => ok("{\"end\":9}\n"),
            "offer" => ok(r#"{"wanted":[]}"#),
            "push" => ok(r#"{"taken":0,"same":0,"kept":0,"ahead":0,"conflicts":0,"since":9,"seq":9}"#),
            // As release 0.1.0, which does not know of it.
            "heads" | "round" => b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec(),
            "manifest" => ok("{}"),
            "identity" => ok(r#"{"statements":[]}"#),
            _ => return None,
        }))
    }

    /// Its head, changed, and truly signed.
    pub(crate) fn head(&self, change: impl FnOnce(&mut Head)) -> String {
        let now = now();
        let mut head = Head {
            node_id: PeerId::parse(&self.name).unwrap(),
            index_id: INDEX.to_owned(),
            seq: 9,
            floor: 0,
            manifest_hash: set_of(&[]),
            count: 3,
            issued_at: now,
            expires: now.plus(Duration::from_secs(60)),
            epoch: None,
        };
        change(&mut head);
        sign_head(&head, self.key.public_key(), |bytes| self.key.sign(bytes))
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_seconds(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap())
}

/// A whole answer.
pub(crate) fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    [head_of_answer(&format!("Content-Length: {}", body.len())).as_slice(), body].concat()
}

/// The beginning of an answer, with these headers.
pub(crate) fn head_of_answer(headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{headers}\r\n\r\n").into_bytes()
}

/// The beginning of an answer that ends with its connection.
pub(crate) fn open() -> Vec<u8> {
    head_of_answer("Content-Type: application/x-ndjson")
}

/// A node's text, and its hash.
pub(crate) fn node(id: &str, content: &str) -> (Value, ContentHash) {
    let node = json!({"id": id, "content": content});
    let document = NodeDocument::parse(Bytes::from(node.to_string()), 64).unwrap();
    (node, document.content_hash())
}

/// A change of a feed, without its node.
pub(crate) fn listed(seq: u64, id: &str, content: &str) -> Value {
    let (text, hash) = node(id, content);
    let at = now().seconds();
    json!({"seq": seq, "id": id, "at": at, "hash": hash.to_string(), "size": text.to_string().len(), "after": []})
}

/// A change of a feed, with its node.
pub(crate) fn whole(seq: u64, id: &str, content: &str) -> Value {
    let mut line = listed(seq, id, content);
    line["node"] = node(id, content).0;
    line
}

pub(crate) fn deleted(seq: u64, id: &str, at: i64) -> Value {
    let hash = ContentHash::of(id.as_bytes()).to_string();
    json!({"seq": seq, "id": id, "at": at, "deleted": hash, "after": []})
}

/// The hash of the set that these changes lead to from nothing; what is no change counts for nothing.
pub(crate) fn set_of(lines: &[Value]) -> SetHash {
    let changes: Vec<(NodeId, Option<ContentHash>)> = lines
        .iter()
        .filter_map(|line| {
            let id = NodeId::parse(line["id"].as_str()?).ok()?;
            Some((id, line["hash"].as_str().and_then(|hash| ContentHash::parse(hash).ok())))
        })
        .collect();
    Snapshot::of([]).hash_with(changes.iter().map(|(id, hash)| (id, *hash)))
}

/// The lines of a feed after `since`, with its first line.
pub(crate) fn feed(request: &Request, seq: u64, lines: &[Value]) -> String {
    let mut out = json!({"index_id": request.index_id, "since": request.since, "seq": seq, "floor": 0}).to_string();
    for line in lines {
        out.push('\n');
        out.push_str(&line.to_string());
    }
    out.push('\n');
    out
}
