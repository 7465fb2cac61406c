//! The peers of this instance, and how far each is: durable, one small file.

use super::{
    failure::FailureKind,
    filter::Filter,
    peer_address,
    round::Positions,
    settings_peers::{Origin, SettingsPeers},
};
use crate::{
    lattice::offline::{OfflineError, write_file, write_file_revertible},
    manifest::Position,
    types::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

/// The most peers that one instance has.
pub const MAX_PEERS: usize = 1000;
/// How long a position of a round that goes on may wait to be written.
const POSITIONS_WAIT: Duration = Duration::from_secs(1);

/// Why the peers cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// The file cannot be read.
    #[error("the peers in {} cannot be read: {error}; a newer version may have written them: run that one, correct the file, or move it away", path.display())]
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
    /// In `hub` mode there is one peer.
    #[error(
        "federation.mode is hub: this instance exchanges with {hub} only, so no other peer is added; to have more, set \
         FEDERATION_MODE=hybrid and restart the service"
    )]
    HubOnly {
        /// The hub's address.
        hub: String,
    },
    /// A setting names it, and would add it again at the next start.
    #[error("{url} is named by {setting}: take it out there and restart the service; the peer is removed then")]
    OfSettings {
        /// The peer's address.
        url: String,
        /// The setting.
        setting: &'static str,
    },
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

/// What goes between this instance and a peer, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerOptions {
    /// Which ways changes go.
    pub direction: Direction,
    /// Which nodes go.
    pub filter: Filter,
    /// Whether nodes with a greater `priority` go first.
    pub priority: bool,
    /// It is an original, which signs nothing: whoever answers at the address is believed (see [`super::originals`]).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unsigned: bool,
}

impl From<Direction> for PeerOptions {
    fn from(direction: Direction) -> Self {
        Self { direction, ..Self::default() }
    }
}

/// What adding a peer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It is new.
    New,
    /// It has other options than before.
    Changed,
    /// It was there, just so.
    Same,
    /// It has another address than before.
    Moved,
    /// Which instance was met at its address is forgotten.
    Replaced,
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
    /// What goes, and how.
    #[serde(flatten)]
    pub options: PeerOptions,
    /// How far the two know each other.
    #[serde(default)]
    pub positions: Positions,
    /// When it was added.
    pub added_at: Timestamp,
    /// When a round with it last came to its end.
    pub synced_at: Option<Timestamp>,
    /// Why the last round failed; `None`: it did not.
    pub error: Option<String>,
    /// The kind of that failure. Not there where an earlier version noted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureKind>,
    /// Rounds that failed in a row.
    #[serde(default)]
    pub failed_in_a_row: u32,
    /// What was done.
    #[serde(default)]
    pub stats: PeerStats,
    /// Deletions of this instance that wait there for the admin, as it last said.
    #[serde(default)]
    pub waiting_there: u64,
    /// The admin named it, by a command, the API or a setting; otherwise it was found, and made a peer by the settings.
    #[serde(default = "named")]
    pub named: bool,
    /// It is exchanged with automatically, whatever `federation.auto_sync` says: it was paired by an invite.
    #[serde(default)]
    pub auto_sync: bool,
    /// What made it a peer; `None`: an earlier version, which did not write it down.
    #[serde(default)]
    pub origin: Option<Origin>,
}

/// Of peers that an earlier version wrote down.
fn named() -> bool {
    true
}

impl PeerState {
    /// A peer that nothing is known of yet.
    #[must_use]
    pub fn new(url: String, options: PeerOptions, now: Timestamp) -> Self {
        Self {
            url,
            node_id: None,
            public_key: None,
            options,
            positions: Positions::default(),
            added_at: now,
            synced_at: None,
            error: None,
            failure: None,
            failed_in_a_row: 0,
            stats: PeerStats::default(),
            waiting_there: 0,
            named: true,
            auto_sync: false,
            origin: Some(Origin::Admin),
        }
    }

