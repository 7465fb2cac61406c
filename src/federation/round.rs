//! What to do next in a round with a peer (DESIGN 4.6). Pure: what is known goes in, one step comes out; somebody else carries it
//! out and asks again. The ladder:
//!
//! 0. Compare heads: in step, nothing else is said.
//! 1. The changes since the position that is known, with their contents.
//! 2. Set reconciliation, where a position is missing and both hold much: at a cost that grows with what differs.
//! 3. Everything from the beginning: with contents where one side is empty, otherwise as a list, of which what is needed is fetched.
//!
//! The same in both directions: what they have comes first, then what we have goes.

pub use crate::manifest::Position;

pub mod confirmed;
pub mod differences;
pub mod unavailable;

use self::{
    confirmed::{Confirmed, Refused},
    differences::{Compared, Differences},
    unavailable::UnavailableNodes,
};
use crate::manifest::{Epoch, EpochStart, Head, Lineage, MAX_SEQ, Void};
use serde::{Deserialize, Deserializer, Serialize};
use std::sync::Arc;

/// How far the two instances know each other: durable. Each position in one journal goes with one in the other: what was exchanged is
/// known to be there only as long as neither journal is continued from an earlier point.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Positions {
    /// In their journal: everything up to here came to us.
    pub pulled: Option<Position>,
    /// Where our journal stood when that was durable in it.
    #[serde(default, deserialize_with = "recorded")]
    pub pulled_into: Option<Position>,
    /// Up to where our journal had forgotten deletions then.
    #[serde(default)]
    pub pulled_floor: u64,
    /// In our journal: everything up to here went to them.
    pub pushed: Option<Position>,
    /// Where their journal stood when they had taken it.
    #[serde(default, deserialize_with = "recorded")]
    pub pushed_to: Option<Position>,
    /// Where their journal and ours stood when both sets were equal.
    #[serde(default)]
    pub in_step: Option<(u64, u64)>,
    /// When they are last known to have held every node of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_there: Option<Confirmed>,
    /// When we are last known to have held every node of theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_here: Option<Confirmed>,
    /// In what the sets differed when they were last compared, where changes go one way only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differences: Option<Compared>,
    /// Nodes of theirs before the position whose contents did not come yet.
    #[serde(default, skip_serializing_if = "UnavailableNodes::is_empty")]
    pub unavailable: UnavailableNodes,
    /// Nodes of ours before the position that are larger than they take.
    #[serde(default, skip_serializing_if = "UnavailableNodes::is_empty")]
    pub too_large_there: UnavailableNodes,
    /// The last round ended with sets that differ in nodes that were left out. Where a file is repaired, what the other side made of
    /// its node meanwhile lies before the positions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_out: bool,
}

/// Release 0.1.0 recorded the `index_id` alone: a position at the beginning of that journal.
fn recorded<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Position>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Recorded {
        Journal(Epoch),
        Position(Position),
    }
    let position = |recorded| match recorded {
        Recorded::Journal(index_id) => Position::new(index_id, 0),
        Recorded::Position(position) => position,
    };
    Ok(Option::<Recorded>::deserialize(from)?.map(position))
}

impl Positions {
    /// Everything up to `theirs` came to us, and our journal, which had forgotten deletions up to `floor`, holds it at `ours`.
    pub fn set_pulled(&mut self, theirs: Position, ours: Position, floor: u64) {
        self.pulled = Some(theirs);
        self.pulled_into = Some(ours);
        self.pulled_floor = floor;
    }

    /// Must the whole lineage be known to judge these positions against their head? Otherwise the head alone says enough.
    #[must_use]
    pub fn need_lineage(&self, theirs: &Head) -> bool {
        let newest = theirs.current_epoch();
        let confirmed = [&self.held_there, &self.held_here].into_iter().flatten().map(|it| &it.theirs);
        let mut of_theirs = [&self.pulled, &self.pushed_to].into_iter().flatten().chain(confirmed);
        theirs.epoch.is_some() && of_theirs.any(|position| position.epoch != newest)
    }
}

