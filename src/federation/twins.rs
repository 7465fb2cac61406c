//! Instances that push here with one identity: two copies of one state. Each states where its journal stands; of copies that both go on,
//! the epochs alternate. A restored instance begins a new epoch before it goes on.

use crate::{
    manifest::{Epoch, Position},
    types::{PeerId, PublicKey, Timestamp},
};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// What gives one of two instances an identity of its own.
pub const ANOTHER_IDENTITY: &str = "on one of the two machines stop the service and start it with another id, \
     and with a new state directory (its documents stay): ARK_NODE_ID=<new id> ARK_STATE_PATH=<new directory> ark-lattice serve; \
     where its key is a setting, also with another key (ark-lattice keygen)";

/// Identities that are remembered; beyond it the one that was silent for longest is forgotten.
const MAX_SENDERS: usize = 10_000;
/// Epochs of one identity that are remembered beside the newest one.
const MAX_LEFT: usize = 16;
/// An epoch that went on after it was left: once, an operator may have put a newer copy in the place of an older one. Twice within so
/// long, two instances run.
const RETURNS_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);
/// Twins that are reported within an hour of senders without a decision of the admin: their ids cost nothing to make.
const MOST_REPORTS: usize = 10;
const REPORTS_WITHIN: Duration = Duration::from_secs(60 * 60);
/// Both are told of it for so long after their epochs last alternated.
const LASTS: Duration = Duration::from_secs(60 * 60);

/// What one identity stated.
#[derive(Debug)]
struct Stated {
    /// The newest position.
    position: Position,
    /// Where epochs stood when another one came.
    left: VecDeque<Position>,
    at: Timestamp,
    /// It may write here by the admin's decision.
    known: bool,
    returned_at: Option<Timestamp>,
    alternated_at: Option<Timestamp>,
}

/// What a push shows of its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting {
    /// Nothing.
    Single,
    /// Another instance pushes with the same identity.
    Twin {
        /// That was not known before, and is to be reported.
        is_new: bool,
    },
}

#[derive(Debug, Default)]
struct State {
    senders: HashMap<(PeerId, PublicKey), Stated>,
    /// When twins of senders without a decision of the admin were reported.
    reports: Vec<Timestamp>,
}

/// Where the journals of senders stood, in memory.
#[derive(Debug, Default)]
pub struct Twins(Mutex<State>);

impl Twins {
    /// Notes where the journal of a sender stands, as it signed. `known`: it may write here by the admin's decision; of the others few
    /// are reported, and none takes the place of a known one.
    pub fn note(&self, sender: (&PeerId, PublicKey), known: bool, position: &Position, now: Timestamp) -> Sighting {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let identity = (sender.0.clone(), sender.1);
        state.make_room(&identity);
        let stated = state.senders.entry(identity).or_insert_with(|| Stated {
            position: position.clone(),
            left: VecDeque::new(),
            at: now,
            known,
            returned_at: None,
            alternated_at: None,
        });
        (stated.at, stated.known) = (now, known);
        let was_twin = stated.is_twin(now);
        stated.go_on(position, now);
        match (stated.is_twin(now), was_twin) {
            (false, _) => Sighting::Single,
            (true, true) => Sighting::Twin { is_new: false },
            (true, false) => Sighting::Twin { is_new: known || state.may_report(now) },
        }
    }
}

