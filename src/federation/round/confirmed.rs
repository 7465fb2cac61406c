//! Up to where the two sides are known to have held each other's nodes, and what follows where one side has forgotten its deletions since
//! (DESIGN 4.7). A position says only what was sent: the receiver may have refused a part of it.

use super::{Outcome, Round};
use crate::manifest::{Head, Lineage, Position};
use serde::{Deserialize, Serialize};

/// A moment at which one side is known to have held every node of the other, within the filter, in the same or a later version: where both
/// journals stood then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// Our journal.
    pub ours: Position,
    /// Theirs.
    pub theirs: Position,
}

/// What did not get through in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refused {
    /// Of theirs: dated ahead, unavailable, or too large.
    pub here: bool,
    /// Of ours: dated ahead, unavailable, or too large.
    pub there: bool,
}

/// Which nodes count as deleted where one side lacks them and has no tombstone: those that did not change since these positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ForgottenBefore {
    /// Nodes of ours up to this position of our journal were deleted there.
    pub there: Option<u64>,
    /// The same of nodes of ours that they gave us.
    pub given_there: Option<u64>,
    /// Nodes of theirs up to this position of their journal were deleted here.
    pub here: Option<u64>,
}

impl ForgottenBefore {
    /// No node counts as deleted.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl Round {
    /// Drops records of which either journal does not contain the position any more: what is lacking there may have been lost with it. The
    /// others are recorded in the newest epochs.
    pub(super) fn renew_confirmed(&mut self) {
        let counts = |position: &Position, head: &Head, lineage: &Lineage| lineage.check(position, head.seq).is_ok();
        for confirmed in [&mut self.positions.held_there, &mut self.positions.held_here] {
            let kept = confirmed.take().filter(|it| {
                self.theirs.epoch.is_some()
                    && counts(&it.ours, &self.ours, &self.our_lineage)
                    && counts(&it.theirs, &self.theirs, &self.their_lineage)
            });
            *confirmed = kept.map(|it| Confirmed {
                ours: Position::new(self.ours.current_epoch(), it.ours.seq),
                theirs: Position::new(self.theirs.current_epoch(), it.theirs.seq),
            });
        }
        let (pulled, pushed) = (self.pulled_since().0, self.pushed_since().0);
        self.begun = self.begun.map_or(Some((pulled, pushed)), |(before_pulled, before_pushed)| {
            Some((before_pulled.min(pulled), before_pushed.min(pushed)))
        });
    }

    /// Which nodes count as deleted, where a round lists everything anew. Only where the side that lacks them has forgotten deletions
    /// since: otherwise it would show a tombstone.
    #[must_use]
    pub fn forgotten_before(&self) -> ForgottenBefore {
        let Self { positions, theirs, ours, .. } = self;
        let forgot_there = |it: &&Confirmed| theirs.floor > it.theirs.seq;
        let forgot_here = |it: &&Confirmed| ours.floor > it.ours.seq;
        ForgottenBefore {
            there: positions.held_there.as_ref().filter(forgot_there).map(|it| it.ours.seq),
            given_there: positions.held_here.as_ref().filter(forgot_there).map(|it| it.ours.seq),
            here: positions.held_here.as_ref().filter(forgot_here).map(|it| it.theirs.seq),
        }
    }

    /// Records at the end of a round what each side is known to hold. Equal sets prove it. Otherwise everything must have gone, with nothing
    /// refused, since the last such moment or from the beginning.
    pub(super) fn confirm(&mut self, outcome: Outcome, refused: Refused) {
        if self.theirs.epoch.is_none() {
            return;
        }
        if outcome == Outcome::InStep {
            let equal = Some(Confirmed { ours: self.ours.position(), theirs: self.theirs.position() });
            (self.positions.held_there, self.positions.held_here) = (equal.clone(), equal);
            return;
        }
        if !matches!(outcome, Outcome::Exchanged | Outcome::Diverged) {
            return;
        }
        let (pulled, pushed) = self.begun.unwrap_or((u64::MAX, u64::MAX));
        let positions = &mut self.positions;
        let reaches = |known: Option<u64>, since: u64| since == 0 || known.is_some_and(|known| known >= since);
        if self.directions.push
            && !refused.there
            && reaches(positions.held_there.as_ref().map(|it| it.ours.seq), pushed)
            && let (Some(ours), Some(theirs)) = (&positions.pushed, &positions.pushed_to)
        {
            positions.held_there = Some(Confirmed { ours: ours.clone(), theirs: theirs.clone() });
        }
        if self.directions.pull
            && !refused.here
            && reaches(positions.held_here.as_ref().map(|it| it.theirs.seq), pulled)
            && let (Some(theirs), Some(ours)) = (&positions.pulled, &positions.pulled_into)
        {
            positions.held_here = Some(Confirmed { ours: ours.clone(), theirs: theirs.clone() });
        }
    }
}
