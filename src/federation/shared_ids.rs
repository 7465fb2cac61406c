//! Ids that two machines use: with two keys, or with one copied key. Holds where that was last seen, for status, `/health` and `doctor`.
//! Decides nothing about what either may do.

use super::twins::ANOTHER_IDENTITY;
use crate::{
    lattice::offline::{OfflineError, write_file},
    types::{PeerId, PublicKey, ShellWord, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// An entry ends so long after it was last seen.
const LASTS: Duration = Duration::from_secs(24 * 60 * 60);
/// Most entries. Those that the admin's peers cause are not displaced by those of strangers.
const MAX_ENTRIES: usize = 100;
/// Entries of strangers that are logged within an hour: their ids and keys cost nothing to make.
const MOST_REPORTS: usize = 10;
const REPORTS_WITHIN: Duration = Duration::from_secs(60 * 60);
/// How often a newer date of a known entry is written down.
const WRITE_EVERY: Duration = Duration::from_secs(60 * 60);

/// How two machines use one id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// Each with a key of its own.
    OtherKey,
    /// Both with one key: a copied state directory or key.
    CopiedKey,
}

impl Sharing {
    /// As the API shows it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OtherKey => "other_key",
            Self::CopiedKey => "copied_key",
        }
    }
}

/// An id that two machines use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedId {
    /// The id.
    pub id: String,
    /// How.
    pub sharing: Sharing,
    /// It is the id of this instance.
    pub is_own: bool,
    /// The key of the other machine, base64, where it is known.
    pub other_key: Option<String>,
    /// Where it was last seen: the address of the other machine, or of the peer that told of it.
    pub seen_at: Option<String>,
    /// First seen.
    pub first: Timestamp,
    /// Last seen.
    pub last: Timestamp,
    /// The id is of a peer that the admin knows, or of this instance.
    is_known: bool,
}

impl SharedId {
    /// What happens.
    #[must_use]
    pub fn text(&self) -> String {
        let id = &self.id;
        let at = self.seen_at.as_ref().map_or_else(String::new, |at| format!(" (last seen at {at})"));
        match (self.sharing, self.is_own) {
            (Sharing::OtherKey, true) => {
                format!(
                    "another machine uses the id of this one, {id}, with another key{at}: its changes or those of this one are refused"
                )
            }
            (Sharing::OtherKey, false) => {
                format!("two machines use the id {id}, with two keys{at}: the changes of one are refused")
            }
            (Sharing::CopiedKey, true) => {
                format!("another machine runs with the id and the key of this one, {id}{at}: each exchange begins anew")
            }
            (Sharing::CopiedKey, false) => {
                format!("two machines run with one id and one key, {id}{at}: each exchange with them begins anew")
            }
        }
    }

    /// What to type.
    #[must_use]
    pub fn next(&self) -> String {
        let other_id = "on one of the two machines stop the service and start it with another id: ARK_NODE_ID=<new id> ark-lattice serve";
        match (self.sharing, &self.other_key) {
            (Sharing::CopiedKey, _) => ANOTHER_IDENTITY.to_owned(),
            (Sharing::OtherKey, Some(key)) if !self.is_own => {
                let accept = format!("ark-lattice federation accept {} --key {key}", ShellWord(&self.id));
                format!("{other_id}; if it is one machine, which has a new key: {accept}")
            }
            (Sharing::OtherKey, _) => other_id.to_owned(),
        }
    }
}

/// What was seen of an id that two machines use.
#[derive(Debug, Clone)]
pub struct Shared<'a> {
    /// The id.
    pub id: &'a PeerId,
    /// How.
    pub sharing: Sharing,
    /// It is the id of this instance.
    pub is_own: bool,
    /// The admin knows a peer of this id.
    pub is_known: bool,
    /// The key of the other machine.
    pub other_key: Option<PublicKey>,
    /// Where.
    pub seen_at: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<SharedId>,
    /// When entries of strangers were logged.
    reports: Vec<Timestamp>,
    written_at: Option<Timestamp>,
}

