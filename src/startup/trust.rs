//! What was decided of keys, from the state directory.

use super::StartupError;
use crate::{
    lattice::LatticeError,
    ops::{self, Context, FormerWritersError},
    settings::Settings,
    tls::{self, TlsPort},
    trust::{
        Audit, Entry, Refusal, TrustMode, TrustStore,
        chain::ChainError,
        file::{ChainFile, FileError},
        freshness::Freshness,
    },
    types::SharedClock,
};
use std::{path::Path, sync::Arc, thread, time::Duration};
use tokio::time::sleep;

/// The audit log of a state directory.
pub const AUDIT_FILE: &str = "audit.log";
/// How often it is asked whether the index is built.
const LOADING: Duration = Duration::from_secs(1);
/// So many instances that are refused are named one by one.
const NAMED: usize = 20;
/// The newest accepted heads of peers.
const HEADS_FILE: &str = "heads.log";

/// Reads and checks both files; neither is replaced by a guess.
pub(super) fn open(settings: &Settings, clock: &SharedClock) -> Result<Arc<TrustStore>, StartupError> {
    let state = &settings.state.path;
    let (audit_path, heads_path) = (state.join(AUDIT_FILE), state.join(HEADS_FILE));
    // The heads' file is made first: where the log is, it is too.
    if audit_path.exists() && !heads_path.exists() {
        return Err(lost(&heads_path));
    }
    let (ledger, texts) = ChainFile::open(&heads_path)?;
    if !texts.is_empty() && !audit_path.exists() {
        return Err(lost(&audit_path));
    }
    let heads = Freshness::new(Arc::new(ledger), &texts).map_err(|error| damaged(&heads_path, error))?;
    let (ledger, texts) = ChainFile::open(&audit_path)?;
    let entries = Entry::parse_all(&texts).map_err(|error| damaged(&audit_path, error))?;
    let audit = Audit::new(Arc::new(ledger), SharedClock::clone(clock), entries.len());
    let (policy, rules) = (settings.trust_policy()?, settings.trust_rules());
    let store = TrustStore::new(policy, rules, settings.trust.vouchers, (audit, &entries), heads);
    Ok(Arc::new(store.map_err(|error| damaged(&audit_path, error))?))
}

/// Beginning anew without it would make old statements count again.
fn lost(path: &Path) -> StartupError {
    FileError::Guard { path: path.to_owned(), problem: "is gone" }.into()
}

fn damaged(path: &Path, error: ChainError) -> FileError {
    FileError::Damaged { path: path.to_owned(), error }
}

/// What connections are made with where a certificate is to prove who a peer is.
pub(super) fn authorities(settings: &Settings) -> Result<Option<rustls::ClientConfig>, StartupError> {
    let Some(path) = &settings.trust.ca_file else { return Ok(None) };
    Ok(Some(tls::client_config(Some(path), super::shown_certificate(settings)?)?))
}

/// The thread that writes down who was refused.
pub(super) struct RefusalWriter {
    trust: Arc<TrustStore>,
    thread: Option<thread::JoinHandle<()>>,
}

impl RefusalWriter {
    pub(super) fn start(trust: &Arc<TrustStore>) -> Self {
        let writing = Arc::clone(trust);
        let thread = thread::Builder::new().name("audit".to_owned()).spawn(move || writing.audit().write_refusals());
        if let Err(error) = &thread {
            tracing::error!(%error, "nobody writes down who is refused; it is counted");
        }
        Self { trust: Arc::clone(trust), thread: thread.ok() }
    }

    /// Waits until everything is written down.
    pub(super) async fn finish(mut self) {
        self.trust.audit().close();
        let Some(thread) = self.thread.take() else { return };
        if tokio::task::spawn_blocking(move || thread.join()).await.is_ok_and(|ended| ended.is_err()) {
            tracing::error!("the thread that writes down who is refused panicked");
        }
    }
}

impl Drop for RefusalWriter {
    fn drop(&mut self) {
        self.trust.audit().close();
    }
}

/// Notes certificates that our port does not take. Who shows them is known to the handshake only.
pub(super) fn watch_certificates(port: &TlsPort, trust: &Arc<TrustStore>) {
    let trust = Arc::clone(trust);
    port.on_refused_certificate(move |problem| {
        let detail = serde_json::Map::from_iter([("problem".to_owned(), problem.into())]);
        let (code, door) = ("client_certificate", "handshake");
        trust.refused(Refusal { code, door, subject: None, account: None, detail });
    });
}

/// Says in the log what the mode allows, and who wrote before and may not any more.
pub(super) async fn tell(context: Arc<Context>) {
    let allows = context.trust.rules().summary();
    tracing::info!("trust.mode is {}: {allows}", context.trust.mode().as_str());
    if matches!(context.trust.mode(), TrustMode::Open | TrustMode::Tofu) && !context.trust.requires_verified() {
        return;
    }
    let refused = loop {
        match ops::former_writers(&context).await {
            Err(FormerWritersError::Lattice(LatticeError::Loading)) => sleep(LOADING).await,
            told => break told,
        }
    };
    match refused {
        Ok(refused) => {
            for distrust in refused.iter().take(NAMED) {
                tracing::warn!("{distrust} (nodes that it gave before are here)");
            }
            if refused.len() > NAMED {
                tracing::warn!("so it is with {} more instances", refused.len().saturating_sub(NAMED));
            }
        }
        Err(error) => tracing::warn!(%error, "who wrote before and may not any more cannot be told"),
    }
}
