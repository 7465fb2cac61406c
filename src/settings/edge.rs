//! What stands between the service and its clients: proxies, prefixes, TLS, web pages of others.

use super::{PlainHttpPeers, Settings, SettingsError, load::bad};
use crate::{
    guard::{NetworkKey, PlainHttp, Quotas},
    types::{BasePath, ProxyNetworks, WebOrigins},
};
use secrecy::ExposeSecret;
use std::{net::IpAddr, path::Path, time::Duration};

/// A shorter key of a network can be guessed.
const MIN_NETWORK_KEY_CHARS: usize = 24;
const MAX_WRITE_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

impl Settings {
    /// Would a peer with this URL be asked over plain HTTP at an address that `federation.plain_http` refuses or, where that is
    /// `always`, at one outside loopback and private networks? Of a name that is known only when a round looks it up.
    #[must_use]
    pub fn is_exposed_by_plain_http(&self, url: &str) -> bool {
        let policy = match self.federation.plain_http {
            PlainHttpPeers::Always => PlainHttp::Private,
            policy => policy.into(),
        };
        let Ok(url) = reqwest::Url::parse(url) else { return false };
        // In brackets it is an address of IPv6.
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        url.scheme() == "http" && host.parse::<IpAddr>().is_ok_and(|address| !policy.allows(address))
    }

    /// # Errors
    /// A peer of the settings is not one, or is refused by `federation.plain_http`.
    pub(super) fn check_plain_http(&mut self) -> Result<(), SettingsError> {
        let named = self.named_peers()?;
        let urls = named.iter().map(|peer| peer.url.as_str());
        let public: Vec<&str> = urls.filter(|url| self.is_exposed_by_plain_http(url)).collect();
        if public.is_empty() {
            return Ok(());
        }
        let peers = public.join(", ");
        if self.federation.plain_http == PlainHttpPeers::Always {
            self.warnings.push(format!(
                "federation.plain_http is always: anybody on the way can read what is exchanged over plain HTTP with {peers}"
            ));
            return Ok(());
        }
        Err(bad(
            "federation.plain_http",
            format!(
                "is {policy:?} and refuses plain HTTP to {peers}: use https://, or set it to \"always\" (private, always, never)",
                policy = self.federation.plain_http.as_str()
            ),
        ))
    }

    /// Host and port of each further listener.
    ///
    /// # Errors
    /// An entry of `server.also_listen` is neither a port nor a host with a port, or it is listed twice.
    pub fn further_listeners(&self) -> Result<Vec<(String, u16)>, SettingsError> {
        let mut taken = vec![(self.server.host.clone(), self.server.port)];
        for text in &self.server.also_listen {
            let (host, port) = text.rsplit_once(':').unwrap_or((&self.server.host, text));
            let is_host = !host.is_empty() && (!host.contains(':') || (host.starts_with('[') && host.ends_with(']')));
            let port = port.parse::<u16>().ok().filter(|_| is_host);
            let Some(port) = port else {
                return Err(bad(
                    "server.also_listen",
                    format!("{text:?} is neither a port nor HOST:PORT, such as 0.0.0.0:9000"),
                ));
            };
            let listener = (host.trim_start_matches('[').trim_end_matches(']').to_owned(), port);
            if port != 0 && taken.contains(&listener) {
                return Err(bad("server.also_listen", format!("{text:?} is listened on already: leave it out")));
            }
            taken.push(listener);
        }
        taken.remove(0);
        Ok(taken)
    }

    /// The prefix under which requests come in.
    ///
    /// # Errors
    /// It is not one.
    pub fn base_path(&self) -> Result<BasePath, SettingsError> {
        BasePath::parse(&self.server.base_path).map_err(|error| bad("server.base_path", error.to_string()))
    }

    /// Who is believed when he says for whom he asks.
    ///
    /// # Errors
    /// An entry is neither an address nor a network.
    pub fn proxy_networks(&self) -> Result<ProxyNetworks, SettingsError> {
        let texts = self.server.trusted_proxies.iter().map(String::as_str);
        ProxyNetworks::parse(texts).map_err(|entry| {
            let what = "is neither an address such as 192.0.2.7 nor a network such as 10.0.0.0/8";
            bad("server.trusted_proxies", format!("{entry:?} {what}"))
        })
    }

