//! The requests to an original. Every answer is bounded in time and size.

use crate::federation::client::{Client, ClientError, small};
use bytes::Bytes;
use reqwest::{Method, header::CONTENT_TYPE};

/// Largest answer that says who an original is, or how many nodes it took.
const MAX_WORD_BYTES: usize = 64 << 10;
const JSON: &str = "application/json";

impl Client {
    /// Does it have the routes of the Node.js original?
    ///
    /// # Errors
    /// [`ClientError`].
    pub(super) async fn has_federation_info(&self) -> Result<bool, ClientError> {
        let response = match self.ask(small(self.request(Method::GET, "federation/info", None))).await {
            Err(ClientError::Refused { status: 404 | 405, .. }) => return Ok(false),
            response => response?,
        };
        self.body(response, MAX_WORD_BYTES).await.map(|_| true)
    }

    /// `GET /federation/nodes`: `{"nodes": […]}`, all of them.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(super) async fn original_nodes(&self) -> Result<Bytes, ClientError> {
        let response = self.ask(self.request(Method::GET, "federation/nodes", None)).await?;
        self.body(response, self.bounds().sync_bytes).await
    }

    /// `POST /sync` with `{"nodes":[{"id","hash"}]}`: `{"nodes": […]}`, those that differ.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(super) async fn original_delta(&self, held: String) -> Result<Bytes, ClientError> {
        let request = self.request(Method::POST, "sync", None).header(CONTENT_TYPE, JSON).body(held);
        let response = match self.ask(request).await {
            Err(ClientError::Refused { status: 404 | 405, .. }) => {
                return Err(self
                    .wrong("it has neither /federation/info nor /sync, so it is no ARK original; check the address"));
            }
            response => response?,
        };
        self.body(response, self.bounds().sync_bytes).await
    }

    /// `POST /federation/sync` with `{"instanceId","nodes"}`. Answers how many it says that it took, if it does.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(super) async fn give_original(&self, nodes: String) -> Result<Option<usize>, ClientError> {
        let request = self.request(Method::POST, "federation/sync", None).header(CONTENT_TYPE, JSON).body(nodes);
        let response = self.ask(small(request)).await?;
        let body = self.body(response, MAX_WORD_BYTES).await?;
        let answer: serde_json::Value = serde_json::from_slice(&body)
            .map_err(|error| self.wrong(&format!("its answer to /federation/sync: {error}")))?;
        let received = answer.get("received").and_then(serde_json::Value::as_u64);
        Ok(received.and_then(|received| usize::try_from(received).ok()))
    }
}
