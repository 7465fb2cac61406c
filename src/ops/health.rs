//! How the parts are.

use super::{Context, neighbours::connections};
use crate::{
    lattice::LatticeStatus,
    registry::{RegistryError, StoreFault, StoreState},
};

/// How the registry is.
#[derive(Debug)]
pub struct RegistryHealth {
    /// It answers: how many peers are live. Else why not.
    pub live: Result<u64, RegistryError>,
    /// The state that it is in, where it does not work as it should. While it answers, it refuses registrations or endangers them.
    pub fault: Option<StoreFault>,
}

impl RegistryHealth {
    /// It answers.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.live.is_ok()
    }

    /// It refuses calls.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.live.is_err() || self.fault.as_ref().is_some_and(|fault| fault.state.refuses())
    }
}

/// How the service is.
#[derive(Debug)]
pub struct Health {
    /// The registry.
    pub registry: RegistryHealth,
    /// `embedded` or `redis`.
    pub registry_kind: &'static str,
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
    /// Conflicts that the admin has not settled.
    pub conflicts: u64,
}

impl Health {
    /// The index is built and the registry answers.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.lattice.ready && self.registry.answers()
    }

    /// Everything works, to the last file, and nothing waits for the admin.
    #[must_use]
    pub fn flawless(&self) -> bool {
        let lattice = self.lattice.broken_total == 0 && self.unavailable == 0 && self.lattice.fault.is_none();
        self.ready() && self.registry.fault.is_none() && lattice && self.deletions_waiting == 0
    }
}

/// Asks every part.
pub async fn health(context: &Context) -> Health {
    let live = match context.registry.ping().await {
        Ok(()) => context.registry.live().await,
        Err(error) => Err(error),
    };
    let fault = match &live {
        Ok(_) => context.registry.faults().into_iter().next(),
        Err(error) => {
            let unreadable =
                if context.registry.kind() == "embedded" { StoreState::Damaged } else { StoreState::Unreadable };
            Some(error.fault().cloned().unwrap_or_else(|| StoreFault::new(unreadable, error.to_string())))
        }
    };
    let waiting = context.lattice.waiting_senders().unwrap_or_default();
    Health {
        // Where the journal fails, the lattice's own fault says so.
        conflicts: context.lattice.conflict_count().unwrap_or_default(),
        peers_pending: context.pairing.inbox.len(),
        peers_connected: connections(context).0,
        registry: RegistryHealth { live, fault },
        registry_kind: context.registry.kind(),
        unavailable: context.lattice.unavailable().len(),
        lattice: context.lattice.status(),
        deletions_waiting: waiting.iter().map(|sender| sender.deletions).sum(),
    }
}
