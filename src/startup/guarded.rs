//! What lies between the socket and the server's parser: heads whose lines end with a bare line feed are refused, and clients that take next to
//! nothing of an answer are cut off.
//!
//! The parser takes a bare line feed for the end of a line (RFC 9112 section 2.2 lets it), while a proxy in front of this service may take it
//! for part of a value: then the two see different requests. So the framing of every request is followed here, as the parser follows it,
//! and in a head a bare line feed is handed on as NUL, which the parser answers with 400. What the parser refuses for another reason ends the
//! connection, and so is not followed further.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// What is kept of a header line: names that matter are shorter, and so are their values.
const LINE_BYTES: usize = 64;
/// What a client must take of an answer within the bound, where it takes less than it is offered.
const LEAST_TAKEN_BYTES: usize = 16 << 10;

/// A stream between a client and the server.
pub(super) struct Guarded<T> {
    stream: T,
    requests: Requests,
    progress: Progress,
}

impl<T> Guarded<T> {
    /// `within`: how long a client may take less than [`LEAST_TAKEN_BYTES`] of an answer.
    pub(super) fn new(stream: T, within: Duration) -> Self {
        let progress = Progress { within, taken: 0, stalled: None };
        Self { stream, requests: Requests::default(), progress }
    }

    pub(super) fn get_ref(&self) -> &T {
        &self.stream
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guarded<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if let Some(new) = buffer.filled_mut().get_mut(before..) {
            this.requests.follow(new);
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guarded<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write(context, bytes) {
            Poll::Ready(Ok(taken)) => {
                this.progress.taken(taken, bytes.len());
                Poll::Ready(Ok(taken))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => this.progress.wait(context),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// How a client takes an answer.
struct Progress {
    within: Duration,
    /// Since it last took all that it was offered.
    taken: usize,
    /// Since then; its end is when enough must be taken.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Progress {
    fn taken(&mut self, bytes: usize, offered: usize) {
        self.taken = self.taken.saturating_add(bytes);
        if bytes >= offered {
            (self.stalled, self.taken) = (None, 0);
        }
    }

    /// The client takes nothing now.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let within = self.within;
        let timer = self.stalled.get_or_insert_with(|| {
            self.taken = 0;
            Box::pin(sleep_until(Instant::now() + within))
        });
        while timer.as_mut().poll(context).is_ready() {
            if self.taken < LEAST_TAKEN_BYTES {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the client does not read its answer",
                )));
            }
            self.taken = 0;
            timer.as_mut().reset(Instant::now() + within);
        }
        Poll::Pending
    }
}

/// Where in the requests of a connection the stream stands.
#[derive(Debug)]
struct Requests {
    stand: Stand,
    head: Head,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    Head,
    Body(u64),
    Chunk(Chunk),
    /// The parser refuses what came, or takes all that comes for a body.
    Over,
}

/// As the parser reads a chunked body; it takes no trailers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    SizeFirst,
    Size(u64),
    Blanks(u64),
    Extension(u64),
    SizeLf(u64),
    Body(u64),
    BodyCr,
    BodyLf,
    EndCr,
    EndLf,
}

#[derive(Debug, Default)]
struct Head {
    line: Vec<u8>,
    length: usize,
    after_cr: bool,
    /// The request line came.
    begun: bool,
    content_length: Option<u64>,
    chunked: bool,
    /// All that follows is its body, unless its length is stated.
    is_tunnel: bool,
}

impl Default for Requests {
    fn default() -> Self {
        Self { stand: Stand::Head, head: Head::default() }
    }
}

