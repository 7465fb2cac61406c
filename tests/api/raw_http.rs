//! HTTP/1.1 by hand, for requests that a well-behaved client does not send.

use crate::app::problem_code;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Every answer has to be there within this time.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A request of which every byte is the test's to say.
#[derive(Clone)]
pub struct Raw {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Body,
}

#[derive(Clone)]
pub enum Body {
    None,
    /// With its length.
    Sized(Vec<u8>),
    /// In chunks.
    Chunked(Vec<u8>),
    /// With a length that is not its own; nothing follows, and the client waits.
    Declared(u64, Vec<u8>),
    /// With a length that is not its own; the client says that nothing follows.
    CutShort(u64, Vec<u8>),
    /// Chunks without the last one; the client says that nothing follows.
    ChunksCutShort(Vec<u8>),
}

impl Raw {
    pub fn new(method: &str, path: &str) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), body: Body::None }
    }

    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// The body, declared as JSON.
    pub fn json(self, body: impl AsRef<[u8]>) -> Self {
        self.header("content-type", "application/json").body(Body::Sized(body.as_ref().to_vec()))
    }

    pub fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\n", self.method, self.path).into_bytes();
        if !self.headers.iter().any(|(name, _)| name == "host") {
            out.extend_from_slice(b"host: ark\r\n");
        }
        for (name, value) in &self.headers {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        let length = match &self.body {
            Body::None => None,
            Body::Sized(body) => Some(format!("content-length: {}\r\n", body.len())),
            Body::Declared(length, _) | Body::CutShort(length, _) => Some(format!("content-length: {length}\r\n")),
            Body::Chunked(_) | Body::ChunksCutShort(_) => Some("transfer-encoding: chunked\r\n".to_owned()),
        };
        out.extend_from_slice(length.unwrap_or_default().as_bytes());
        out.extend_from_slice(b"\r\n");
        match &self.body {
            Body::None => {}
            Body::Sized(body) | Body::Declared(_, body) | Body::CutShort(_, body) => out.extend_from_slice(body),
            Body::Chunked(body) => {
                out.extend_from_slice(&chunks(body));
                out.extend_from_slice(b"0\r\n\r\n");
            }
            Body::ChunksCutShort(body) => out.extend_from_slice(&chunks(body)),
        }
        out
    }

    /// Sends everything, then reads the answer.
    pub async fn send(&self, port: u16) -> Answer {
        let mut connection = Connection::open(port).await;
        connection.write(&self.to_bytes()).await;
        if matches!(self.body, Body::CutShort(..) | Body::ChunksCutShort(_)) {
            connection.stream.shutdown().await.unwrap();
        }
        connection.answer(self.method == "HEAD").await
    }
}

fn chunks(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in body.chunks(1000) {
        out.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
    out
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The problem's code; asserts that it is one in every part.
    pub fn code(&self) -> String {
        let header = |name| self.header(name).unwrap_or_else(|| panic!("{name} is missing: {self:?}"));
        problem_code(self.status, header("content-type"), header("x-request-id"), &self.text())
    }
}

/// A connection, and what came on it beyond the answers that were read.
pub struct Connection {
    pub stream: TcpStream,
    unread: Vec<u8>,
}

impl Connection {
    pub async fn open(port: u16) -> Self {
        Self { stream: TcpStream::connect(("127.0.0.1", port)).await.unwrap(), unread: Vec::new() }
    }

    /// From another address of this machine: 127.0.0.`last`.
    pub async fn open_from(last: u8, port: u16) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, last], 0).into()).unwrap();
        Self { stream: socket.connect(([127, 0, 0, 1], port).into()).await.unwrap(), unread: Vec::new() }
    }

    /// Writes everything before anything is read. The server may answer and close before it has taken everything.
    pub async fn write(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the server takes what it is sent").unwrap();
    }

    /// Reads more; false at the end.
    async fn more(&mut self) -> bool {
        let mut part = vec![0; 64 << 10];
        let read = timeout(PATIENCE, self.stream.read(&mut part)).await.expect("an answer in time");
        let read = read.unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(&self.unread)));
        self.unread.extend_from_slice(&part[..read]);
        read > 0
    }

    /// The next line, without its end.
    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.unread.drain(..end + 2).take(end).collect();
                return String::from_utf8(line).unwrap();
            }
            assert!(self.more().await, "the connection ended instead of an answer: {:?}", self.unread);
        }
    }

    async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            assert!(self.more().await, "the connection ended within an answer");
        }
        self.unread.drain(..count).collect()
    }

    /// The next answer; interim ones are passed over.
    pub async fn answer(&mut self, to_head: bool) -> Answer {
        loop {
            let answer = self.any_answer(to_head).await;
            if answer.status >= 200 {
                return answer;
            }
        }
    }

    /// The next answer, which may be an interim one.
    pub async fn any_answer(&mut self, to_head: bool) -> Answer {
        let status_line = self.line().await;
        let status: u16 = status_line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut answer = Answer { status, headers, body: Vec::new() };
        if to_head || status < 200 || status == 304 {
            return answer;
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            loop {
                let size = usize::from_str_radix(&self.line().await, 16).unwrap();
                let chunk = self.exactly(size).await;
                answer.body.extend_from_slice(&chunk);
                self.line().await;
                if size == 0 {
                    return answer;
                }
            }
        }
        let length = answer.header("content-length").expect("an answer says how long it is").parse().unwrap();
        answer.body = self.exactly(length).await;
        answer
    }

    /// Whether the server closes the connection, with nothing more on it.
    pub async fn ends(&mut self) -> bool {
        !self.more().await && self.unread.is_empty()
    }
}
