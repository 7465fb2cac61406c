//! Nothing old passes for new: the newest accepted head of each peer, and what may follow it. What The Update Framework asks of
//! metadata that one party signs, for a federation in which everybody does.

use super::{
    MAX_SKEW,
    chain::{ChainError, Ledger},
};
use crate::{
    manifest::{Epoch, Head, Lineage, Position, Verified},
    types::{PeerId, PublicKey, SetHash, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How far a position may jump from one accepted statement to the next. Far more than anybody writes, far less than what it would
/// take to spoil all positions that are left (fast-forward).
pub const MAX_SEQ_JUMP: u64 = 1 << 32;
/// How often a head that says nothing new is written down again.
const RENEW_AFTER: Duration = Duration::from_secs(600);
/// Lines beyond which the file is written anew, for each head that counts.
const LINES_PER_HEAD: usize = 64;
const FEWEST_LINES: usize = 1024;
/// Epochs of one peer that are remembered, the newest ones.
const MAX_SEEN: usize = 32;
/// Ends of continuations of one peer that are remembered, the newest ones.
const MAX_LEFT: usize = 16;
/// Journals of one peer that are remembered beside its newest one, the newest ones.
const MAX_JOURNALS: usize = 16;
/// Two continuations that come back within so long are a clone,
const RETURNS_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);
/// and are told of for so long after they were last seen to alternate.
const CLONE_LASTS: Duration = Duration::from_secs(60 * 60);
/// The largest envelope of a head that is kept.
const MAX_ENVELOPE_BYTES: usize = 8 << 10;

/// The newest accepted head of one peer and key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Whose.
    pub node_id: String,
    /// Who signed it, base64.
    pub public_key: String,
    /// Of which journal.
    pub index_id: String,
    /// The journal's position.
    pub seq: u64,
    /// The hash of the set.
    pub manifest_hash: String,
    /// Live nodes.
    pub count: u64,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// When it stops counting.
    pub expires: Timestamp,
    /// The newest epoch of the journal; `None`: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// The epochs that were stated so far, newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    seen: Vec<Epoch>,
    /// Where continuations end that were left behind by a restore: what lies beyond is not part of the journal any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    left: Vec<Position>,
    /// Other journals that were stated before this one, newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    journals: Vec<String>,
    /// When a continuation that was left behind first came back: an operator may have put a newer copy in the place of an older one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    returned_at: Option<Timestamp>,
    /// When one came back another time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cloned_at: Option<Timestamp>,
    /// The signed head itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    envelope: Option<String>,
}

/// How an accepted head follows the newest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// Its journal continues.
    Continues,
    /// Its journal was restored from a copy, and goes on from there.
    Restored,
    /// The same; it goes on where it was left behind by an earlier restore.
    Returned,
    /// Its journal goes on in two ways that alternate: two instances have one identity.
    Cloned,
}

impl Accepted {
    fn of(head: &Head, key: PublicKey) -> Self {
        let stated = head.epoch.iter().flat_map(|it| [Some(it.epoch.clone()), it.next.clone()]);
        Self {
            epoch: head.epoch.as_ref().map(|it| it.epoch.clone()),
            seen: stated.flatten().collect(),
            left: Vec::new(),
            journals: Vec::new(),
            returned_at: None,
            cloned_at: None,
            envelope: None,
            node_id: head.node_id.to_string(),
            public_key: key.to_base64(),
            index_id: head.index_id.clone(),
            seq: head.seq,
            manifest_hash: head.manifest_hash.to_string(),
            count: head.count,
            issued_at: head.issued_at,
            expires: head.expires,
        }
    }

    /// Says nothing but the time anew.
    fn repeats(&self, other: &Self) -> bool {
        (self.seq, self.cloned_at) == (other.seq, other.cloned_at)
            && (&self.index_id, &self.manifest_hash) == (&other.index_id, &other.manifest_hash)
            && (&self.epoch, &self.seen, &self.left) == (&other.epoch, &other.seen, &other.left)
            && self.journals == other.journals
    }

