use super::*;
use crate::{
    identity::KeyPair,
    manifest::{Canonicalization, EpochStart, HeadEpoch, sign, verified_for_test, verify},
    trust::{Binding, KeyChange, KeyEvents, KeyLine, chain::Ledger},
    types::{Limits, SetHash, TestClock},
};
use bytes::Bytes;
use std::{collections::HashMap, sync::Arc};

#[path = "store_tests/places.rs"]
mod places;

#[derive(Debug, Default)]
struct Memory(Mutex<(Vec<String>, bool)>);

impl Ledger for Memory {
    fn append(&self, text: &str) -> io::Result<()> {
        let mut lines = self.0.lock().unwrap();
        if lines.1 {
            return Err(io::Error::other("the disk is full"));
        }
        lines.0.push(text.to_owned());
        Ok(())
    }

    fn replace(&self, texts: &[String]) -> io::Result<()> {
        self.0.lock().unwrap().0 = texts.to_vec();
        Ok(())
    }
}

/// What outlives a store.
struct Bed {
    clock: Arc<TestClock>,
    audit: Arc<Memory>,
    heads: Arc<Memory>,
    rules: Rules,
    vouchers: usize,
    listed: HashMap<PeerId, PublicKey>,
}

impl Bed {
    fn new() -> Self {
        let clock = TestClock::at(Timestamp::from_seconds(1_767_225_600));
        let (audit, heads) = (Arc::default(), Arc::default());
        Self { clock, audit, heads, rules: TrustMode::Tofu.into(), vouchers: 0, listed: HashMap::new() }
    }

    fn open(&self) -> TrustStore {
        let texts = self.audit.0.lock().unwrap().0.clone();
        let entries = Entry::parse_all(&texts).unwrap();
        let audit = Audit::new(self.audit.clone(), self.clock.clone(), entries.len());
        let texts = self.heads.0.lock().unwrap().0.clone();
        let heads = Freshness::new(self.heads.clone(), &texts).unwrap();
        let policy = TrustPolicy::new(self.rules.mode, self.listed.clone());
        TrustStore::new(policy, self.rules, self.vouchers, (audit, &entries), heads).unwrap()
    }
}

fn peer(name: &str) -> PeerId {
    PeerId::parse(name).unwrap()
}

fn key(number: u8) -> PublicKey {
    PublicKey::from_bytes([number; 32])
}

fn decide(store: &TrustStore, name: &str, number: u8, level: TrustLevel) -> Result<Record, DecisionError> {
    let reason = "because".to_owned();
    store.set(Decision { peer: peer(name), key: key(number), level, by: "operator", reason, proof: None })
}

#[test]
fn decisions_hold_and_come_back_after_a_restart() {
    let bed = Bed::new();
    let store = bed.open();
    assert_eq!(store.level(&peer("a"), key(1)), TrustLevel::Pending, "tofu");
    let record = decide(&store, "a", 1, TrustLevel::Verified).unwrap();
    assert_eq!((record.by.as_str(), record.reason.as_str()), ("operator", "because"));
    decide(&store, "b", 2, TrustLevel::Revoked).unwrap();
    for store in [store, bed.open()] {
        assert_eq!(store.level(&peer("a"), key(1)), TrustLevel::Verified);
        assert_eq!(store.level(&peer("a"), key(9)), TrustLevel::Revoked, "an impostor");
        for name in ["b", "somebody else"] {
            assert_eq!(store.level(&peer(name), key(2)), TrustLevel::Revoked, "a revoked key speaks for nobody");
        }
        assert_eq!(store.level(&peer("b"), key(3)), TrustLevel::Pending, "the id is free for another key");
        assert_eq!(store.may_push(&peer("b"), key(2), Named::No), Err(Distrust::Revoked(peer("b"))));
        assert_eq!(store.records().len(), 2);
    }
}

