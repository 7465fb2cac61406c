//! Two instances prove to each other that each holds its key: a nonce of each side, and both ids and keys, under both signatures. What
//! is signed here fits nowhere else, and to no other conversation.

use crate::types::{PeerId, PublicKey, Timestamp};
use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 32;
/// A nonce of one side.
pub type Nonce = [u8; NONCE_BYTES];

/// Conversations that are open at a time, each of at most 2.5 KiB. Beyond it the oldest of the address with most of them makes room, so
/// that a flood of keys from few addresses displaces its own only.
const MAX_OPEN: usize = 1024;
/// Conversations of one address that are open at a time; its oldest makes room.
const MAX_OPEN_OF_ONE: usize = 64;
/// Conversations of one key that are open at a time. More than one: a request that somebody recorded and repeats opens one, too.
const MAX_OPEN_OF_KEY: usize = 4;
/// How long the second half of one may take.
const LIFE: Duration = Duration::from_secs(60);
const CONTEXT: &[u8] = b"ark-lattice trust challenge v1\0";

/// Who signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who asked first.
    Asking,
    /// Who was asked.
    Asked,
}

/// What both sides sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcript {
    /// Who asked first: id and key.
    pub asking: (PeerId, PublicKey),
    /// Who was asked.
    pub asked: (PeerId, PublicKey),
    /// The nonce of who asked.
    pub nonce: Nonce,
    /// The nonce of who was asked.
    pub answer_nonce: Nonce,
}

impl Transcript {
    /// The bytes that a side signs. Its own name is in them: a signature of one side is none of the other.
    #[must_use]
    pub fn bytes(&self, side: Side) -> Vec<u8> {
        let mut out = CONTEXT.to_vec();
        out.push(match side {
            Side::Asking => 1,
            Side::Asked => 2,
        });
        for (id, key) in [&self.asking, &self.asked] {
            // With its length, so that no two ids can share their border.
            out.extend_from_slice(&u64::try_from(id.as_str().len()).unwrap_or(u64::MAX).to_be_bytes());
            out.extend_from_slice(id.as_str().as_bytes());
            out.extend_from_slice(key.as_bytes());
        }
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(&self.answer_nonce);
        out
    }
}

/// A conversation of which the second half is still to come.
#[derive(Debug)]
struct Open {
    at: Duration,
    /// When its request was signed, by the sender's clock.
    signed: Timestamp,
    /// Where it began; `None`: this machine.
    address: Option<Box<str>>,
    transcript: Transcript,
}

/// All conversations of which the second half is still to come, the oldest first.
#[derive(Debug, Default)]
pub struct Challenges {
    open: VecDeque<Open>,
}

impl Challenges {
    /// Opens one that began at this address with a request that was signed at `signed`, at `elapsed` of the process's own clock; what is to
    /// be answered. A request that comes again has the same answer, and ends no other conversation. `None`: its key has newer ones.
    pub fn open(
        &mut self,
        transcript: Transcript,
        signed: Timestamp,
        address: Option<Box<str>>,
        elapsed: Duration,
    ) -> Option<Transcript> {
        self.open.retain(|open| elapsed.saturating_sub(open.at) <= LIFE);
        let is_again = |it: &&Open| {
            let it = &it.transcript;
            (&it.asking, &it.asked, &it.nonce) == (&transcript.asking, &transcript.asked, &transcript.nonce)
        };
        if let Some(again) = self.open.iter().find(is_again) {
            return Some(again.transcript.clone());
        }
        self.make_room_of_key(transcript.asking.1, signed)?;
        let of_one = self.open.iter().filter(|open| open.address == address).count();
        if address.is_some() && of_one >= MAX_OPEN_OF_ONE {
            self.close_oldest_of(&address);
        } else if self.open.len() >= MAX_OPEN {
            let most = self.address_of_most();
            self.close_oldest_of(&most);
        }
        self.open.push_back(Open { at: elapsed, signed, address, transcript: transcript.clone() });
        Some(transcript)
    }