    /// The position at which the journal stood.
    fn position(&self) -> Option<Position> {
        let epoch = self.epoch.clone().or_else(|| Epoch::parse(&self.index_id).ok())?;
        Some(Position::new(epoch, self.seq))
    }

    /// Must the whole lineage be known to judge a head that comes after this one?
    #[must_use]
    pub fn needs_lineage(&self, head: &Head) -> bool {
        head.epoch.is_some() && self.position().is_some_and(|it| it.epoch != head.current_epoch())
    }

    /// Is it one of two instances with one identity, as far as was seen until `now`?
    #[must_use]
    pub fn is_cloned(&self, now: Timestamp) -> bool {
        self.cloned_at.is_some_and(|at| now.since(at) < CLONE_LASTS)
    }

    /// Takes over what is remembered, after `follows`.
    fn remember(&mut self, newest: &Self, follows: Follows, lineage: &Lineage) {
        let stated = std::mem::take(&mut self.seen);
        self.seen.clone_from(&newest.seen);
        for epoch in stated {
            if !self.seen.contains(&epoch) {
                self.seen.push(epoch);
            }
        }
        self.seen.drain(..self.seen.len().saturating_sub(MAX_SEEN));
        self.left.clone_from(&newest.left);
        self.journals.clone_from(&newest.journals);
        let is_other_journal = self.index_id != newest.index_id;
        if is_other_journal {
            self.journals.retain(|journal| *journal != newest.index_id && *journal != self.index_id);
            self.journals.push(newest.index_id.clone());
            self.journals.drain(..self.journals.len().saturating_sub(MAX_JOURNALS));
        }
        (self.returned_at, self.cloned_at) = (newest.returned_at, newest.cloned_at);
        match follows {
            Follows::Continues => return,
            Follows::Restored => {}
            Follows::Returned => self.returned_at = Some(self.issued_at),
            Follows::Cloned => self.cloned_at = Some(self.issued_at),
        }
        if let Some(Position { epoch, .. }) = newest.position().filter(|_| !is_other_journal) {
            // Of an epoch that this one does not know nothing is part of it.
            let end = lineage.end_of(&epoch, self.seq).unwrap_or(0);
            self.left.retain(|left| left.epoch != epoch && !is_beyond(left, lineage, self.seq));
            self.left.push(Position::new(epoch, end));
            self.left.drain(..self.left.len().saturating_sub(MAX_LEFT));
        }
    }
}

/// Why a head may not follow the newest accepted one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FreshnessError {
    /// Rollback: it is older than what was accepted.
    #[error(
        "its head is older than the newest accepted one ({field}): an old one is shown again, it was restored from a copy, or two instances have its id and key"
    )]
    Rollback {
        /// `seq` or `issued_at`.
        field: &'static str,
    },
    /// Equivocation: one instant, two contents.
    #[error("it signed two different heads for one position and one instant")]
    Equivocation,
    /// Fast-forward: it would spoil the positions that are left.
    #[error("its position jumped by {0}, more than {MAX_SEQ_JUMP}")]
    FastForward(u64),
    /// What was accepted cannot be written down, so nothing is done with it.
    #[error("what is accepted of a peer cannot be kept: {0}")]
    Unkept(String),
}