impl Requests {
    /// Follows what came; a line feed that no carriage return precedes becomes NUL where a head is.
    fn follow(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            if let Stand::Body(left) | Stand::Chunk(Chunk::Body(left)) = self.stand {
                let come = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                let left = left.saturating_sub(u64::try_from(come).unwrap_or(u64::MAX));
                self.stand = match self.stand {
                    Stand::Chunk(_) if left == 0 => Stand::Chunk(Chunk::BodyCr),
                    Stand::Chunk(_) => Stand::Chunk(Chunk::Body(left)),
                    _ if left == 0 => Stand::Head,
                    _ => Stand::Body(left),
                };
                bytes = std::mem::take(&mut bytes).get_mut(come..).unwrap_or_default();
                continue;
            }
            if self.stand == Stand::Head {
                let plain = self.head.plain(bytes);
                bytes = std::mem::take(&mut bytes).get_mut(plain..).unwrap_or_default();
            }
            let Some((byte, rest)) = std::mem::take(&mut bytes).split_first_mut() else { return };
            match self.stand {
                Stand::Over => return,
                Stand::Head => self.stand = self.head.step(byte),
                Stand::Chunk(chunk) => self.stand = chunk.step(*byte),
                Stand::Body(_) => {}
            }
            bytes = rest;
        }
    }
}

impl Head {
    /// Takes what comes before the next end of a line, as [`Head::step`] would byte by byte. Answers how much.
    fn plain(&mut self, bytes: &[u8]) -> usize {
        if self.after_cr {
            return 0;
        }
        let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
        let kept = end.min(LINE_BYTES.saturating_sub(self.line.len()));
        self.line.extend_from_slice(bytes.get(..kept).unwrap_or_default());
        self.length = self.length.saturating_add(end);
        end
    }

    fn step(&mut self, byte: &mut u8) -> Stand {
        match (*byte, std::mem::take(&mut self.after_cr)) {
            (b'\n', true) => return self.end_line(byte),
            (b'\n', false) => {
                *byte = 0;
                return Stand::Over;
            }
            // A carriage return alone ends nothing: the parser refuses it.
            (_, true) => return Stand::Over,
            (b'\r', false) => self.after_cr = true,
            // The rest is taken before, by `plain`.
            (_, false) => {}
        }
        Stand::Head
    }

    fn end_line(&mut self, line_feed: &mut u8) -> Stand {
        let is_cut = std::mem::take(&mut self.length) > self.line.len();
        let line = std::mem::take(&mut self.line);
        match (line.is_empty(), self.begun) {
            // Empty lines before a request do not count (RFC 9112 section 2.2).
            (true, false) => {}
            (true, true) => return std::mem::take(self).body(),
            (false, false) => {
                self.begun = true;
                self.is_tunnel = line.starts_with(b"CONNECT ");
            }
            (false, true) => {
                if !self.header(&line, is_cut) {
                    *line_feed = 0;
                    return Stand::Over;
                }
            }
        }
        Stand::Head
    }

    /// `false`: a header that says where the request ends is longer than any that makes sense.
    fn header(&mut self, line: &[u8], is_cut: bool) -> bool {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default().trim_ascii());
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        if is("content-length") {
            self.content_length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            return !is_cut;
        }
        if is("transfer-encoding") {
            self.chunked = value.eq_ignore_ascii_case(b"chunked");
            return !is_cut;
        }
        if is("upgrade") && value.eq_ignore_ascii_case(b"websocket") {
            self.is_tunnel = true;
        }
        true
    }

    fn body(self) -> Stand {
        match self.content_length {
            _ if self.chunked => Stand::Chunk(Chunk::SizeFirst),
            Some(0) | None if self.is_tunnel => Stand::Over,
            Some(0) | None => Stand::Head,
            Some(length) => Stand::Body(length),
        }
    }
}

