//! Writes through the port.

use crate::bed::{Bed, has, id, node, numbered, put};
use ark_lattice::{
    lattice::{Lattice, LatticeError, Precondition, Written},
    types::{ContentHash, Timestamp},
};
use futures_util::future::join_all;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

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
async fn what_was_sent_is_stored_byte_for_byte_and_its_version_dated_in_the_journal() {
    let (bed, clock) = Bed::at(NOW);
    let lattice = bed.open().await;
    let step = Duration::from_millis(1);
    let later = NOW.plus(Duration::from_secs(600));
    let mut previous = Timestamp::EPOCH;
    // The text, and when its version counts as made.
    for (text, expected) in [
        ("{\n \"id\" : \"a\",\n \"n\":1.50\n}\n".to_owned(), NOW),
        // The edit states its own time, which is later than that of the version before.
        (format!(r#"{{"id":"a","n":2,"updated_at":{}}}"#, NOW.plus(step * 50).to_seconds_text()), NOW.plus(step * 50)),
        // It leaves the time as it was, also where that is written otherwise.
        (format!(r#"{{"id":"a","n":3,"updated_at":"{}"}}"#, NOW.plus(step * 50).to_rfc3339()), NOW.plus(step * 51)),
        // It states an earlier one, none, one that cannot be read.
        (r#"{"id":"a","n":4,"updated_at":5}"#.to_owned(), NOW.plus(step * 52)),
        (r#"{"id":"a","n":5}"#.to_owned(), NOW.plus(step * 53)),
        (r#"{"id":"a","n":6,"updated_at":"soon"}"#.to_owned(), NOW.plus(step * 54)),
        // One in the future counts as now.
        (format!(r#"{{"id":"a","n":7,"updated_at":"{}"}}"#, later.to_rfc3339()), NOW.plus(step * 55)),
    ] {
        let written = lattice.put(node(&text), Precondition::None).await.unwrap();
        assert_eq!(written.entry().updated_at, expected, "{text}");
        assert!(expected > previous);
        previous = expected;
        assert_eq!(lattice.read(&id("a")).await.unwrap().unwrap().bytes, text);
        assert_eq!(std::fs::read_to_string(bed.data("a.json")).unwrap(), text);
        let again = lattice.put(node(&text), Precondition::None).await.unwrap();
        assert!(matches!(again, Written::Unchanged(entry) if entry.updated_at == expected), "{text}");
    }
    // That future has come. The next edit leaves the time as it is, and was made after it.
    clock.advance(Duration::from_secs(900));
    let text = format!(r#"{{"id":"a","n":8,"updated_at":"{}"}}"#, later.to_rfc3339());
    let written = lattice.put(node(&text), Precondition::None).await.unwrap();
    assert_eq!(written.entry().updated_at, NOW.plus(Duration::from_secs(900)));
    bed.check(&lattice);
    let dated = written.entry().updated_at;
    drop(lattice);
    assert_eq!(bed.open().await.entry(&id("a")).unwrap().unwrap().updated_at, dated, "the journal has it");
}

#[tokio::test]
async fn another_text_of_the_same_content_is_stored_and_is_no_new_version() {
    let (bed, clock) = Bed::at(NOW);
    let lattice = bed.open().await;
    let first = lattice.put(node(r#"{"id":"a","n":0.1}"#), Precondition::None).await.unwrap().entry().clone();
    clock.advance(Duration::from_secs(5));
    for text in [r#"{"id":"a","n":0.10}"#, "{\n  \"id\": \"a\",\n  \"n\": 1e-1\n}\n"] {
        let Written::Unchanged(entry) = lattice.put(node(text), Precondition::Exists).await.unwrap() else {
            panic!("{text} has the content that is there")
        };
        assert_eq!(
            (entry.content_hash, entry.updated_at, entry.seq),
            (first.content_hash, first.updated_at, first.seq),
            "{text}"
        );
        assert_eq!(lattice.read(&id("a")).await.unwrap().unwrap().bytes, text);
        assert_eq!(std::fs::read_to_string(bed.data("a.json")).unwrap(), text);
        bed.check(&lattice);
    }
    assert_eq!((lattice.status().seq, lattice.overruled(0, 9).unwrap()), (1, Vec::new()));
    drop(lattice);
    let lattice = bed.open().await;
    assert!(lattice.read(&id("a")).await.unwrap().unwrap().bytes.ends_with(b"}\n"));
    let entry = lattice.entry(&id("a")).unwrap().unwrap();
    assert_eq!((entry.updated_at, entry.seq), (first.updated_at, 1), "{entry:?}");
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
    let absent = |number| lattice.put(numbered("a", number), Precondition::Absent);
    assert_eq!(won(&join_all((0..50).map(absent)).await), 1);
    let current = lattice.entry(&id("a")).unwrap().unwrap().content_hash;
    let matching = Precondition::OneOf(vec![ContentHash::of(b"else"), current]);
    let replace = |number| lattice.put(numbered("a", number), matching.clone());
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
    let result = lattice.put(numbered("a", 2), Precondition::OneOf(vec![known])).await;
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
    let results = join_all(names.iter().map(|name| lattice.put(numbered(name, 1), Precondition::None))).await;
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
    let written = lattice.put_many(nodes).await.unwrap();
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
            _ = lattice.put_many(nodes) => panic!("300 files cannot be durable at once"),
            () = std::future::ready(()) => {}
        }
    }
    put(&lattice, numbered("after", 1)).await;
    assert_eq!(lattice.status().nodes, 301);
    bed.check(&lattice);
}

#[tokio::test]
async fn a_node_over_the_limit_is_refused_and_one_that_an_older_release_stored_is_read() {
    let mut bed = Bed::new();
    bed.limits.node_bytes = 100;
    let lattice = bed.open().await;
    let text = |size: usize| format!(r#"{{"id":"a","x":"{}"}}"#, "x".repeat(size - 17));
    let sized = |size: usize| node(&text(size));
    let over = lattice.put(sized(101), Precondition::None).await;
    assert!(matches!(over, Err(LatticeError::Io(_))));
    lattice.put(sized(100), Precondition::None).await.unwrap();
    drop(lattice);
    // Release 0.1.0 added a time to a document at the limit.
    bed.write("a.json", &text(228));
    let lattice = bed.open().await;
    assert!(has(&lattice, "a"));
    assert_eq!(lattice.read(&id("a")).await.unwrap().unwrap().bytes.len(), 228);
    bed.check(&lattice);
}

#[tokio::test]
async fn a_closed_lattice_writes_nothing_more() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    let last = Arc::clone(&lattice);
    let write = tokio::spawn(async move { last.put(numbered("a", 1), Precondition::None).await });
    write.await.unwrap().unwrap();
    lattice.close().await;
    lattice.close().await;
    let late = lattice.put(numbered("b", 1), Precondition::None).await;
    assert!(matches!(late, Err(LatticeError::Io(_))));
    assert_eq!(bed.names(), ["a.json"]);
    bed.check(&bed.open().await.clone());
}
