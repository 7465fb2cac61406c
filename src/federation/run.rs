//! Carries out the steps that [`super::round`] decides.

mod error;
mod filtered;
mod forgotten;
mod held_again;
mod one_way;
mod pull;
mod push;
mod reconcile;
mod stage;
mod too_large;
mod unavailable;
mod waits;

pub use self::error::{OwnAhead, RoundError};
use self::{forgotten::Forgotten, too_large::TooLarge, unavailable::Unavailable, waits::WaitsThere};
use super::{
    client::{ClientError, NoAnswer},
    deletions::{Account, DeletionGuard},
    exchange::Signer,
    feed::{self, Received},
    filter::Matcher,
    peers::{Direction, PeerOptions},
    promise::impossible,
    rate::Rates,
    reconcile::Sets,
    remote::Remote,
    round::{
        Directions, Outcome, Position, Positions, Reset, Round, Stand, Step, confirmed::Refused,
        differences::Differences, unavailable::LeftOut,
    },
};
use crate::{
    identity::KeyPair,
    lattice::{Change, Lattice},
    manifest::{Head, Verified},
    types::{Limits, NodeId, PeerId, PublicKey, Sha256Digest, SharedClock, Timestamp},
};
use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

/// Changes that are applied together.
const BATCH: usize = 1024;
const BATCH_BYTES: usize = 8 << 20;
/// Changes that are offered or looked at as a list, together.
const LIST: usize = 2000;
/// Versions that came in a round and need not go back; beyond it they go back, which costs bytes only.
const REMEMBERED: usize = 1_000_000;
/// After so long a round makes room for others; the next one goes on where it stood.
const LONGEST_ROUND: Duration = Duration::from_secs(300);
/// How far a head's dates may be off.
const SKEW: Duration = crate::trust::MAX_SKEW;
/// A version that is dated too far ahead for whoever takes it comes again in the next round, if it will be believed within so long.
/// What is dated further ahead than clocks go wrong would keep all that follows coming again and again.
const SOON: Duration = Duration::from_secs(60 * 60);

/// What a round did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RoundReport {
    /// How it ended; `None`: it did not.
    pub outcome: Option<Outcome>,
    /// What became of what came.
    pub received: Received,
    /// Nodes and deletions that were sent.
    pub sent: usize,
    /// Of these, those that count there now.
    pub sent_taken: usize,
    /// Bytes of changes that came.
    pub bytes_in: u64,
    /// Bytes of changes that went.
    pub bytes_out: u64,
    /// Requests that were made.
    pub requests: u32,
    /// Nodes that were deleted here.
    pub deleted: usize,
    /// Messages in which the sets were reconciled, both ways.
    pub messages: u32,
    /// Why it began from the beginning, where it did.
    pub reset: Option<Reset>,
    /// Deletions of the peer that wait here.
    pub waiting_here: u64,
    /// Deletions of this instance that wait at the peer; `None`: this round did not find out.
    pub waiting_there: Option<u64>,
    /// Nodes that were left out because their files are broken.
    pub unavailable: LeftOut,
    /// Nodes that were left out because they are larger than this instance or the peer takes.
    pub too_large: LeftOut,
    /// In what the sets differ at the end, where changes go one way only.
    pub differences: Differences,
    /// The peer has seen another instance with the identity of this one.
    pub has_twin: bool,
}

/// Who exchanges with whom.
pub struct Parties<'a> {
    /// Our nodes.
    pub lattice: &'a Arc<dyn Lattice>,
    /// The other side.
    pub client: &'a dyn Remote,
    /// Our versions, to be reconciled with theirs.
    pub sets: &'a Arc<Sets>,
    /// What other instances delete here.
    pub deletions: &'a Arc<DeletionGuard>,
    /// On whose account the changes of an instance with this key count.
    pub account: &'a (dyn Fn(&PeerId, PublicKey) -> Account + Send + Sync),
    /// Our key.
    pub key: &'a KeyPair,
    /// Our id.
    pub node_id: &'a PeerId,
    /// The time.
    pub clock: &'a SharedClock,
    /// Bounds on what is read.
    pub limits: Limits,
    /// How many bytes a second may go.
    pub rates: Rates,
}

impl std::fmt::Debug for Parties<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parties").field("node_id", &self.node_id).finish_non_exhaustive()
    }
}

