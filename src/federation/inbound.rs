//! Inbound peers: instances that start rounds with this one. Holds what each reports of its rounds, signed. Does not decide what a peer may do.

use super::{peers::Direction, round::Outcome};
use crate::{
    guard::Payer,
    json::{Object, Value},
    lattice::offline::{OfflineError, write_file},
    manifest::{Lineage, Position},
    types::{PeerId, PublicKey, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Most inbound peers.
pub const MAX_INBOUND: usize = 1000;
/// Entries reserved for peers that may write here.
pub const RESERVED: usize = 500;
/// Most strangers per address (IPv6: per /48).
pub const MAX_OF_ONE_ADDRESS: usize = 20;
/// Most peers that may write here because of one voucher.
pub const MAX_OF_ONE_VOUCHER: usize = 250;
/// A peer without a stated next round is connected for this long after its last contact.
const CONNECTED_FOR: Duration = Duration::from_secs(150);
/// Upper bound on the stated time until the next round.
const LONGEST_PAUSE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Minimum time between two writes of the file.
const WRITE_EVERY: Duration = Duration::from_secs(60);
/// The same, where a peer is new.
const WRITE_NEW_EVERY: Duration = Duration::from_secs(1);

/// The status of a peer's last round with this instance: the body of `POST /lattice/round`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerRoundStatus {
    /// Direction of changes, from the peer's point of view.
    pub direction: Direction,
    /// A filter selects them.
    pub filtered: bool,
    /// How the round ended; `None`: in a way that this version does not know.
    pub outcome: Option<Outcome>,
    /// Newest position of its journal.
    pub stands: Option<Position>,
    /// Position of this instance's journal up to which it has everything.
    pub holds: Option<Position>,
    /// Position of its journal up to which it sent everything to this instance.
    pub sent: Option<Position>,
    /// Longest time until its next round; `None`: its rounds are not automatic.
    pub next_in: Option<Duration>,
}

impl PeerRoundStatus {
    /// Reads the members that are known. `None`: one of them has another form.
    #[must_use]
    pub fn read(object: &Object<'_>) -> Option<Self> {
        let text = |name: &str| object.get(name).map(|value| value.as_str()).map_or(Some(None), |text| text.map(Some));
        let position = |name: &str| match text(name)? {
            Some(text) => Position::parse(&text).map(Some),
            None => Some(None),
        };
        let seconds = match object.get("next_in") {
            Some(value) => Some(value.as_number()?.parse::<u64>().ok()?),
            None => None,
        };
        Some(Self {
            direction: match &*text("direction")?? {
                "both" => Direction::Both,
                "pull" => Direction::Pull,
                "push" => Direction::Push,
                _ => return None,
            },
            filtered: object.get("filtered").map_or(Some(false), Value::as_bool)?,
            outcome: text("outcome")?.and_then(|text| Outcome::parse(&text)),
            stands: position("stands")?,
            holds: position("holds")?,
            sent: position("sent")?,
            next_in: seconds.map(|seconds| Duration::from_secs(seconds).min(LONGEST_PAUSE)),
        })
    }

    /// As it is sent.
    #[must_use]
    pub fn to_json(&self) -> String {
        let position = |position: &Option<Position>| position.as_ref().map(ToString::to_string);
        let mut note = serde_json::json!({
            "direction": self.direction, "filtered": self.filtered, "outcome": self.outcome.map(Outcome::as_str),
            "stands": position(&self.stands), "holds": position(&self.holds), "sent": position(&self.sent),
            "next_in": self.next_in.map(|next_in| next_in.as_secs()),
        });
        if let Some(members) = note.as_object_mut() {
            members.retain(|_, value| !value.is_null());
        }
        note.to_string()
    }
}

/// The sender of a signed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Its id.
    pub peer: PeerId,
    /// The key that signed.
    pub key: PublicKey,
    /// Source address, where it is known.
    pub address: Option<IpAddr>,
    /// The peer may write here, or is a peer of this instance.
    pub known: bool,
    /// The instance that answers for it, where it is verified by vouchers.
    pub voucher: Option<PeerId>,
}

/// The state of an inbound peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboundPeer {
    /// Source address of the last contact, where it is known.
    pub address: Option<IpAddr>,
    /// First contact.
    pub first: Timestamp,
    /// Last contact.
    pub last: Timestamp,
    /// Direction of changes; `None`: not reported.
    pub direction: Option<Direction>,
    /// A filter selects them.
    pub filtered: bool,
    /// Reported outcome of its last round.
    pub outcome: Option<String>,
    /// Newest position of its journal.
    pub stands: Option<Position>,
    /// Position of this instance's journal up to which it has everything.
    pub holds: Option<Position>,
    /// Position of its journal up to which it sent everything.
    pub sent: Option<Position>,
    /// Longest time until its next round, seconds after `last`.
    pub next_in: Option<u64>,
    /// Nodes and deletions received and applied.
    pub received: u64,
}

