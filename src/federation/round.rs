//! What to do next in a round with a peer (DESIGN 4.6). Pure: what is known goes in, one step comes out; somebody else carries it
//! out and asks again. The ladder:
//!
//! 0. Compare heads: in step, nothing else is said.
//! 1. The changes since the position that is known, with their contents.
//! 2. Set reconciliation, where a position is missing and both hold much: at a cost that grows with what differs.
//! 3. Everything from the beginning: with contents where one side is empty, otherwise as a list, of which what is needed is fetched.
//!
//! The same in both directions: what they have comes first, then what we have goes.

use crate::manifest::Head;

/// A place in somebody's journal.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// Whose positions these are.
    pub index_id: String,
    /// Everything up to here is known.
    pub seq: u64,
}

/// How far the two instances know each other: durable.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Positions {
    /// In their journal: what came to us.
    pub pulled: Option<Position>,
    /// Into which journal of ours it came: another `index_id` here has forgotten times and deletions.
    #[serde(default)]
    pub pulled_into: Option<String>,
    /// Up to where that journal had forgotten deletions when it came.
    #[serde(default)]
    pub pulled_floor: u64,
    /// In our journal: what went to them.
    pub pushed: Option<Position>,
    /// Whose lattice it was that ours went to: another `index_id` there has forgotten it.
    pub pushed_to: Option<String>,
    /// Where their journal and ours stood when both sets were equal.
    #[serde(default)]
    pub in_step: Option<(u64, u64)>,
}

impl Positions {
    /// Does our journal hold what came to us?
    #[must_use]
    pub fn is_pulled_into(&self, ours: &Head) -> bool {
        self.pulled_into.as_ref() == Some(&ours.index_id)
    }

    /// Everything up to `seq` of the journal `index_id` came to us.
    pub fn set_pulled(&mut self, index_id: &str, seq: u64, ours: &Head) {
        self.pulled = Some(Position { index_id: index_id.to_owned(), seq });
        self.pulled_into = Some(ours.index_id.clone());
        self.pulled_floor = ours.floor;
    }
}

/// Which ways are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Directions {
    /// What they have comes to us.
    pub pull: bool,
    /// What we have goes to them.
    pub push: bool,
    /// Only a part goes either way: the sets are not expected to be equal.
    pub filtered: bool,
    /// What is more important goes first: a list tells what there is.
    pub by_priority: bool,
}

/// How changes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// With their contents: few, or all of them needed.
    Inline,
    /// As a list first; then the contents that the other side lacks.
    List,
}

/// The next thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Fetch their changes after `since`, apply them, and note the position.
    Pull {
        /// The position, in their journal.
        since: u64,
        /// How.
        mode: Mode,
        /// Why from the beginning, where it is so.
        reset: Option<Reset>,
    },
    /// Find what only one side has, fetch it and send it, and note both positions.
    Reconcile {
        /// Why.
        reset: Reset,
    },
    /// Send our changes after `since`, and note the position.
    Push {
        /// The position, in our journal.
        since: u64,
        /// How.
        mode: Mode,
        /// Why from the beginning, where it is so.
        reset: Option<Reset>,
    },
    /// Ask for their head again: something moved since.
    Ask,
    /// The round is over.
    Done(Outcome),
}

/// Why a position does not count any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// There is none yet.
    FirstContact,
    /// The other side's journal is another one: it was rebuilt, or restored from nothing. Or ours is.
    NewIndex,
    /// The journal stands before the position: it was restored from a backup.
    WentBack,
    /// Deletions after the position may be forgotten.
    BelowFloor,
}

/// How a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Both hold the same set.
    InStep,
    /// Everything that the directions and filters let through was exchanged; the sets may differ.
    Exchanged,
    /// Everything was exchanged, nothing moved meanwhile, and yet the sets differ: one side left something out or refused it.
    Unexplained,
    /// Both changed faster than they could exchange; the next round goes on.
    Moving,
    /// Both hold the same set but for nodes whose deletion waits for an admin, here or there.
    Waiting,
}

