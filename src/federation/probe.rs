//! Asking an instance how it is: one short request, for health checks.

use super::client::{ClientError, base_url, cause, read_problem, text};
use reqwest::{Url, header::RETRY_AFTER, redirect::Policy};
use std::time::Duration;

/// Far more than `/ready` answers; `/health` names up to a hundred broken files.
const MAX_BYTES: usize = 1 << 20;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// `/ready`: is the index built, and does the registry answer?
    Ready,
    /// `/health`: does the process answer?
    Alive,
}

impl Question {
    const fn path(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Alive => "health",
        }
    }
}

/// Which certificate the other side may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificates {
    /// One that this machine's authorities vouch for.
    Verified,
    /// Any: only for an address at which nobody but this machine answers, and because nothing secret is sent.
    Any,
}

/// Asks the instance at `base`; the address that was asked, and the `status` of its answer.
///
/// # Errors
/// [`ClientError`]: it is not as it was asked for, or there was no answer within `within`.
pub async fn probe(
    base: &str,
    question: Question,
    certificates: Certificates,
    within: Duration,
) -> Result<(Url, String), ClientError> {
    let mut url = base_url(base)?;
    url.set_path(&format!("{}{}", url.path(), question.path()));
    let mut http = reqwest::Client::builder().timeout(within).redirect(Policy::none()).no_proxy();
    if certificates == Certificates::Any {
        http = http.tls_danger_accept_invalid_certs(true);
    } else if url.scheme() == "http" {
        // Reading the machine's authorities takes longer than everything else.
        http = http.tls_certs_only([]);
    }
    let http = http.build().map_err(|error| ClientError::Address(base.to_owned(), cause(&error)))?;
    let unreachable = |error: reqwest::Error| ClientError::Unreachable(base.to_owned(), cause(&error));
    let mut response = http.get(url.clone()).send().await.map_err(unreachable)?;
    let status = response.status();
    let retry_after = text(response.headers(), RETRY_AFTER.as_str()).and_then(|text| text.parse().ok());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BYTES {
            break;
        }
    }
    if status.is_success() {
        let answer: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
        let said = answer.as_ref().and_then(|answer| answer.get("status")).and_then(serde_json::Value::as_str);
        return match said {
            Some(said) => Ok((url, said.to_owned())),
            None => Err(ClientError::Protocol(url.to_string(), "its answer has no status".to_owned())),
        };
    }
    let (code, detail) = read_problem(&body, status);
    let (status, retry_after) = (status.as_u16(), retry_after.map(Duration::from_secs));
    if status < 500 {
        Err(ClientError::Refused { status, code, detail, retry_after })
    } else {
        Err(ClientError::Server { status, code, detail, retry_after })
    }
}
