//! Instances that ask to write here and are refused for want of trust, until the admin accepts or refuses them. In memory only: an
//! instance that still wants to write asks again within minutes, and no stranger causes a write to the disk.

use crate::{
    guard::Payer,
    types::{PeerId, PublicKey, Timestamp},
};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The most entries.
pub const MAX_PENDING: usize = 1000;
/// Places that only known peers take (those of every reserve), and ids that the settings list or that were verified, under another key.
pub const RESERVED: usize = 200;
/// The most entries that came from one address (IPv6: from one /48).
pub const MAX_OF_ONE_ADDRESS: usize = 50;
/// The most keys of one id: an impostor must not hide the instance that it imitates. The key that is bound to the id and the one that asked
/// first keep their places.
pub const MAX_OF_ONE_ID: usize = 8;
/// How long a refused instance is not listed again.
pub const REFUSED_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// The most refusals that are remembered; the oldest makes room.
const MAX_REFUSED: usize = 1000;
/// Events at once, and after how long there is one more: a flood must not push everything else out of the event stream.
const EVENTS_AT_ONCE: u32 = 10;
const ONE_MORE_EVENT_AFTER: Duration = Duration::from_secs(60);

/// An instance that asks to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asking {
    /// Its id.
    pub peer: PeerId,
    /// The key that signed.
    pub key: PublicKey,
    /// The address that it asked from, as far as it is known.
    pub address: Option<IpAddr>,
    /// It is known: see [`RESERVED`].
    pub known: bool,
    /// The registry binds the id to this key.
    pub bound: bool,
}

/// An entry of the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Which instance, and from where it asked last.
    pub asking: Asking,
    /// When it asked first.
    pub first: Timestamp,
    /// When it asked last.
    pub last: Timestamp,
    /// How often it asked.
    pub count: u64,
}

/// What noting an instance did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// It is listed now. The flag: an event may be sent.
    New(bool),
    /// It was listed, and is counted.
    Again,
    /// The admin refused it.
    Refused,
}

type Who = (PeerId, PublicKey);

#[derive(Debug)]
struct Row {
    pending: Pending,
    account: Payer,
    /// How many entries were made before it.
    number: u64,
}

#[derive(Debug, Default)]
struct State {
    rows: HashMap<Who, Row>,
    made: u64,
    /// Until when, by the process's own clock.
    refused: HashMap<Who, Duration>,
    /// When as many events as may be sent at once may be sent again.
    events_full_at: Duration,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Inbox(Mutex<State>);

/// The networks that an account is in, the widest first: IPv4 /16, /24 and the address, IPv6 /32 and /48. Whoever has many addresses
/// usually has them in few wide networks.
const NETWORKS: [fn(Payer) -> Payer; 3] =
    [|account| masked(account, 0xffff_0000, !0xffff), |account| masked(account, 0xffff_ff00, !0), |account| account];

fn masked(account: Payer, v4: u32, net48: u64) -> Payer {
    match account {
        Payer::V4(bits) => Payer::V4(bits & v4),
        Payer::Net48(bits) => Payer::Net48(bits & net48),
        Payer::Net64(_) | Payer::Key(_) | Payer::Rest => account,
    }
}

/// Of these rows those whose network has the most of them.
fn of_largest_network<'a>(rows: Vec<(&'a Who, &'a Row)>, network: fn(Payer) -> Payer) -> Vec<(&'a Who, &'a Row)> {
    let mut counts: HashMap<Payer, usize> = HashMap::new();
    for (_, row) in &rows {
        let count = counts.entry(network(row.account)).or_default();
        *count = count.saturating_add(1);
    }
    let most = counts.values().copied().max().unwrap_or_default();
    rows.into_iter().filter(|(_, row)| counts.get(&network(row.account)) == Some(&most)).collect()
}

impl State {
    /// Removes one row among those that match: in the largest of [`NETWORKS`], step by step, the one that asked longest ago.
    fn remove_one(&mut self, matches: impl Fn(&Row) -> bool) {
        let mut rows: Vec<_> = self.rows.iter().filter(|(_, row)| matches(row)).collect();
        for network in NETWORKS {
            rows = of_largest_network(rows, network);
        }
        let oldest = rows.into_iter().min_by_key(|(_, row)| row.pending.last).map(|(who, _)| who.clone());
        if let Some(who) = oldest {
            self.rows.remove(&who);
        }
    }