impl InboundPeer {
    fn new(contact: &Contact, now: Timestamp) -> Self {
        Self {
            address: contact.address,
            first: now,
            last: now,
            direction: None,
            filtered: false,
            outcome: None,
            stands: None,
            holds: None,
            sent: None,
            next_in: None,
            received: 0,
        }
    }

    /// Is the last contact more recent than twice the stated time between rounds (150 s at least)?
    #[must_use]
    pub fn is_connected(&self, now: Timestamp) -> bool {
        let pause = self.next_in.map_or(CONNECTED_FOR, |seconds| Duration::from_secs(seconds).saturating_mul(2));
        now.since(self.last) <= pause.max(CONNECTED_FOR)
    }

    /// Changes of this instance, whose journal has these epochs and stands at `seq`, that are not there. `None`: not known, or none go
    /// there.
    #[must_use]
    pub fn to_send(&self, lineage: &Lineage, seq: u64) -> Option<u64> {
        let takes = self.direction != Some(Direction::Push);
        let holds = self.holds.as_ref().filter(|holds| takes && lineage.check(holds, seq).is_ok())?;
        Some(seq.saturating_sub(holds.seq))
    }

    /// Its changes that are not here. `None`: not known, or none come.
    #[must_use]
    pub fn to_receive(&self) -> Option<u64> {
        let gives = self.direction != Some(Direction::Pull);
        let (stands, sent) = (self.stands.as_ref().filter(|_| gives)?, self.sent.as_ref()?);
        (stands.epoch == sent.epoch).then(|| stands.seq.saturating_sub(sent.seq))
    }

    fn take(&mut self, note: PeerRoundStatus) {
        let PeerRoundStatus { direction, filtered, outcome, stands, holds, sent, next_in } = note;
        (self.direction, self.filtered) = (Some(direction), filtered);
        self.outcome = outcome.map(|outcome| outcome.as_str().to_owned());
        (self.stands, self.holds, self.sent) = (stands, holds, sent);
        self.next_in = next_in.map(|next_in| next_in.as_secs());
    }
}

/// Kind of a contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContactKind {
    /// The status of a round.
    Round(PeerRoundStatus),
    /// A push, and how many changes were applied.
    Push {
        /// Nodes and deletions.
        taken: u64,
    },
}

/// Effect of recording a contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactEffect {
    /// The peer was not connected before.
    pub is_back: bool,
    /// Changes received since the last reported end of a round: where the contact is that report, or the peer sends none.
    pub round: Option<RoundTransfer>,
}

/// Changes received in one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundTransfer {
    /// When the first one was received.
    pub since: Timestamp,
    /// Nodes and deletions that were applied.
    pub received: u64,
}

type Who = (PeerId, PublicKey);

#[derive(Debug)]
struct Row {
    inbound: InboundPeer,
    known: bool,
    account: Payer,
    voucher: Option<PeerId>,
    /// The peer reports the ends of its rounds.
    reports: bool,
    transfer: Option<RoundTransfer>,
}

#[derive(Debug, Default)]
struct State {
    rows: HashMap<Who, Row>,
    /// By the process's own clock.
    written_at: Option<Duration>,
    is_moved: bool,
}

/// File format. Peers that may not write here are not stored, so strangers cause no disk writes.
#[derive(Serialize, Deserialize)]
struct Kept {
    id: String,
    public_key: String,
    #[serde(flatten)]
    inbound: InboundPeer,
}

/// All inbound peers.
#[derive(Debug)]
pub struct InboundPeers {
    path: PathBuf,
    state: Mutex<State>,
}

impl State {
    /// Removes the matching peer with the oldest last contact.
    fn remove_oldest(&mut self, matches: impl Fn(&Row) -> bool) {
        let found = self.rows.iter().filter(|(_, row)| matches(row));
        if let Some(who) = found.min_by_key(|(_, row)| row.inbound.last).map(|(who, _)| who.clone()) {
            self.rows.remove(&who);
        }
    }

