//! Asking a service what its operator may ask: over HTTP, with the token where there is one.

use super::client::{Client, ClientError};
use crate::types;
use bytes::Bytes;
use reqwest::{Method, header::CONTENT_TYPE};
use secrecy::{ExposeSecret, SecretString};

/// Largest answer: a conflict with two nodes of the default limit, or a page of a thousand conflicts.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// To see something.
    Get,
    /// To have something done.
    Post,
    /// To have something removed.
    Delete,
}

/// A service, as its operator talks to it.
#[derive(Debug, Clone)]
pub struct OperatorClient {
    client: Client,
    token: Option<SecretString>,
}

impl OperatorClient {
    /// With the operator's token, where there is one and this service may see it.
    #[must_use]
    pub fn new(client: Client, token: Option<SecretString>) -> Self {
        Self { client, token }
    }

    /// The answer's JSON. `path` has no slash at its beginning, and may have a query; `body` is JSON.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ask(&self, ask: Ask, path: &str, body: Option<String>) -> Result<Bytes, ClientError> {
        let method = match ask {
            Ask::Get => Method::GET,
            Ask::Post => Method::POST,
            Ask::Delete => Method::DELETE,
        };
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let mut request = self.client.request(method, path, query);
        if let Some(token) = &self.token {
            // The line feed that a secret's file ends with is no part of it.
            request = request.bearer_auth(token.expose_secret().trim());
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let response = self.client.ask(request).await?;
        self.client.body(response, MAX_ANSWER_BYTES).await
    }
}

/// Text as a part of a path or query: everything but letters, digits and `-._~` is encoded.
#[must_use]
pub fn percent_encode(text: &str) -> String {
    types::percent_encode(text, b"-._~")
}

#[cfg(test)]
mod tests {
    use super::percent_encode;

    #[test]
    fn an_address_is_one_part_of_a_path() {
        assert_eq!(percent_encode("http://[::1]:90/a b?é"), "http%3A%2F%2F%5B%3A%3A1%5D%3A90%2Fa%20b%3F%C3%A9");
        assert_eq!(percent_encode("A-z_0.~"), "A-z_0.~");
    }
}