    fn count(&self, matches: impl Fn(&Row) -> bool) -> usize {
        self.rows.values().filter(|row| matches(row)).count()
    }

    fn make_room(&mut self, asking: &Asking, account: Payer) {
        let same_id = |row: &Row| row.pending.asking.peer == asking.peer;
        let same_account = |row: &Row| row.account == account;
        let (known, most) = (asking.known, if asking.known { RESERVED } else { MAX_PENDING - RESERVED });
        let same_class = move |row: &Row| row.pending.asking.known == known;
        if self.count(same_id) >= MAX_OF_ONE_ID {
            let first = self.rows.values().filter(|row| same_id(row)).map(|row| row.number).min();
            self.remove_one(|row| same_id(row) && !row.pending.asking.bound && Some(row.number) != first);
        }
        if self.count(same_account) >= MAX_OF_ONE_ADDRESS {
            self.remove_one(same_account);
        }
        if self.count(same_class) >= most {
            self.remove_one(same_class);
        }
    }

    fn may_send_event(&mut self, elapsed: Duration) -> bool {
        let full_at = self.events_full_at.max(elapsed).saturating_add(ONE_MORE_EVENT_AFTER);
        let may = full_at.saturating_sub(elapsed) <= ONE_MORE_EVENT_AFTER.saturating_mul(EVENTS_AT_ONCE);
        if may {
            self.events_full_at = full_at;
        }
        may
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that an instance asked and was refused. `elapsed`: the process's own clock.
    pub fn note(&self, asking: Asking, now: Timestamp, elapsed: Duration) -> Noted {
        let mut state = self.lock();
        let who = (asking.peer.clone(), asking.key);
        if let Some(until) = state.refused.get(&who) {
            if elapsed < *until {
                return Noted::Refused;
            }
            state.refused.remove(&who);
        }
        let account = Payer::wide(asking.address);
        if let Some(row) = state.rows.get_mut(&who) {
            let (last, count) = (row.pending.last.max(now), row.pending.count.saturating_add(1));
            row.pending = Pending { asking, last, count, ..row.pending };
            row.account = account;
            return Noted::Again;
        }
        state.make_room(&asking, account);
        let pending = Pending { asking, first: now, last: now, count: 1 };
        let number = state.made;
        state.made = number.saturating_add(1);
        state.rows.insert(who, Row { pending, account, number });
        Noted::New(state.may_send_event(elapsed))
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().rows.len()
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All entries, the last that asked first.
    #[must_use]
    pub fn list(&self) -> Vec<Pending> {
        let mut pending: Vec<Pending> = self.lock().rows.values().map(|row| row.pending.clone()).collect();
        pending.sort_by(|a, b| (b.last, &a.asking.peer, a.asking.key).cmp(&(a.last, &b.asking.peer, b.asking.key)));
        pending
    }

    /// The keys with which this id asked.
    #[must_use]
    pub fn keys_of(&self, peer: &PeerId) -> Vec<PublicKey> {
        let mut keys: Vec<PublicKey> =
            self.lock().rows.keys().filter(|(id, _)| id == peer).map(|(_, key)| *key).collect();
        keys.sort_unstable();
        keys
    }

    /// Removes an entry: it may write now, or something else was decided. A refusal of it ends, too.
    pub fn remove(&self, peer: &PeerId, key: PublicKey) {
        let mut state = self.lock();
        if state.rows.is_empty() && state.refused.is_empty() {
            return;
        }
        let who = (peer.clone(), key);
        state.rows.remove(&who);
        state.refused.remove(&who);
    }

    /// Removes the entries of an id, or the one with this key, and does not list them again for [`REFUSED_FOR`]. Answers their keys.
    pub fn refuse(&self, peer: &PeerId, key: Option<PublicKey>, elapsed: Duration) -> Vec<PublicKey> {
        let mut keys = self.keys_of(peer);
        keys.retain(|it| key.is_none_or(|key| key == *it));
        let mut state = self.lock();
        for key in &keys {
            let who = (peer.clone(), *key);
            state.rows.remove(&who);
            if state.refused.len() >= MAX_REFUSED
                && let Some(oldest) = state.refused.iter().min_by_key(|(_, until)| **until).map(|(who, _)| who.clone())
            {
                state.refused.remove(&oldest);
            }
            state.refused.insert(who, elapsed.saturating_add(REFUSED_FOR));
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(name: &str, key: u32, address: &str) -> Asking {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&key.to_be_bytes());
        let (peer, key) = (PeerId::parse(name).unwrap(), PublicKey::from_bytes(bytes));
        Asking { peer, key, address: Some(address.parse().unwrap()), known: false, bound: false }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn has(inbox: &Inbox, name: &str) -> bool {
        !inbox.keys_of(&PeerId::parse(name).unwrap()).is_empty()
    }

    #[test]
    fn an_instance_that_asks_again_is_counted() {
        let inbox = Inbox::default();
        assert_eq!(inbox.note(asking("pi", 1, "192.0.2.1"), at(1), Duration::ZERO), Noted::New(true));
        assert_eq!(inbox.note(asking("pi", 1, "192.0.2.2"), at(5), Duration::ZERO), Noted::Again);
        let listed = inbox.list();
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].first, listed[0].last, listed[0].count), (at(1), at(5), 2));
        assert_eq!(listed[0].asking.address, Some("192.0.2.2".parse().unwrap()));
    }

    #[test]
    fn one_address_has_a_share_whatever_names_and_keys_it_invents() {
        let inbox = Inbox::default();
        inbox.note(asking("pi", 1, "192.0.2.1"), at(0), Duration::ZERO);
        for number in 0..5000 {
            inbox.note(asking(&format!("x-{number}"), number, "192.0.2.66"), at(1), Duration::ZERO);
            // All of them are of one /48.
            let address = format!("2001:db8:1:{:x}::1", number % 60_000);
            inbox.note(asking(&format!("y-{number}"), number, &address), at(1), Duration::ZERO);
        }
        assert!(has(&inbox, "pi"));
        assert_eq!(inbox.len(), 1 + 2 * MAX_OF_ONE_ADDRESS);
    }

    #[test]
    fn many_addresses_fill_no_reserved_place_and_one_of_theirs_goes_first() {
        let inbox = Inbox::default();
        for number in 0..4000_u32 {
            let address = format!("10.0.{}.{}", number / 100 % 10, number % 20);
            inbox.note(asking(&format!("x-{number}"), number, &address), at(1), Duration::ZERO);
        }
        assert_eq!(inbox.len(), MAX_PENDING - RESERVED);
        inbox.note(asking("pi", 1, "192.0.2.1"), at(0), Duration::ZERO);
        let known = Asking { known: true, ..asking("laptop", 2, "192.0.2.2") };
        inbox.note(known, at(0), Duration::ZERO);
        assert_eq!(inbox.len(), MAX_PENDING - RESERVED + 1);
        for number in 5000..5200_u32 {
            let address = format!("10.1.{}.{}", number % 40, number % 4);
            inbox.note(asking(&format!("z-{number}"), number, &address), at(2), Duration::ZERO);
        }
        assert!(has(&inbox, "pi") && has(&inbox, "laptop"), "they asked longest ago, but only once each");
    }

    #[test]
    fn a_network_with_a_thousand_addresses_displaces_its_own_entries_only() {
        let inbox = Inbox::default();
        inbox.note(asking("pi", 1, "192.0.2.1"), at(0), Duration::ZERO);
        inbox.note(asking("v6", 2, "2001:db8:1::1"), at(0), Duration::ZERO);
        for number in 0..4000_u32 {
            let address = format!("10.0.{}.{}", number / 250, number % 250);
            inbox.note(asking(&format!("x-{number}"), number, &address), at(1), Duration::ZERO);
            let address = format!("2001:db9:{number:x}::1");
            inbox.note(asking(&format!("y-{number}"), number, &address), at(1), Duration::ZERO);
        }
        assert!(has(&inbox, "pi") && has(&inbox, "v6"), "both asked longest ago, each from a network of its own");
        assert_eq!(inbox.len(), MAX_PENDING - RESERVED);
    }

    #[test]
    fn impostors_of_an_id_do_not_hide_it() {
        let inbox = Inbox::default();
        let real = asking("pi", 1, "192.0.2.1");
        inbox.note(real.clone(), at(0), Duration::ZERO);
        for number in 10..100 {
            inbox.note(asking("pi", number, "192.0.2.66"), at(1), Duration::ZERO);
        }
        let keys = inbox.keys_of(&real.peer);
        assert!(keys.len() == MAX_OF_ONE_ID && keys.contains(&real.key), "{keys:?}");
    }

    #[test]
    fn impostors_at_an_address_each_hide_neither_the_bound_key_nor_the_first() {
        let inbox = Inbox::default();
        let (first, bound) = (asking("pi", 1, "192.0.2.1"), Asking { bound: true, ..asking("pi", 2, "192.0.2.2") });
        inbox.note(first.clone(), at(0), Duration::ZERO);
        let impostor = |number: u32| asking("pi", number, &format!("198.51.100.{number}"));
        for number in 10..30 {
            inbox.note(impostor(number), at(1), Duration::ZERO);
        }
        inbox.note(bound.clone(), at(1), Duration::ZERO);
        for number in 30..60 {
            inbox.note(impostor(number), at(1), Duration::ZERO);
        }
        let keys = inbox.keys_of(&first.peer);
        assert!(keys.len() == MAX_OF_ONE_ID && keys.contains(&first.key) && keys.contains(&bound.key), "{keys:?}");
    }

    #[test]
    fn a_refused_instance_is_not_listed_again_for_a_while() {
        let (inbox, begun) = (Inbox::default(), Duration::from_secs(9));
        let (pi, impostor) = (asking("pi", 1, "192.0.2.1"), asking("pi", 2, "192.0.2.66"));
        inbox.note(pi.clone(), at(0), begun);
        inbox.note(impostor.clone(), at(0), begun);
        assert_eq!(inbox.refuse(&pi.peer, Some(impostor.key), begun), [impostor.key]);
        assert_eq!(inbox.note(impostor.clone(), at(1), begun + Duration::from_secs(1)), Noted::Refused);
        assert_eq!(inbox.keys_of(&pi.peer), [pi.key]);
        assert!(matches!(inbox.note(impostor.clone(), at(1), begun + REFUSED_FOR), Noted::New(_)));
        assert_eq!(inbox.refuse(&pi.peer, None, begun), [pi.key, impostor.key]);
        inbox.remove(&pi.peer, pi.key);
        assert!(matches!(inbox.note(pi, at(1), begun), Noted::New(_)), "a later decision ends the refusal");
    }

    #[test]
    fn a_full_inbox_takes_the_memory_that_is_stated() {
        let inbox = Inbox::default();
        // The longest id: 256 characters of four bytes.
        let long = |number: u32| format!("{number:08}{}", "\u{1F600}".repeat(248));
        for number in 0..4000_u32 {
            let address = format!("10.{}.{}.1", number / 250, number % 250);
            let known = Asking { known: number % 4 == 0, ..asking(&long(number), number, &address) };
            inbox.note(known, at(1), Duration::ZERO);
        }
        assert_eq!(inbox.len(), MAX_PENDING);
        for pending in inbox.list() {
            inbox.refuse(&pending.asking.peer, None, Duration::ZERO);
        }
        for number in 4000..8000_u32 {
            let address = format!("10.{}.{}.1", number / 250, number % 250);
            let known = Asking { known: number % 4 == 0, ..asking(&long(number), number, &address) };
            inbox.note(known, at(1), Duration::ZERO);
        }
        let state = inbox.lock();
        assert_eq!((state.rows.len(), state.refused.len()), (MAX_PENDING, MAX_REFUSED));
        let ids = |who: &Who| who.0.as_str().len() + 16;
        let rows = state.rows.capacity() * (size_of::<(Who, Row)>() + 1);
        let refused = state.refused.capacity() * (size_of::<(Who, Duration)>() + 1);
        // The id of a row is there twice at most: as its key, and as it asked last.
        let bytes = rows
            + refused
            + state.rows.keys().map(|who| 2 * ids(who)).sum::<usize>()
            + state.refused.keys().map(ids).sum::<usize>();
        eprintln!("{MAX_PENDING} entries and {MAX_REFUSED} refused ones with the longest ids: {} KiB", bytes >> 10);
        // SECURITY.md.
        assert!(bytes <= 4 << 20, "{bytes} bytes");
    }

    #[test]
    fn a_flood_sends_few_events() {
        let inbox = Inbox::default();
        let events = |from: u32, elapsed| {
            let note = |number: u32| {
                let address = format!("10.{}.{}.1", number / 200, number % 200);
                inbox.note(asking(&format!("x-{number}"), number, &address), at(1), elapsed)
            };
            (from..from + 500).filter(|number| note(*number) == Noted::New(true)).count()
        };
        assert_eq!(events(0, Duration::ZERO), 10);
        assert_eq!(events(1000, Duration::from_secs(120)), 2);
    }
}
