//! How many records there may be, and whose.

use super::*;
use crate::trust::{
    LineChange,
    store::places::{MAX_UNASKED, MAX_UNASKED_OF_ONE},
};

#[test]
fn strangers_that_prove_themselves_leave_place_for_the_operator() {
    let store = Bed::new().open();
    for number in 0..MAX_UNASKED + 5 {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        store.note_unasked(&peer(&format!("s{number}")), PublicKey::from_bytes(bytes), "proof".to_owned()).unwrap();
    }
    assert_eq!(store.records().len(), MAX_UNASKED);
    store.rotated(&peer("stranger"), change(250, 251));
    store.revoked(&peer("stranger"), key(252));
    assert_eq!(store.records().len(), MAX_UNASKED, "nor do they fill it with statements");
    decide(&store, "a", 255, TrustLevel::Verified).unwrap();
    store.note_unasked(&peer("a"), key(254), "proof".to_owned()).unwrap();
    assert_eq!(store.record(key(254)), None, "nobody gets in beside the verified key");
    let store = Bed::new().open();
    for number in 0..20 {
        store.note_unasked(&peer("bank"), key(number), "proof".to_owned()).unwrap();
    }
    assert_eq!(store.records().len(), MAX_UNASKED_OF_ONE, "nobody is hidden among impostors");
}

fn numbered(number: u32) -> PublicKey {
    let mut bytes = [9; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    PublicKey::from_bytes(bytes)
}

/// Has the key of an id replaced so often, as the registry does: asks, then tells. How many changes were let through.
fn rotate_often(store: &TrustStore, name: &str, first: u32, count: u32, by_recovery: bool) -> u32 {
    let mut done = 0;
    for number in first..first + count {
        let (old, new) = (numbered(number), numbered(number + 1));
        let line = KeyLine {
            public_key: new,
            recovery_key: None,
            epoch: 0,
            seq: 0,
            tip: [0; 32],
            revoked: false,
            retired: vec![old],
        };
        let change =
            LineChange { peer: &peer(name), old: Some(old), line: &line, by_recovery, address: Some("4:c0000201") };
        if store.may_change(&change).is_ok() {
            store.rotated(&peer(name), KeyChange { old, new, by_recovery });
            done += 1;
        }
    }
    done
}

#[test]
fn chains_of_rotations_are_bounded_for_strangers_and_verified_peers_and_never_lock_the_admin_out() {
    let bed = Bed::new();
    let store = bed.open();
    // A stranger's key line, again and again and for days.
    let mut changes = 0;
    for _ in 0..100 {
        changes += rotate_often(&store, "chain", 0, 100, false);
        bed.clock.advance(std::time::Duration::from_secs(600));
    }
    assert!((100..=108).contains(&changes), "{changes}: eight at once, then one in ten minutes");
    let of_chain = |store: &TrustStore| store.records().iter().filter(|it| it.node_id == peer("chain")).count();
    assert!(of_chain(&store) <= MAX_UNASKED_OF_ONE + 1, "{}", of_chain(&store));
    // Many of them: as many records and lines as strangers have, and no more.
    for id in 0..400 {
        rotate_often(&store, &format!("chain-{id}"), 1000 + id * 100, 20, true);
        bed.clock.advance(std::time::Duration::from_secs(600));
    }
    assert!(store.records().len() <= MAX_UNASKED + 1, "{}", store.records().len());
    assert!(bed.audit.0.lock().unwrap().0.len() <= MAX_UNASKED + 1);
    // A verified one that its recovery key replaces without end.
    let reason = String::new();
    let decided = |key, level, name: &str| {
        let (peer, reason) = (peer(name), reason.clone());
        store.set(Decision { peer, key, level, by: "operator", reason, proof: None })
    };
    decided(numbered(900_000), TrustLevel::Verified, "verified").unwrap();
    for part in 0..3000 {
        rotate_often(&store, "verified", 900_000 + part, 1, true);
        bed.clock.advance(std::time::Duration::from_secs(600));
    }
    let of_verified = store.records().iter().filter(|it| it.node_id == peer("verified")).count();
    assert!((1000..=1101).contains(&of_verified), "{of_verified}");
    assert_eq!(decided(key(1), TrustLevel::Verified, "honest").unwrap().level, TrustLevel::Verified);
    assert_eq!(decided(key(2), TrustLevel::Revoked, "chain").unwrap().level, TrustLevel::Revoked);
}

#[test]
fn records_of_statements_leave_a_reserve_to_the_admin() {
    let store = Bed::new().open();
    {
        // As the log of years would leave it.
        let mut state = store.state.write().unwrap();
        for number in 0..u32::try_from(Places::Shared.most()).unwrap() {
            let record = Record {
                public_key: numbered(number),
                node_id: peer(&format!("p{number}")),
                level: TrustLevel::Verified,
                changed_at: Timestamp::EPOCH,
                by: "statement".to_owned(),
                reason: String::new(),
                successor: None,
                proof: None,
                is_final: false,
                before_withdrawal: TrustLevel::Pending,
            };
            state.records.insert(record.public_key, record);
        }
    }
    let rotated = store.rotate(&peer("p1"), KeyChange { old: numbered(1), new: key(9), by_recovery: false });
    assert!(matches!(rotated, Err(DecisionError::Full)), "{rotated:?}");
    assert_eq!(rotate_often(&store, "p1", 1, 1, false), 0, "nor does the registry bind what is not noted");
    decide(&store, "new", 200, TrustLevel::Verified).unwrap();
    decide(&store, "evil", 201, TrustLevel::Revoked).unwrap();
}

/// The longest id: 256 characters of four bytes.
fn long_id(number: u32) -> String {
    format!("{number:08}{}", "\u{1F600}".repeat(248))
}

#[test]
fn records_of_strangers_take_the_memory_and_disk_that_are_stated() {
    let bed = Bed::new();
    let store = bed.open();
    for number in 0..u32::try_from(MAX_UNASKED).unwrap() {
        store.note_unasked(&peer(&long_id(number)), numbered(number), "p".repeat(88)).unwrap();
    }
    let state = store.state();
    let heap = |it: &Record| {
        it.node_id.as_str().len() + it.by.len() + it.reason.len() + it.proof.as_ref().map_or(0, String::len)
    };
    let rows = state.records.capacity() * (size_of::<(PublicKey, Record)>() + 1);
    let memory = rows + state.records.values().map(|record| heap(record) + 16).sum::<usize>();
    // Each line of the file begins with a hash of 64 digits and a space.
    let disk: usize = bed.audit.0.lock().unwrap().0.iter().map(|line| line.len() + 66).sum();
    let (memory_kib, disk_kib) = (memory >> 10, disk >> 10);
    eprintln!(
        "{MAX_UNASKED} records with the longest ids: {memory_kib} KiB of memory, {disk_kib} KiB of the audit log"
    );
    // SECURITY.md.
    assert!(memory <= 3 << 19 && disk <= 3 << 20, "{memory_kib} KiB, {disk_kib} KiB");
}