/// May `head` follow `newest`, and how? Whether it has expired is another question, see [`is_expired`]. `lineage`: of its journal; the
/// newest epoch alone where that is the one of `newest`.
///
/// # Errors
/// [`FreshnessError`].
pub fn judge(newest: &Accepted, head: &Head, lineage: &Lineage) -> Result<Follows, FreshnessError> {
    let same_journal = newest.index_id == head.index_id;
    let follows = follows(newest, head, lineage);
    // A head that leaves behind what was accepted must be younger: an old one shown again is not a restored instance.
    if follows != Follows::Continues && head.issued_at <= newest.issued_at {
        let field = if same_journal && head.seq < newest.seq { "seq" } else { "issued_at" };
        return Err(FreshnessError::Rollback { field });
    }
    // Rollback. Positions of two journals say nothing about each other; then the time decides.
    if follows == Follows::Continues && same_journal && head.seq < newest.seq {
        return Err(FreshnessError::Rollback { field: "seq" });
    }
    let earliest = if same_journal { newest.issued_at.minus(MAX_SKEW) } else { newest.issued_at };
    if head.issued_at < earliest {
        return Err(FreshnessError::Rollback { field: "issued_at" });
    }
    // A set changes at one position too: a file breaks, and its node is not there. Not within one microsecond of one clock.
    let same_instant = same_journal && head.seq == newest.seq && head.issued_at == newest.issued_at;
    if same_instant && SetHash::parse(&newest.manifest_hash) != Ok(head.manifest_hash) {
        return Err(FreshnessError::Equivocation);
    }
    let jump = head.seq.saturating_sub(newest.seq);
    if jump > MAX_SEQ_JUMP { Err(FreshnessError::FastForward(jump)) } else { Ok(follows) }
}

/// Does the journal of `head` continue that of `newest`, as far as their epochs say?
fn follows(newest: &Accepted, head: &Head, lineage: &Lineage) -> Follows {
    let returned = || {
        let lately = newest.returned_at.is_some_and(|at| head.issued_at.since(at) < RETURNS_WITHIN);
        if lately || newest.is_cloned(head.issued_at) { Follows::Cloned } else { Follows::Returned }
    };
    if newest.index_id != head.index_id {
        // A new state directory begins a journal; one that was left for another and comes back is restored, or has never ended.
        return if newest.journals.contains(&head.index_id) { returned() } else { Follows::Continues };
    }
    let (Some(stated), Some(before)) = (&head.epoch, newest.position()) else { return Follows::Continues };
    if newest.left.iter().any(|left| is_beyond(left, lineage, head.seq)) {
        return returned();
    }
    // Without a new epoch it is an old head, which is judged by its position.
    let newest_epoch = stated.next.as_ref().unwrap_or(&stated.epoch);
    if lineage.check(&before, head.seq).is_ok() || newest.seen.contains(newest_epoch) {
        return Follows::Continues;
    }
    Follows::Restored
}

/// Is what was left behind after this position part of a journal with this lineage, which stands at `seq`?
fn is_beyond(left: &Position, lineage: &Lineage, seq: u64) -> bool {
    lineage.check(&Position::new(left.epoch.clone(), left.seq.saturating_add(1)), seq).is_ok()
}

/// Freeze: it was signed too long ago to say where its signer stands now.
#[must_use]
pub fn is_expired(expires: Timestamp, now: Timestamp) -> bool {
    expires.plus(MAX_SKEW) < now
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Accepted(Box<Accepted>),
    Forgotten { node_id: String },
}

type ByPeer = HashMap<String, HashMap<String, Accepted>>;

/// The newest accepted heads, durable.
#[derive(Debug)]
pub struct Freshness {
    ledger: Arc<dyn Ledger>,
    heads: Mutex<Heads>,
}

#[derive(Debug, Default)]
struct Heads {
    by_peer: ByPeer,
    lines: usize,
}

impl Heads {
    fn apply(&mut self, line: Line) {
        self.lines = self.lines.saturating_add(1);
        match line {
            Line::Accepted(accepted) => {
                let of_peer = self.by_peer.entry(accepted.node_id.clone()).or_default();
                of_peer.insert(accepted.public_key.clone(), *accepted);
            }
            Line::Forgotten { node_id } => drop(self.by_peer.remove(&node_id)),
        }
    }

    fn count(&self) -> usize {
        self.by_peer.values().map(HashMap::len).sum()
    }
}

fn to_text(line: &Line) -> io::Result<String> {
    serde_json::to_string(line).map_err(io::Error::other)
}