#[test]
fn one_key_has_one_id_and_one_id_one_verified_key() {
    let bed = Bed { listed: HashMap::from([(peer("listed"), key(7))]), ..Bed::new() };
    let store = bed.open();
    decide(&store, "a", 1, TrustLevel::Verified).unwrap();
    assert!(matches!(decide(&store, "a", 2, TrustLevel::Verified), Err(DecisionError::OtherKey { .. })));
    assert!(matches!(decide(&store, "b", 1, TrustLevel::Verified), Err(DecisionError::OtherPeer { .. })));
    assert!(matches!(decide(&store, "listed", 8, TrustLevel::Verified), Err(DecisionError::Listed(_))));
    let kept = decide(&store, "a", 1, TrustLevel::Pending).unwrap();
    assert_eq!(kept.level, TrustLevel::Verified, "who proves himself again is not less than he was");
    decide(&store, "a", 1, TrustLevel::Revoked).unwrap();
    decide(&store, "a", 2, TrustLevel::Verified).unwrap();
    assert_eq!(store.level(&peer("a"), key(2)), TrustLevel::Verified);
}

#[test]
fn what_cannot_be_written_down_is_not_decided() {
    let bed = Bed::new();
    let store = bed.open();
    bed.audit.0.lock().unwrap().1 = true;
    assert!(matches!(decide(&store, "a", 1, TrustLevel::Revoked), Err(DecisionError::Unkept(_))));
    assert_eq!(store.level(&peer("a"), key(1)), TrustLevel::Pending);
    store.quarantine(&peer("a"), key(1), "it contradicted itself");
    assert!(store.is_quarantined(key(1)), "what protects holds all the same");
}

fn change(old: u8, new: u8) -> KeyChange {
    KeyChange { old: key(old), new: key(new), by_recovery: false }
}

fn recovery(old: u8, new: u8) -> KeyChange {
    KeyChange { by_recovery: true, ..change(old, new) }
}

#[test]
fn a_rotated_key_keeps_its_level_and_the_old_one_speaks_no_more() {
    let bed = Bed { listed: HashMap::from([(peer("listed"), key(7))]), ..Bed::new() };
    let store = bed.open();
    decide(&store, "a", 1, TrustLevel::Verified).unwrap();
    store.rotated(&peer("a"), change(1, 2));
    store.rotated(&peer("pending"), change(3, 4));
    store.rotated(&peer("listed"), change(7, 8));
    store.revoked(&peer("gone"), key(5));
    for store in [store, bed.open()] {
        assert_eq!(store.level(&peer("a"), key(2)), TrustLevel::Verified);
        assert_eq!(store.level(&peer("a"), key(1)), TrustLevel::Revoked);
        assert_eq!(store.level(&peer("pending"), key(4)), TrustLevel::Pending);
        assert_eq!(store.level(&peer("pending"), key(3)), TrustLevel::Revoked);
        assert_eq!(store.level(&peer("listed"), key(8)), TrustLevel::Verified, "the list follows");
        assert_eq!(store.record(key(1)).unwrap().successor, Some(key(2)));
        for (name, number) in [("a", 1), ("gone", 5)] {
            assert!(matches!(decide(&store, name, number, TrustLevel::Verified), Err(DecisionError::Withdrawn)));
        }
    }
}