/// Does the next round begin from the beginning, after so many in a row whose end nothing explains? In case it was an accident; ever
/// more seldom, in case it was none.
#[must_use]
pub fn begins_anew(unexplained_in_a_row: u32) -> bool {
    unexplained_in_a_row.is_power_of_two()
}

impl Outcome {
    /// As the wire and the history write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InStep => "in_step",
            Self::Exchanged => "exchanged",
            Self::Unexplained => "unexplained",
            Self::Moving => "moving",
            Self::Waiting => "waiting",
        }
    }
}

/// What is known in a round.
#[derive(Debug, Clone)]
pub struct Round {
    /// Their head, as they signed it.
    pub theirs: Head,
    /// Ours.
    pub ours: Head,
    /// How far the two know each other.
    pub positions: Positions,
    /// Which ways are open.
    pub directions: Directions,
    /// How often their head was asked for.
    pub asked: u32,
    /// Something was pushed since their head was asked for.
    pub stale: bool,
    /// From how many nodes on each side on sets are reconciled; `None`: never, the other side cannot.
    pub reconciles: Option<u64>,
    /// Why both ways begin from the beginning, where a position was lost.
    lost: Option<Reset>,
}

/// From so many changes on, a list goes first.
const FAR: u64 = 10_000;
/// Of two sides of which one holds more than so many times what the other does, most is not in common.
const MUCH_MORE: u64 = 4;
/// How often a head is asked for in one round.
pub const MAX_ASKED: u32 = 4;

impl Round {
    /// At its begin, of two that know each other up to `positions`.
    #[must_use]
    pub fn new(theirs: Head, ours: Head, positions: Positions, directions: Directions) -> Self {
        let mut round =
            Self { theirs, ours, positions, directions, asked: 1, stale: false, reconciles: None, lost: None };
        round.forget_together();
        round
    }

    /// A position that was lost means that one side forgot: what it knows now may be older than what the other one knows, with the
    /// same content, so that no hash tells. Both begin again then; what is alike on both sides is listed once.
    fn forget_together(&mut self) {
        let pulled = self.positions.pulled.as_ref().and_then(|_| self.pulled_since().1);
        // A deletion of ours that outweighed what came, went to nobody yet and is forgotten: the node must come again.
        let outweighed = self.positions.pulled.is_some() && self.ours.floor > self.positions.pulled_floor;
        let pushed = match self.positions.pushed {
            Some(_) => self.pushed_since().1,
            None => outweighed.then_some(Reset::BelowFloor),
        };
        if let Some(lost) = pulled.filter(|_| self.directions.pull).or(pushed.filter(|_| self.directions.push)) {
            self.lost = Some(lost);
            self.positions = Positions::default();
        }
    }

    /// What to do next.
    #[must_use]
    pub fn next(&self) -> Step {
        if let Some(step) = self.reconcile() {
            return step;
        }
        if self.directions.pull
            && let Some(step) = self.pull()
        {
            return step;
        }
        if self.directions.push
            && let Some(step) = self.push()
        {
            return step;
        }
        if self.theirs.manifest_hash == self.ours.manifest_hash {
            return Step::Done(Outcome::InStep);
        }
        if !self.directions.pull || !self.directions.push || self.directions.filtered {
            return Step::Done(Outcome::Exchanged);
        }
        match (self.stale, self.asked >= MAX_ASKED) {
            (true, false) => Step::Ask,
            (true, true) => Step::Done(Outcome::Moving),
            // A head's hash may be a moment younger than its position: one look is no proof.
            (false, _) if self.asked < 2 => Step::Ask,
            (false, _) => Step::Done(Outcome::Unexplained),
        }
    }

