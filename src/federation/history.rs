//! Rounds that were: the last of them, kept over restarts.

use super::round::unavailable::LeftOut;
use crate::{lattice::offline::write_file, types::Timestamp};
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Rounds that are kept. Rounds in which nothing moved are counted with their peer, and not listed.
pub const KEPT: usize = 500;
/// How often they are written while new ones come all the time.
const WRITE_EVERY: Duration = Duration::from_secs(60);
/// Of them rounds that other instances made: each push may be one.
const KEPT_INBOUND: usize = 250;
/// Of them rounds of one instance.
const KEPT_OF_ONE: usize = 50;

/// A round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// When it began.
    pub at: Timestamp,
    /// With whom: an address; of a round that the other side made, its id.
    pub peer: String,
    /// The other side made it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inbound: bool,
    /// How long it took.
    pub duration_ms: u64,
    /// `in_step`, `waiting`, `unavailable`, `exchanged`, `diverged`, `unexplained`, `moving` or `failed`.
    pub outcome: String,
    /// Why it failed.
    pub error: Option<String>,
    /// Nodes and deletions that came and counted.
    pub received: u64,
    /// Nodes and deletions that went and counted there.
    pub sent: u64,
    /// Versions made here that lost.
    pub conflicts: u64,
    /// Bytes of changes, both ways.
    pub bytes: u64,
    /// Deletions of the peer that waited here at its end.
    #[serde(default)]
    pub waiting_here: u64,
    /// Deletions of this instance that waited there.
    #[serde(default)]
    pub waiting_there: u64,
    /// Nodes that were left out because their files are broken.
    #[serde(default, skip_serializing_if = "LeftOut::is_nothing")]
    pub unavailable: LeftOut,
    /// Nodes that were left out because they are larger than this instance or the peer takes.
    #[serde(default, skip_serializing_if = "LeftOut::is_nothing")]
    pub too_large: LeftOut,
}

/// The last rounds.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    rounds: Mutex<Rounds>,
    writing: Mutex<()>,
}

#[derive(Debug)]
struct Rounds {
    kept: VecDeque<Past>,
    /// Some of them are not written yet.
    unwritten: bool,
    /// By the machine's clock: no disk waits for an injected one.
    written_at: Option<Instant>,
}

impl History {
    /// Reads what was kept. A file that cannot be read is told of and begun anew: nothing depends on it.
    #[must_use]
    pub fn open(path: &Path) -> Self {
        let rounds = match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, path = %path.display(), "the history of rounds cannot be read; it begins anew");
                VecDeque::new()
            }),
            Err(_) => VecDeque::new(),
        };
        Self {
            path: path.to_owned(),
            rounds: Mutex::new(Rounds { kept: rounds, unwritten: false, written_at: None }),
            writing: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rounds> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a round. It is written at once where nothing was for a minute, else by [`Self::flush`]: all of them are one file, and
    /// nothing depends on it.
    pub fn add(&self, past: Past) {
        if self.note(past) {
            self.flush();
        }
    }

    /// Answers whether it is time to write.
    fn note(&self, past: Past) -> bool {
        let mut rounds = self.lock();
        let kept = &mut rounds.kept;
        if past.inbound {
            bound(kept, KEPT_OF_ONE, |round| round.inbound && round.peer == past.peer);
            bound(kept, KEPT_INBOUND, |round| round.inbound);
        }
        bound(kept, KEPT, |_| true);
        kept.push_back(past);
        rounds.unwritten = true;
        rounds.written_at.is_none_or(|at| at.elapsed() >= WRITE_EVERY)
    }

    /// Writes what is not written yet.
    pub fn flush(&self) {
        // Rounds that are added meanwhile need not wait for the disk; the writes themselves come one after the other.
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let text = {
            let mut rounds = self.lock();
            if !std::mem::take(&mut rounds.unwritten) {
                return;
            }
            rounds.written_at = Some(Instant::now());
            serde_json::to_vec(&rounds.kept).unwrap_or_default()
        };
        if let Err(error) = write_file(&self.path, &text) {
            self.lock().unwritten = true;
            tracing::warn!(%error, "the history of rounds cannot be kept");
        }
    }

    /// The newest rounds first, at most `limit`.
    #[must_use]
    pub fn newest(&self, limit: usize) -> Vec<Past> {
        self.lock().kept.iter().rev().take(limit).cloned().collect()
    }
}

/// Makes room for one more of the matching rounds, of which `most` are kept.
fn bound(rounds: &mut VecDeque<Past>, most: usize, matches: impl Fn(&Past) -> bool) {
    if rounds.iter().filter(|round| matches(round)).count() >= most
        && let Some(oldest) = rounds.iter().position(matches)
    {
        rounds.remove(oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(bytes: u64) -> Past {
        Past {
            at: Timestamp::EPOCH,
            peer: "http://a".to_owned(),
            inbound: false,
            duration_ms: 1,
            outcome: "in_step".to_owned(),
            error: None,
            received: 1,
            sent: 0,
            conflicts: 0,
            bytes,
            waiting_here: 0,
            waiting_there: 0,
            unavailable: LeftOut::default(),
            too_large: LeftOut::default(),
        }
    }

    #[test]
    fn many_pushes_displace_no_rounds_of_other_instances() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::open(&folder.path().join("history.json"));
        let inbound = |peer: &str| Past { inbound: true, peer: peer.to_owned(), ..past(2) };
        (0..300).for_each(|_| history.add(past(1)));
        history.add(inbound("honest"));
        (0..80).for_each(|_| history.add(inbound("busy")));
        let count = |matches: &dyn Fn(&Past) -> bool| history.newest(KEPT).iter().filter(|past| matches(past)).count();
        assert_eq!((count(&|it| it.peer == "busy"), count(&|it| it.peer == "honest")), (KEPT_OF_ONE, 1));
        (0..400).for_each(|number| history.add(inbound(&format!("fresh-{number}"))));
        assert_eq!((count(&|it| it.inbound), count(&|it| !it.inbound)), (KEPT_INBOUND, KEPT - KEPT_INBOUND));
    }

    #[test]
    fn the_last_rounds_outlive_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.json");
        let history = History::open(&path);
        let bytes = |history: &History| history.newest(10).iter().map(|past| past.bytes).collect::<Vec<_>>();
        history.add(past(1));
        history.add(past(2));
        assert_eq!(bytes(&History::open(&path)), [1], "the first at once, the next later");
        history.flush();
        assert_eq!((bytes(&history), bytes(&History::open(&path))), (vec![2, 1], vec![2, 1]));
        write_file(&path, b"{").unwrap();
        assert!(History::open(&path).newest(1).is_empty());
    }
}
