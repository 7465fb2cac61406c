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
        /// That was not known before.
        is_new: bool,
    },
}

/// Where the journals of senders stood, in memory.
#[derive(Debug, Default)]
pub struct Twins(Mutex<HashMap<(PeerId, PublicKey), Stated>>);

impl Twins {
    /// Notes where the journal of a sender stands, as it signed.
    pub fn note(&self, sender: &PeerId, key: PublicKey, position: &Position, now: Timestamp) -> Sighting {
        let mut senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let identity = (sender.clone(), key);
        if !senders.contains_key(&identity)
            && senders.len() >= MAX_SENDERS
            && let Some(silent) =
                senders.iter().min_by_key(|(_, stated)| stated.at).map(|(identity, _)| identity.clone())
        {
            senders.remove(&silent);
        }
        let stated = senders.entry(identity).or_insert_with(|| Stated {
            position: position.clone(),
            left: VecDeque::new(),
            at: now,
            returned_at: None,
            alternated_at: None,
        });
        stated.at = now;
        let was_twin = stated.is_twin(now);
        stated.go_on(position, now);
        if stated.is_twin(now) { Sighting::Twin { is_new: !was_twin } } else { Sighting::Single }
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
            let note = |(now, position): (i64, &Position)| twins.note(&peer, key, position, time(now));
            (0..).zip(positions).map(note).collect::<Vec<_>>()
        };
        let twin = |is_new| Sighting::Twin { is_new };
        // A copy is started beside its original: its first write begins an epoch.
        let alternating = [at(1, 5), at(2, 6), at(1, 7), at(2, 8), at(1, 9)];
        let single = Sighting::Single;
        let twins = Twins::default();
        assert_eq!(seen(&twins, &alternating), [single, single, single, twin(true), twin(false)]);
        assert_eq!(twins.note(&peer, key, &at(1, 10), time(3600)), twin(false));
        assert_eq!(twins.note(&peer, key, &at(1, 10), time(3605)), single, "one of them is gone");
        // Restored again and again to the same copy, and once from it to a newer one.
        let restored = [at(1, 5), at(2, 9), at(1, 5), at(3, 6), at(1, 5), at(4, 7), at(1, 5), at(5, 6)];
        assert_eq!(seen(&Twins::default(), &restored), [single; 8]);
        assert_eq!(seen(&Twins::default(), &[at(1, 5), at(2, 6), at(1, 7), at(3, 8), at(4, 9)]), [single; 5]);
        // Another key is another identity.
        let other = KeyPair::generate().unwrap().public_key();
        let twins = Twins::default();
        let keys = [key, other, key, other, key];
        let notes = alternating.iter().zip(keys).map(|(position, key)| twins.note(&peer, key, position, time(0)));
        assert_eq!(notes.collect::<Vec<_>>(), [single; 5]);
    }

    #[test]
    fn identities_are_bounded() {
        let (twins, key) = (Twins::default(), KeyPair::generate().unwrap().public_key());
        for number in 0..MAX_SENDERS + 5 {
            let peer = PeerId::parse(&format!("peer-{number}")).unwrap();
            twins.note(&peer, key, &at(1, 1), Timestamp::from_seconds(i64::try_from(number).unwrap()));
        }
        assert_eq!(twins.0.lock().unwrap().len(), MAX_SENDERS);
    }
}
