//! Writes through the port.

use crate::bed::{Bed, has, id, node, numbered, put};
use ark_lattice::{
    lattice::{Lattice, LatticeError, Precondition, Stamp, Written},
    types::{ContentHash, Timestamp},
};
use futures_util::future::join_all;
use std::{collections::BTreeSet, sync::Arc};

const NOW: Timestamp = Timestamp::from_micros(1_763_696_494_123_000);

#[tokio::test]
async fn a_write_says_what_it_did() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    let created = put(&lattice, numbered("a", 1)).await;
    assert!(matches!(&created, Written::Created(entry) if entry.seq == 1));
    assert!(matches!(put(&lattice, numbered("a", 1)).await, Written::Unchanged(entry) if entry.seq == 1));
    assert!(matches!(put(&lattice, numbered("a", 2)).await, Written::Replaced(entry) if entry.seq == 2));
    let tombstone = lattice.delete(&id("a"), Precondition::Exists).await.unwrap().unwrap();
    assert_eq!((tombstone.seq, lattice.tombstone(&id("a")).unwrap()), (3, Some(tombstone.clone())));
    assert_eq!(lattice.delete(&id("a"), Precondition::None).await.unwrap(), None);
    assert!(matches!(put(&lattice, numbered("a", 2)).await, Written::Created(entry) if entry.seq == 4));
    assert_eq!(bed.names(), ["a.json"]);
    bed.check(&lattice);
}

#[tokio::test]
async fn an_edit_is_dated_and_putting_it_again_changes_nothing() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    let edit = |text: &str| lattice.put(node(text), Stamp::Edit(NOW), Precondition::None);
    assert!(
        matches!(edit(r#"{"id": "a", "n": 1}"#).await.unwrap(), Written::Created(entry) if entry.updated_at == NOW)
    );
    let stored = lattice.read(&id("a")).await.unwrap().unwrap();
    assert_eq!(stored.bytes, r#"{"id": "a", "n": 1, "updated_at": 1763696494.123}"#);
    assert!(matches!(edit(r#"{"id": "a", "n": 1}"#).await.unwrap(), Written::Unchanged(_)));
    assert!(matches!(edit(std::str::from_utf8(&stored.bytes).unwrap()).await.unwrap(), Written::Unchanged(_)));
    let edited = edit(r#"{"id":"a","n":2,"updated_at":1763696494.123}"#).await.unwrap();
    assert!(matches!(edited, Written::Replaced(entry) if entry.updated_at > NOW));
    bed.check(&lattice);
}

#[tokio::test]
async fn of_many_writers_with_the_same_precondition_one_wins() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    let won = |results: &[Result<Written, LatticeError>]| {
        for result in results {
            assert!(matches!(result, Ok(_) | Err(LatticeError::PreconditionFailed { current: Some(_) })), "{result:?}");
        }
        results.iter().filter(|result| result.is_ok()).count()
    };
    let absent = |number| lattice.put(numbered("a", number), Stamp::Keep, Precondition::Absent);
    assert_eq!(won(&join_all((0..50).map(absent)).await), 1);
    let current = lattice.entry(&id("a")).unwrap().unwrap().content_hash;
    let matching = Precondition::OneOf(vec![ContentHash::of(b"else"), current]);
    let replace = |number| lattice.put(numbered("a", number), Stamp::Keep, matching.clone());
    assert_eq!(won(&join_all((100..150).map(replace)).await), 1);
    let failed = lattice.delete(&id("no"), Precondition::Exists).await;
    assert!(matches!(failed, Err(LatticeError::PreconditionFailed { current: None })));
    bed.check(&lattice);
}

#[tokio::test]
async fn a_precondition_is_judged_against_an_edit_that_no_event_has_told_of_yet() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    put(&lattice, numbered("a", 1)).await;
    let known = lattice.entry(&id("a")).unwrap().unwrap().content_hash;
    bed.write("a.json", r#"{"id":"a","n":"by hand"}"#);
    let result = lattice.put(numbered("a", 2), Stamp::Keep, Precondition::OneOf(vec![known])).await;
    assert!(matches!(result, Err(LatticeError::PreconditionFailed { current: Some(it) }) if it != known));
    assert_eq!(lattice.read(&id("a")).await.unwrap().unwrap().bytes, r#"{"id":"a","n":"by hand"}"#);
    bed.check(&lattice);
}

#[tokio::test]
async fn five_hundred_writers_at_once_are_all_acknowledged() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    let started = std::time::Instant::now();
    let names: Vec<_> = (0..500).map(|number| format!("n{number}")).collect();
    let results =
        join_all(names.iter().map(|name| lattice.put(numbered(name, 1), Stamp::Edit(NOW), Precondition::None))).await;
    eprintln!("500 concurrent puts: {:?}", started.elapsed());
    let positions: BTreeSet<_> = results
        .into_iter()
        .map(|result| match result.unwrap() {
            Written::Created(entry) => entry.seq,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(positions, (1..=500).collect());
    bed.check(&lattice);
    drop(lattice);
    bed.check(&bed.open().await.clone());
}

#[tokio::test]
async fn one_node_many_times_in_one_call_ends_with_the_last() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    let nodes = vec![numbered("a", 1), numbered("b", 1), numbered("a", 2), numbered("a", 2), numbered("a", 3)];
    let written = lattice.put_many(nodes, Stamp::Keep).await.unwrap();
    let did: Vec<_> = written
        .iter()
        .map(|it| match it {
            Written::Created(_) => 'c',
            Written::Replaced(_) => 'r',
            Written::Unchanged(_) => 'u',
        })
        .collect();
    assert_eq!(did, ['c', 'c', 'r', 'u', 'r']);
    assert_eq!(lattice.read(&id("a")).await.unwrap().unwrap().bytes, r#"{"id":"a","n":3}"#);
    bed.check(&lattice);
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_stop_its_write() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    let nodes: Vec<_> = (0..300).map(|number| numbered(&format!("n{number}"), number)).collect();
    {
        tokio::select! {
            biased;
            _ = lattice.put_many(nodes, Stamp::Keep) => panic!("300 files cannot be durable at once"),
            () = std::future::ready(()) => {}
        }
    }
    put(&lattice, numbered("after", 1)).await;
    assert_eq!(lattice.status().nodes, 301);
    bed.check(&lattice);
}

#[tokio::test]
async fn a_node_over_the_limit_is_refused_and_one_at_the_limit_survives_being_dated() {
    let mut bed = Bed::new();
    bed.limits.node_bytes = 100;
    let lattice = bed.open().await;
    let sized = |size: usize| node(&format!(r#"{{"id":"a","x":"{}"}}"#, "x".repeat(size - 17)));
    let over = lattice.put(sized(101), Stamp::Edit(NOW), Precondition::None).await;
    assert!(matches!(over, Err(LatticeError::Io(_))));
    lattice.put(sized(100), Stamp::Edit(NOW), Precondition::None).await.unwrap();
    drop(lattice);
    let lattice = bed.open().await;
    assert!(has(&lattice, "a"));
    assert!(lattice.read(&id("a")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_closed_lattice_writes_nothing_more() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    let last = Arc::clone(&lattice);
    let write = tokio::spawn(async move { last.put(numbered("a", 1), Stamp::Keep, Precondition::None).await });
    write.await.unwrap().unwrap();
    lattice.close().await;
    lattice.close().await;
    let late = lattice.put(numbered("b", 1), Stamp::Keep, Precondition::None).await;
    assert!(matches!(late, Err(LatticeError::Io(_))));
    assert_eq!(bed.names(), ["a.json"]);
    bed.check(&bed.open().await.clone());
}