impl Freshness {
    /// From the lines of the ledger.
    ///
    /// # Errors
    /// [`ChainError::Text`].
    pub fn new(ledger: Arc<dyn Ledger>, texts: &[String]) -> Result<Self, ChainError> {
        let mut heads = Heads::default();
        for (number, text) in (1..).zip(texts) {
            let wrong = |error: serde_json::Error| ChainError::Text { number, problem: error.to_string() };
            heads.apply(serde_json::from_str(text).map_err(wrong)?);
        }
        Ok(Self { ledger, heads: Mutex::new(heads) })
    }

    fn lock(&self) -> MutexGuard<'_, Heads> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest accepted head.
    #[must_use]
    pub fn newest(&self, peer: &PeerId, key: PublicKey) -> Option<Accepted> {
        self.lock().by_peer.get(peer.as_str()).and_then(|of_peer| of_peer.get(&key.to_base64())).cloned()
    }

    /// Takes a head as the newest one, durably, before anything is done with what it says. `lineage`: see [`judge`]. Blocks on the disk where it says something
    /// new.
    ///
    /// # Errors
    /// [`FreshnessError`].
    pub fn accept(&self, signed: &Verified<Head>, lineage: &Lineage) -> Result<Follows, FreshnessError> {
        let (head, key) = (signed.get(), signed.public_key());
        let mut heads = self.lock();
        let mut next = Accepted::of(head, key);
        let envelope = Some(signed.received()).filter(|it| it.len() <= MAX_ENVELOPE_BYTES);
        next.envelope = envelope.and_then(|it| std::str::from_utf8(it).ok()).map(str::to_owned);
        let newest = heads.by_peer.get(&next.node_id).and_then(|of_peer| of_peer.get(&next.public_key));
        let mut follows = Follows::Continues;
        if let Some(newest) = newest {
            follows = judge(newest, head, lineage)?;
            next.remember(newest, follows, lineage);
            if next.repeats(newest) && next.issued_at.since(newest.issued_at) < RENEW_AFTER {
                return Ok(follows);
            }
        }
        self.keep(&mut heads, Line::Accepted(Box::new(next)))
            .map_err(|error| FreshnessError::Unkept(error.to_string()))?;
        Ok(follows)
    }

    /// The newest accepted head of an instance as it was signed, whatever its key. `None`: there is none.
    #[must_use]
    pub fn envelope(&self, peer: &PeerId) -> Option<String> {
        let heads = self.lock();
        let of_peer = heads.by_peer.get(peer.as_str())?.values().filter(|it| it.envelope.is_some());
        of_peer.max_by_key(|it| it.issued_at)?.envelope.clone()
    }

    /// Forgets what was accepted of a peer: the operator says that it begins anew.
    ///
    /// # Errors
    /// It cannot be kept.
    pub fn forget(&self, peer: &PeerId) -> io::Result<()> {
        let mut heads = self.lock();
        if !heads.by_peer.contains_key(peer.as_str()) {
            return Ok(());
        }
        self.keep(&mut heads, Line::Forgotten { node_id: peer.to_string() })
    }

    fn keep(&self, heads: &mut Heads, line: Line) -> io::Result<()> {
        self.ledger.append(&to_text(&line)?)?;
        heads.apply(line);
        let many = heads.count().saturating_mul(LINES_PER_HEAD).max(FEWEST_LINES);
        if heads.lines > many {
            let all = heads.by_peer.values().flat_map(HashMap::values).cloned();
            let texts = all.map(|it| to_text(&Line::Accepted(Box::new(it)))).collect::<io::Result<Vec<_>>>()?;
            match self.ledger.replace(&texts) {
                Ok(()) => heads.lines = texts.len(),
                // The line itself is kept; it is tried again with the next one.
                Err(error) => tracing::warn!(%error, "the heads of peers cannot be written anew"),
            }
        }
        Ok(())
    }
}
