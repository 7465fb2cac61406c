//! How the parts are.

use super::{Context, neighbours::connections};
use crate::{lattice::LatticeStatus, registry::RegistryError};

/// How one part is.
#[derive(Debug)]
pub struct PartHealth {
    /// It works.
    pub ok: bool,
    /// One line for people, where it does not, or not all of it.
    pub detail: Option<&'static str>,
}

/// How the service is.
#[derive(Debug)]
pub struct Health {
    /// The registry.
    pub registry: PartHealth,
    /// `embedded` or `redis`.
    pub registry_kind: &'static str,
    /// Live peers, where the registry answers.
    pub live_peers: Option<u64>,
    /// The lattice.
    pub lattice: LatticeStatus,
    /// Nodes whose files are broken: their last good versions count, their contents cannot be had.
    pub unavailable: usize,
    /// Peers whose last round went well.
    pub peers_connected: usize,
    /// Deletions of other instances that wait for the admin.
    pub deletions_waiting: u64,
    /// Unknown instances that ask to write and wait for the admin.
    pub peers_pending: usize,
}

impl Health {
    /// The index is built and the registry answers.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.lattice.ready && self.registry.ok
    }

    /// Everything works, to the last file, and nothing waits for the admin.
    #[must_use]
    pub fn flawless(&self) -> bool {
        let lattice = self.lattice.broken_total == 0 && self.unavailable == 0 && self.lattice.fault.is_none();
        self.ready() && self.registry.detail.is_none() && lattice && self.deletions_waiting == 0
    }
}

/// Asks every part.
pub async fn health(context: &Context) -> Health {
    let live = match context.registry.ping().await {
        Ok(()) => context.registry.live().await,
        Err(error) => Err(error),
    };
    let detail = match &live {
        Ok(_) => context.registry.fault(),
        Err(RegistryError::Corrupt(_)) => Some("holds what this version cannot read"),
        Err(_) => Some("does not answer"),
    };
    let waiting = context.lattice.waiting_senders().unwrap_or_default();
    Health {
        peers_pending: context.pairing.inbox.len(),
        peers_connected: connections(context).0,
        registry: PartHealth { ok: live.is_ok(), detail },
        registry_kind: context.registry.kind(),
        live_peers: live.ok(),
        unavailable: context.lattice.unavailable().len(),
        lattice: context.lattice.status(),
        // Where the journal fails, the lattice's own fault says so.
        deletions_waiting: waiting.iter().map(|sender| sender.deletions).sum(),
    }
}
