//! The peers of this instance, and how far each is: durable, one small file.

use super::round::Positions;
use crate::{
    lattice::offline::{OfflineError, write_file},
    types::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The most peers that one instance has.
pub const MAX_PEERS: usize = 1000;

/// Why the peers cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// The file cannot be read.
    #[error("the peers in {}: {error}; correct the file or move it away", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// The file cannot be written.
    #[error("the peers cannot be kept: {0}")]
    Unwritable(#[from] OfflineError),
    /// There are as many as there may be.
    #[error("there are {MAX_PEERS} peers already; remove one first")]
    Full,
}

/// Which ways changes go between this instance and a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Both.
    #[default]
    Both,
    /// Only from the peer: a mirror of it.
    Pull,
    /// Only to the peer.
    Push,
}

/// What was done with a peer since it was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PeerStats {
    /// Rounds that came to their end.
    pub rounds: u64,
    /// Rounds that failed.
    pub failures: u64,
    /// Nodes that were sent.
    pub nodes_sent: u64,
    /// Nodes that came and counted.
    pub nodes_received: u64,
    /// Versions made here that lost against the peer's.
    pub conflicts: u64,
    /// Bytes of changes, both ways.
    pub bytes: u64,
}

/// A peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerState {
    /// Its address, without a slash at the end.
    pub url: String,
    /// Its id, since the first contact.
    pub node_id: Option<String>,
    /// Its key, base64: the first one that signed its head; another one is refused.
    pub public_key: Option<String>,
    /// Which ways changes go.
    #[serde(default)]
    pub direction: Direction,
    /// How far the two know each other.
    #[serde(default)]
    pub positions: Positions,
    /// When it was added.
    pub added_at: Timestamp,
    /// When a round with it last came to its end.
    pub synced_at: Option<Timestamp>,
    /// Why the last round failed; `None`: it did not.
    pub error: Option<String>,
    /// Rounds that failed in a row.
    #[serde(default)]
    pub failed_in_a_row: u32,
    /// What was done.
    #[serde(default)]
    pub stats: PeerStats,
}

impl PeerState {
    /// A peer that nothing is known of yet.
    #[must_use]
    pub fn new(url: String, direction: Direction, now: Timestamp) -> Self {
        Self {
            url,
            node_id: None,
            public_key: None,
            direction,
            positions: Positions::default(),
            added_at: now,
            synced_at: None,
            error: None,
            failed_in_a_row: 0,
            stats: PeerStats::default(),
        }
    }

    /// Does it answer?
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.synced_at.is_some() && self.failed_in_a_row == 0
    }
}

/// All peers, by address.
#[derive(Debug)]
pub struct Peers {
    path: PathBuf,
    peers: Mutex<BTreeMap<String, PeerState>>,
}

impl Peers {
    /// Reads the file; no file is no peer.
    ///
    /// # Errors
    /// [`PeersError::Unreadable`]: positions and keys are not forgotten for want of being readable.
    pub fn open(path: &Path) -> Result<Self, PeersError> {
        let unreadable = |error: String| PeersError::Unreadable { path: path.to_owned(), error };
        let peers = match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        Ok(Self { path: path.to_owned(), peers: Mutex::new(peers) })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, PeerState>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, by address.
    #[must_use]
    pub fn list(&self) -> Vec<PeerState> {
        self.lock().values().cloned().collect()
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, url: &str) -> Option<PeerState> {
        self.lock().get(url).cloned()
    }

    /// Adds a peer, durably. Answers whether it is new; one that is known stays as it is.
    ///
    /// # Errors
    /// [`PeersError::Full`], [`PeersError::Unwritable`].
    pub fn add(&self, peer: PeerState) -> Result<bool, PeersError> {
        let mut peers = self.lock();
        if peers.contains_key(&peer.url) {
            return Ok(false);
        }
        if peers.len() >= MAX_PEERS {
            return Err(PeersError::Full);
        }
        let mut with = peers.clone();
        with.insert(peer.url.clone(), peer);
        self.keep(&with)?;
        *peers = with;
        Ok(true)
    }

    /// Removes a peer, durably. Answers whether there was one.
    ///
    /// # Errors
    /// [`PeersError::Unwritable`].
    pub fn remove(&self, url: &str) -> Result<bool, PeersError> {
        let mut peers = self.lock();
        let mut without = peers.clone();
        if without.remove(url).is_none() {
            return Ok(false);
        }
        self.keep(&without)?;
        *peers = without;
        Ok(true)
    }

    /// Changes what is known of a peer, durably; one that was removed meanwhile stays away.
    ///
    /// # Errors
    /// [`PeersError::Unwritable`]; it counts in memory all the same.
    pub fn update(&self, url: &str, change: impl FnOnce(&mut PeerState)) -> Result<(), PeersError> {
        let mut peers = self.lock();
        let Some(peer) = peers.get_mut(url) else { return Ok(()) };
        let before = peer.clone();
        change(peer);
        if *peer == before {
            return Ok(());
        }
        self.keep(&peers)
    }

    fn keep(&self, peers: &BTreeMap<String, PeerState>) -> Result<(), PeersError> {
        let text = serde_json::to_vec_pretty(peers)
            .map_err(|error| PeersError::Unreadable { path: self.path.clone(), error: error.to_string() })?;
        Ok(write_file(&self.path, &text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::federation::round::Position;

    #[test]
    fn peers_and_their_positions_outlive_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers.json");
        let peers = Peers::open(&path).unwrap();
        let peer = PeerState::new("http://one:9001".to_owned(), Direction::Pull, Timestamp::from_micros(1_234_567));
        assert!(peers.add(peer.clone()).unwrap());
        assert!(!peers.add(PeerState { direction: Direction::Both, ..peer.clone() }).unwrap(), "it stays as it is");
        peers
            .update(&peer.url, |peer| {
                peer.positions.pulled = Some(Position { index_id: "ab".to_owned(), seq: 7 });
                peer.stats.rounds += 1;
            })
            .unwrap();
        peers.update("http://two:9001", |_| panic!("nobody is there")).unwrap();
        drop(peers);

        let peers = Peers::open(&path).unwrap();
        let read = peers.get(&peer.url).unwrap();
        assert_eq!(
            (read.positions.pulled.map(|it| it.seq), read.stats.rounds, read.direction),
            (Some(7), 1, Direction::Pull)
        );
        assert_eq!(read.added_at, peer.added_at);
        assert!(peers.remove(&peer.url).unwrap() && !peers.remove(&peer.url).unwrap());
        assert!(Peers::open(&path).unwrap().list().is_empty());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers.json");
        write_file(&path, b"{").unwrap();
        assert!(matches!(Peers::open(&path), Err(PeersError::Unreadable { .. })));
    }
}