/// Where one side stands, and the epochs of its journal.
#[derive(Debug, Clone)]
pub struct Stand {
    /// Its head.
    pub head: Head,
    /// Its lineage; of the other side the newest epoch is enough while all positions lie in that.
    pub lineage: Arc<Lineage>,
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

impl Directions {
    /// Do changes go one way only?
    #[must_use]
    pub const fn is_one_way(self) -> bool {
        self.pull != self.push
    }
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

impl Step {
    /// Does it begin from the beginning?
    #[must_use]
    pub const fn is_anew(&self) -> bool {
        match self {
            Self::Pull { reset, .. } | Self::Push { reset, .. } => reset.is_some(),
            Self::Reconcile { .. } => true,
            Self::Ask | Self::Done(_) => false,
        }
    }
}

/// Why a position does not count any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// There is none yet.
    FirstContact,
    /// The epoch of the position is not in the lineage of the journal, theirs or ours: the journal was made anew, or a copy of it was
    /// restored that does not know the epoch.
    NewIndex,
    /// The journal, theirs or ours, did not come to the position, or was continued from an earlier one: it was restored.
    WentBack,
    /// Deletions after the position may be forgotten.
    BelowFloor,
}

/// How a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Both hold the same set.
    InStep,
    /// Everything that the direction and the filter let through was exchanged; the sets may differ in what they do not let through.
    Exchanged,
    /// The direction lets nothing more through, and nodes that both sides knew differ: one side changed or deleted them, and the direction
    /// does not carry that.
    Diverged,
    /// Everything was exchanged, nothing moved meanwhile, and yet the sets differ: one side left something out or refused it.
    Unexplained,
    /// Both changed faster than they could exchange; the next round goes on.
    Moving,
    /// Both hold the same set but for nodes whose deletion waits for an admin, here or there.
    Waiting,
    /// Both hold the same set but for nodes whose files are broken, here or there, and nodes that one side does not take for their size.
    Unavailable,
}

/// Rounds in a row whose end nothing explained; those that came to no end do not count.
#[derive(Debug, Clone, Copy, Default)]
pub struct UnexplainedRounds {
    rounds: u32,
    while_ahead: u32,
}

impl UnexplainedRounds {
    /// Counts one more, and answers whether the next round begins from the beginning: in case it was an accident; ever more seldom, in
    /// case it was none. `is_ahead`: there are versions that one side refuses for their date. Those rounds count apart: what such a version
    /// kept out is asked for again as soon as the clocks agree, however long they did not.
    pub fn next_begins_anew(&mut self, is_ahead: bool) -> bool {
        let count = if is_ahead { &mut self.while_ahead } else { &mut self.rounds };
        *count = count.saturating_add(1);
        count.is_power_of_two()
    }
}

impl Outcome {
    /// As the wire and the history write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InStep => "in_step",
            Self::Exchanged => "exchanged",
            Self::Diverged => "diverged",
            Self::Unexplained => "unexplained",
            Self::Moving => "moving",
            Self::Waiting => "waiting",
            Self::Unavailable => "unavailable",
        }
    }

    /// Reads what [`Self::as_str`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let all = [
            Self::InStep,
            Self::Exchanged,
            Self::Diverged,
            Self::Unexplained,
            Self::Moving,
            Self::Waiting,
            Self::Unavailable,
        ];
        all.into_iter().find(|outcome| outcome.as_str() == text)
    }

    /// Does somebody have to do something, so that the sets become equal in what the two exchange?
    #[must_use]
    pub const fn needs_attention(self) -> bool {
        matches!(self, Self::Diverged | Self::Unexplained | Self::Waiting)
    }
}

