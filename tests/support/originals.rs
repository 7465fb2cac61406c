//! The stand-ins for the originals in `original.py`, run as programs of their own.

#![allow(dead_code, reason = "each test binary uses its own part of it")]

use crate::python::{REPOSITORY, python};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Stdio},
};

/// A running stand-in.
pub struct Original {
    process: Child,
    port: u16,
}

impl Original {
    pub fn start(wire: &str, nodes: &Value) -> Self {
        let script = Path::new(REPOSITORY).join("tests/support/original.py");
        let mut process = python().arg(script).arg(wire).arg(nodes.to_string()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { process, port: line.trim().parse().unwrap() }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// `id` and `content` of what it holds.
    pub fn held(&self) -> Vec<(String, String)> {
        let nodes = self.ask("GET", "/_nodes", "");
        let text = |node: &Value, key: &str| node[key].as_str().unwrap().to_owned();
        nodes.as_array().unwrap().iter().map(|node| (text(node, "id"), text(node, "content"))).collect()
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        let _already_gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}