#[test]
fn the_recovery_key_gives_back_what_a_withdrawn_key_had_and_not_what_a_revoked_one_had() {
    let bed = Bed { listed: HashMap::from([(peer("listed"), key(7))]), ..Bed::new() };
    let store = bed.open();
    for (name, number) in [("withdrawn", 1), ("revoked", 2), ("quarantined", 3), ("stolen", 4)] {
        decide(&store, name, number, TrustLevel::Verified).unwrap();
    }
    for (name, number) in [("revoked", 2), ("listed", 7)] {
        decide(&store, name, number, TrustLevel::Revoked).unwrap();
    }
    store.revoked(&peer("withdrawn"), key(1));
    store.quarantine(&peer("quarantined"), key(3), "it contradicted itself");
    store.quarantine(&peer("stolen"), key(4), "it contradicted itself");
    assert_eq!([1, 2, 7].map(|number| store.may_speak(key(number))), [true, false, false]);
    store.rotated(&peer("withdrawn"), recovery(1, 11));
    store.rotated(&peer("revoked"), change(2, 12));
    assert_eq!(store.record(key(12)), None, "whom the operator revoked gives nothing on");
    for (name, made) in [("revoked", recovery(2, 12)), ("listed", recovery(7, 17)), ("stolen", recovery(4, 14))] {
        store.rotated(&peer(name), made);
    }
    store.rotated(&peer("quarantined"), change(3, 13));
    for store in [store, bed.open()] {
        let level = |name: &str, number| store.level(&peer(name), key(number));
        assert_eq!(level("withdrawn", 11), TrustLevel::Verified);
        assert_eq!((level("revoked", 12), level("revoked", 2)), (TrustLevel::Pending, TrustLevel::Revoked));
        assert_eq!(level("listed", 17), TrustLevel::Revoked, "the operator corrects his list");
        assert_eq!([13, 14].map(|number| store.is_quarantined(key(number))), [true, false]);
    }
}

#[test]
fn what_was_missed_of_statements_is_caught_up() {
    let bed = Bed { listed: HashMap::from([(peer("listed"), key(7))]), ..Bed::new() };
    let store = bed.open();
    decide(&store, "a", 1, TrustLevel::Verified).unwrap();
    decide(&store, "gone", 5, TrustLevel::Verified).unwrap();
    let line = |now: u8, before: &[u8], revoked| KeyLine {
        public_key: key(now),
        recovery_key: None,
        epoch: 0,
        seq: 1,
        tip: [0; 32],
        revoked,
        retired: before.iter().copied().map(key).collect(),
    };
    let cases = [("a", line(3, &[1, 2], false)), ("listed", line(8, &[7], false)), ("gone", line(5, &[], true))];
    for (name, line) in &cases {
        assert!(store.is_behind(&peer(name), line) && store.knows_another(&peer(name), key(99)), "{name}");
        store.catch_up(&peer(name), line);
        assert!(!store.is_behind(&peer(name), line), "{name}");
    }
    assert!(!store.is_behind(&peer("stranger"), &line(30, &[31], false)));
    assert_eq!(
        (store.level(&peer("a"), key(3)), store.level(&peer("a"), key(1))),
        (TrustLevel::Verified, TrustLevel::Revoked)
    );
    assert_eq!(store.level(&peer("listed"), key(8)), TrustLevel::Verified);
    assert_eq!(store.level(&peer("gone"), key(5)), TrustLevel::Revoked);
}

#[test]
fn vouchers_count_while_they_are_verified_and_make_no_chains() {
    let bed = Bed { vouchers: 2, listed: HashMap::from([(peer("listed"), key(7))]), ..Bed::new() };
    let store = bed.open();
    decide(&store, "a", 1, TrustLevel::Verified).unwrap();
    let vouch = |store: &TrustStore, by: (&str, u8), for_whom: (&str, u8)| {
        store.vouch((&peer(by.0), key(by.1)), (&peer(for_whom.0), key(for_whom.1)), None).unwrap()
    };
    let level = |store: &TrustStore| store.level(&peer("new"), key(20));
    assert!(vouch(&store, ("a", 1), ("new", 20)) && store.goes_by_vouchers());
    assert!(!vouch(&store, ("a", 1), ("new", 20)), "the same again");
    assert_eq!(level(&store), TrustLevel::Pending);
    assert!(vouch(&store, ("listed", 7), ("new", 20)));
    assert_eq!((level(&store), level(&bed.open())), (TrustLevel::Verified, TrustLevel::Verified));
    vouch(&store, ("new", 20), ("newer", 21));
    vouch(&store, ("a", 1), ("newer", 21));
    assert_eq!(store.level(&peer("newer"), key(21)), TrustLevel::Pending, "who was vouched for does not vouch");
    decide(&store, "a", 1, TrustLevel::Revoked).unwrap();
    assert_eq!(level(&store), TrustLevel::Pending);
}