/// What is known of the other side before, and what the operator allows.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its id.
    pub node_id: Option<String>,
    /// Its key, base64.
    pub public_key: Option<String>,
    /// How far the two know each other.
    pub positions: Positions,
    /// Which changes go, and which ways.
    pub options: PeerOptions,
    /// The admin confirmed what the peer deletes here: nothing of it waits in this round.
    pub deletions_confirmed: bool,
    /// Deletions of this instance that waited at the peer when that was last known.
    pub waiting_there: u64,
    /// That is asked for whatever is known: what is recorded may be that of a backup.
    pub asks_what_waits: bool,
    /// The address at which the same instance is a peer already.
    pub same_instance: Option<String>,
    /// What comes is taken as it comes, and the sets are compared at the end alone: what waits to be compared was cut off before.
    pub unstaged: bool,
}

/// A round under way.
pub struct Run<'a, N> {
    parties: &'a Parties<'a>,
    note: N,
    report: RoundReport,
    peer: PeerId,
    /// On whose account its changes count.
    account: Account,
    remembered: HashSet<u64>,
    unstaged: bool,
    options: PeerOptions,
    matcher: Matcher,
    /// When it ends whatever is left, by the process's own clock.
    until: Duration,
    held: Held,
    unavailable: Unavailable,
    too_large: TooLarge,
    forgotten: Forgotten,
    refused: Refused,
    /// Why some changes were not taken, here or there: conflicts are at their limit. All others were.
    conflicts_full: Option<RoundError>,
    waits_there: WaitsThere,
    /// Up to this position of our journal they had been given our versions before the round.
    given: u64,
}

/// Beyond these positions stands what is not believed yet: they are the last ones that are noted.
#[derive(Debug, Default)]
struct Held {
    pulled: Option<u64>,
    pushed: Option<u64>,
}

impl Held {
    /// No position from `seq` on is noted.
    fn before(held: &mut Option<u64>, seq: u64) {
        let before = seq.saturating_sub(1);
        *held = Some(held.map_or(before, |held| held.min(before)));
    }

    /// A version at `seq`, dated `at`, is taken by a clock that reads `now`.
    fn hold(held: &mut Option<u64>, seq: u64, at: Timestamp, now: Timestamp) {
        if at > now.plus(SKEW) && at <= now.plus(SKEW.saturating_add(SOON)) {
            Self::before(held, seq);
        }
    }
}

impl std::fmt::Debug for RunEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunEnd").field("report", &self.report).finish_non_exhaustive()
    }
}

/// How a round ended, and what it did until then.
pub struct RunEnd {
    /// What it did.
    pub report: RoundReport,
    /// Who the other side is, where that was found out.
    pub peer: Option<(PeerId, PublicKey)>,
    /// Why it did not come to its end.
    pub error: Option<RoundError>,
}

impl RunEnd {
    /// Did it fail because the data directory here is away? The peer is as it was then.
    pub(super) fn failed_here(&self, lattice: &dyn Lattice) -> bool {
        matches!(self.error, Some(RoundError::Lattice(_))) && lattice.check_directory().is_err()
    }
}

/// Exchanges with the other side until nothing is left to say. `note` is told each position that is reached: everything before it
/// is durable on the side that took it.
pub async fn run<N: FnMut(&Positions) + Send>(parties: &Parties<'_>, known: Known, note: N) -> RunEnd {
    let mut end = RunEnd { report: RoundReport { requests: 1, ..RoundReport::default() }, peer: None, error: None };
    let head = match meet(parties, &known).await {
        Ok(head) => head,
        Err(error) => {
            end.error = Some(error);
            return end;
        }
    };
    end.peer = Some((head.get().node_id.clone(), head.public_key()));
    if let Some(url) = known.same_instance {
        end.error = Some(RoundError::SameInstance { peer: head.get().node_id.clone(), url });
        return end;
    }
    // A head that was signed a while ago is valid, and shows nothing of the clocks.
    if parties.clock.now().since(head.get().issued_at) <= SKEW {
        parties.lattice.note_clock_agrees();
    }
    let mut run = Run {
        parties,
        note,
        report: end.report,
        peer: head.get().node_id.clone(),
        account: (parties.account)(&head.get().node_id, head.public_key()),
        remembered: HashSet::new(),
        unstaged: known.unstaged,
        matcher: known.options.filter.matcher(),
        options: known.options.clone(),
        until: parties.clock.elapsed().saturating_add(LONGEST_ROUND),
        held: Held::default(),
        unavailable: Unavailable::default(),
        too_large: TooLarge::default(),
        forgotten: Forgotten::default(),
        refused: Refused::default(),
        conflicts_full: None,
        waits_there: WaitsThere::new(&known),
        given: 0,
    };
    match run.exchange(head, known).await {
        Ok(outcome) => match run.conflicts_full.take() {
            Some(error) => end.error = Some(error),
            None => run.report.outcome = Some(outcome),
        },
        Err(error) => end.error = Some(error),
    }
    run.count_waiting();
    run.count_unavailable();
    end.report = run.report;
    end
}

