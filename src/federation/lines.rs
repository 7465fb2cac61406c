//! An answer that is read line by line: bounded in memory, whatever its length.

use super::client::ClientError;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream::BoxStream};
use std::time::Duration;
use tokio::time::timeout;

/// What is kept of a line that is too long: more than a version takes without its content.
const BEGINNING_BYTES: usize = 16 << 10;
/// The longest line that is skipped, whatever it says of itself, and how long that may take: an answer without end is given up.
const MAX_SKIPPED_BYTES: u64 = 256 << 20;
const LONGEST_SKIP: Duration = Duration::from_secs(600);

/// The parts of an answer as they come.
pub type Parts = BoxStream<'static, Result<Bytes, ClientError>>;

/// A line, without its line feed.
#[derive(Debug)]
pub enum NextLine {
    /// All of it.
    Whole(Bytes),
    /// It is too long, and was skipped.
    TooLong {
        /// How it begins.
        beginning: Bytes,
        /// How many bytes it has.
        bytes: u64,
    },
}

/// An answer, line by line.
pub struct Lines {
    from: String,
    parts: Parts,
    buffer: BytesMut,
    bytes: u64,
    max_line: usize,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("from", &self.from).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Lines {
    /// As long as `check` has nothing against it.
    #[must_use]
    pub fn while_trusted(mut self, check: impl FnMut() -> Result<(), ClientError> + Send + 'static) -> Self {
        let mut check = check;
        let parts = self.parts.map(move |part| check().and(part));
        self.parts = parts.boxed();
        self
    }

    /// The lines of what comes from `from`, each of at most `max_line` bytes.
    #[must_use]
    pub fn new(from: String, parts: Parts, max_line: usize) -> Self {
        Self { from, parts, buffer: BytesMut::new(), bytes: 0, max_line }
    }

    /// The next line, without its line feed. `None` at the end.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] where the connection broke, [`ClientError::Protocol`] for a line that is too long and for an
    /// end within a line.
    pub async fn next_line(&mut self) -> Result<Option<Bytes>, ClientError> {
        match self.next_or_skip(|_| None).await? {
            Some(NextLine::Whole(line)) => Ok(Some(line)),
            Some(NextLine::TooLong { .. }) | None => Ok(None),
        }
    }

    /// The next line; one that is too long is skipped, and no more than its beginning is kept. `None` at the end. `longest`: how long a
    /// line may be that begins so; `None`: it is not skipped.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] where the connection broke or skipping takes too long, [`ClientError::Protocol`] for a line that is
    /// longer than what is skipped and for an end within a line.
    pub async fn next_or_skip(
        &mut self,
        longest: impl Fn(&[u8]) -> Option<u64>,
    ) -> Result<Option<NextLine>, ClientError> {
        let mut searched = 0;
        loop {
            let rest = self.buffer.get(searched..).unwrap_or_default();
            if let Some(at) = memchr::memchr(b'\n', rest) {
                let mut line = self.buffer.split_to(searched.saturating_add(at).saturating_add(1));
                line.truncate(line.len().saturating_sub(1));
                return Ok(Some(NextLine::Whole(line.freeze())));
            }
            searched = self.buffer.len();
            if searched > self.max_line {
                let beginning = self.beginning();
                let most = longest(&beginning).ok_or_else(|| self.too_long(self.max_line))?;
                let skipped = timeout(LONGEST_SKIP, self.skip(beginning, most.min(MAX_SKIPPED_BYTES))).await;
                let silent = |_| ClientError::Unreachable(self.from.clone(), "a line does not come to its end".into());
                return skipped.map_err(silent)?.map(Some);
            }
            match self.next_part().await? {
                Some(part) => self.buffer.extend_from_slice(&part),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(self.wrong("its answer ends within a line")),
            }
        }
    }

    fn beginning(&self) -> Bytes {
        let kept = self.buffer.len().min(BEGINNING_BYTES);
        Bytes::copy_from_slice(self.buffer.get(..kept).unwrap_or_default())
    }

    /// Skips the rest of a line of which the buffer holds the first part.
    async fn skip(&mut self, beginning: Bytes, most: u64) -> Result<NextLine, ClientError> {
        let mut bytes = u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
        self.buffer = BytesMut::new();
        while bytes <= most {
            let Some(part) = self.next_part().await? else { return Err(self.wrong("its answer ends within a line")) };
            let end = memchr::memchr(b'\n', &part);
            bytes = bytes.saturating_add(u64::try_from(end.unwrap_or(part.len())).unwrap_or(u64::MAX));
            if let Some(end) = end.filter(|_| bytes <= most) {
                self.buffer.extend_from_slice(part.get(end.saturating_add(1)..).unwrap_or_default());
                return Ok(NextLine::TooLong { beginning, bytes });
            }
        }
        Err(self.too_long(most))
    }

    async fn next_part(&mut self) -> Result<Option<Bytes>, ClientError> {
        let part = self.parts.next().await.transpose()?;
        let came = part.as_ref().map_or(0, Bytes::len);
        self.bytes = self.bytes.saturating_add(u64::try_from(came).unwrap_or(u64::MAX));
        Ok(part)
    }

    fn too_long(&self, most: impl std::fmt::Display) -> ClientError {
        self.wrong(&format!("it sends a line of over {most} bytes"))
    }

    /// How many bytes came so far, after decompression.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The other side does not keep to the protocol.
    pub(super) fn wrong(&self, problem: &str) -> ClientError {
        ClientError::Protocol(self.from.clone(), problem.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    fn lines(parts: Vec<Bytes>) -> Lines {
        Lines::new("a".to_owned(), stream::iter(parts.into_iter().map(Ok)).boxed(), 10)
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_skipped_and_the_next_one_is_read() {
        let long = "x".repeat(5000);
        let text = Bytes::from(format!("one\n{long}\ntwo\n"));
        for size in [3, 17, 4000] {
            let mut lines = lines(text.chunks(size).map(Bytes::copy_from_slice).collect());
            assert!(
                matches!(lines.next_or_skip(|_| Some(5000)).await.unwrap(), Some(NextLine::Whole(line)) if line == "one")
            );
            let Some(NextLine::TooLong { beginning, bytes }) = lines.next_or_skip(|_| Some(5000)).await.unwrap() else {
                panic!()
            };
            assert_eq!(bytes, 5000, "{size}");
            assert!(beginning.len() > 10 && long.as_bytes().starts_with(&beginning));
            assert!(lines.buffer.len() <= size);
            assert!(
                matches!(lines.next_or_skip(|_| Some(5000)).await.unwrap(), Some(NextLine::Whole(line)) if line == "two")
            );
            assert!(lines.next_or_skip(|_| Some(5000)).await.unwrap().is_none());
            assert_eq!(lines.bytes(), u64::try_from(text.len()).unwrap());
        }
    }

    #[tokio::test]
    async fn a_line_without_end_is_given_up() {
        let part = Bytes::from(vec![b'x'; 1 << 20]);
        let mut endless = Lines::new("a".to_owned(), stream::repeat(part.clone()).map(Ok).boxed(), 10);
        for (longest, most) in [(None, 0), (Some(5 << 20), 5 << 20), (Some(u64::MAX), MAX_SKIPPED_BYTES)] {
            let before = endless.bytes();
            let error = endless.next_or_skip(|_| longest).await.unwrap_err().to_string();
            assert!(error.contains("a line of over"), "{error}");
            assert!(endless.bytes() - before <= most + (2 << 20), "{longest:?}");
        }
        let error = lines(vec![part]).next_or_skip(|_| Some(u64::MAX)).await.unwrap_err().to_string();
        assert!(error.contains("ends within a line"), "{error}");
    }
}
