//! Carries out the steps that [`super::round`] decides.

use super::{
    client::ClientError,
    deletions::is_mass,
    exchange::Signer,
    feed::{self, FeedError, Received, Walk},
    lines::Lines,
    peers::Direction,
    promise::{Promise, impossible},
    remote::Remote,
    round::{Directions, Mode, Outcome, Position, Positions, Reset, Round, Step},
    wire::{Line, WireChange, WireContent, WireError, read_line},
};
use crate::{
    identity::KeyPair,
    lattice::{Change, Lattice, LatticeError},
    manifest::{Head, Verified},
    types::{ContentHash, Limits, NodeId, PeerId, PublicKey, Sha256Digest, SharedClock, Timestamp},
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

/// Why a round did not come to its end. What was exchanged before stays; the next round goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// The other side did not do it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Our own lattice failed.
    #[error("the lattice here: {0}")]
    Lattice(#[from] LatticeError),
    /// The other side speaks with another key than before.
    #[error("{peer} now signs with another key, {found}; if that is right, remove the peer and add it again")]
    OtherKey {
        /// Who it says it is.
        peer: PeerId,
        /// Its key.
        found: PublicKey,
    },
    /// The other side is another instance than before.
    #[error("the instance there is now {found}, and was {known}; if that is right, remove the peer and add it again")]
    OtherInstance {
        /// Who it was.
        known: String,
        /// Who it says it is.
        found: PeerId,
    },
    /// It is this very instance.
    #[error("that address leads back to this instance")]
    Self_,
    /// The head has expired, or is dated ahead.
    #[error("its head is from {0}: its clock or ours is wrong, or somebody shows an old one")]
    Stale(String),
    /// A line is not what the protocol says.
    #[error("what it sends: {0}")]
    Wire(#[from] WireError),
    /// It sends positions that do not ascend, more than it signed for, or a feed of another journal.
    #[error("what it sends is not the feed that was asked for: {0}")]
    OtherFeed(&'static str),
    /// Its head says what no lattice can be.
    #[error("its head cannot be true: {0}")]
    Impossible(&'static str),
    /// It has more than fits here.
    #[error("it has {count} nodes, and this instance takes {most}: limits.lattice_nodes")]
    TooManyNodes {
        /// How many it has.
        count: u64,
        /// How many may be here.
        most: usize,
    },
    /// Everything was exchanged, and yet it is not what was signed.
    #[error(
        "after everything was exchanged the two sets still differ: it left something out of what it signed, or a version was not \
         taken ({ahead} were dated ahead)"
    )]
    Differs {
        /// Versions that were refused for their date.
        ahead: usize,
    },
    /// Its positions did not hold from one round to the next.
    #[error("its journal begins anew again and again; nobody can keep in step with that")]
    Unsteady,
    /// So many deletions look like an accident.
    #[error(
        "it would delete {deletions} of {nodes} nodes here; nothing more was taken. If that is right, confirm it for this peer"
    )]
    MassDelete {
        /// How many.
        deletions: usize,
        /// Of how many.
        nodes: usize,
    },
}

impl From<FeedError> for RoundError {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::Lattice(error) => Self::Lattice(error),
            FeedError::Line { error, .. } => Self::Wire(error),
            FeedError::MassDelete { deletions, nodes } => Self::MassDelete { deletions, nodes },
            FeedError::NoContent(_) => Self::Wire(WireError::Member("node")),
            FeedError::NoKey | FeedError::OtherIndex { .. } | FeedError::BelowFloor { .. } => {
                Self::OtherFeed("it is not there any more")
            }
        }
    }
}

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
    /// The last reason to begin from the beginning.
    pub reset: Option<Reset>,
}

/// Who exchanges with whom.
pub struct Parties<'a> {
    /// Our nodes.
    pub lattice: &'a Arc<dyn Lattice>,
    /// The other side.
    pub client: &'a dyn Remote,
    /// Our key.
    pub key: &'a KeyPair,
    /// Our id.
    pub node_id: &'a PeerId,
    /// The time.
    pub clock: &'a SharedClock,
    /// Bounds on what is read.
    pub limits: Limits,
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
    /// Which ways changes go.
    pub direction: Direction,
    /// The operator confirmed that many nodes may be deleted.
    pub deletions_confirmed: bool,
}