    /// What has to be written because this is known in place of `before`.
    fn differs_from(&self, before: &Self) -> Unwritten {
        let reached = Self { positions: before.positions.clone(), ..self.clone() };
        let failed = Self {
            error: before.error.clone(),
            failure: before.failure,
            failed_in_a_row: before.failed_in_a_row,
            stats: PeerStats { failures: before.stats.failures, ..self.stats },
            ..self.clone()
        };
        let counted = Self { synced_at: before.synced_at, stats: before.stats, ..failed.clone() };
        if self == before {
            Unwritten::Nothing
        } else if failed == *before && before.failed_in_a_row > 0 {
            Unwritten::Failures
        } else if counted == *before && (before.synced_at.is_some() || self.synced_at.is_none()) {
            Unwritten::Counts
        } else if reached == *before {
            Unwritten::Positions
        } else {
            Unwritten::Facts
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
    peers: Mutex<Kept>,
    pub(super) settings: OnceLock<SettingsPeers>,
}

/// The most that is known and not written yet; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Unwritten {
    Nothing,
    /// That a peer which failed before failed again: written with anything else, and at the end. A peer that is down for weeks costs nothing.
    Failures,
    /// Rounds, and first failures: written by [`Peers::flush_counts`].
    Counts,
    /// How far a round came that goes on: written when it ends.
    Positions,
    /// Anything else: written at once.
    Facts,
}

#[derive(Debug)]
struct Kept {
    by_url: BTreeMap<String, PeerState>,
    unwritten: Unwritten,
    /// Since when positions wait.
    since: Option<Instant>,
}

impl Kept {
    fn written(by_url: BTreeMap<String, PeerState>) -> Self {
        Self { by_url, unwritten: Unwritten::Nothing, since: None }
    }

