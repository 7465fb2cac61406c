//! Requests of those who look at the way rather than at the content.

use super::{Client, ClientError, MAX_ANSWER_BYTES, printable, text};
use bytes::Bytes;
use reqwest::{Method, RequestBuilder};
use std::time::SystemTime;

/// An answer as it came, for those who look at the way rather than at the content.
#[derive(Debug, Clone)]
pub struct Probe {
    /// The HTTP status.
    pub status: u16,
    /// Where it sends us.
    pub location: Option<String>,
    /// The other side's clock, in whole seconds.
    pub date: Option<SystemTime>,
    /// What it says.
    pub body: Bytes,
}

impl Client {
    /// `GET path`, whatever the answer is.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`], [`ClientError::Protocol`] for an answer that is too long.
    pub async fn probe(&self, path: &str) -> Result<Probe, ClientError> {
        self.answer(self.http.request(Method::GET, self.url(path))).await
    }

    /// `GET path?query`, whatever the answer is.
    ///
    /// # Errors
    /// As [`Self::probe`].
    pub async fn probe_query(&self, path: &str, query: &str) -> Result<Probe, ClientError> {
        let mut url = self.url(path);
        url.set_query(Some(query));
        self.answer(self.http.request(Method::GET, url)).await
    }

    /// `POST path` with a JSON body, whatever the answer is.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`], [`ClientError::Protocol`] for an answer that is too long.
    pub async fn probe_with(&self, path: &str, body: String) -> Result<Probe, ClientError> {
        self.answer(self.post(path, body)).await
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Probe, ClientError> {
        let response = self.begin(request).await?;
        let (status, headers) = (response.status().as_u16(), response.headers());
        let location = text(headers, "location").map(printable);
        let date = text(headers, "date").and_then(|date| httpdate::parse_http_date(date).ok());
        let body = self.whole(response, MAX_ANSWER_BYTES).await?;
        Ok(Probe { status, location, date, body })
    }
}