/// A round under way.
pub struct Run<'a, N> {
    parties: &'a Parties<'a>,
    note: N,
    report: RoundReport,
    peer: PeerId,
    remembered: HashSet<u64>,
    /// Live nodes when the round began.
    nodes: usize,
    confirmed: bool,
    /// When it ends whatever is left, by the process's own clock.
    until: Duration,
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
    let mut run = Run {
        parties,
        note,
        report: end.report,
        peer: head.get().node_id.clone(),
        remembered: HashSet::new(),
        nodes: parties.lattice.status().nodes,
        confirmed: known.deletions_confirmed,
        until: parties.clock.elapsed().saturating_add(LONGEST_ROUND),
    };
    match run.exchange(head, known).await {
        Ok(outcome) => run.report.outcome = Some(outcome),
        Err(error) => end.error = Some(error),
    }
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
    if found.node_id == *parties.node_id || found.index_id == parties.lattice.status().index_id {
        return Err(RoundError::Self_);
    }
    if let Some(problem) = impossible(found) {
        return Err(RoundError::Impossible(problem));
    }
    let most = parties.limits.lattice_nodes;
    if known.direction != Direction::Push && found.count > u64::try_from(most).unwrap_or(u64::MAX) {
        return Err(RoundError::TooManyNodes { count: found.count, most });
    }
    let now = parties.clock.now();
    if found.expires.plus(SKEW) < now || found.issued_at.since(now) > SKEW {
        return Err(RoundError::Stale(found.issued_at.to_rfc3339()));
    }
    Ok(head)
}