/// The other side's head, if it is who it was and the head is fresh.
async fn meet(parties: &Parties<'_>, known: &Known) -> Result<Verified<Head>, RoundError> {
    let head = parties.client.head(&parties.limits).await?;
    let (found, key) = (head.get(), head.public_key());
    if let Some(id) = known.node_id.as_ref().filter(|id| id.as_str() != found.node_id.as_str()) {
        return Err(RoundError::OtherInstance { known: id.clone(), found: found.node_id.clone() });
    }
    if known.public_key.as_ref().is_some_and(|known| *known != key.to_base64()) {
        return Err(RoundError::OtherKey { peer: found.node_id.clone(), found: key });
    }
    let has_own_index = found.index_id == parties.lattice.status().index_id;
    if has_own_index || (found.node_id == *parties.node_id && key == parties.key.public_key()) {
        return Err(RoundError::Self_);
    }
    if found.node_id == *parties.node_id {
        return Err(RoundError::SameId(found.node_id.clone()));
    }
    if let Some(problem) = impossible(found) {
        return Err(RoundError::Impossible(problem));
    }
    let most = parties.limits.lattice_nodes;
    if known.options.direction != Direction::Push
        && known.options.filter.is_all()
        && found.count > u64::try_from(most).unwrap_or(u64::MAX)
    {
        return Err(RoundError::TooManyNodes { count: found.count, most });
    }
    let now = parties.clock.now();
    if found.expires.plus(SKEW) < now || found.issued_at.since(now) > SKEW {
        return Err(RoundError::Stale(found.issued_at, now));
    }
    Ok(head)
}

