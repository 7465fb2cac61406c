//! A recorded session: the exchanges of one client with one server, in order.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

const SEPARATOR: &[u8] = b"\n=== answer ===\n";

/// A request or an answer.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// `GET /path HTTP/1.1`, or `HTTP/1.1 200 OK`.
    first_line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    fn parse(bytes: &[u8]) -> Self {
        let end = memchr::memmem::find(bytes, b"\n\n").unwrap();
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.lines();
        let first_line = lines.next().unwrap().to_owned();
        let mut headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut body = bytes[end + 2..].to_vec();
        if headers.iter().any(|(name, _)| name == "recorded-as") {
            headers.retain(|(name, _)| name != "recorded-as");
            body = STANDARD.decode(&body).unwrap();
        }
        Self { first_line, headers, body }
    }

    fn word(&self, number: usize) -> &str {
        self.first_line.split(' ').nth(number).unwrap()
    }

    pub(crate) fn method(&self) -> &str {
        self.word(0)
    }

    /// Path and query.
    pub(crate) fn target(&self) -> &str {
        self.word(1)
    }

    pub(crate) fn path(&self) -> &str {
        self.target().split('?').next().unwrap()
    }

    pub(crate) fn query(&self) -> Vec<(String, String)> {
        pairs(self.target())
    }

    pub(crate) fn status(&self) -> u16 {
        self.word(1).parse().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// The query of a target.
pub(crate) fn pairs(target: &str) -> Vec<(String, String)> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

pub(crate) struct Exchange {
    pub(crate) name: String,
    pub(crate) request: Message,
    pub(crate) answer: Message,
}

pub(crate) struct Session {
    pub(crate) name: String,
    pub(crate) facts: Value,
    pub(crate) exchanges: Vec<Exchange>,
}

impl Session {
    /// All sessions of a release.
    pub(crate) fn all(release: &Path) -> Vec<Self> {
        let mut folders: Vec<PathBuf> =
            fs::read_dir(release.join("wire")).unwrap().map(|it| it.unwrap().path()).collect();
        folders.sort();
        folders.iter().map(|folder| Self::read(folder)).collect()
    }

    fn read(folder: &Path) -> Self {
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let facts = serde_json::from_str(&fs::read_to_string(folder.join("session.json")).unwrap()).unwrap();
        let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|it| it == "http"));
        files.sort();
        let exchange = |path: &PathBuf| {
            let bytes = fs::read(path).unwrap();
            let middle = memchr::memmem::find(&bytes, SEPARATOR).unwrap();
            let (request, answer) =
                (Message::parse(&bytes[..middle]), Message::parse(&bytes[middle + SEPARATOR.len()..]));
            Exchange { name: format!("{}/{}", name(folder), name(path)), request, answer }
        };
        Self { name: name(folder), facts, exchanges: files.iter().map(exchange).collect() }
    }

    /// Seconds since the epoch.
    pub(crate) fn at(&self) -> f64 {
        self.facts["at"].as_f64().unwrap()
    }

    /// The address that the server had.
    pub(crate) fn server_address(&self) -> String {
        format!("127.0.0.1:{}", self.facts["server_port"])
    }
}
