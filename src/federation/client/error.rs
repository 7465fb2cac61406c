//! Why another instance did not do what was asked.

use super::NoAnswer;
use crate::guard::OutOfReach;
use std::time::Duration;

/// Why another instance did not do what was asked. One line each, for people.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is not one.
    #[error("{0:?} is not an address such as https://host:9001: {1}")]
    Address(String, String),
    /// The authorities' certificates cannot be used.
    #[error("the authorities' certificates cannot be used: {0}")]
    Authorities(String),
    /// No answer, or the connection broke.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, NoAnswer),
    /// Nobody may be asked there.
    #[error("{0} cannot be reached: {1}")]
    OutOfReach(String, OutOfReach),
    /// The other side understood and refused (4xx).
    #[error("refused with {status} {code}: {detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The problem's code; empty where it has none.
        code: String,
        /// What the other side says.
        detail: String,
        /// When it may be tried again.
        retry_after: Option<Duration>,
    },
    /// The other side failed (5xx); it may be tried again.
    #[error("the other side failed with {status} {code}: {detail}")]
    Server {
        /// The HTTP status.
        status: u16,
        /// The problem's code; empty where it has none.
        code: String,
        /// What the other side says.
        detail: String,
        /// When it may be tried again.
        retry_after: Option<Duration>,
    },
    /// What it says is right by its form, and not believed.
    #[error("nothing is taken from it: {detail}")]
    Distrusted {
        /// The problem's code.
        code: &'static str,
        /// Why.
        detail: String,
    },
    /// It redirects to another address.
    #[error("{0} redirects to {1}")]
    Redirected(String, String),
    /// It does not prove that it belongs to the network of this instance.
    #[error("{0} belongs to another network: it does not prove that it has this federation.network_key")]
    OtherNetwork(String),
    /// The answer is not what the protocol says.
    #[error("{0} does not answer as an ark-lattice service does: {1}")]
    Protocol(String, String),
}

impl ClientError {
    /// What went wrong, where the address stands beside it.
    #[must_use]
    pub fn without_address(&self) -> String {
        let text = self.to_string();
        match self {
            Self::Address(_, problem) => format!("no address such as https://host:9001: {problem}"),
            Self::Unreachable(url, _)
            | Self::OutOfReach(url, _)
            | Self::Redirected(url, _)
            | Self::OtherNetwork(url)
            | Self::Protocol(url, _) => match text.strip_prefix(url.as_str()) {
                Some(rest) => rest.trim_start().to_owned(),
                None => text,
            },
            Self::Authorities(_) | Self::Refused { .. } | Self::Server { .. } | Self::Distrusted { .. } => text,
        }
    }
}
