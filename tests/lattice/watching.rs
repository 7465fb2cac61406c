//! Edits by other programs.

use crate::bed::{Bed, DEADLINE, SEEN_WITHIN, has, id, node, numbered, put, until};
use ark_lattice::{
    lattice::{Change, Lattice},
    ops::{Fate, Offered, TakeOptions, take_versions},
    types::{Clock, Limits, Timestamp},
};
use std::{fs, time::Duration};
use tokio::time::timeout;

#[tokio::test]
async fn creates_edits_and_deletes_are_seen_within_a_second() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    bed.write("a.json", r#"{"id":"a","n":1}"#);
    until("the new file is seen", SEEN_WITHIN, || has(&lattice, "a")).await;
    let first = lattice.entry(&id("a")).unwrap().unwrap();

    bed.write("a.json", r#"{"id":"a","n":2}"#);
    until("the edit is seen", SEEN_WITHIN, || {
        lattice.entry(&id("a")).unwrap().is_some_and(|entry| entry.content_hash != first.content_hash)
    })
    .await;

    bed.write(".draft", r#"{"id":"a","n":3}"#);
    fs::rename(bed.data(".draft"), bed.data("a.json")).unwrap();
    until("the rename over it is seen", SEEN_WITHIN, || lattice.status().seq == 3).await;

    fs::remove_file(bed.data("a.json")).unwrap();
    until("the delete is seen", SEEN_WITHIN, || !has(&lattice, "a")).await;
    assert!(matches!(&lattice.changes(0, 10).unwrap()[..], [Change::Deleted(it, _)] if it.id == id("a")));
    assert_eq!(lattice.status().tombstones, 1);

    bed.write("a.json", r#"{"id":"a","n":1}"#);
    until("it is back", SEEN_WITHIN, || has(&lattice, "a")).await;
    assert_eq!((lattice.status().tombstones, lattice.tombstone(&id("a")).unwrap()), (0, None));
    bed.check(&lattice);
}

#[tokio::test]
async fn other_formatting_of_the_same_content_is_no_change() {
    let bed = Bed::new();
    bed.write("a.json", r#"{"id":"a","n":1}"#);
    let lattice = bed.open().await;
    let before = lattice.entry(&id("a")).unwrap().unwrap();
    bed.write("a.json", "{ \"n\": 1,\n \"id\": \"a\" }");
    until("the other bytes are seen", SEEN_WITHIN, || {
        lattice.entry(&id("a")).unwrap().unwrap().file_hash != before.file_hash
    })
    .await;
    let after = lattice.entry(&id("a")).unwrap().unwrap();
    assert_eq!((after.seq, after.content_hash, after.updated_at), (before.seq, before.content_hash, before.updated_at));
    bed.check(&lattice);
}

#[tokio::test]
async fn a_read_sees_an_edit_that_no_event_has_told_of_yet() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    for number in 0..50 {
        bed.write("a.json", &format!(r#"{{"id":"a","n":{number}}}"#));
        lattice.rescan().await.unwrap();
        let text = format!(r#"{{"id":"a","n":"edited {number}"}}"#);
        bed.write("a.json", &text);
        let stored = lattice.read(&id("a")).await.unwrap().unwrap();
        assert_eq!(stored.bytes, text);
        let expected = ark_lattice::types::ContentHash::of(text.as_bytes());
        assert_eq!(&stored.entry.file_hash, expected.as_bytes(), "entry and bytes belong together");
    }
}

#[tokio::test]
async fn a_directory_that_is_gone_is_a_fault_and_not_a_deletion() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    for number in 0..20 {
        put(&lattice, numbered(&format!("n{number}"), number)).await;
    }
    let before = lattice.snapshot().unwrap().set_hash();
    fs::rename(bed.path("data"), bed.path("away")).unwrap();
    until("the fault shows", DEADLINE, || lattice.status().fault.is_some()).await;
    assert!(lattice.rescan().await.is_err());
    assert!(lattice.put(numbered("x", 1), Default::default()).await.is_err());
    assert_eq!(lattice.snapshot().unwrap().set_hash(), before);
    // Nor is a node of it one that does not exist.
    let entries: Vec<_> = lattice.snapshot().unwrap().iter_after(None).cloned().collect();
    assert!(lattice.read(&id("n1")).await.is_err());
    assert!(lattice.read_many(entries.clone()).await.is_err());

    fs::create_dir(bed.path("data")).unwrap();
    assert!(lattice.rescan().await.is_err(), "an empty directory in its place is not it");
    assert!(lattice.read_many(entries).await.is_err());
    bed.write("n1.json", r#"{"id":"n1","of":"another directory"}"#);
    assert!(lattice.read(&id("n1")).await.is_err());
    fs::remove_file(bed.data("n1.json")).unwrap();
    assert!(lattice.put(numbered("x", 1), Default::default()).await.is_err());
    assert_eq!((lattice.status().nodes, lattice.status().tombstones), (20, 0));
    assert_eq!(bed.names(), Vec::<String>::new());

    fs::remove_dir(bed.path("data")).unwrap();
    fs::rename(bed.path("away"), bed.path("data")).unwrap();
    lattice.rescan().await.unwrap();
    put(&lattice, numbered("x", 1)).await;
    until("the fault is over", DEADLINE, || lattice.status().fault.is_none()).await;
    bed.write("y.json", r#"{"id":"y"}"#);
    until("events come again", SEEN_WITHIN, || has(&lattice, "y")).await;
    bed.check(&lattice);
}

#[tokio::test]
async fn who_waits_for_the_index_finds_what_was_written_and_deleted_before() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    for n in 0..5 {
        bed.write("a.json", &format!(r#"{{"id":"a","n":{n}}}"#));
        lattice.catch_up().await;
        let held = lattice.entry(&id("a")).unwrap().unwrap().content_hash;
        assert_eq!(held, node(&format!(r#"{{"id":"a","n":{n}}}"#)).content_hash());
    }
    fs::remove_file(bed.data("a.json")).unwrap();
    lattice.catch_up().await;
    assert!(!has(&lattice, "a") && lattice.status().tombstones == 1);
}

#[tokio::test]
async fn who_waits_for_the_index_of_a_directory_that_is_away_is_answered() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    put(&lattice, numbered("a", 1)).await;
    bed.write("b.json", r#"{"id":"b"}"#);
    fs::rename(bed.path("data"), bed.path("away")).unwrap();
    fs::create_dir(bed.path("data")).unwrap();
    assert!(lattice.rescan().await.is_err());
    // What was written before waits to be looked at, until the directory is there again.
    for _ in 0..3 {
        timeout(DEADLINE, lattice.catch_up()).await.unwrap();
        assert!(lattice.status().fault.is_some() && !has(&lattice, "b"));
    }
    fs::remove_dir(bed.path("data")).unwrap();
    fs::rename(bed.path("away"), bed.path("data")).unwrap();
    timeout(DEADLINE, lattice.catch_up()).await.unwrap();
    assert!(lattice.status().fault.is_none() && has(&lattice, "b"), "who asks has it looked for at once");
}

#[tokio::test]
async fn tombstones_are_forgotten_after_thirty_days() {
    let (bed, clock) = Bed::at(Timestamp::from_seconds(1_763_696_494));
    let lattice = bed.open().await;
    put(&lattice, numbered("a", 1)).await;
    put(&lattice, numbered("b", 1)).await;
    clock.advance(Duration::from_secs(1));
    let tombstone = lattice.delete(&id("a"), Default::default()).await.unwrap().unwrap();
    assert_eq!(tombstone.deleted_at, clock.now());
    let day = Duration::from_secs(24 * 3600);
    clock.advance(day * 29);
    lattice.delete(&id("b"), Default::default()).await.unwrap().unwrap();
    assert_eq!(lattice.status().tombstones, 2);
    clock.advance(day * 2);
    until("the old one is forgotten", DEADLINE, || lattice.status().tombstones == 1).await;
    assert_eq!(lattice.tombstone(&id("a")).unwrap(), None);
    assert_eq!(lattice.changes(0, 10).unwrap().len(), 1);
    bed.check(&lattice);
    // A version of then stays deleted, whoever offers it; a later one does not.
    let take = async |at| {
        let offered = vec![Offered { node: numbered("a", 1), at, ancestry: Default::default() }];
        let options = TakeOptions { from: "backup", now: clock.now(), limits: Limits::default(), dry: false };
        take_versions(&*lattice, offered, options).await.unwrap().fates
    };
    let just_before = tombstone.deleted_at.minus(Duration::from_millis(1));
    for at in [Some(just_before), Some(Timestamp::EPOCH), None] {
        assert_eq!(take(at).await, [Fate::KeptDeleted], "{at:?}");
    }
    assert!(!has(&lattice, "a"));
    assert_eq!(take(Some(tombstone.deleted_at.plus(Duration::from_secs(1)))).await, [Fate::Added]);
    assert_eq!(take(None).await, [Fate::Unchanged]);
}
