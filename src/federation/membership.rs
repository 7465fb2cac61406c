//! What we show of our network to an instance that we ask, and what we want to see in its answers.

use crate::{
    guard::{ANYBODY, Asked, FIRST_ROUTE, NETWORK_HEADER, NetworkKey, NoRandomness},
    types::{SharedClock, content_digest},
};
use reqwest::{
    Request,
    header::{HeaderMap, HeaderValue},
};
use std::sync::{Arc, Mutex, PoisonError};

const CONTENT_DIGEST: &str = "content-digest";

/// Our network, as a client of one instance knows it.
#[derive(Debug, Clone)]
pub struct Membership {
    key: NetworkKey,
    clock: SharedClock,
    /// The instance's id, once it has said so.
    audience: Arc<Mutex<Option<String>>>,
}

impl Membership {
    /// Of an instance that has not said yet who it is.
    #[must_use]
    pub fn new(key: NetworkKey, clock: SharedClock) -> Self {
        Self { key, clock, audience: Arc::default() }
    }

    /// Of an instance of which this is known already.
    #[must_use]
    pub fn of(key: NetworkKey, clock: SharedClock, id: Option<&str>) -> Self {
        let membership = Self::new(key, clock);
        membership.set(id.map(str::to_owned));
        membership
    }

    fn audience(&self) -> Option<String> {
        self.audience.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes who it is; `None`: that may have changed.
    pub(super) fn set(&self, id: Option<String>) {
        *self.audience.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }

    /// Whether it must be asked first who it is.
    pub(super) fn is_stranger(&self, path: &str) -> bool {
        path != FIRST_ROUTE && self.audience().is_none()
    }

    /// Puts our tag on a request for `path`. Answers what was put.
    pub(super) fn show(&self, request: &mut Request, path: &str) -> Result<String, NoRandomness> {
        let body = request.body().and_then(reqwest::Body::as_bytes);
        let digest = body.map(content_digest).or_else(|| (request.method() == "POST").then(|| content_digest(b"")));
        let asked = Asked {
            method: request.method().as_str(),
            path,
            query: request.url().query().unwrap_or_default(),
            digest: digest.as_deref().unwrap_or_default(),
        };
        let audience = self.audience();
        let shown = self.key.ask(asked, audience.as_deref().unwrap_or(ANYBODY), self.clock.now())?;
        // Made of letters, digits and signs that a header holds.
        if let Some(value) = digest.and_then(|digest| HeaderValue::try_from(digest).ok()) {
            request.headers_mut().insert(CONTENT_DIGEST, value);
        }
        if let Ok(value) = HeaderValue::try_from(&shown) {
            request.headers_mut().insert(NETWORK_HEADER, value);
        }
        Ok(shown)
    }

    /// Whether an answer to what was shown comes from our network.
    pub(super) fn is_of_us(&self, shown: &str, headers: &HeaderMap) -> bool {
        let answer = headers.get(NETWORK_HEADER).and_then(|value| value.to_str().ok());
        answer.is_some_and(|answer| self.key.answers(answer, shown))
    }
}
