//! TLS on our own port: the certificate and its key, and a new pair without a restart.

mod clients;
mod files;
mod outgoing;

pub use clients::{ClientAuthority, check_clients};
pub use files::{TlsError, TlsFiles};
pub use outgoing::client_config;

use crate::{
    telemetry::Metrics,
    types::{SharedClock, Timestamp},
};
use clients::Clients;
use files::{Pair, Stamp, Stamps};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A certificate that ends within this time is worth a line in the log.
const NEAR_ITS_END: Duration = Duration::from_secs(14 * 24 * 3600);
/// How often that line is repeated.
const REMIND_EVERY: Duration = Duration::from_secs(24 * 3600);

/// What the server shows to its clients. A handshake takes certificate and key together, so it never sees parts of two pairs.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// What the last look at the files found.
#[derive(Debug)]
struct Seen {
    stamps: (Stamps, Stamp),
    not_after: Timestamp,
    /// When the log was last told that the end is near.
    reminded: Option<Duration>,
}

/// The certificate of our own port.
pub struct TlsPort {
    files: TlsFiles,
    shown: Arc<Shown>,
    clients: Option<Arc<Clients>>,
    seen: Seen,
    hangups: Signal,
    clock: SharedClock,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for TlsPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsPort").field("files", &self.files).finish_non_exhaustive()
    }
}

impl TlsPort {
    /// Reads the pair, and who issues clients' certificates. From now on SIGHUP does not end the process.
    ///
    /// # Errors
    /// [`TlsError`]: the pair cannot be used.
    pub fn open(
        files: TlsFiles,
        authority: Option<ClientAuthority>,
        clock: SharedClock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, TlsError> {
        let hangups = signal(SignalKind::hangup()).map_err(TlsError::Signal)?;
        let clients = authority.map(Clients::open).transpose()?;
        let stamps = stamps(&files, clients.as_deref());
        let pair = files.read()?;
        let seen = Seen { stamps, not_after: pair.not_after, reminded: None };
        metrics.tls_certificate(&pair.serial, pair.not_after.seconds());
        tell("TLS certificate", &pair);
        let shown = Arc::new(Shown(RwLock::new(pair.key)));
        let mut port = Self { files, shown, clients, seen, hangups, clock, metrics };
        port.remind();
        Ok(port)
    }

    /// Calls this with the reason whenever a client shows a certificate that is not taken. The first call counts.
    pub fn on_refused_certificate(&self, tell: impl Fn(String) + Send + Sync + 'static) {
        if let Some(clients) = &self.clients {
            clients.on_refused(Box::new(tell));
        }
    }

    /// For the server. Its ALPN names nothing yet: the server adds what it speaks.
    ///
    /// # Errors
    /// The provider has no protocol version that rustls takes; does not happen with aws-lc-rs.
    pub fn server_config(&self) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let shown: Arc<dyn ResolvesServerCert> = Arc::<Shown>::clone(&self.shown);
        let builder = builder.map_err(TlsError::Provider)?;
        let builder = match &self.clients {
            Some(clients) => builder.with_client_cert_verifier(Arc::<Clients>::clone(clients)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(shown);
        if self.clients.is_some() {
            // Who was let in once must not come back by it after his authority is gone.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(config)
    }

    /// Looks at the files every `interval`, and at once on SIGHUP. Ends never.
    pub async fn watch(mut self, interval: Duration) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.look(false),
                _ = self.hangups.recv() => {
                    tracing::info!("SIGHUP: reading the TLS certificate again");
                    self.look(true);
                }
            }
        }
    }

    /// Takes a new pair where the files have changed since the last look; what cannot be used is told once, and the old pair stays.
    fn look(&mut self, always: bool) {
        // Before the files are read: what changes meanwhile is seen the next time.
        let stamps = stamps(&self.files, self.clients.as_deref());
        let changed = self.seen.stamps != stamps;
        self.seen.stamps = stamps;
        if changed || always {
            match self.files.read() {
                Ok(pair) => self.show(pair),
                Err(error) => {
                    tracing::warn!(%error, "the new TLS certificate cannot be used; the one before stays");
                }
            }
            if let Some(Err(error)) = self.clients.as_ref().map(|clients| clients.renew()) {
                tracing::warn!(%error, "the new authorities of clients cannot be used; those before stay");
            }
        }
        self.remind();
    }

    fn show(&mut self, pair: Pair) {
        let mut shown = self.shown.0.write().unwrap_or_else(PoisonError::into_inner);
        if shown.cert == pair.key.cert {
            // The same certificate: perhaps the link moved, perhaps somebody touched the file.
            return;
        }
        tell("new TLS certificate", &pair);
        self.metrics.tls_certificate(&pair.serial, pair.not_after.seconds());
        self.seen.not_after = pair.not_after;
        self.seen.reminded = None;
        *shown = pair.key;
    }

    /// Says once a day that the end is near.
    fn remind(&mut self) {
        let seen = &mut self.seen;
        let (now, elapsed) = (self.clock.now(), self.clock.elapsed());
        if now.plus(NEAR_ITS_END) < seen.not_after {
            return;
        }
        if seen.reminded.is_some_and(|reminded| elapsed.saturating_sub(reminded) < REMIND_EVERY) {
            return;
        }
        seen.reminded = Some(elapsed);
        let not_after = seen.not_after.to_rfc3339();
        let days_left = seen.not_after.since(now).as_secs() / (24 * 3600);
        if seen.not_after <= now {
            tracing::warn!(not_after, "the TLS certificate has expired: clients refuse it");
        } else {
            tracing::warn!(not_after, days_left, "the TLS certificate expires soon");
        }
    }
}

fn stamps(files: &TlsFiles, clients: Option<&Clients>) -> (Stamps, Stamp) {
    (files.stamps(), clients.and_then(Clients::stamp))
}

fn tell(what: &str, pair: &Pair) {
    tracing::info!(serial = pair.serial, not_after = pair.not_after.to_rfc3339(), "{what}");
}

#[cfg(test)]
#[path = "tls/tests.rs"]
mod tests;