impl Chunk {
    fn step(self, byte: u8) -> Stand {
        let digit = char::from(byte).to_digit(16).map(u64::from);
        let grown = |size: u64| Some(size.checked_mul(16)?.saturating_add(digit?));
        let next = match (self, byte) {
            (Self::SizeFirst, _) => digit.map(Self::Size),
            (Self::Size(size) | Self::Blanks(size), b'\t' | b' ') => Some(Self::Blanks(size)),
            (Self::Size(size) | Self::Blanks(size), b';') => Some(Self::Extension(size)),
            (Self::Size(size) | Self::Blanks(size) | Self::Extension(size), b'\r') => Some(Self::SizeLf(size)),
            (Self::Size(size), _) => grown(size).map(Self::Size),
            (Self::Extension(size), b'\t' | 0x20..=0x7e | 0x80..) => Some(Self::Extension(size)),
            (Self::SizeLf(0), b'\n') => Some(Self::EndCr),
            (Self::SizeLf(size), b'\n') => Some(Self::Body(size)),
            (Self::BodyCr, b'\r') => Some(Self::BodyLf),
            (Self::BodyLf, b'\n') => Some(Self::SizeFirst),
            (Self::EndCr, b'\r') => Some(Self::EndLf),
            (Self::EndLf, b'\n') => return Stand::Head,
            _ => None,
        };
        next.map_or(Stand::Over, Stand::Chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    /// What the parser gets, whichever way the text is cut into parts.
    fn followed(text: &str) -> String {
        let mut all = Vec::new();
        for part in [1, 2, 3, 7, text.len()] {
            let (mut requests, mut bytes) = (Requests::default(), text.as_bytes().to_vec());
            bytes.chunks_mut(part).for_each(|part| requests.follow(part));
            all.push(String::from_utf8(bytes).unwrap());
        }
        all.dedup();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    #[test]
    fn whole_requests_pass_as_they_are_with_any_body() {
        for text in [
            GET.repeat(3),
            format!("\r\n\r\n{GET}"),
            format!("POST / HTTP/1.1\r\nHost: x\r\ncontent-length:  4 \r\n\r\na\n\nb{GET}"),
            format!("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n{GET}"),
            format!(
                "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3 ;x=\"y\"\r\n\n\n\n\r\n0A\r\n0123456\n\n\n\r\n0\r\n\r\n{GET}"
            ),
            format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n{GET}", "long".repeat(100)),
            "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\nany\nthing".to_owned(),
            "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\nany\nthing".to_owned(),
        ] {
            assert_eq!(followed(&text), text);
        }
    }

    #[test]
    fn a_bare_line_feed_in_a_head_becomes_what_no_head_may_hold() {
        for (before, after) in [
            ("", "\nGET / HTTP/1.1\r\n\r\n"),
            ("GET / HTTP/1.1", "\nHost: x\n\n"),
            ("GET / HTTP/1.1\r\nHost: x", "\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: x\r\n", "\n"),
            ("GET / HTTP/1.1\r\nHost: x\r\nA: b", "\nContent-Length: 5\r\n\r\n"),
        ] {
            for first in ["", GET, "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n\n\n"] {
                let seen = followed(&format!("{first}{before}{after}"));
                assert_eq!(seen, format!("{first}{before}\0{}", &after[1..]));
            }
        }
        let zeros = "0".repeat(LINE_BYTES);
        let seen = followed(&format!("POST / HTTP/1.1\r\nContent-Length: {zeros}1\r\n\r\n"));
        assert!(seen.contains("1\r\0"), "a length of which not all is seen is refused: {seen:?}");
    }

    #[test]
    fn nothing_is_changed_behind_what_the_parser_refuses() {
        for text in [
            "GET / HTTP/1.1\r\nHost: x\rX\n\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\n\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: 1\n\n",
        ] {
            assert_eq!(followed(text), text);
        }
    }

    #[tokio::test]
    async fn a_client_that_takes_next_to_nothing_is_cut_off() {
        let within = Duration::from_millis(600);
        let (mut client, server) = duplex(1024);
        let mut server = Guarded::new(server, within);
        let begun = Instant::now();
        let answer = tokio::spawn(async move { server.write_all(&[7; 1 << 20]).await.map(|()| server) });
        let mut taken = vec![0; 512];
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            client.read_exact(&mut taken).await.unwrap();
        }
        let error = answer.await.unwrap().map(drop).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= within, "{:?}", begun.elapsed());

        // One that is slow, but comes to its end.
        let (mut client, server) = duplex(1024);
        let mut server = Guarded::new(server, within);
        let answer = tokio::spawn(async move { server.write_all(&[7; 200_000]).await });
        let mut read = 0;
        while read < 200_000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            read += client.read(&mut [0; 1024]).await.unwrap();
        }
        answer.await.unwrap().unwrap();
    }
}
