//! Nothing old passes for new: the newest accepted head of each peer, and what may follow it. What The Update Framework asks of
//! metadata that one party signs, for a federation in which everybody does.

use super::{
    MAX_SKEW,
    chain::{ChainError, Ledger},
};
use crate::{
    manifest::Head,
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
}

impl Accepted {
    fn of(head: &Head, key: PublicKey) -> Self {
        Self {
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
        (&self.index_id, self.seq, &self.manifest_hash) == (&other.index_id, other.seq, &other.manifest_hash)
    }
}

/// Why a head may not follow the newest accepted one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FreshnessError {
    /// Rollback: it is older than what was accepted.
    #[error(
        "its head is older than the newest accepted one ({field}); somebody shows an old one, or it was restored from a copy"
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

/// May `head` follow `newest`? Whether it has expired is another question, see [`is_expired`].
///
/// # Errors
/// [`FreshnessError`].
pub fn judge(newest: &Accepted, head: &Head) -> Result<(), FreshnessError> {
    let same_journal = newest.index_id == head.index_id;
    // Rollback. Positions of two journals say nothing about each other; then the time decides.
    if same_journal && head.seq < newest.seq {
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
    if jump > MAX_SEQ_JUMP { Err(FreshnessError::FastForward(jump)) } else { Ok(()) }
}

/// Freeze: it was signed too long ago to say where its signer stands now.
#[must_use]
pub fn is_expired(expires: Timestamp, now: Timestamp) -> bool {
    expires.plus(MAX_SKEW) < now
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Accepted(Accepted),
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
                of_peer.insert(accepted.public_key.clone(), accepted);
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

    /// Takes a head as the newest one, durably, before anything is done with what it says. Blocks on the disk where it says something
    /// new.
    ///
    /// # Errors
    /// [`FreshnessError`].
    pub fn accept(&self, head: &Head, key: PublicKey) -> Result<(), FreshnessError> {
        let mut heads = self.lock();
        let next = Accepted::of(head, key);
        let newest = heads.by_peer.get(&next.node_id).and_then(|of_peer| of_peer.get(&next.public_key));
        if let Some(newest) = newest {
            judge(newest, head)?;
            if next.repeats(newest) && next.issued_at.since(newest.issued_at) < RENEW_AFTER {
                return Ok(());
            }
        }
        self.keep(&mut heads, Line::Accepted(next)).map_err(|error| FreshnessError::Unkept(error.to_string()))
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
            let texts = all.map(|it| to_text(&Line::Accepted(it))).collect::<io::Result<Vec<_>>>()?;
            match self.ledger.replace(&texts) {
                Ok(()) => heads.lines = texts.len(),
                // The line itself is kept; it is tried again with the next one.
                Err(error) => tracing::warn!(%error, "the heads of peers cannot be written anew"),
            }
        }
        Ok(())
    }
}