#[test]
fn a_voucher_answers_for_the_keys_that_it_vouched_for() {
    let bed = Bed { vouchers: 1, listed: HashMap::from([(peer("listed"), key(7))]), ..Bed::new() };
    let store = bed.open();
    decide(&store, "a", 1, TrustLevel::Verified).unwrap();
    let vouch = |store: &TrustStore, by: (&str, u8), for_whom: (&str, u8)| {
        assert!(store.vouch((&peer(by.0), key(by.1)), (&peer(for_whom.0), key(for_whom.1)), None).unwrap());
    };
    vouch(&store, ("a", 1), ("child", 20));
    vouch(&store, ("listed", 7), ("other", 30));
    store.rotated(&peer("child"), change(20, 21));
    for store in [&store, &bed.open()] {
        assert_eq!(store.answerable_for(&peer("child"), key(21)), Some(peer("a")), "also under its next key");
    }
    store.rotated(&peer("a"), change(1, 2));
    for store in [store, bed.open()] {
        let answerable = |name: &str, number| store.answerable_for(&peer(name), key(number));
        assert_eq!((answerable("a", 2), answerable("listed", 7)), (Some(peer("a")), Some(peer("listed"))));
        assert_eq!(answerable("other", 30), Some(peer("listed")));
        assert_eq!(answerable("child", 21), None, "the key that vouched is replaced");
        for (name, number) in [("a", 1), ("child", 20), ("stranger", 40), ("a", 40)] {
            assert_eq!(answerable(name, number), None);
        }
        assert!(store.has_verified(&peer("other")) && !store.has_verified(&peer("stranger")));
    }
}

#[test]
fn a_vouched_key_that_is_replaced_gains_no_right_and_keeps_its_level_no_longer_than_its_vouchers_count() {
    let bed = Bed { vouchers: 1, ..Bed::new() };
    let store = bed.open();
    decide(&store, "a", 1, TrustLevel::Verified).unwrap();
    let vouch = |store: &TrustStore, by: (&str, u8), for_whom: (&str, u8)| {
        store.vouch((&peer(by.0), key(by.1)), (&peer(for_whom.0), key(for_whom.1)), None).unwrap();
    };
    vouch(&store, ("a", 1), ("child", 20));
    vouch(&store, ("a", 1), ("late", 40));
    store.rotated(&peer("child"), change(20, 21));
    store.rotated(&peer("child"), change(21, 22));
    store.revoked(&peer("late"), key(40));
    store.rotated(&peer("late"), recovery(40, 41));
    for (name, number) in [("child", 22), ("late", 41)] {
        vouch(&store, (name, number), ("grandchild", 30));
        for store in [&store, &bed.open()] {
            assert_eq!(store.level(&peer(name), key(number)), TrustLevel::Verified, "{name}");
            assert_eq!(store.answerable_for(&peer(name), key(number)), Some(peer("a")), "{name}");
            assert_eq!(
                store.level(&peer("grandchild"), key(30)),
                TrustLevel::Pending,
                "its word counts for no other key"
            );
        }
    }
    // The admin's own decision ends that.
    decide(&store, "late", 41, TrustLevel::Verified).unwrap();
    assert_eq!(store.level(&peer("grandchild"), key(30)), TrustLevel::Verified);
    decide(&store, "a", 1, TrustLevel::Revoked).unwrap();
    for store in [store, bed.open()] {
        assert_eq!(store.level(&peer("child"), key(22)), TrustLevel::Pending, "its voucher is revoked");
        assert_eq!(store.answerable_for(&peer("child"), key(22)), None);
        assert_eq!(store.answerable_for(&peer("late"), key(41)), Some(peer("late")));
    }
}