    fn make_room(&mut self, &Contact { known, ref voucher, .. }: &Contact, account: Payer) {
        let count =
            |state: &Self, matches: &dyn Fn(&Row) -> bool| state.rows.values().filter(|row| matches(row)).count();
        let of_account = move |row: &Row| !row.known && row.account == account;
        if !known && count(self, &of_account) >= MAX_OF_ONE_ADDRESS {
            self.remove_oldest(of_account);
        }
        let of_voucher = move |row: &Row| row.known && row.voucher.is_some() && row.voucher == *voucher;
        if known && count(self, &of_voucher) >= MAX_OF_ONE_VOUCHER {
            self.remove_oldest(of_voucher);
        }
        let most = if known { RESERVED } else { MAX_INBOUND - RESERVED };
        let of_class = move |row: &Row| row.known == known;
        if count(self, &of_class) >= most {
            self.remove_oldest(of_class);
        }
    }
}

impl InboundPeers {
    /// Reads the file. An unreadable file is logged and replaced by an empty list.
    #[must_use]
    pub fn open(path: &Path) -> Self {
        let kept: Vec<Kept> = match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, path = %path.display(), "the list of instances that connect cannot be read; it begins anew");
                Vec::new()
            }),
            Err(_) => Vec::new(),
        };
        let row = |kept: Kept| {
            let who = (PeerId::parse(&kept.id).ok()?, PublicKey::parse(&kept.public_key).ok()?);
            let account = Payer::wide(kept.inbound.address);
            Some((
                who,
                Row { inbound: kept.inbound, known: true, account, voucher: None, reports: false, transfer: None },
            ))
        };
        let rows = kept.into_iter().take(RESERVED).filter_map(row).collect();
        Self { path: path.to_owned(), state: Mutex::new(State { rows, ..State::default() }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a contact. `elapsed`: the process's monotonic clock.
    pub fn record(&self, contact: Contact, kind: ContactKind, now: Timestamp, elapsed: Duration) -> ContactEffect {
        let mut state = self.lock();
        let (who, account) = ((contact.peer.clone(), contact.key), Payer::wide(contact.address));
        let is_new = !state.rows.contains_key(&who);
        if is_new {
            state.make_room(&contact, account);
        }
        let row = state.rows.entry(who).or_insert_with(|| Row {
            inbound: InboundPeer::new(&contact, now),
            known: contact.known,
            account,
            voucher: None,
            reports: false,
            transfer: None,
        });
        let is_back = is_new || !row.inbound.is_connected(now);
        (row.known, row.account, row.voucher) = (contact.known, account, contact.voucher);
        row.inbound.last = row.inbound.last.max(now);
        row.inbound.address = contact.address.or(row.inbound.address);
        let ends = match kind {
            ContactKind::Round(note) => {
                row.reports = true;
                row.inbound.take(note);
                true
            }
            ContactKind::Push { taken } => {
                row.inbound.received = row.inbound.received.saturating_add(taken);
                let transfer = row.transfer.get_or_insert(RoundTransfer { since: now, received: 0 });
                transfer.received = transfer.received.saturating_add(taken);
                // Release 0.1.0 does not report the ends of its rounds.
                !row.reports
            }
        };
        let transfer = if ends { row.transfer.take() } else { None };
        state.is_moved |= contact.known;
        let pause = if is_new { WRITE_NEW_EVERY } else { WRITE_EVERY };
        let is_due = state.written_at.is_none_or(|at| elapsed.saturating_sub(at) >= pause);
        if contact.known && is_due {
            self.keep(&mut state, elapsed);
        }
        ContactEffect { is_back, round: transfer.filter(|transfer| transfer.received > 0) }
    }

    /// All inbound peers, newest contact first.
    #[must_use]
    pub fn list(&self) -> Vec<(PeerId, PublicKey, InboundPeer)> {
        let state = self.lock();
        let rows = state.rows.iter().map(|((peer, key), row)| (peer.clone(), *key, row.inbound.clone()));
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by(|one, other| (other.2.last, &one.0, one.1).cmp(&(one.2.last, &other.0, other.1)));
        rows
    }

    /// Ids of the connected peers that may write here, and the newest contact of such a peer. `speaks`: is the key not revoked since?
    #[must_use]
    pub fn connected(
        &self,
        now: Timestamp,
        speaks: impl Fn(&PeerId, PublicKey) -> bool,
    ) -> (BTreeSet<PeerId>, Option<Timestamp>) {
        let state = self.lock();
        let known = || state.rows.iter().filter(|((peer, key), row)| row.known && speaks(peer, *key));
        let connected = known().filter(|(_, row)| row.inbound.is_connected(now)).map(|((peer, _), _)| peer.clone());
        (connected.collect(), known().map(|(_, row)| row.inbound.last).max())
    }

    /// Writes pending changes to the file.
    pub fn flush(&self, elapsed: Duration) {
        let mut state = self.lock();
        if state.is_moved {
            self.keep(&mut state, elapsed);
        }
    }

    fn keep(&self, state: &mut State, elapsed: Duration) {
        let kept = state.rows.iter().filter(|(_, row)| row.known).map(|((peer, key), row)| Kept {
            id: peer.to_string(),
            public_key: key.to_base64(),
            inbound: row.inbound.clone(),
        });
        let text = serde_json::to_vec(&kept.collect::<Vec<_>>()).unwrap_or_default();
        let written: Result<(), OfflineError> = write_file(&self.path, &text);
        if let Err(error) = written {
            tracing::warn!(%error, "the list of instances that connect cannot be kept");
        }
        (state.written_at, state.is_moved) = (Some(elapsed), false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{json::Document, manifest::Epoch};
    use bytes::Bytes;

    fn contact(name: &str, key: u32, address: &str, known: bool) -> Contact {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&key.to_be_bytes());
        let (peer, key) = (PeerId::parse(name).unwrap(), PublicKey::from_bytes(bytes));
        Contact { peer, key, address: Some(address.parse().unwrap()), known, voucher: None }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn position(seq: u64) -> Position {
        Position::new(Epoch::parse("00000000000000000000000000000001").unwrap(), seq)
    }

    fn bed() -> (tempfile::TempDir, InboundPeers) {
        let folder = tempfile::tempdir().unwrap();
        let peers = InboundPeers::open(&folder.path().join("inbound.json"));
        (folder, peers)
    }

    fn note() -> PeerRoundStatus {
        PeerRoundStatus {
            direction: Direction::Both,
            filtered: true,
            outcome: Some(Outcome::InStep),
            stands: Some(position(9)),
            holds: Some(position(4)),
            sent: Some(position(7)),
            next_in: Some(Duration::from_secs(600)),
        }
    }

    fn read(text: String) -> Option<PeerRoundStatus> {
        let document = Document::parse(Bytes::from(text), 16).unwrap();
        document.root().as_object().and_then(|object| PeerRoundStatus::read(&object))
    }

    #[test]
    fn a_note_is_read_as_it_was_written_and_nothing_else_is_one() {
        for note in [note(), PeerRoundStatus::default(), PeerRoundStatus { direction: Direction::Pull, ..note() }] {
            assert_eq!(read(note.to_json()), Some(note));
        }
        let later = r#"{"direction":"push","outcome":"of a later version","unknown":[1]}"#;
        assert_eq!(
            read(later.to_owned()),
            Some(PeerRoundStatus { direction: Direction::Push, ..PeerRoundStatus::default() })
        );
        let long = read(r#"{"direction":"both","next_in":18446744073709551615}"#.to_owned()).unwrap();
        assert_eq!(long.next_in, Some(LONGEST_PAUSE));
        for wrong in [
            r"{}",
            r#"{"direction":"up"}"#,
            r#"{"direction":1}"#,
            r#"{"direction":"both","stands":"1"}"#,
            r#"{"direction":"both","holds":null}"#,
            r#"{"direction":"both","next_in":-1}"#,
            r#"{"direction":"both","next_in":1.5}"#,
            r#"{"direction":"both","filtered":"no"}"#,
        ] {
            assert_eq!(read(wrong.to_owned()), None, "{wrong}");
        }
    }

    #[test]
    fn what_came_in_a_round_is_told_at_its_end_and_of_who_never_says_so_at_once() {
        let (_folder, peers) = bed();
        let (laptop, old) = (contact("laptop", 1, "192.0.2.1", true), contact("old", 2, "192.0.2.2", true));
        let round = |contact: &Contact, kind, seconds| {
            let noted = peers.record(contact.clone(), kind, at(seconds), Duration::ZERO);
            (noted.is_back, noted.round)
        };
        assert_eq!(
            round(&old, ContactKind::Push { taken: 3 }, 1),
            (true, Some(RoundTransfer { since: at(1), received: 3 }))
        );
        assert_eq!(round(&laptop, ContactKind::Round(note()), 1), (true, None));
        assert_eq!(round(&laptop, ContactKind::Push { taken: 2 }, 2), (false, None));
        assert_eq!(round(&laptop, ContactKind::Push { taken: 1 }, 3), (false, None));
        assert_eq!(
            round(&laptop, ContactKind::Round(note()), 4),
            (false, Some(RoundTransfer { since: at(2), received: 3 }))
        );
        assert_eq!(round(&laptop, ContactKind::Round(note()), 5), (false, None));
        // Twice the time after which it comes again is over.
        assert_eq!(round(&laptop, ContactKind::Round(note()), 5 + 1201), (true, None));
    }

    #[test]
    fn how_far_it_is_is_known_where_changes_go() {
        let mut inbound = InboundPeer::new(&contact("laptop", 1, "192.0.2.1", true), at(0));
        let lineage = Lineage::of(position(0).epoch, 0);
        assert_eq!((inbound.to_send(&lineage, 10), inbound.to_receive()), (None, None));
        inbound.take(note());
        assert_eq!((inbound.to_send(&lineage, 10), inbound.to_receive()), (Some(6), Some(2)));
        // It holds what this journal never had: one of the two was restored.
        assert_eq!(inbound.to_send(&lineage, 3), None);
        inbound.take(PeerRoundStatus { direction: Direction::Pull, ..note() });
        assert_eq!((inbound.to_send(&lineage, 10), inbound.to_receive()), (Some(6), None));
        inbound.take(PeerRoundStatus { direction: Direction::Push, ..note() });
        assert_eq!((inbound.to_send(&lineage, 10), inbound.to_receive()), (None, Some(2)));
    }

    #[test]
    fn strangers_take_no_place_of_those_that_may_write_and_cause_no_write() {
        let (folder, peers) = bed();
        let note = |contact| {
            peers.record(contact, ContactKind::Round(note()), at(2), Duration::ZERO);
        };
        for number in 0..3000_u32 {
            let address = format!("10.{}.{}.1", number / 200, number % 200 / 4);
            note(contact(&format!("x-{number}"), number, &address, false));
            note(contact(&format!("y-{number}"), number, "192.0.2.66", false));
        }
        assert!(!folder.path().join("inbound.json").exists());
        assert_eq!(peers.list().len(), MAX_INBOUND - RESERVED);
        assert_eq!(peers.connected(at(2), |_, _| true), (BTreeSet::new(), None));
        let of_one = peers.list().iter().filter(|(peer, ..)| peer.as_str().starts_with("y-")).count();
        assert!(of_one <= MAX_OF_ONE_ADDRESS, "{of_one}");
        note(contact("laptop", 1, "192.0.2.1", true));
        assert_eq!(peers.list().len(), MAX_INBOUND - RESERVED + 1);
        assert_eq!(peers.connected(at(3), |_, _| false), (BTreeSet::new(), None), "its key is revoked");
        let (connected, last) = peers.connected(at(3), |_, _| true);
        assert_eq!((connected.len(), last), (1, Some(at(2))));
    }

    #[test]
    fn keys_of_one_voucher_take_no_place_of_other_peers_and_cause_few_writes() {
        let (folder, peers) = bed();
        let file = folder.path().join("inbound.json");
        let note = |contact, elapsed| {
            peers.record(contact, ContactKind::Round(note()), at(2), elapsed);
        };
        note(contact("laptop", 1, "192.0.2.1", true), Duration::ZERO);
        let written = std::fs::read(&file).unwrap();
        for number in 0..2000_u32 {
            let child = contact(&format!("x-{number}"), number + 9, "192.0.2.66", true);
            let voucher = Some(PeerId::parse("evil").unwrap());
            note(Contact { voucher, ..child }, Duration::from_millis(999));
        }
        assert_eq!(std::fs::read(&file).unwrap(), written, "at most once a second");
        assert_eq!(peers.list().len(), MAX_OF_ONE_VOUCHER + 1);
        assert!(peers.list().iter().any(|(peer, ..)| peer.as_str() == "laptop"));
        note(contact("late", 2, "192.0.2.1", true), Duration::from_secs(1));
        assert_ne!(std::fs::read(&file).unwrap(), written);
    }

    #[test]
    fn those_that_may_write_outlive_the_process() {
        let (folder, peers) = bed();
        let laptop = contact("laptop", 1, "192.0.2.1", true);
        let note = |kind, seconds: u64| {
            let now = at(i64::try_from(seconds).unwrap());
            peers.record(laptop.clone(), kind, now, Duration::from_secs(seconds))
        };
        note(ContactKind::Push { taken: 2 }, 1);
        let kept = || InboundPeers::open(&folder.path().join("inbound.json")).list().remove(0).2;
        assert_eq!((kept().received, kept().outcome), (2, None));
        note(ContactKind::Round(PeerRoundStatus::default()), 2);
        note(ContactKind::Push { taken: 1 }, 3);
        assert_eq!(kept().received, 2, "once a minute");
        peers.flush(Duration::from_secs(4));
        assert_eq!((kept().received, kept().last), (3, at(3)));
        note(ContactKind::Push { taken: 1 }, 70);
        assert_eq!(kept().received, 4);
        write_file(&folder.path().join("inbound.json"), b"{").unwrap();
        assert!(InboundPeers::open(&folder.path().join("inbound.json")).list().is_empty());
    }
}
