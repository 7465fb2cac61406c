//! Whom a client believes, and what it shows.

use super::{Client, ClientError, cause};
use crate::{guard::Reach, types::Limits};
use reqwest::{Certificate, Identity};

impl Client {
    /// As [`Client::new`], for an instance whose certificate one of these authorities issued, and no other: a PEM text with their
    /// certificates. `shown`: our own certificate with its key, PEM.
    ///
    /// # Errors
    /// [`ClientError::Authorities`], [`ClientError::Address`].
    pub fn trusting(
        authorities: &[u8],
        shown: Option<&[u8]>,
        base: &str,
        limits: &Limits,
    ) -> Result<Self, ClientError> {
        let wrong = |error: reqwest::Error| ClientError::Authorities(cause(&error));
        let roots = Certificate::from_pem_bundle(authorities).map_err(wrong)?;
        if roots.is_empty() {
            return Err(ClientError::Authorities("there is no PEM certificate in it".to_owned()));
        }
        // By themselves first: in the client an unusable one could not be told from an unusable address.
        let checked = roots.clone().into_iter().map(|root| reqwest::Client::builder().tls_certs_only([root]).build());
        checked.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        Self::build(base, limits, showing(shown, base)?.tls_certs_only(roots).tls_info(true))
    }

    /// As [`Client::new`], whoever the instance's certificate names: only for an address at which nobody but this machine answers, and
    /// for what is no secret.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub fn unverified(shown: Option<&[u8]>, base: &str, limits: &Limits) -> Result<Self, ClientError> {
        Self::build(base, limits, showing(shown, base)?.tls_danger_accept_invalid_certs(true))
    }

    /// As [`Client::new`], with this configuration of TLS and to what `reach` lets it.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub fn connecting(
        base: &str,
        limits: &Limits,
        tls: Option<rustls::ClientConfig>,
        reach: Reach,
    ) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder().tls_info(true);
        let http = match tls {
            Some(tls) => http.tls_backend_preconfigured(tls),
            None => http,
        };
        Self::build_within(base, limits, http, reach)
    }
}

/// Shows this certificate to whoever asks for one.
fn showing(shown: Option<&[u8]>, base: &str) -> Result<reqwest::ClientBuilder, ClientError> {
    let builder = reqwest::Client::builder();
    let Some(pem) = shown else { return Ok(builder) };
    let identity = Identity::from_pem(pem).map_err(|error| {
        ClientError::Address(base.to_owned(), format!("the client certificate cannot be used: {}", cause(&error)))
    })?;
    Ok(builder.identity(identity))
}