    /// Changes a peer where it is known. Answers what has to be written for it.
    fn change(&mut self, url: &str, change: impl FnOnce(&mut PeerState)) -> Unwritten {
        let Some(peer) = self.by_url.get_mut(url) else { return Unwritten::Nothing };
        let before = peer.clone();
        change(peer);
        peer.differs_from(&before)
    }
}

/// Peers that an earlier version recorded under several spellings of one address become one: that with which a round came to its end last.
fn one_spelling(recorded: BTreeMap<String, PeerState>) -> BTreeMap<String, PeerState> {
    let mut peers: BTreeMap<String, PeerState> = BTreeMap::new();
    for peer in recorded.into_values() {
        let url = peer_address(&peer.url);
        if peers.get(&url).is_none_or(|known| known.synced_at < peer.synced_at) {
            peers.insert(url.clone(), PeerState { url, ..peer });
        }
    }
    peers
}

impl Peers {
    /// Reads the file; no file is no peer.
    ///
    /// # Errors
    /// [`PeersError::Unreadable`]: positions and keys are not forgotten for want of being readable.
    pub fn open(path: &Path) -> Result<Self, PeersError> {
        let unreadable = |error: String| PeersError::Unreadable { path: path.to_owned(), error };
        let peers = match std::fs::read(path) {
            Ok(bytes) => one_spelling(serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        Ok(Self { path: path.to_owned(), peers: Mutex::new(Kept::written(peers)), settings: OnceLock::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, by address.
    #[must_use]
    pub fn list(&self) -> Vec<PeerState> {
        self.lock().by_url.values().cloned().collect()
    }

    /// Did the admin name an instance with this id that has this key?
    #[must_use]
    pub fn names(&self, id: &str, has_key: impl Fn(&str) -> bool) -> bool {
        let is_it = |peer: &PeerState| peer.named && peer.node_id.as_deref() == Some(id);
        let kept = self.lock();
        kept.by_url.values().filter(|peer| is_it(peer)).filter_map(|peer| peer.public_key.as_deref()).any(has_key)
    }

    /// The key of the peer with this id that the admin named, base64; of several the first by address.
    #[must_use]
    pub fn pinned_key(&self, id: &str) -> Option<String> {
        let is_it = |peer: &&PeerState| peer.named && peer.node_id.as_deref() == Some(id);
        self.lock().by_url.values().filter(is_it).find_map(|peer| peer.public_key.clone())
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().by_url.len()
    }

    /// Up to where our journal went to the instance with this id, whatever address it has.
    #[must_use]
    pub fn pushed_to(&self, id: &str) -> Option<Position> {
        let kept = self.lock();
        let its = kept.by_url.values().filter(|peer| peer.node_id.as_deref() == Some(id));
        its.filter_map(|peer| peer.positions.pushed.clone()).max_by_key(|position| position.seq)
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, url: &str) -> Option<PeerState> {
        self.lock().by_url.get(url).cloned()
    }

    /// The address at which an instance with this id and key is a peer already and answers, and which goes before that of `peer`: addresses
    /// of the settings first, then those that were added first. A peer that hub mode leaves out goes before none.
    #[must_use]
    pub fn same_instance(&self, peer: &PeerState) -> Option<String> {
        let (Some(id), Some(key)) = (&peer.node_id, &peer.public_key) else { return None };
        let rank = |it: &PeerState| (self.setting_of(&it.url).is_none(), it.added_at, it.url.clone());
        let is_same = |it: &&PeerState| {
            it.url != peer.url && it.node_id.as_ref() == Some(id) && it.public_key.as_ref() == Some(key)
        };
        let kept = self.lock();
        let same = kept.by_url.values().filter(is_same).filter(|it| it.is_active() && rank(it) < rank(peer));
        let same = same.filter(|it| self.hub_instead_of(&it.url).is_none());
        same.map(|it| it.url.clone()).next()
    }

    /// The peer with this id and key, at whatever address.
    #[must_use]
    pub fn with_identity(&self, id: &str, key: &str) -> Option<PeerState> {
        let is_it = |peer: &&PeerState| peer.node_id.as_deref() == Some(id) && peer.public_key.as_deref() == Some(key);
        let kept = self.lock();
        kept.by_url.values().filter(is_it).max_by_key(|peer| peer.is_active()).cloned()
    }

    /// Gives a peer another address, durably; everything else that is known of it stays. Answers whether there was one.
    ///
    /// # Errors
    /// [`PeersError::Unwritable`].
    pub fn move_to(&self, from: &str, to: &str) -> Result<bool, PeersError> {
        let mut kept = self.lock();
        let mut moved = kept.by_url.clone();
        let Some(peer) = moved.remove(from) else { return Ok(false) };
        moved.insert(to.to_owned(), PeerState { url: to.to_owned(), error: None, failure: None, ..peer });
        self.keep(&moved)?;
        *kept = Kept::written(moved);
        Ok(true)
    }

    /// Adds a peer, durably, or gives one that is known other options. Under another filter or direction the two begin from the
    /// beginning: what was left out before may be wanted now.
    ///
    /// # Errors
    /// [`PeersError::Full`], [`PeersError::HubOnly`], [`PeersError::Unwritable`].
    pub fn add(&self, peer: PeerState) -> Result<Added, PeersError> {
        self.check_may_add(&peer.url)?;
        let mut kept = self.lock();
        let peers = &kept.by_url;
        let known = peers.get(&peer.url);
        let added = match known {
            Some(known) if known.options == peer.options && known.named >= peer.named => return Ok(Added::Same),
            Some(_) => Added::Changed,
            None if peers.len() >= MAX_PEERS => return Err(PeersError::Full),
            None => Added::New,
        };
        let peer = match known {
            None => peer,
            Some(known) => {
                let ways = (&known.options.direction, &known.options.filter, known.options.unsigned);
                let same = ways == (&peer.options.direction, &peer.options.filter, peer.options.unsigned);
                let positions = if same { known.positions.clone() } else { Positions::default() };
                PeerState { options: peer.options, positions, named: known.named || peer.named, ..known.clone() }
            }
        };
        let mut with = peers.clone();
        with.insert(peer.url.clone(), peer);
        self.keep(&with)?;
        *kept = Kept::written(with);
        Ok(added)
    }

    /// Forgets which instance was met at an address, durably: the next one that answers there counts as the first. What it was told to be
    /// exchanged with stays. Answers whether there was such a peer.
    ///
    /// # Errors
    /// [`PeersError::Unwritable`].
    pub fn forget_identity(&self, url: &str) -> Result<bool, PeersError> {
        let mut kept = self.lock();
        let mut changed = kept.by_url.clone();
        let Some(peer) = changed.get_mut(url) else { return Ok(false) };
        let PeerState { url, options, added_at, named, auto_sync, origin, .. } = peer.clone();
        *peer = PeerState { named, auto_sync, origin, ..PeerState::new(url, options, added_at) };
        self.keep(&changed)?;
        *kept = Kept::written(changed);
        Ok(true)
    }

    /// Removes a peer, durably. Answers whether there was one.
    ///
    /// # Errors
    /// [`PeersError::OfSettings`], [`PeersError::Unwritable`].
    pub fn remove(&self, url: &str) -> Result<bool, PeersError> {
        self.check_may_remove(url)?;
        let mut kept = self.lock();
        let mut without = kept.by_url.clone();
        if without.remove(url).is_none() {
            return Ok(false);
        }
        self.keep(&without)?;
        *kept = Kept::written(without);
        Ok(true)
    }

    /// Changes what is known of a peer, durably; one that was removed meanwhile stays away. That one more round was made, or failed, is
    /// counted in memory and written by [`Self::flush_counts`]: whoever is killed forgets that.
    ///
    /// # Errors
    /// [`PeersError::Unwritable`]; it counts in memory all the same.
    pub fn update(&self, url: &str, change: impl FnOnce(&mut PeerState)) -> Result<(), PeersError> {
        let mut kept = self.lock();
        let changed = kept.change(url, change);
        kept.unwritten = kept.unwritten.max(changed);
        if kept.unwritten >= Unwritten::Positions { self.write(&mut kept) } else { Ok(()) }
    }

    /// Notes how far a round came with a peer that goes on: written when it ends ([`Self::update`]), and after a second. A
    /// round that is killed before begins where the last write was, and finds what it exchanged.
    ///
    /// # Errors
    /// [`PeersError::Unwritable`]; it counts in memory all the same.
    pub fn reach(&self, url: &str, positions: &Positions) -> Result<(), PeersError> {
        let mut kept = self.lock();
        let changed = kept.change(url, |peer| peer.positions = positions.clone());
        kept.unwritten = kept.unwritten.max(changed);
        if kept.unwritten < Unwritten::Positions {
            return Ok(());
        }
        let since = *kept.since.get_or_insert_with(Instant::now);
        if since.elapsed() >= POSITIONS_WAIT { self.write(&mut kept) } else { Ok(()) }
    }

    /// Writes counts of rounds that are not written yet; failures of peers that failed before are no reason to.
    ///
    /// # Errors
    /// [`PeersError::Unwritable`].
    pub fn flush_counts(&self) -> Result<(), PeersError> {
        let mut kept = self.lock();
        if kept.unwritten >= Unwritten::Counts { self.write(&mut kept) } else { Ok(()) }
    }

    /// Writes everything that is not written yet.
    ///
    /// # Errors
    /// [`PeersError::Unwritable`].
    pub fn flush(&self) -> Result<(), PeersError> {
        let mut kept = self.lock();
        if kept.unwritten > Unwritten::Nothing { self.write(&mut kept) } else { Ok(()) }
    }

    fn write(&self, kept: &mut Kept) -> Result<(), PeersError> {
        if kept.unwritten == Unwritten::Facts {
            self.keep(&kept.by_url)?;
        } else {
            // Of older positions the next round finds that it was exchanged already.
            write_file_revertible(&self.path, &self.text(&kept.by_url)?)?;
        }
        (kept.unwritten, kept.since) = (Unwritten::Nothing, None);
        Ok(())
    }

    fn keep(&self, peers: &BTreeMap<String, PeerState>) -> Result<(), PeersError> {
        Ok(write_file(&self.path, &self.text(peers)?)?)
    }

    fn text(&self, peers: &BTreeMap<String, PeerState>) -> Result<Vec<u8>, PeersError> {
        serde_json::to_vec_pretty(peers)
            .map_err(|error| PeersError::Unreadable { path: self.path.clone(), error: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{federation::round::Position, manifest::Epoch};

    #[test]
    fn peers_and_their_positions_outlive_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers.json");
        let peers = Peers::open(&path).unwrap();
        let peer =
            PeerState::new("http://one:9001".to_owned(), Direction::Pull.into(), Timestamp::from_micros(1_234_567));
        assert_eq!(peers.add(peer.clone()).unwrap(), Added::New);
        assert_eq!(peers.add(peer.clone()).unwrap(), Added::Same);
        peers
            .update(&peer.url, |peer| {
                peer.positions.pulled = Some(Position::new(Epoch::from_bytes([7; 8]), 7));
                peer.stats.rounds += 1;
            })
            .unwrap();
        peers.update("http://two:9001", |_| panic!("nobody is there")).unwrap();
        drop(peers);

        let peers = Peers::open(&path).unwrap();
        let read = peers.get(&peer.url).unwrap();
        assert_eq!(
            (read.positions.pulled.map(|it| it.seq), read.stats.rounds, read.options.direction),
            (Some(7), 1, Direction::Pull)
        );
        assert_eq!(read.added_at, peer.added_at);
        let narrower =
            PeerOptions { filter: Filter { types: vec!["a".to_owned()], ..Filter::ALL }, ..peer.options.clone() };
        assert_eq!(peers.add(PeerState { options: narrower, ..peer.clone() }).unwrap(), Added::Changed);
        let read = peers.get(&peer.url).unwrap();
        assert_eq!((read.positions.pulled, read.stats.rounds), (None, 1), "from the beginning");
        assert!(peers.remove(&peer.url).unwrap() && !peers.remove(&peer.url).unwrap());
        assert!(Peers::open(&path).unwrap().list().is_empty());
    }

    #[test]
    fn counts_and_failures_are_written_in_one_and_facts_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers.json");
        let peers = Peers::open(&path).unwrap();
        let url = |n: usize| format!("http://peer-{n}:9001");
        for n in 0..10 {
            peers.add(PeerState::new(url(n), Direction::Both.into(), Timestamp::EPOCH)).unwrap();
        }
        let sum = |peers: &Peers| peers.list().iter().map(|it| it.stats.rounds + it.stats.failures).sum::<u64>();
        let written = || sum(&Peers::open(&path).unwrap());
        let round = |n: usize, at: i64| {
            let end = |peer: &mut PeerState| {
                (peer.failed_in_a_row, peer.error) = (0, None);
                peer.stats.rounds += 1;
                peer.synced_at = Some(Timestamp::from_seconds(at));
            };
            peers.update(&url(n), end).unwrap();
        };
        let fails = |n: usize| {
            let end = |peer: &mut PeerState| {
                (peer.failed_in_a_row, peer.error) = (peer.failed_in_a_row + 1, Some("gone".to_owned()));
                peer.stats.failures += 1;
            };
            peers.update(&url(n), end).unwrap();
        };
        // The first one is when the peer begins to count as active.
        (0..5).for_each(|n| round(n, 1));
        assert_eq!(written(), 5);
        (0..30).for_each(|n| round(n % 5, 2));
        (0..10).for_each(fails);
        assert_eq!((sum(&peers), written()), (45, 5));
        peers.flush_counts().unwrap();
        assert_eq!(written(), 45);
        // Peers that are down for weeks.
        (0..1000).for_each(|n| fails(n % 10));
        peers.flush_counts().unwrap();
        assert_eq!((sum(&peers), written()), (1045, 45));
        // What counts is written at once, and takes along what waited.
        peers.update(&url(1), |peer| peer.waiting_there = 7).unwrap();
        assert_eq!(written(), 1045);
        fails(9);
        peers.flush().unwrap();
        assert_eq!(written(), 1046);
    }

    #[test]
    fn positions_of_a_round_are_written_when_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers.json");
        let peers = Peers::open(&path).unwrap();
        let url = "http://one:9001";
        peers.add(PeerState::new(url.to_owned(), Direction::Both.into(), Timestamp::EPOCH)).unwrap();
        let at =
            |seq| Positions { pulled: Some(Position::new(Epoch::from_bytes([7; 8]), seq)), ..Positions::default() };
        let written = || Peers::open(&path).unwrap().get(url).unwrap().positions;
        peers.reach(url, &at(7)).unwrap();
        peers.reach(url, &at(8)).unwrap();
        assert_eq!((peers.get(url).unwrap().positions, written()), (at(8), Positions::default()));
        peers.update(url, |peer| peer.stats.rounds += 1).unwrap();
        assert_eq!(written(), at(8));
        // A long round is written in between.
        peers.reach(url, &at(9)).unwrap();
        let long_ago = Instant::now().checked_sub(POSITIONS_WAIT).unwrap();
        peers.lock().since = Some(long_ago);
        peers.reach(url, &at(10)).unwrap();
        assert_eq!(written(), at(10));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers.json");
        write_file(&path, b"{").unwrap();
        assert!(matches!(Peers::open(&path), Err(PeersError::Unreadable { .. })));
    }
}
