//! Rounds that came to their end and yet cannot go on so.

use super::{PeerTask, Shared};
use crate::federation::{
    round::{Outcome, Positions, Reset, UnexplainedRounds},
    run::{OwnAhead, RoundError, RunEnd},
};
use crate::trust::MAX_SKEW;
use std::sync::{MutexGuard, PoisonError, atomic::Ordering};

/// After so many rounds in a row that were cut off, what comes is taken as it comes: a line that never lasts as long as the changes
/// that wait to be compared must get on all the same.
pub(super) const CUTS: u32 = 2;
/// A round that begins from the beginning counts two, one that does not takes one away; so many are the peer's fault.
const MAX_RESETS: u32 = 6;

impl PeerTask {
    fn unexplained(&self) -> MutexGuard<'_, UnexplainedRounds> {
        self.unexplained.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Says as a failure what came to its end and yet cannot go on so, that it is seen and the pauses grow.
    pub(super) fn doubt(&self, peer: &PeerTask, end: &mut RunEnd) {
        let cuts = match &end.error {
            // All of it is compared the next time: what was thought to be theirs may be wrong.
            Some(RoundError::Mixed) => {
                self.update(&peer.url, |state| state.positions = Positions::default());
                0
            }
            Some(error) if error.is_cut() => peer.cuts.load(Ordering::Acquire).saturating_add(1),
            _ => 0,
        };
        peer.cuts.store(cuts, Ordering::Release);
        if end.error.is_some() {
            return;
        }
        let again = matches!(end.report.reset, Some(Reset::NewIndex | Reset::WentBack | Reset::BelowFloor));
        let before = peer.resets.load(Ordering::Acquire);
        let resets = if again { before.saturating_add(2).min(MAX_RESETS + 1) } else { before.saturating_sub(1) };
        peer.resets.store(resets, Ordering::Release);
        if again && resets >= MAX_RESETS {
            end.error = Some(RoundError::Unsteady);
        } else if end.report.outcome == Some(Outcome::Unexplained) {
            let own_ahead = self.dated_ahead();
            let ahead = end.report.received.ahead;
            let is_ahead = ahead > 0 || own_ahead.count > 0;
            end.error = Some(RoundError::Differs { ahead, own_ahead });
            if peer.unexplained().next_begins_anew(is_ahead) {
                self.update(&peer.url, |state| state.positions = Positions::default());
            }
        } else {
            *peer.unexplained() = UnexplainedRounds::default();
        }
    }

    /// The nodes here that no peer takes yet that has the same time.
    fn dated_ahead(&self) -> OwnAhead {
        let latest = self.options.clock.now().plus(MAX_SKEW);
        let Ok(snapshot) = self.options.lattice.snapshot() else { return OwnAhead::default() };
        OwnAhead::of(snapshot.iter_after(None).filter(|entry| entry.updated_at > latest).map(|entry| &entry.id))
    }
}