    /// Where a way begins from the beginning and both sides hold much. Who only sends does not know what the other side has.
    fn reconcile(&self) -> Option<Step> {
        let Directions { pull, push, filtered, by_priority } = self.directions;
        let (less, more) = (self.theirs.count.min(self.ours.count), self.theirs.count.max(self.ours.count));
        let is_much =
            self.reconciles.is_some_and(|least| less >= least.max(1)) && more <= less.saturating_mul(MUCH_MORE);
        if !pull || filtered || by_priority || !is_much {
            return None;
        }
        let pushed = || if push { self.pushed_since().1 } else { None };
        self.pulled_since().1.or_else(pushed).map(|reset| Step::Reconcile { reset })
    }

    fn pull(&self) -> Option<Step> {
        let (since, reset) = self.pulled_since();
        if reset.is_none() && since == self.theirs.seq {
            return None;
        }
        Some(Step::Pull { since, mode: self.mode(since, &self.theirs, reset, self.ours.count), reset })
    }

    fn push(&self) -> Option<Step> {
        let (since, reset) = self.pushed_since();
        if reset.is_none() && since == self.ours.seq {
            return None;
        }
        Some(Step::Push { since, mode: self.mode(since, &self.ours, reset, self.theirs.count), reset })
    }

    fn pulled_since(&self) -> (u64, Option<Reset>) {
        let into = self.positions.is_pulled_into(&self.ours);
        self.since(self.positions.pulled.as_ref(), into, &self.theirs)
    }

    fn pushed_since(&self) -> (u64, Option<Reset>) {
        let to = self.positions.pushed_to.as_ref() == Some(&self.theirs.index_id);
        self.since(self.positions.pushed.as_ref(), to, &self.ours)
    }

    /// Where to go on in a journal, and why from the beginning where it is so. `receiver_is_known`: its journal is the one that the
    /// changes up to the position went into.
    fn since(&self, position: Option<&Position>, receiver_is_known: bool, head: &Head) -> (u64, Option<Reset>) {
        let reset = match position {
            None => self.lost.unwrap_or(Reset::FirstContact),
            Some(position) if !receiver_is_known || position.index_id != head.index_id => Reset::NewIndex,
            Some(position) if position.seq > head.seq => Reset::WentBack,
            Some(position) if position.seq < head.floor => Reset::BelowFloor,
            Some(position) => return (position.seq, None),
        };
        (0, Some(reset))
    }

    /// `receiver`: how many nodes the side has that takes.
    fn mode(&self, since: u64, head: &Head, reset: Option<Reset>, receiver: u64) -> Mode {
        // Far behind, of what came some may have come from elsewhere, or before a cut.
        let far = reset.is_some() || head.seq.saturating_sub(since) > FAR;
        if self.directions.by_priority || (far && receiver > 0) { Mode::List } else { Mode::Inline }
    }

    /// Everything that they had when their head was signed came.
    pub fn pulled(&mut self, ours: Head) {
        self.ours = ours;
        self.positions.set_pulled(&self.theirs.index_id, self.theirs.seq, &self.ours);
    }

    /// Everything that we had at the position `seq` is there.
    pub fn sent(&mut self, index_id: String, seq: u64) {
        self.positions.pushed = Some(Position { index_id, seq });
        self.positions.pushed_to = Some(self.theirs.index_id.clone());
    }

    /// Everything that we had when our head was made went.
    pub fn pushed(&mut self) {
        self.sent(self.ours.index_id.clone(), self.ours.seq);
        self.stale = true;
    }

    /// The round is over. Answers whether there is something new to note.
    pub fn end(&mut self, outcome: Outcome) -> bool {
        let pulled = self.positions.pulled.as_ref().filter(|_| self.positions.is_pulled_into(&self.ours));
        let in_step = pulled.filter(|_| outcome == Outcome::InStep).map(|pulled| (pulled.seq, self.ours.seq));
        std::mem::replace(&mut self.positions.in_step, in_step) != in_step
    }

    /// Their head came again.
    pub fn asked(&mut self, theirs: Head) {
        self.theirs = theirs;
        self.asked = self.asked.saturating_add(1);
        self.stale = false;
        self.forget_together();
    }
}

#[cfg(test)]
#[path = "round/tests.rs"]
mod tests;
