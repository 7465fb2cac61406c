//! What was decided of keys, from the state directory.

use super::StartupError;
use crate::{
    settings::Settings,
    tls,
    trust::{
        Audit, Entry, TrustStore,
        chain::ChainError,
        file::{ChainFile, FileError},
        freshness::Freshness,
    },
    types::SharedClock,
};
use std::{path::Path, sync::Arc};

/// The audit log of a state directory.
pub const AUDIT_FILE: &str = "audit.log";
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
