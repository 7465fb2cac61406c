//! What a webhook's messages are signed with.

use base64::{Engine, engine::general_purpose::STANDARD};
use std::fmt;
use zeroize::Zeroizing;

/// How a secret begins, so that it is known for one wherever it stands.
const PREFIX: &str = "whsec_";
/// Standard Webhooks: from 192 to 512 bits.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A secret of Standard Webhooks. Never shown, and wiped from memory at the end.
#[derive(Clone)]
pub struct WebhookSecret(Zeroizing<Vec<u8>>);

/// The text is no such secret. It is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not whsec_ and base64 of 24 to 64 bytes; make one with: echo whsec_$(openssl rand -base64 32)")]
pub struct WebhookSecretError;

impl WebhookSecret {
    /// Reads `whsec_` and base64.
    ///
    /// # Errors
    /// [`WebhookSecretError`].
    pub fn parse(text: &str) -> Result<Self, WebhookSecretError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(WebhookSecretError)?;
        let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| WebhookSecretError)?);
        if BYTES.contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(WebhookSecretError) }
    }

    /// The key itself.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_long_enough_and_never_shown() {
        let secret = |bytes: usize| WebhookSecret::parse(&format!("whsec_{}", STANDARD.encode(vec![7; bytes])));
        assert_eq!(secret(24).unwrap().expose(), [7; 24]);
        assert!(secret(64).is_ok());
        for wrong in [secret(23), secret(65), WebhookSecret::parse("whsec_?"), WebhookSecret::parse(&"A".repeat(32))] {
            assert!(wrong.is_err(), "{wrong:?}");
        }
        assert_eq!(format!("{:?}", secret(32).unwrap()), "WebhookSecret");
    }
}