    /// Of one key the conversations that were signed last stay: a listener who repeats what it recorded displaces none of them.
    fn make_room_of_key(&mut self, key: PublicKey, signed: Timestamp) -> Option<()> {
        let of_key = self.open.iter().enumerate().filter(|(_, open)| open.transcript.asking.1 == key);
        if of_key.clone().count() < MAX_OPEN_OF_KEY {
            return Some(());
        }
        let (at, oldest) = of_key.min_by_key(|(_, open)| open.signed)?;
        if oldest.signed > signed {
            return None;
        }
        self.open.remove(at).map(drop)
    }

    fn address_of_most(&self) -> Option<Box<str>> {
        let mut counts = HashMap::<&Option<Box<str>>, usize>::new();
        for open in &self.open {
            let count = counts.entry(&open.address).or_default();
            *count = count.saturating_add(1);
        }
        counts.into_iter().max_by_key(|(_, count)| *count).and_then(|(address, _)| address.clone())
    }

    fn close_oldest_of(&mut self, address: &Option<Box<str>>) {
        if let Some(at) = self.open.iter().position(|open| open.address == *address) {
            self.open.remove(at);
        }
    }

    /// Takes the one of this key that an answer fits; it is gone then, so nobody answers twice. A wrong answer ends none.
    pub fn take(
        &mut self,
        asking: &(PeerId, PublicKey),
        elapsed: Duration,
        fits: impl Fn(&Transcript) -> bool,
    ) -> Option<Transcript> {
        self.open.retain(|open| elapsed.saturating_sub(open.at) <= LIFE);
        let at = self.open.iter().position(|open| open.transcript.asking == *asking && fits(&open.transcript))?;
        self.open.remove(at).map(|open| open.transcript)
    }

