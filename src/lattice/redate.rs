//! Versions and deletions that were made here while the clock was ahead: no peer takes them before their time, so they are dated now as
//! soon as the clock is known to be right again.

use super::{
    LatticeError,
    store::Store,
    version::MAX_AHEAD,
    write_batch::{self, WriteOp, WriteRequest},
};
use crate::types::NodeId;
use tokio::sync::oneshot;

/// Names that the log shows.
const SHOWN: usize = 3;

/// Whether there may be any. Only a start or a jump of the clock makes them.
#[derive(Debug)]
pub(super) struct Redating {
    is_due: bool,
}

impl Redating {
    pub(super) fn at_start() -> Self {
        Self { is_due: true }
    }

    /// The wall clock jumped.
    pub(super) fn look_again(&mut self) {
        self.is_due = true;
    }

    /// Dates them now, once the clock agrees with that of another instance. Answers the names whose files may differ from what is known.
    pub(super) fn step(&mut self, store: &mut Store) -> Vec<String> {
        if !self.is_due || !store.shared.clock_agreement.holds(&store.shared.clock) {
            return Vec::new();
        }
        let ids = match made_ahead(store) {
            Ok(ids) => ids,
            Err(error) => {
                tracing::warn!(%error, "which versions are dated ahead cannot be found out; the next start looks again");
                self.is_due = false;
                return Vec::new();
            }
        };
        self.is_due = false;
        if ids.is_empty() {
            return Vec::new();
        }
        let (reply, mut answer) = oneshot::channel();
        let ops = ids.iter().cloned().map(WriteOp::Accept).collect();
        let suspects = write_batch::run(store, vec![WriteRequest { ops, reply }]);
        match answer.try_recv() {
            Ok(Ok(_)) => tracing::warn!(
                lattice.redated = ids.len(),
                "{} nodes were changed here while the clock was ahead: their versions are dated now, for peers refused them ({}{})",
                ids.len(),
                ids.iter().take(SHOWN).map(NodeId::as_str).collect::<Vec<_>>().join(", "),
                if ids.len() > SHOWN { ", …" } else { "" }
            ),
            Ok(Err(error)) => {
                tracing::warn!(%error, "versions that are dated ahead cannot be dated anew yet");
                self.is_due = !matches!(error, LatticeError::Io(_));
            }
            Err(error) => tracing::warn!(%error, "versions that are dated ahead cannot be dated anew"),
        }
        suspects
    }
}

/// The nodes whose version, or deletion, was made here and is dated further ahead than peers take.
fn made_ahead(store: &Store) -> Result<Vec<NodeId>, LatticeError> {
    let shared = &store.shared;
    let latest = shared.clock.now().plus(MAX_AHEAD);
    let snapshot = shared.index().snapshot();
    let live = snapshot.iter_after(None).filter(|entry| entry.updated_at > latest);
    let live = live.map(|entry| entry.id.clone()).collect();
    Ok(shared.journal.made_ahead(latest, live)?)
}