    /// Certificate and key of our own port, where it speaks TLS.
    ///
    /// # Errors
    /// One of them is not set.
    pub fn tls_files(&self) -> Result<Option<(&Path, &Path)>, SettingsError> {
        let alone = |other: &str| format!("is set, but server.{other} is not: set both, or neither for plain HTTP");
        match (self.server.tls_certificate.as_deref(), self.server.tls_key.as_deref()) {
            (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
            (None, None) => Ok(None),
            (Some(_), None) => Err(bad("server.tls_certificate", alone("tls_key"))),
            (None, Some(_)) => Err(bad("server.tls_key", alone("tls_certificate"))),
        }
    }

    /// Certificate and key that we show other instances.
    ///
    /// # Errors
    /// One of them is not set.
    pub fn client_tls_files(&self) -> Result<Option<(&Path, &Path)>, SettingsError> {
        let section = &self.federation;
        let alone = |other: &str| format!("is set, but federation.{other} is not: set both or neither");
        match (section.tls_client_certificate.as_deref(), section.tls_client_key.as_deref()) {
            (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
            (None, None) => Ok(None),
            (Some(_), None) => Err(bad("federation.tls_client_certificate", alone("tls_client_key"))),
            (None, Some(_)) => Err(bad("federation.tls_client_key", alone("tls_client_certificate"))),
        }
    }

    /// What members of our network show, where it has a key.
    #[must_use]
    pub fn network_key(&self) -> Option<NetworkKey> {
        self.federation.network_key.as_ref().map(|secret| NetworkKey::derive(secret.expose_secret().trim()))
    }

    /// How much every address and key may ask for.
    #[must_use]
    pub fn quotas(&self) -> Quotas {
        let limits = &self.limits;
        Quotas {
            reads: limits.reads_per_minute,
            bodies: limits.bodies_per_minute,
            signed: limits.signed_per_minute,
            new_ids: limits.new_ids_per_minute,
            of_key: limits.signed_per_key_per_minute,
        }
    }

    /// Whose web pages may read from us.
    ///
    /// # Errors
    /// An entry is no origin.
    pub fn web_origins(&self) -> Result<WebOrigins, SettingsError> {
        WebOrigins::parse(self.server.cors_origins.iter().map(String::as_str)).map_err(|entry| {
            let what = "is no origin such as https://app.example; for all of them write \"*\" alone";
            bad("server.cors_origins", format!("{entry:?} {what}"))
        })
    }

    pub(super) fn check_edge(&mut self) -> Result<(), SettingsError> {
        let network_key = self.federation.network_key.as_ref().map(|secret| secret.expose_secret().trim());
        if network_key.is_some_and(|secret| secret.chars().count() < MIN_NETWORK_KEY_CHARS) {
            self.warnings.push(format!(
                "federation.network_key has fewer than {MIN_NETWORK_KEY_CHARS} characters: who hears one message can try keys until \
                 one fits; make one with: openssl rand -base64 32"
            ));
        }
        self.base_path()?;
        self.further_listeners()?;
        let tls = self.tls_files()?.is_some();
        self.client_tls_files()?;
        if self.server.tls_client_ca.is_some() && !tls {
            return Err(bad(
                "server.tls_client_ca",
                "is set, but the port speaks plain HTTP: set server.tls_certificate too",
            ));
        }
        if self.server.tls_client_required && self.server.tls_client_ca.is_none() {
            return Err(bad("server.tls_client_required", "is set, but server.tls_client_ca is not"));
        }
        self.web_origins()?;
        let write_timeout = self.server.write_timeout.get();
        // The kernel counts it in milliseconds, 0 as no bound.
        if write_timeout.as_millis() == 0 || write_timeout > MAX_WRITE_TIMEOUT {
            return Err(bad("server.write_timeout", "must be between 1ms and 1day"));
        }
        if self.server.tls_reload_interval.get().is_zero() {
            return Err(bad("server.tls_reload_interval", "must be more than zero"));
        }
        if self.proxy_networks()?.trusts_everybody() {
            let warning = "server.trusted_proxies holds every address: any client may say that it is another";
            self.warnings.push(warning.to_owned());
        }
        Ok(())
    }
}
