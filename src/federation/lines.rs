//! An answer that is read line by line: bounded in memory, whatever its length.

use super::client::ClientError;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream::BoxStream};

/// The parts of an answer as they come.
pub type Parts = BoxStream<'static, Result<Bytes, ClientError>>;

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
        let mut searched = 0;
        loop {
            let rest = self.buffer.get(searched..).unwrap_or_default();
            if let Some(at) = memchr::memchr(b'\n', rest) {
                let mut line = self.buffer.split_to(searched.saturating_add(at).saturating_add(1));
                line.truncate(line.len().saturating_sub(1));
                return Ok(Some(line.freeze()));
            }
            searched = self.buffer.len();
            if searched > self.max_line {
                return Err(self.wrong(&format!("it sends a line of over {} bytes", self.max_line)));
            }
            match self.parts.next().await.transpose()? {
                Some(part) => {
                    self.bytes = self.bytes.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
                    self.buffer.extend_from_slice(&part);
                }
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(self.wrong("its answer ends within a line")),
            }
        }
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
