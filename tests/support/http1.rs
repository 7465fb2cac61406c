//! HTTP/1.1 on a bare connection, kept alive: cheap enough to measure with, and open to what a well-behaved client would not do.

#![allow(dead_code, reason = "each target uses its own part of it")]
#![allow(clippy::indexing_slicing, reason = "the bounds are those that were just looked for")]

use bytes::BytesMut;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// A complete request. `headers` are lines with their line ends; the body's length is added.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: Option<&[u8]>) -> Vec<u8> {
    let mut out = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}").into_bytes();
    if let Some(body) = body {
        out.extend_from_slice(
            format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()).as_bytes(),
        );
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body.unwrap_or_default());
    out
}

/// An answer, as long as the next exchange has not begun.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    head: &'a [u8],
    pub(crate) body: &'a [u8],
}

impl Answer<'_> {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(self.head, name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(self.body).into_owned()
    }
}

fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    head.split(|byte| *byte == b'\n').skip(1).find_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (found, value) = (&line[..colon], &line[colon + 1..]);
        found.eq_ignore_ascii_case(name.as_bytes()).then(|| std::str::from_utf8(value).ok().map(str::trim))?
    })
}

fn unreadable(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// How the end of a body is found.
enum Length {
    Known(usize),
    Chunked,
    UntilClosed,
}

/// One connection to a service on this machine.
pub(crate) struct Connection {
    stream: TcpStream,
    /// What was read and not used yet, the last answer in front.
    read: BytesMut,
    /// How much of `read` the last answer takes.
    used: usize,
    /// The body of a chunked answer.
    joined: Vec<u8>,
    closes: bool,
}

impl Connection {
    pub(crate) async fn open(port: u16) -> io::Result<Self> {
        Self::open_with(port, None).await
    }

    /// From another address of this machine.
    pub(crate) async fn open_from(from: Ipv4Addr, port: u16) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((from, 0)))?;
        Self::over(socket, port).await
    }

    /// With a bound on what the machine takes for a client that does not read.
    pub(crate) async fn open_with(port: u16, receive_buffer: Option<u32>) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        Self::over(socket, port).await
    }

    async fn over(socket: TcpSocket, port: u16) -> io::Result<Self> {
        let stream = socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await?;
        stream.set_nodelay(true)?;
        let read = BytesMut::with_capacity(16 << 10);
        Ok(Self { stream, read, used: 0, joined: Vec::new(), closes: false })
    }

    /// The service said that it closes, so that a further request needs another connection.
    pub(crate) fn closes(&self) -> bool {
        self.closes
    }

    /// Breaks the connection off (RST) instead of ending it in order.
    pub(crate) fn reset(self) {
        // Where that cannot be set, it ends in order, which is as good a way to go.
        let _ = self.stream.set_zero_linger();
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Sends a request and reads the answer to its end.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        self.send(request).await?;
        self.answer().await
    }

    /// Reads the next answer (not one to `HEAD`) to its end.
    pub(crate) async fn answer(&mut self) -> io::Result<Answer<'_>> {
        let _previous = self.read.split_to(self.used);
        self.used = 0;
        let head_end = loop {
            if let Some(at) = memchr::memmem::find(&self.read, b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let status = std::str::from_utf8(self.read.get(9..12).unwrap_or_default()).unwrap_or_default();
        let status: u16 = status.parse().map_err(|_| unreadable("no status"))?;
        let head = &self.read[..head_end];
        self.closes = header(head, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let length = if status == 204 || status == 304 {
            Length::Known(0)
        } else if let Some(length) = header(head, "content-length") {
            Length::Known(length.parse().map_err(|_| unreadable("no length"))?)
        } else if header(head, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            Length::Chunked
        } else {
            Length::UntilClosed
        };
        match length {
            Length::Known(length) => {
                while self.read.len() < head_end + length {
                    self.read.reserve(head_end + length - self.read.len());
                    self.more().await?;
                }
                self.used = head_end + length;
            }
            Length::Chunked => {
                self.joined.clear();
                self.used = self.join_chunks(head_end).await?;
                return Ok(Answer { status, head: &self.read[..head_end], body: &self.joined });
            }
            Length::UntilClosed => {
                while self.more().await.is_ok() {}
                self.used = self.read.len();
                self.closes = true;
            }
        }
        Ok(Answer { status, head: &self.read[..head_end], body: &self.read[head_end..self.used] })
    }

    /// Where the last chunk ends.
    async fn join_chunks(&mut self, mut at: usize) -> io::Result<usize> {
        loop {
            let line_end = loop {
                if let Some(end) = memchr::memmem::find(&self.read[at..], b"\r\n") {
                    break at + end;
                }
                self.more().await?;
            };
            let size = std::str::from_utf8(&self.read[at..line_end]).ok();
            let size = size.and_then(|text| usize::from_str_radix(text.trim(), 16).ok());
            let size = size.ok_or_else(|| unreadable("no size of a chunk"))?;
            let (start, end) = (line_end + 2, line_end + 2 + size);
            while self.read.len() < end + 2 {
                self.more().await?;
            }
            self.joined.extend_from_slice(&self.read[start..end]);
            at = end + 2;
            if size == 0 {
                return Ok(at);
            }
        }
    }

    /// Reads at most this much of whatever comes; 0 at the end.
    pub(crate) async fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer).await
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