impl State {
    fn make_room(&mut self, identity: &(PeerId, PublicKey)) {
        if self.senders.contains_key(identity) || self.senders.len() < MAX_SENDERS {
            return;
        }
        let silent = self.senders.iter().min_by_key(|(_, stated)| (stated.known, stated.at));
        if let Some(silent) = silent.map(|(identity, _)| identity.clone()) {
            self.senders.remove(&silent);
        }
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

impl Stated {
    fn is_twin(&self, now: Timestamp) -> bool {
        self.alternated_at.is_some_and(|at| now.since(at) < LASTS)
    }

    fn go_on(&mut self, position: &Position, now: Timestamp) {
        if self.position.epoch == position.epoch {
            self.position.seq = self.position.seq.max(position.seq);
            return;
        }
        let known = self.left.iter().position(|left| left.epoch == position.epoch);
        let before = known.and_then(|known| self.left.remove(known));
        if before.as_ref().is_some_and(|before| position.seq > before.seq) {
            if self.returned_at.is_some_and(|at| now.since(at) < RETURNS_WITHIN) {
                self.alternated_at = Some(now);
            }
            self.returned_at = Some(now);
        }
        let seq = before.map_or(position.seq, |before| before.seq.max(position.seq));
        let next = Position::new(Epoch::clone(&position.epoch), seq);
        self.left.push_back(std::mem::replace(&mut self.position, next));
        if self.left.len() > MAX_LEFT {
            self.left.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::KeyPair;

    fn at(epoch: u8, seq: u64) -> Position {
        Position::new(Epoch::from_bytes([epoch; 8]), seq)
    }

    #[test]
    fn two_that_go_on_are_twins_and_one_that_is_restored_is_not() {
        let (peer, key) = (PeerId::parse("a").unwrap(), KeyPair::generate().unwrap().public_key());
        let time = Timestamp::from_seconds;
        let seen = |twins: &Twins, positions: &[Position]| {
            let note = |(now, position): (i64, &Position)| twins.note((&peer, key), true, position, time(now));
            (0..).zip(positions).map(note).collect::<Vec<_>>()
        };
        let twin = |is_new| Sighting::Twin { is_new };
        // A copy is started beside its original: its first write begins an epoch.
        let alternating = [at(1, 5), at(2, 6), at(1, 7), at(2, 8), at(1, 9)];
        let single = Sighting::Single;
        let twins = Twins::default();
        assert_eq!(seen(&twins, &alternating), [single, single, single, twin(true), twin(false)]);
        assert_eq!(twins.note((&peer, key), true, &at(1, 10), time(3600)), twin(false));
        assert_eq!(twins.note((&peer, key), true, &at(1, 10), time(3605)), single, "one of them is gone");
        // Restored again and again to the same copy, and once from it to a newer one.
        let restored = [at(1, 5), at(2, 9), at(1, 5), at(3, 6), at(1, 5), at(4, 7), at(1, 5), at(5, 6)];
        assert_eq!(seen(&Twins::default(), &restored), [single; 8]);
        assert_eq!(seen(&Twins::default(), &[at(1, 5), at(2, 6), at(1, 7), at(3, 8), at(4, 9)]), [single; 5]);
        // Another key is another identity.
        let other = KeyPair::generate().unwrap().public_key();
        let twins = Twins::default();
        let keys = [key, other, key, other, key];
        let notes =
            alternating.iter().zip(keys).map(|(position, key)| twins.note((&peer, key), true, position, time(0)));
        assert_eq!(notes.collect::<Vec<_>>(), [single; 5]);
    }

    #[test]
    fn identities_are_bounded() {
        let (twins, key) = (Twins::default(), KeyPair::generate().unwrap().public_key());
        for number in 0..MAX_SENDERS + 5 {
            let peer = PeerId::parse(&format!("peer-{number}")).unwrap();
            twins.note((&peer, key), number == 0, &at(1, 1), Timestamp::from_seconds(i64::try_from(number).unwrap()));
        }
        let state = twins.0.lock().unwrap();
        assert_eq!(state.senders.len(), MAX_SENDERS);
        let first = (PeerId::parse("peer-0").unwrap(), key);
        assert!(state.senders.contains_key(&first), "a known sender keeps its place");
    }

    #[test]
    fn twins_of_many_strangers_are_reported_a_few_times_an_hour_and_known_ones_always() {
        let (twins, key) = (Twins::default(), KeyPair::generate().unwrap().public_key());
        let is_reported = |number: usize, known, second: i64| {
            let peer = PeerId::parse(&format!("peer-{number}")).unwrap();
            let positions = [at(1, 5), at(2, 6), at(1, 7), at(2, 8)];
            let last = positions.iter().map(|it| twins.note((&peer, key), known, it, Timestamp::from_seconds(second)));
            match last.last() {
                Some(Sighting::Twin { is_new }) => is_new,
                other => panic!("{other:?}"),
            }
        };
        let reported =
            |first: usize, second| (first..first + 100).filter(|number| is_reported(*number, false, second)).count();
        assert_eq!((reported(0, 0), reported(100, 3599)), (MOST_REPORTS, 0));
        assert!(is_reported(1000, true, 3599), "of a known sender");
        assert_eq!(reported(200, 3600), MOST_REPORTS);
    }
}