impl<N: FnMut(&Positions) + Send> Run<'_, N> {
    async fn exchange(&mut self, head: Verified<Head>, known: Known) -> Result<Outcome, RoundError> {
        let directions = Directions {
            pull: known.direction != Direction::Push,
            push: known.direction != Direction::Pull,
            filtered: false,
        };
        let key = head.public_key();
        let theirs = head.get().clone();
        let ours = self.stand()?;
        // Whoever answers later in this round is the one who answered first.
        let mut known = Known { node_id: Some(self.peer.to_string()), public_key: Some(key.to_base64()), ..known };
        let positions = std::mem::take(&mut known.positions);
        let mut round = Round { theirs, ours, positions, directions, asked: 1, stale: false };
        loop {
            if self.is_over() {
                return Ok(Outcome::Moving);
            }
            match round.next() {
                Step::Pull { since, mode, reset } => {
                    self.report.reset = reset.or(self.report.reset);
                    if !self.pull(&mut round, since, mode).await? {
                        return Ok(Outcome::Moving);
                    }
                    round.pulled(self.stand()?);
                    (self.note)(&round.positions);
                }
                Step::Push { since, mode, reset } => {
                    self.report.reset = reset.or(self.report.reset);
                    if !self.push(&mut round, since, mode).await? {
                        return Ok(Outcome::Moving);
                    }
                    round.pushed();
                    (self.note)(&round.positions);
                }
                Step::Ask => {
                    self.report.requests = self.report.requests.saturating_add(1);
                    let head = meet(self.parties, &known).await?;
                    round.asked(head.get().clone());
                    round.ours = self.stand()?;
                }
                Step::Done(outcome) => return Ok(outcome),
            }
        }
    }

    fn stand(&self) -> Result<Head, RoundError> {
        let Parties { lattice, node_id, clock, .. } = self.parties;
        Ok(feed::stand(&***lattice, node_id, clock.now())?)
    }

    fn is_over(&self) -> bool {
        self.parties.clock.elapsed() >= self.until
    }

    /// Answers whether it came to the end; otherwise the round's time is over.
    async fn pull(&mut self, round: &mut Round, since: u64, mode: Mode) -> Result<bool, RoundError> {
        let inline = mode == Mode::Inline;
        self.report.requests = self.report.requests.saturating_add(1);
        let mut lines = self.parties.client.changes(&round.theirs.index_id, since, inline).await?;
        let mut promise = self.begin(&mut lines, &round.theirs, since).await?;
        let most = if inline { BATCH } else { LIST };
        let (mut batch, mut batch_bytes, mut last, mut counted) = (Vec::new(), 0_usize, since, 0);
        loop {
            let Some(line) = lines.next_line().await? else { return Err(self.cut_off()) };
            let size = line.len();
            let end = match read_line(line, &self.parties.limits)? {
                Line::Start(_) => return Err(RoundError::OtherFeed("it begins twice")),
                Line::End(end) => {
                    promise.end(end).map_err(RoundError::OtherFeed)?;
                    Some(end)
                }
                Line::Change(change) => {
                    promise.change(&change).map_err(RoundError::OtherFeed)?;
                    last = change.seq;
                    batch_bytes = batch_bytes.saturating_add(size);
                    batch.push(*change);
                    None
                }
            };
            let over = self.is_over();
            if end.is_some() || batch.len() >= most || batch_bytes >= BATCH_BYTES || over {
                self.take(std::mem::take(&mut batch), inline).await?;
                batch_bytes = 0;
                self.report.bytes_in = self.report.bytes_in.saturating_add(lines.bytes().saturating_sub(counted));
                counted = lines.bytes();
                let seq = end.unwrap_or(last);
                round.positions.pulled = Some(Position { index_id: round.theirs.index_id.clone(), seq });
                (self.note)(&round.positions);
            }
            if let Some(end) = end {
                // What was added there since its head was signed came as well: its hash is that of an older set.
                round.stale |= end > round.theirs.seq;
                round.theirs.seq = end;
                return Ok(true);
            }
            if over {
                return Ok(false);
            }
        }
    }

    async fn begin(&self, lines: &mut Lines, theirs: &Head, since: u64) -> Result<Promise, RoundError> {
        let no_start = RoundError::OtherFeed("it has no first line");
        let Some(line) = lines.next_line().await? else { return Err(no_start) };
        let Line::Start(start) = read_line(line, &self.parties.limits)? else { return Err(no_start) };
        Promise::new(theirs, since, &start).map_err(RoundError::OtherFeed)
    }

    /// Takes changes that came; of a list first fetches the contents that are needed.
    async fn take(&mut self, batch: Vec<WireChange>, inline: bool) -> Result<(), RoundError> {
        self.guard(&batch)?;
        self.remember(&batch);
        if inline {
            return self.store(batch).await;
        }
        let now = self.parties.clock.now();
        self.report.received.ahead += batch.iter().filter(|change| change.at > now.plus(SKEW)).count();
        let mut wanted = feed::wanted(&**self.parties.lattice, &batch, now)?;
        let deletions = batch.into_iter().filter(|change| matches!(change.content, WireContent::Deleted(_)));
        self.store(deletions.collect()).await?;
        while !wanted.is_empty() {
            let rest = wanted.split_off(wanted.len().min(LIST));
            self.fetch(std::mem::replace(&mut wanted, rest)).await?;
        }
        Ok(())
    }

    async fn fetch(&mut self, ids: Vec<NodeId>) -> Result<(), RoundError> {
        self.report.requests = self.report.requests.saturating_add(1);
        let mut lines = self.parties.client.nodes(&ids).await?;
        let mut asked: HashSet<NodeId> = ids.into_iter().collect();
        let (mut batch, mut bytes) = (Vec::new(), 0_usize);
        loop {
            // An answer that is cut off between two lines must not pass for one in which the other nodes are gone.
            let Some(line) = lines.next_line().await? else { return Err(self.cut_off()) };
            bytes = bytes.saturating_add(line.len());
            let ended = match read_line(line, &self.parties.limits)? {
                // Each once: the answer is no longer than what was asked for.
                Line::Change(change) if asked.remove(&change.id) => {
                    batch.push(*change);
                    false
                }
                Line::End(_) => true,
                Line::Change(_) => return Err(RoundError::OtherFeed("it has nodes that were not asked for")),
                Line::Start(_) => return Err(RoundError::OtherFeed("it begins twice")),
            };
            if ended || batch.len() >= BATCH || bytes >= BATCH_BYTES {
                bytes = 0;
                self.guard(&batch)?;
                self.remember(&batch);
                self.store(std::mem::take(&mut batch)).await?;
            }
            if ended {
                self.report.bytes_in = self.report.bytes_in.saturating_add(lines.bytes());
                return Ok(());
            }
        }
    }

    fn cut_off(&self) -> RoundError {
        ClientError::Unreachable(self.peer.to_string(), "its answer ends before its end".to_owned()).into()
    }

    async fn store(&mut self, batch: Vec<WireChange>) -> Result<(), RoundError> {
        if batch.is_empty() {
            return Ok(());
        }
        let received = feed::receive(&**self.parties.lattice, self.peer.as_str(), batch).await?;
        self.report.received.add(&received);
        Ok(())
    }

    /// Stops before so much is deleted that it looks like an accident.
    fn guard(&mut self, batch: &[WireChange]) -> Result<(), RoundError> {
        let deletions = self.report.deleted.saturating_add(feed::deletions(&**self.parties.lattice, batch)?);
        if !self.confirmed && is_mass(deletions, self.nodes) {
            return Err(RoundError::MassDelete { deletions, nodes: self.nodes });
        }
        self.report.deleted = deletions;
        Ok(())
    }

    fn remember(&mut self, batch: &[WireChange]) {
        for change in batch {
            if self.remembered.len() < REMEMBERED {
                let content = change.content_hash().map(ContentHash::as_bytes);
                self.remembered.insert(fingerprint(&change.id, change.at, content));
            }
        }
    }

    /// Answers whether it came to the end; otherwise the round's time is over.
    async fn push(&mut self, round: &mut Round, since: u64, mode: Mode) -> Result<bool, RoundError> {
        let mut walk = Walk::new(self.parties.lattice, since, round.ours.seq, mode == Mode::Inline);
        loop {
            let mut batch = walk.next_batch()?;
            if batch.is_empty() {
                return Ok(true);
            }
            batch.retain(|change| !self.is_remembered(change));
            if !batch.is_empty() {
                match mode {
                    Mode::Inline => self.send(round, walk.lines(&batch).await?, batch.len()).await?,
                    Mode::List => self.offer(round, batch).await?,
                }
            }
            round.positions.pushed = Some(Position { index_id: round.ours.index_id.clone(), seq: walk.position() });
            round.positions.pushed_to = Some(round.theirs.index_id.clone());
            (self.note)(&round.positions);
            if self.is_over() {
                return Ok(false);
            }
        }
    }

    /// Sends a list; then the deletions, and the contents that are wanted.
    async fn offer(&mut self, round: &mut Round, batch: Vec<Change>) -> Result<(), RoundError> {
        let list = Walk::new(self.parties.lattice, 0, 0, false).lines(&batch).await?;
        self.count_out(list.len());
        let wanted = self.parties.client.offer(&self.signer(), list).await?;
        let wanted: HashSet<NodeId> = wanted.into_iter().collect();
        let (mut part, mut bytes) = (Vec::new(), 0_u64);
        for change in batch {
            let (goes, size) = match &change {
                Change::Put { id, size_bytes, .. } => (wanted.contains(id), *size_bytes),
                Change::Deleted(..) => (true, 0),
            };
            if goes {
                bytes = bytes.saturating_add(size);
                part.push(change);
            }
            if usize::try_from(bytes).unwrap_or(usize::MAX) >= BATCH_BYTES {
                bytes = 0;
                self.send_contents(round, std::mem::take(&mut part)).await?;
            }
        }
        self.send_contents(round, part).await
    }

    async fn send_contents(&mut self, round: &mut Round, part: Vec<Change>) -> Result<(), RoundError> {
        if part.is_empty() {
            return Ok(());
        }
        let lines = Walk::new(self.parties.lattice, 0, 0, true).lines(&part).await?;
        self.send(round, lines, part.len()).await
    }

    async fn send(&mut self, round: &mut Round, lines: Vec<u8>, count: usize) -> Result<(), RoundError> {
        self.count_out(lines.len());
        let (mut received, moved) = self.parties.client.push(&self.signer(), lines).await?;
        received.taken = received.taken.min(count);
        // What they took from us need not come back, if nothing else came between.
        let taken = u64::try_from(received.taken).unwrap_or(u64::MAX);
        if let Some(pulled) = &mut round.positions.pulled
            && pulled.index_id == round.theirs.index_id
            && pulled.seq == moved.start
            && moved.end.saturating_sub(moved.start) == taken
        {
            pulled.seq = moved.end;
            round.theirs.seq = round.theirs.seq.max(moved.end);
        }
        self.report.sent = self.report.sent.saturating_add(count);
        self.report.sent_taken = self.report.sent_taken.saturating_add(received.taken);
        Ok(())
    }

    fn count_out(&mut self, bytes: usize) {
        self.report.requests = self.report.requests.saturating_add(1);
        self.report.bytes_out = self.report.bytes_out.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
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