    /// Has this key a conversation that is open?
    #[must_use]
    pub fn has(&self, asking: &(PeerId, PublicKey), elapsed: Duration) -> bool {
        let is_it = |it: &Open| it.transcript.asking == *asking && elapsed.saturating_sub(it.at) <= LIFE;
        self.open.iter().any(is_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript(name: &str, key: u8) -> Transcript {
        let side = |name: &str, key| (PeerId::parse(name).unwrap(), PublicKey::from_bytes([key; 32]));
        Transcript { asking: side(name, key), asked: side("b", 2), nonce: [3; 32], answer_nonce: [4; 32] }
    }

    #[test]
    fn whatever_differs_is_in_what_is_signed() {
        let whole = transcript("a", 1);
        let mut all = vec![whole.bytes(Side::Asking), whole.bytes(Side::Asked)];
        all.push(transcript("A", 1).bytes(Side::Asking));
        all.push(transcript("a", 9).bytes(Side::Asking));
        all.push(Transcript { nonce: [9; 32], ..whole.clone() }.bytes(Side::Asking));
        all.push(Transcript { answer_nonce: [9; 32], ..whole.clone() }.bytes(Side::Asking));
        all.push(Transcript { asking: whole.asked.clone(), asked: whole.asking.clone(), ..whole }.bytes(Side::Asking));
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn each_conversation_is_answered_once_and_in_time() {
        let (mut challenges, at) = (Challenges::default(), Duration::from_secs);
        let (one, two) = (transcript("a", 1), transcript("c", 5));
        open(&mut challenges, one.clone(), None, at(0));
        open(&mut challenges, two.clone(), None, at(1));
        assert_eq!(challenges.take(&one.asking, at(60), |_| false), None);
        assert!(challenges.has(&one.asking, at(60)), "a wrong answer ends nothing");
        assert_eq!(challenges.take(&one.asking, at(60), |_| true), Some(one.clone()));
        assert_eq!(challenges.take(&one.asking, at(60), |_| true), None);
        assert_eq!(challenges.take(&two.asking, at(62), |_| true), None, "too late");
        for number in 0..3000 {
            open(&mut challenges, flood(number), None, at(100));
        }
        assert_eq!(challenges.open.len(), MAX_OPEN);
    }

    fn open(challenges: &mut Challenges, transcript: Transcript, address: Option<Box<str>>, elapsed: Duration) {
        challenges.open(transcript, Timestamp::EPOCH, address, elapsed).unwrap();
    }

    #[test]
    fn a_request_that_is_repeated_ends_no_conversation() {
        let (mut challenges, elapsed) = (Challenges::default(), Duration::from_secs(1));
        let signed = |nonce: u8| Timestamp::from_seconds(nonce.into());
        let of =
            |nonce: u8, answer: u8| Transcript { nonce: [nonce; 32], answer_nonce: [answer; 32], ..transcript("a", 1) };
        let honest = of(9, 100);
        assert_eq!(challenges.open(honest.clone(), signed(9), None, elapsed), Some(honest.clone()));
        assert_eq!(challenges.open(of(9, 101), signed(9), None, elapsed), Some(honest.clone()), "the same answer");
        let repeated: Vec<_> =
            (1..9).map(|nonce| challenges.open(of(nonce, 102), signed(nonce), None, elapsed)).collect();
        assert!(repeated.iter().all(Option::is_some), "each displaces an older one");
        assert_eq!(challenges.open(of(1, 103), signed(1), None, elapsed), None);
        assert_eq!(challenges.open.len(), MAX_OPEN_OF_KEY);
        assert_eq!(challenges.take(&honest.asking, elapsed, |it| it.nonce == [9; 32]), Some(honest));
    }

    fn flood(number: u32) -> Transcript {
        let mut flood = transcript("flood", 1);
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        flood.asking.1 = PublicKey::from_bytes(key);
        flood
    }

    #[test]
    fn a_flood_of_keys_displaces_its_own_conversations_only() {
        let (mut challenges, at) = (Challenges::default(), Duration::from_secs(1));
        let honest = transcript("honest", 9);
        open(&mut challenges, honest.clone(), Some("4:honest".into()), at);
        // One address has its share,
        (0..3000).for_each(|number| open(&mut challenges, flood(number), Some("4:one".into()), at));
        assert_eq!(challenges.open.len(), 1 + MAX_OPEN_OF_ONE);
        // and many of them, or this machine's own programs, lose their own oldest.
        for number in 3000..9000 {
            let address = (number % 3 > 0).then(|| format!("4:{}", number % 400).into());
            open(&mut challenges, flood(number), address, at);
        }
        assert_eq!(challenges.open.len(), MAX_OPEN);
        assert_eq!(challenges.take(&honest.asking, at, |_| true), Some(honest));
    }

    #[test]
    fn open_conversations_take_the_memory_that_is_stated() {
        let mut challenges = Challenges::default();
        for number in 0..9000 {
            // The longest id: 256 characters of four bytes.
            let mut flood = flood(number);
            flood.asking.0 = PeerId::parse(&format!("{number:08}{}", "\u{1F600}".repeat(248))).unwrap();
            open(&mut challenges, flood, Some(format!("4:{:08x}", number % 400).into()), Duration::from_secs(1));
        }
        let heap =
            |open: &Open| open.transcript.asking.0.as_str().len() + 16 + open.address.as_ref().map_or(0, |it| it.len());
        let of_one = size_of::<Open>() + heap(&challenges.open[0]);
        let bytes = challenges.open.capacity() * size_of::<Open>() + challenges.open.iter().map(heap).sum::<usize>();
        eprintln!("{} conversations: {} KiB, {of_one} bytes each", challenges.open.len(), bytes >> 10);
        // SECURITY.md.
        assert!(
            challenges.open.len() == MAX_OPEN && bytes <= 3 << 19 && of_one <= 1500,
            "{bytes} bytes, {of_one} each"
        );
    }
}