/// The ids that two machines used within a day.
#[derive(Debug)]
pub struct SharedIds {
    path: PathBuf,
    state: Mutex<State>,
}

impl SharedIds {
    /// Reads what was kept. A file that cannot be read is logged and begun anew: nothing depends on it.
    #[must_use]
    pub fn open(path: &Path) -> Self {
        let entries = match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, path = %path.display(), "the list of ids that two machines use cannot be read; it begins anew");
                Vec::new()
            }),
            Err(_) => Vec::new(),
        };
        Self { path: path.to_owned(), state: Mutex::new(State { entries, ..State::default() }) }
    }

    /// Notes that two machines use an id; logs it where that is new.
    pub fn note(&self, seen: &Shared<'_>, now: Timestamp) {
        let mut state = self.lock();
        state.forget_old(now);
        let is_known = seen.is_known || seen.is_own;
        let same = |it: &&mut SharedId| it.id == seen.id.as_str() && it.sharing == seen.sharing;
        let is_new = if let Some(entry) = state.entries.iter_mut().find(same) {
            entry.last = now;
            entry.is_known |= is_known;
            entry.other_key = seen.other_key.map(|key| key.to_base64()).or(entry.other_key.take());
            entry.seen_at = seen.seen_at.clone().or(entry.seen_at.take());
            false
        } else {
            let entry = SharedId {
                id: seen.id.to_string(),
                sharing: seen.sharing,
                is_own: seen.is_own,
                other_key: seen.other_key.map(|key| key.to_base64()),
                seen_at: seen.seen_at.clone(),
                first: now,
                last: now,
                is_known,
            };
            if !state.make_room(is_known) || !(is_known || state.may_report(now)) {
                return;
            }
            tracing::warn!(
                node.id = entry.id,
                sharing = entry.sharing.as_str(),
                next = entry.next(),
                "{}",
                entry.text()
            );
            state.entries.push(entry);
            true
        };
        if is_new || state.written_at.is_none_or(|at| now.since(at) > WRITE_EVERY) {
            self.keep(&mut state, now);
        }
    }

    /// Notes that this key speaks for the id now, by a decision: it is no other machine's.
    pub fn settle(&self, id: &PeerId, key: PublicKey, now: Timestamp) {
        let key = key.to_base64();
        self.remove(now, |it| {
            it.sharing == Sharing::OtherKey && it.id == id.as_str() && it.other_key.as_ref() == Some(&key)
        });
    }

    /// Notes that the peer at this address, which refused this instance for the key of another machine, takes its changes now.
    pub fn settle_own(&self, seen_at: &str, now: Timestamp) {
        self.remove(now, |it| {
            it.sharing == Sharing::OtherKey
                && it.is_own
                && it.other_key.is_none()
                && it.seen_at.as_deref() == Some(seen_at)
        });
    }

    /// The ids that two machines used within a day, as `own_id` sees them.
    #[must_use]
    pub fn list(&self, own_id: &PeerId, now: Timestamp) -> Vec<SharedId> {
        let mut state = self.lock();
        state.forget_old(now);
        // Of an id that this instance had before, it knows nothing any more.
        state.entries.iter().filter(|it| !it.is_own || it.id == own_id.as_str()).cloned().collect()
    }

    fn remove(&self, now: Timestamp, is_settled: impl Fn(&SharedId) -> bool) {
        let mut state = self.lock();
        let before = state.entries.len();
        state.entries.retain(|it| !is_settled(it));
        if state.entries.len() != before {
            self.keep(&mut state, now);
        }
    }

    fn keep(&self, state: &mut State, now: Timestamp) {
        let text = serde_json::to_vec(&state.entries).unwrap_or_default();
        let written: Result<(), OfflineError> = write_file(&self.path, &text);
        if let Err(error) = written {
            tracing::warn!(%error, "the list of ids that two machines use cannot be kept");
        }
        state.written_at = Some(now);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_old(&mut self, now: Timestamp) {
        self.entries.retain(|it| now.since(it.last) < LASTS);
    }

    /// Is there room for one more?
    fn make_room(&mut self, is_known: bool) -> bool {
        if self.entries.len() < MAX_ENTRIES {
            return true;
        }
        let oldest = self.entries.iter().enumerate().filter(|(_, it)| is_known || !it.is_known);
        let oldest = oldest.min_by_key(|(_, it)| (it.is_known, it.last)).map(|(at, _)| at);
        oldest.map(|at| self.entries.remove(at)).is_some()
    }

    fn may_report(&mut self, now: Timestamp) -> bool {
        self.reports.retain(|at| now.since(*at) < REPORTS_WITHIN);
        let may = self.reports.len() < MOST_REPORTS;
        if may {
            self.reports.push(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::KeyPair;

    fn seen(id: &PeerId, is_known: bool, other_key: Option<PublicKey>) -> Shared<'_> {
        let seen_at = Some("192.0.2.7".to_owned());
        Shared { id, sharing: Sharing::OtherKey, is_own: false, is_known, other_key, seen_at }
    }

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_seconds(hours * 3600)
    }

    #[test]
    fn an_entry_stays_a_day_after_it_was_last_seen_also_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shared_ids.json");
        let (own, pi) = (PeerId::parse("hub").unwrap(), PeerId::parse("pi").unwrap());
        let ids = SharedIds::open(&path);
        ids.note(&seen(&pi, true, None), at(0));
        ids.note(&seen(&pi, true, None), at(10));
        let ids = SharedIds::open(&path);
        let listed = ids.list(&own, at(33));
        assert_eq!((listed.len(), listed[0].first, listed[0].last), (1, at(0), at(10)));
        assert!(listed[0].text().contains("two machines use the id pi"), "{listed:?}");
        assert!(ids.list(&own, at(34)).is_empty());
    }

    #[test]
    fn a_key_that_speaks_for_the_id_now_is_no_other_machines() {
        let folder = tempfile::tempdir().unwrap();
        let (own, pi) = (PeerId::parse("hub").unwrap(), PeerId::parse("pi").unwrap());
        let keys = [0, 1].map(|_| KeyPair::generate().unwrap().public_key());
        let ids = SharedIds::open(&folder.path().join("shared_ids.json"));
        ids.note(&seen(&pi, true, Some(keys[0])), at(0));
        ids.settle(&pi, keys[1], at(1));
        let listed = ids.list(&own, at(1));
        assert!(listed[0].next().contains(&format!("accept pi --key {}", keys[0])), "{}", listed[0].next());
        ids.settle(&pi, keys[0], at(1));
        assert!(ids.list(&own, at(1)).is_empty());
    }

    #[test]
    fn of_the_own_id_only_the_present_one_is_listed() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (PeerId::parse("pi").unwrap(), PeerId::parse("pi-2").unwrap());
        let ids = SharedIds::open(&folder.path().join("shared_ids.json"));
        let own = Shared { is_own: true, seen_at: Some("http://hub".to_owned()), ..seen(&old, true, None) };
        ids.note(&own, at(0));
        assert_eq!((ids.list(&old, at(1)).len(), ids.list(&new, at(1)).len()), (1, 0));
        ids.settle_own("http://other", at(1));
        assert_eq!(ids.list(&old, at(1)).len(), 1);
        ids.settle_own("http://hub", at(1));
        assert!(ids.list(&old, at(1)).is_empty());
    }

    #[test]
    fn strangers_fill_neither_the_list_nor_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let own = PeerId::parse("hub").unwrap();
        let ids = SharedIds::open(&folder.path().join("shared_ids.json"));
        let id = |number: usize| PeerId::parse(&format!("id-{number}")).unwrap();
        ids.note(&seen(&id(0), true, None), at(0));
        for hour in 0..20 {
            (1..100).for_each(|number| {
                ids.note(&seen(&id(number + 100 * usize::try_from(hour).unwrap()), false, None), at(hour));
            });
            let listed = ids.list(&own, at(hour));
            assert!(listed.iter().any(|it| it.id == "id-0"), "of a known peer");
            assert!(listed.len() <= MAX_ENTRIES.min(1 + MOST_REPORTS * usize::try_from(hour + 1).unwrap()));
        }
    }
}