#[test]
fn nobody_is_vouched_into_the_place_of_another_key() {
    let bed = Bed { vouchers: 2, ..Bed::new() };
    let store = bed.open();
    for (name, number) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
        decide(&store, name, number, TrustLevel::Verified).unwrap();
    }
    let vouch = |by: (&str, u8), for_whom: (&str, u8), bound: Option<u8>| {
        let (voucher, subject) = ((&peer(by.0), key(by.1)), (&peer(for_whom.0), key(for_whom.1)));
        match store.vouch(voucher, subject, bound.map(key)) {
            Ok(new) => Ok(new),
            Err(DecisionError::OtherKey { known, .. }) => Err(known),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(vouch(("a", 1), ("b", 20), None), Err(key(2)), "it has a verified key");
    assert_eq!(vouch(("a", 1), ("pinned", 20), Some(21)), Err(key(21)), "it is bound to a key");
    assert_eq!(vouch(("a", 1), ("pinned", 21), Some(21)), Ok(true));
    // One voucher speaks for one key of an id, and two are not verified at once.
    assert_eq!(vouch(("a", 1), ("new", 30), None), Ok(true));
    assert_eq!(vouch(("a", 1), ("new", 31), None), Err(key(30)));
    assert_eq!(vouch(("b", 2), ("new", 30), None), Ok(true));
    assert_eq!(vouch(("c", 3), ("new", 31), None), Err(key(30)));
    assert_eq!(store.level(&peer("new"), key(30)), TrustLevel::Verified);
    // Also where the second came while the first did not count.
    decide(&store, "b", 2, TrustLevel::Revoked).unwrap();
    for by in [("c", 3), ("d", 4)] {
        assert_eq!(vouch(by, ("new", 31), None), Ok(true));
    }
    assert_eq!(store.level(&peer("new"), key(31)), TrustLevel::Verified);
    decide(&store, "b", 2, TrustLevel::Verified).unwrap();
    for number in [30, 31] {
        assert_eq!(store.level(&peer("new"), key(number)), TrustLevel::Pending, "it takes the operator");
    }
}

#[test]
fn whoever_contradicts_himself_with_many_keys_fills_no_disk() {
    let bed = Bed::new();
    let store = bed.open();
    decide(&store, "a", 1, TrustLevel::Verified).unwrap();
    for number in 0..MAX_QUARANTINED + 5 {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        store.quarantine(&peer("stranger"), PublicKey::from_bytes(bytes), "it contradicted itself");
    }
    assert_eq!(bed.audit.0.lock().unwrap().0.len(), MAX_QUARANTINED + 1);
    store.quarantine(&peer("a"), key(1), "it contradicted itself");
    assert!(store.is_quarantined(key(1)), "there is always place for a verified key");
}

#[test]
fn nobody_gives_on_an_id_that_is_not_his() {
    let bed = Bed { listed: HashMap::from([(peer("listed"), key(7))]), ..Bed::new() };
    let store = bed.open();
    decide(&store, "a", 1, TrustLevel::Verified).unwrap();
    decide(&store, "b", 2, TrustLevel::Revoked).unwrap();
    for (name, old) in [("a", 3), ("listed", 3), ("b", 2)] {
        let rotated = store.rotate(&peer(name), change(old, 9));
        assert!(matches!(rotated, Err(DecisionError::NotItsKey(_))), "{name}: {rotated:?}");
    }
    assert!(matches!(store.rotate(&peer("c"), change(1, 9)), Err(DecisionError::OtherPeer { .. })));
    assert_eq!(store.level(&peer("a"), key(1)), TrustLevel::Verified);
    store.rotate(&peer("new"), change(4, 5)).unwrap();
    assert_eq!(store.level(&peer("new"), key(6)), TrustLevel::Pending, "that binds nobody: the registry does");
}

#[test]
fn manifests_are_let_in_as_was_decided() {
    let bed = Bed::new();
    let store = bed.open();
    let (owner, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let admit = |pair: &KeyPair| {
        let limits = Limits::default();
        let text = Bytes::from_static(br#"{"node_id":"a"}"#);
        let envelope =
            sign(text, Canonicalization::Dsse, &limits, pair.public_key(), |bytes| pair.sign(bytes)).unwrap();
        store
            .admit(verify(Bytes::from(envelope), &limits).unwrap(), Timestamp::EPOCH, None)
            .map(|admitted| admitted.binding())
    };
    assert_eq!(admit(&other), Ok(Binding::FirstKey), "tofu");
    let decision = |pair: &KeyPair, level| {
        let (peer, key, by, reason) = (peer("a"), pair.public_key(), "operator", String::new());
        store.set(Decision { peer, key, level, by, reason, proof: None }).unwrap()
    };
    decision(&owner, TrustLevel::Verified);
    assert_eq!(admit(&owner), Ok(Binding::AnyKey), "it takes the id back from a squatter");
    assert_eq!(admit(&other), Err(TrustError::OtherKey { peer: peer("a") }));
    decision(&owner, TrustLevel::Revoked);
    assert_eq!(admit(&owner), Err(TrustError::Revoked { peer: peer("a") }));
}

/// Takes a head that this key signed.
fn take(store: &TrustStore, head: &Head, number: u8) -> Result<Follows, Distrust> {
    take_with(store, head, &head.newest_epoch(), number)
}

fn take_with(store: &TrustStore, head: &Head, lineage: &Lineage, number: u8) -> Result<Follows, Distrust> {
    store.take_head(&verified_for_test(head.clone(), key(number), [0; 32], Bytes::new()), lineage, Named::No)
}

fn head(seq: u64, issued_at: i64) -> Head {
    Head {
        node_id: peer("a"),
        index_id: "0123456789abcdef0123456789abcdef".to_owned(),
        seq,
        floor: 0,
        manifest_hash: SetHash::of(&seq.to_be_bytes()),
        count: 1,
        issued_at: Timestamp::from_seconds(issued_at),
        expires: Timestamp::from_seconds(issued_at + 300),
        epoch: None,
    }
}

#[test]
fn heads_follow_each_other_and_old_ones_do_not_come_back() {
    use FreshnessError::{Equivocation, FastForward, Rollback};
    let bed = Bed::new();
    let store = bed.open();
    take(&store, &head(10, 1000), 1).unwrap();
    let other_journal = |seq, at| Head { index_id: "f".repeat(32), ..head(seq, at) };
    let jump = crate::trust::freshness::MAX_SEQ_JUMP;
    for store in [store, bed.open()] {
        let cases = [
            (head(10, 1000), Ok(Follows::Continues)),
            (head(10, 800), Ok(Follows::Continues)),
            (head(9, 1001), Err(Rollback { field: "seq" })),
            (head(11, 699), Err(Rollback { field: "issued_at" })),
            (other_journal(3, 999), Err(Rollback { field: "issued_at" })),
            (head(11 + jump, 1001), Err(FastForward(jump + 1))),
            (Head { manifest_hash: SetHash::of(b"other"), ..head(10, 1001) }, Ok(Follows::Continues)),
        ];
        for (next, expected) in cases {
            let taken = crate::trust::freshness::judge(
                &store.newest_head(&peer("a"), key(1)).unwrap(),
                &next,
                &next.newest_epoch(),
            );
            assert_eq!(taken, expected, "{next:?}");
        }
        assert_eq!(take(&store, &head(5, 2000), 1), Err(Distrust::Freshness(Rollback { field: "seq" })));
        take(&store, &head(5, 2000), 2).unwrap();
    }
    let store = bed.open();
    let contradiction = Head { manifest_hash: SetHash::of(b"other"), ..head(10, 1000) };
    assert_eq!(take(&store, &contradiction, 1), Err(Distrust::Freshness(Equivocation)));
    for store in [store, bed.open()] {
        assert_eq!(take(&store, &head(11, 1001), 1), Err(Distrust::Quarantined(peer("a"))));
        assert_eq!(store.may_push(&peer("a"), key(1), Named::No), Err(Distrust::Quarantined(peer("a"))));
    }
    let store = bed.open();
    decide(&store, "a", 1, TrustLevel::Verified).unwrap();
    take(&bed.open(), &head(2, 1), 1).unwrap();
}

#[test]
fn the_file_of_heads_does_not_grow_without_end() {
    let bed = Bed::new();
    let store = bed.open();
    for seq in 0..5000 {
        take(&store, &head(seq, 1000), 1).unwrap();
    }
    assert!(bed.heads.0.lock().unwrap().0.len() <= 1025);
    assert_eq!(bed.open().newest_head(&peer("a"), key(1)).unwrap().seq, 4999);
}

#[test]
fn only_verified_keys_exchange_where_that_is_asked_for() {
    let bed = Bed { rules: Rules { require_verified: true, ..Rules::from(TrustMode::Tofu) }, ..Bed::new() };
    let store = bed.open();
    assert_eq!(store.may_push(&peer("a"), key(1), Named::No), Err(Distrust::NotVerified(peer("a"), key(1))));
    assert_eq!(take(&store, &head(1, 1), 1), Err(Distrust::NotVerified(peer("a"), key(1))));
    decide(&store, "a", 1, TrustLevel::Verified).unwrap();
    assert_eq!(
        (store.may_push(&peer("a"), key(1), Named::No), take(&store, &head(1, 1), 1)),
        (Ok(()), Ok(Follows::Continues))
    );
}

/// A head of a journal with these epochs, each with its first position; the last one is due, if it begins behind the position.
fn head_of(starts: &[(u8, u64)], seq: u64, issued_at: i64) -> (Head, Lineage) {
    let start = |(number, since): &(u8, u64)| EpochStart { epoch: Epoch::from_bytes([*number; 8]), since: *since };
    let (began, due): (Vec<_>, Vec<_>) = starts.iter().map(start).partition(|start| start.since <= seq);
    let lineage = Lineage::new(began).unwrap();
    let epoch = HeadEpoch::of(&lineage, due.into_iter().next().map(|start| start.epoch));
    (Head { epoch, ..head(seq, issued_at) }, lineage)
}

fn kinds(bed: &Bed) -> Vec<String> {
    let entries = Entry::parse_all(&bed.audit.0.lock().unwrap().0).unwrap();
    entries.into_iter().map(|entry| entry.kind).collect()
}

#[test]
fn a_restored_instance_is_accepted_and_audited_and_an_old_head_is_not() {
    let bed = Bed::new();
    let taken = |starts: &[(u8, u64)], seq, at| {
        let (head, lineage) = head_of(starts, seq, at);
        take_with(&bed.open(), &head, &lineage, 1)
    };
    let rollback = |field| Err(Distrust::Freshness(FreshnessError::Rollback { field }));
    assert_eq!(taken(&[(1, 1)], 20, 1000), Ok(Follows::Continues));
    assert_eq!(taken(&[(1, 1)], 10, 1001), rollback("seq"), "without a new epoch");
    assert_eq!(taken(&[(1, 1), (2, 11)], 10, 1000), rollback("seq"), "not younger");
    // Restored, and not written to since; then again after a restart, and after the first write.
    assert_eq!(taken(&[(1, 1), (2, 11)], 10, 1001), Ok(Follows::Restored));
    assert_eq!(taken(&[(1, 1), (3, 11)], 10, 1002), Ok(Follows::Continues));
    assert_eq!(taken(&[(1, 1), (3, 11)], 11, 1003), Ok(Follows::Continues));
    // Restored from what is older than the epoch that was seen last, and gone on beyond it.
    assert_eq!(taken(&[(1, 1), (4, 6)], 90, 1004), Ok(Follows::Restored));
    assert_eq!(kinds(&bed), ["restored", "restored"]);
    // An instance that never restarts shows its newest epoch alone.
    assert_eq!(taken(&[(4, 6)], 95, 1005), Ok(Follows::Continues));
}

#[test]
fn two_instances_with_one_identity_are_recognised_and_heard() {
    let bed = Bed::new();
    let hour = 60 * 60;
    let taken = |starts: &[(u8, u64)], seq, at| {
        let (head, lineage) = head_of(starts, seq, at);
        take_with(&bed.open(), &head, &lineage, 1).unwrap()
    };
    let is_cloned = |at| bed.open().newest_head(&peer("a"), key(1)).unwrap().is_cloned(Timestamp::from_seconds(at));
    let (one, other) = ([(1, 1)], [(1, 1), (2, 11)]);
    assert_eq!(taken(&one, 20, 1000), Follows::Continues);
    assert_eq!(taken(&other, 12, 1001), Follows::Restored, "a copy of before, started elsewhere");
    assert_eq!(taken(&one, 20, 1002), Follows::Returned, "perhaps a newer copy was put in its place");
    assert!(!is_cloned(1002));
    assert_eq!(taken(&other, 13, 1003), Follows::Cloned);
    assert_eq!([taken(&one, 21, 1004), taken(&other, 13, 1005)], [Follows::Cloned; 2]);
    assert_eq!(taken(&other, 14, 1006), Follows::Continues, "one of them twice");
    assert!(is_cloned(1006) && !is_cloned(1005 + hour));
    assert_eq!(kinds(&bed), ["restored", "restored", "cloned"], "once a day");
}

#[test]
fn two_journals_under_one_identity_that_alternate_are_recognised() {
    let bed = Bed::new();
    let taken = |journal: &str, at| {
        let head = Head { index_id: journal.to_owned(), ..head(9, at) };
        let lineage = head.newest_epoch();
        take_with(&bed.open(), &head, &lineage, 1)
    };
    let (one, other) = ("1".repeat(32), "2".repeat(32));
    assert_eq!(taken(&one, 1000), Ok(Follows::Continues));
    assert_eq!(taken(&other, 1001), Ok(Follows::Continues), "the state directory is new");
    assert_eq!(taken(&one, 1002), Ok(Follows::Returned), "the earlier one was restored");
    assert_eq!(taken(&other, 1003), Ok(Follows::Cloned));
    assert_eq!(taken(&one, 1003), Err(Distrust::Freshness(FreshnessError::Rollback { field: "issued_at" })));
    assert_eq!(taken(&one, 1004), Ok(Follows::Cloned));
    assert_eq!(kinds(&bed), ["restored", "cloned"]);
}

#[test]
fn the_newest_signed_head_of_an_instance_can_be_shown_to_it() {
    let bed = Bed::new();
    assert_eq!(bed.open().signed_head(&peer("a")), None);
    for (seq, at, text) in [(4, 1000, "one"), (5, 1001, "two")] {
        let signed = verified_for_test(head(seq, at), key(1), [0; 32], Bytes::from_static(text.as_bytes()));
        bed.open().take_head(&signed, &head(seq, at).newest_epoch(), Named::Yes).unwrap();
    }
    assert_eq!(bed.open().signed_head(&peer("a")).as_deref(), Some("two"));
}

#[test]
fn heads_of_release_0_1_0_are_read() {
    let bed = Bed::new();
    let line = r#"{"accepted":{"node_id":"a","public_key":"KEY","index_id":"0123456789abcdef0123456789abcdef","seq":9,
        "manifest_hash":"sha256:aa","count":1,"issued_at":1000000000,"expires":1300000000}}"#;
    let line = line.replace("KEY", &key(1).to_base64());
    let freshness = Freshness::new(bed.heads.clone(), &[line]).unwrap();
    let newest = freshness.newest(&peer("a"), key(1)).unwrap();
    assert_eq!((newest.seq, newest.epoch.clone()), (9, None));
    // The same instance, with epochs since.
    let (head, _) = head_of(&[(1, 10)], 12, 1001);
    assert!(newest.needs_lineage(&head));
    let first = EpochStart { epoch: Epoch::parse(&newest.index_id).unwrap(), since: 0 };
    let lineage = Lineage::new(vec![first, EpochStart { epoch: Epoch::from_bytes([1; 8]), since: 10 }]).unwrap();
    assert_eq!(crate::trust::freshness::judge(&newest, &head, &lineage), Ok(Follows::Continues));
}