impl<N: FnMut(&Positions) + Send> Run<'_, N> {
    async fn exchange(&mut self, head: Verified<Head>, known: Known) -> Result<Outcome, RoundError> {
        let directions = Directions {
            pull: known.options.direction != Direction::Push,
            push: known.options.direction != Direction::Pull,
            filtered: !known.options.filter.is_all(),
            by_priority: known.options.priority,
        };
        let key = head.public_key();
        let theirs = self.stand_of(&head, &known.positions).await?;
        let ours = self.stand()?;
        // Whoever answers later in this round is the one who answered first.
        let mut known = Known { node_id: Some(self.peer.to_string()), public_key: Some(key.to_base64()), ..known };
        let positions = std::mem::take(&mut known.positions);
        let _confirmed = match known.deletions_confirmed {
            true => Some(self.confirm_deletions().await?),
            false => None,
        };
        let mut round = Round::new(theirs, ours, positions, directions);
        round.reconciles = Some(self.parties.sets.least_nodes());
        self.given = round.given();
        self.unavailable = Unavailable::new(round.positions.unavailable.clone());
        self.too_large = TooLarge::new(round.positions.too_large_there.clone());
        loop {
            if self.is_over() {
                return Ok(Outcome::Moving);
            }
            match round.next() {
                step if step.is_anew() && !self.forgotten.is_searched() => {
                    self.end_waits(&mut round).await?;
                    self.find_forgotten(&mut round, &known).await?;
                }
                Step::Pull { since, mode, reset } => {
                    self.report.reset = self.report.reset.or(reset);
                    if !self.pull(&mut round, &known, (since, mode, reset)).await? {
                        return Ok(Outcome::Moving);
                    }
                    self.tell(&round.positions);
                }
                Step::Reconcile { reset } => {
                    if !self.reconcile(&mut round, &known, reset).await? {
                        return Ok(Outcome::Moving);
                    }
                }
                Step::Push { since, mode, reset } => {
                    self.report.reset = self.report.reset.or(reset);
                    if !self.push(&mut round, since, mode).await? {
                        return Ok(Outcome::Moving);
                    }
                    round.pushed();
                    self.tell(&round.positions);
                }
                Step::Ask => {
                    self.report.requests = self.report.requests.saturating_add(1);
                    let head = meet(self.parties, &known).await?;
                    round.asked(self.stand_of(&head, &round.positions).await?);
                    round.stand(self.stand()?);
                }
                Step::Done(_) if self.ask_for_unavailable(&round).await? => round.stand(self.stand()?),
                Step::Done(outcome) if self.offer_too_large(&mut round, outcome).await? => {}
                Step::Done(outcome) => {
                    self.find_what_waits_there(&mut round, outcome).await?;
                    let mut outcome = self.but_for_left_out(&round, outcome).await?;
                    if self.are_waits_lost_there(&round, outcome) {
                        round.begin_anew();
                        round.stand(self.stand()?);
                        continue;
                    }
                    if outcome == Outcome::Exchanged && round.directions.is_one_way() {
                        outcome = self.explain_one_way(&mut round).await?;
                    }
                    if outcome == Outcome::Unexplained && std::mem::take(&mut round.positions.left_out) {
                        if !self.find_repaired(&mut round, &known).await? {
                            return Ok(Outcome::Moving);
                        }
                        continue;
                    }
                    round.positions.left_out |= self.unavailable.are_left_out();
                    if outcome == Outcome::InStep {
                        round.positions.left_out = false;
                    }
                    if round.end(outcome, self.refused()) || self.left_out_changed(&round.positions) {
                        self.tell(&round.positions);
                    }
                    return Ok(outcome);
                }
            }
        }
    }

    fn stand(&self) -> Result<Stand, RoundError> {
        let Parties { lattice, node_id, clock, .. } = self.parties;
        let head = feed::stand(&***lattice, node_id, clock.now())?;
        // Epochs that began since begin behind that position.
        Ok(Stand { head, lineage: lattice.epochs().lineage })
    }

    /// Where they stand. Their lineage is asked for where a position lies in another epoch than the newest one.
    async fn stand_of(&mut self, head: &Verified<Head>, positions: &Positions) -> Result<Stand, RoundError> {
        let lineage = if positions.need_lineage(head.get()) {
            self.report.requests = self.report.requests.saturating_add(1);
            self.parties.client.lineage(head).await?
        } else {
            head.get().newest_epoch()
        };
        Ok(Stand { head: head.get().clone(), lineage: Arc::new(lineage) })
    }

    /// What this round could not exchange.
    fn refused(&self) -> Refused {
        let here =
            self.report.received.ahead > 0 || self.held.pulled.is_some() || !self.unavailable.recorded().is_empty();
        let left_out_there = !self.parties.lattice.unavailable().is_empty() || !self.too_large.recorded().is_empty();
        let there = self.held.pushed.is_some() || left_out_there;
        Refused { here: self.refused.here || here, there: self.refused.there || there }
    }

    /// The position at which our journal stands: everything that was taken before this call lies before it.
    fn here(&self) -> Position {
        feed::here(&**self.parties.lattice).position()
    }

    /// Says how far the two know each other, for the next round.
    fn tell(&mut self, positions: &Positions) {
        let (unavailable, too_large_there) = (self.unavailable.recorded().clone(), self.too_large.recorded().clone());
        let mut positions = Positions { unavailable, too_large_there, ..positions.clone() };
        for (position, held) in [(&mut positions.pulled, self.held.pulled), (&mut positions.pushed, self.held.pushed)] {
            if let (Some(position), Some(held)) = (position, held) {
                position.seq = position.seq.min(held);
            }
        }
        (self.note)(&positions);
    }

    /// Is something else left out than is recorded in `positions`?
    fn left_out_changed(&self, positions: &Positions) -> bool {
        *self.unavailable.recorded() != positions.unavailable || *self.too_large.recorded() != positions.too_large_there
    }

    fn is_over(&self) -> bool {
        self.parties.clock.elapsed() >= self.until
    }

    fn cut_off(&self) -> RoundError {
        ClientError::Unreachable(self.peer.to_string(), NoAnswer::Cut).into()
    }

    fn signer(&self) -> Signer<'_> {
        let Parties { key, node_id, clock, .. } = self.parties;
        Signer { key, node_id, audience: &self.peer, now: clock.now() }
    }

    fn is_remembered(&self, change: &Change) -> bool {
        let key = match change {
            Change::Put { id, updated_at, content_hash, .. } => {
                fingerprint(id, *updated_at, Some(content_hash.as_bytes()))
            }
            Change::Deleted(tombstone, _) => fingerprint(&tombstone.id, tombstone.deleted_at, None),
        };
        self.remembered.contains(&key)
    }
}

/// A version of a node in 64 bits; two that share it would only not be sent back in this round.
fn fingerprint(id: &NodeId, at: Timestamp, content: Option<&Sha256Digest>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (id.as_str(), at, content).hash(&mut hasher);
    hasher.finish()
}