/// What is known in a round.
#[derive(Debug, Clone)]
pub struct Round {
    /// Their head, as they signed it.
    pub theirs: Head,
    /// The epochs of their journal.
    pub their_lineage: Arc<Lineage>,
    /// Our head.
    pub ours: Head,
    /// The epochs of our journal.
    pub our_lineage: Arc<Lineage>,
    /// Where their journal stood when they last answered.
    pub they_stand: Position,
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
    /// The positions as they are recorded so far.
    recorded: Positions,
    /// The earliest positions that this round goes on from, in their journal and in ours.
    begun: Option<(u64, u64)>,
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
    pub fn new(theirs: Stand, ours: Stand, positions: Positions, directions: Directions) -> Self {
        let mut round = Self {
            they_stand: theirs.head.position(),
            theirs: theirs.head,
            their_lineage: theirs.lineage,
            ours: ours.head,
            our_lineage: ours.lineage,
            recorded: positions.clone(),
            positions,
            directions,
            asked: 1,
            stale: false,
            reconciles: None,
            lost: None,
            begun: None,
        };
        round.forget_together();
        round.renew_positions();
        round.renew_confirmed();
        round
    }

    /// Positions that count are recorded in the newest epochs, so that the next round need not ask for the lineage. Of release 0.1.0
    /// only a journal is known: it holds what was exchanged, so it does where it stands now.
    fn renew_positions(&mut self) {
        let given = |position: Position, head: &Head| Position::new(head.current_epoch(), position.seq);
        let held = |position: Position, head: &Head| match position.seq {
            0 => head.position(),
            _ => given(position, head),
        };
        let (pulled_counts, pushed_counts) = (self.pulled_since().1.is_none(), self.pushed_since().1.is_none());
        let Positions { pulled, pulled_into, pushed, pushed_to, .. } = &mut self.positions;
        if pulled_counts {
            *pulled = pulled.take().map(|it| given(it, &self.theirs));
            *pulled_into = pulled_into.take().map(|it| held(it, &self.ours));
        }
        if pushed_counts {
            *pushed = pushed.take().map(|it| given(it, &self.ours));
            *pushed_to = pushed_to.take().map(|it| held(it, &self.theirs));
        }
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
            // What each held then is no position: it tells of nodes that are lacking now whether they were deleted.
            let Positions { held_there, held_here, .. } = std::mem::take(&mut self.positions);
            self.positions = Positions { held_there, held_here, ..Positions::default() };
        }
    }

    /// Their journal does not lead on from where the two stood: both ways begin from the beginning. What is lacking on a side may have been
    /// lost there.
    pub fn begin_anew(&mut self) {
        self.lost = Some(Reset::WentBack);
        self.positions = Positions::default();
    }

    /// Do changes go one way only, and all of them?
    #[must_use]
    pub fn is_one_way(&self) -> bool {
        !self.directions.filtered && self.directions.is_one_way()
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
        let one_way = self.is_one_way();
        // A head from before a push says nothing of what they hold since.
        if self.directions.filtered || (one_way && !self.stale) {
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
        let Positions { pulled, pulled_into, .. } = &self.positions;
        let into = (pulled_into.as_ref(), self.ours.seq, &*self.our_lineage);
        self.since((pulled.as_ref(), &self.theirs, &self.their_lineage), into)
    }

    fn pushed_since(&self) -> (u64, Option<Reset>) {
        let Positions { pushed, pushed_to, .. } = &self.positions;
        // Their answers in this round may be younger than their head.
        let to = (pushed_to.as_ref(), self.theirs.seq.max(self.they_stand.seq), &*self.their_lineage);
        self.since((pushed.as_ref(), &self.ours, &self.our_lineage), to)
    }

    /// Where to go on in a journal, and why from the beginning where it is so. `receiver`: where the journal stood that the changes up
    /// to the position went into.
    fn since(
        &self,
        (position, head, lineage): (Option<&Position>, &Head, &Lineage),
        (into, receiver, receivers): (Option<&Position>, u64, &Lineage),
    ) -> (u64, Option<Reset>) {
        let Some(position) = position else { return (0, Some(self.lost.unwrap_or(Reset::FirstContact))) };
        let received = into.ok_or(Void::UnknownEpoch);
        let counts = lineage
            .check(position, head.seq)
            .and_then(|()| received.and_then(|received| receivers.check(received, receiver)));
        match counts {
            Err(Void::UnknownEpoch) => (0, Some(Reset::NewIndex)),
            Err(Void::Beyond) => (0, Some(Reset::WentBack)),
            Ok(()) if position.seq < head.floor => (0, Some(Reset::BelowFloor)),
            Ok(()) => (position.seq, None),
        }
    }

    /// `receiver`: how many nodes the side has that takes.
    fn mode(&self, since: u64, head: &Head, reset: Option<Reset>, receiver: u64) -> Mode {
        // Far behind, of what came some may have come from elsewhere, or before a cut.
        let far = reset.is_some() || head.seq.saturating_sub(since) > FAR;
        if self.directions.by_priority || (far && receiver > 0) { Mode::List } else { Mode::Inline }
    }

    /// Up to this position of our journal they had been given our versions; 0: that is not known.
    #[must_use]
    pub fn given(&self) -> u64 {
        self.pushed_since().0
    }

    /// We stand here now.
    pub fn stand(&mut self, ours: Stand) {
        (self.ours, self.our_lineage) = (ours.head, ours.lineage);
    }

    /// Their journal stood at `seq` when they answered, in the epoch that begins so. Answers whether that continues what their head
    /// says: they checked that the head counts, so a newer epoch of theirs follows it.
    #[must_use]
    pub fn they_stood(&mut self, start: EpochStart, seq: u64) -> bool {
        // No journal stands there, or before what its instance signed: of such an answer nothing is recorded.
        if seq > MAX_SEQ || seq < self.theirs.seq {
            return true;
        }
        if self.theirs.epoch.is_none() {
            self.they_stand = Position::new(self.theirs.current_epoch(), seq);
            return true;
        }
        if start.epoch != self.theirs.current_epoch() {
            let follows = start.since > self.theirs.seq;
            let Some(longer) = self.their_lineage.followed_by(start.clone()).filter(|_| follows) else { return false };
            if let Some(stated) = &mut self.theirs.epoch {
                (stated.epoch, stated.since, stated.next) = (start.epoch.clone(), start.since, None);
            }
            self.their_lineage = Arc::new(longer);
        }
        self.they_stand = Position::new(start.epoch, seq);
        true
    }

    /// Everything that they had when their head was signed came.
    pub fn pulled(&mut self, ours: Stand) {
        self.stand(ours);
        self.positions.set_pulled(self.theirs.position(), self.ours.position(), self.ours.floor);
    }

    /// Everything that we had at this position is there.
    pub fn sent(&mut self, ours: Position) {
        self.positions.pushed = Some(ours);
        self.positions.pushed_to = Some(self.they_stand.clone());
    }

    /// Everything that we had when our head was made went.
    pub fn pushed(&mut self) {
        self.sent(self.ours.position());
        self.stale = true;
    }

    /// The round is over. Answers whether there is something new to note.
    pub fn end(&mut self, outcome: Outcome, refused: Refused) -> bool {
        self.confirm(outcome, refused);
        if outcome == Outcome::InStep {
            let Directions { filtered, .. } = self.directions;
            let (theirs, ours, differences) = (self.theirs.seq, self.ours.seq, Some(Differences::default()));
            // Within a filter only what moved since is compared.
            let compared = filtered && self.directions.is_one_way();
            self.positions.differences = compared.then_some(Compared { theirs, ours, differences });
        }
        let pulled = self.positions.pulled.as_ref().filter(|_| outcome == Outcome::InStep);
        self.positions.in_step = pulled.map(|pulled| (pulled.seq, self.ours.seq));
        self.positions != self.recorded
    }

    /// Their head came again.
    pub fn asked(&mut self, theirs: Stand) {
        self.they_stand = theirs.head.position();
        (self.theirs, self.their_lineage) = (theirs.head, theirs.lineage);
        self.asked = self.asked.saturating_add(1);
        self.stale = false;
        self.forget_together();
        self.renew_positions();
        self.renew_confirmed();
    }
}

#[cfg(test)]
#[path = "round/tests.rs"]
mod tests;
