//! Restarts, crashes, and long runs of everything at once.

use crate::bed::{Bed, DEADLINE, Random, has, id, node, numbered, put, until};
use ark_lattice::{
    lattice::{Lattice, LatticeError, Precondition},
    types::{Clock, TestClock, Timestamp},
};
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

#[tokio::test]
async fn reopening_reads_no_file_that_did_not_change() {
    let bed = Bed::new();
    for number in 0..50 {
        bed.write(&format!("n{number}.json"), &format!(r#"{{"id":"n{number}"}}"#));
    }
    bed.age_files();
    let lattice = bed.open().await;
    assert_eq!((lattice.status().nodes, lattice.status().hashed_files), (50, 50));
    let (first, hash) = (lattice.status(), lattice.snapshot().unwrap().set_hash());
    lattice.close().await;
    drop(lattice);

    let lattice = bed.open().await;
    let status = lattice.status();
    assert_eq!((status.hashed_files, status.nodes), (0, 50));
    assert_eq!((&status.index_id, status.seq), (&first.index_id, first.seq));
    assert!(status.index_build.is_some());
    assert_eq!(lattice.snapshot().unwrap().set_hash(), hash);
    drop(lattice);

    bed.write("n7.json", r#"{"id":"n7","edited":true}"#);
    let lattice = bed.open().await;
    assert_eq!(lattice.status().hashed_files, 1);
    assert_eq!(lattice.changes(first.seq, 10).unwrap().len(), 1);
    bed.check(&lattice);
}

#[tokio::test]
async fn a_file_too_young_to_trust_is_read_again() {
    let bed = Bed::new();
    bed.write("a.json", r#"{"id":"a"}"#);
    drop(bed.open().await);
    assert_eq!(bed.open().await.status().hashed_files, 1);
}

#[tokio::test]
async fn calls_answer_loading_until_the_index_is_built() {
    let bed = Bed::new();
    for number in 0..2000 {
        bed.write(&format!("n{number}.json"), &format!(r#"{{"id":"n{number}"}}"#));
    }
    let lattice = bed.try_open().unwrap();
    if !lattice.status().ready {
        assert!(matches!(lattice.entry(&id("n1")), Err(LatticeError::Loading) | Ok(Some(_))));
    }
    until("the index is built", DEADLINE, || lattice.status().ready).await;
    assert_eq!(lattice.status().nodes, 2000);
}

#[tokio::test]
async fn what_happened_while_nobody_looked_is_in_the_journal() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    for name in ["a", "b", "c"] {
        put(&lattice, numbered(name, 1)).await;
    }
    let seq = lattice.status().seq;
    drop(lattice);
    fs::remove_file(bed.data("a.json")).unwrap();
    bed.write("b.json", r#"{"id":"b","n":2}"#);
    bed.write("d.json", r#"{"id":"d"}"#);
    let lattice = bed.open().await;
    assert_eq!(lattice.changes(seq, 10).unwrap().len(), 3);
    assert!(lattice.tombstone(&id("a")).unwrap().is_some());
    bed.check(&lattice);
}

#[tokio::test]
async fn a_journal_as_a_crash_leaves_it_is_caught_up() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    for number in 0..20 {
        put(&lattice, numbered(&format!("n{number}"), 1)).await;
    }
    // The file of a running process: what is on the disk when the power fails.
    fs::copy(bed.journal(), bed.path("crashed")).unwrap();
    let then = lattice.status();
    put(&lattice, numbered("later", 1)).await;
    put(&lattice, numbered("n3", 2)).await;
    lattice.delete(&id("n4"), Precondition::None).await.unwrap();
    drop(lattice);
    fs::rename(bed.path("crashed"), bed.journal()).unwrap();

    let lattice = bed.open().await;
    assert_eq!(lattice.status().index_id, then.index_id);
    assert_eq!(lattice.status().seq, then.seq + 3);
    assert_eq!(lattice.changes(then.seq, 10).unwrap().len(), 3);
    assert!(has(&lattice, "later") && !has(&lattice, "n4"));
    bed.check(&lattice);
}

#[tokio::test]
async fn a_new_journal_has_a_new_name() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    put(&lattice, numbered("a", 1)).await;
    let first = lattice.status().index_id;
    drop(lattice);
    fs::remove_file(bed.journal()).unwrap();
    let lattice = bed.open().await;
    assert_ne!(lattice.status().index_id, first);
    assert_eq!(lattice.status().index_id.len(), 32);
    bed.check(&lattice);
}

#[tokio::test]
async fn after_any_run_of_operations_index_and_journal_equal_the_directory() {
    for seed in [1, 2, 3] {
        eprintln!("seed {seed}");
        let (bed, mut random) = (Bed::new(), Random(0x9E37_79B9_7F4A_7C15 ^ seed));
        let mut lattice = bed.open().await;
        for step in 0..150 {
            let name = format!("n{}", random.below(12));
            let file = format!("{name}.json");
            match random.below(12) {
                0..=3 => drop(put(&lattice, numbered(&name, random.below(4))).await),
                4 => {
                    lattice.delete(&id(&name), Precondition::None).await.unwrap();
                }
                5 => {
                    let nodes =
                        (0..random.below(9)).map(|_| numbered(&format!("n{}", random.below(12)), step)).collect();
                    lattice.put_many(nodes).await.unwrap();
                }
                6 => bed.write(&file, &format!(r#"{{"id":"{name}","by hand":{step}}}"#)),
                7 => drop(fs::remove_file(bed.data(&file))),
                8 => bed.write(&file, "{ broken"),
                9 => lattice.rescan().await.unwrap(),
                10 => {
                    let edit = node(&format!(r#"{{"id":"{name}","edit":{step}}}"#));
                    lattice.put(edit, Precondition::None).await.unwrap();
                }
                _ => {
                    let seq = lattice.status().seq;
                    drop(lattice);
                    lattice = bed.open().await;
                    assert!(lattice.status().seq >= seq);
                }
            }
        }
        lattice.rescan().await.unwrap();
        bed.check(&lattice);
        drop(lattice);
        bed.check(&bed.open().await.clone());
    }
}

#[derive(Debug)]
struct FailingClock(Arc<TestClock>, AtomicBool);

impl Clock for FailingClock {
    fn now(&self) -> Timestamp {
        assert!(!self.1.load(Ordering::Relaxed), "this failure is the test's own");
        self.0.now()
    }

    fn latest(&self) -> Timestamp {
        self.0.latest()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

#[tokio::test]
async fn the_end_of_the_writer_thread_is_a_fault_that_shows_and_keeps_no_caller_waiting() {
    let mut bed = Bed::new();
    let clock = Arc::new(FailingClock(TestClock::at(Timestamp::from_seconds(1_763_696_494)), AtomicBool::new(false)));
    let shared: Arc<dyn Clock> = clock.clone();
    bed.clock = shared;
    let lattice = bed.open().await;
    put(&lattice, numbered("a", 1)).await;
    clock.1.store(true, Ordering::Relaxed);
    for text in ["b", "c"] {
        let lost = lattice.put(numbered(text, 1), Precondition::None).await;
        assert!(matches!(lost, Err(LatticeError::Io(_))), "{lost:?}");
    }
    assert!(lattice.rescan().await.is_err());
    until("the fault shows", DEADLINE, || lattice.status().fault.is_some()).await;
    assert!(lattice.read(&id("a")).await.unwrap().is_some());
    lattice.close().await;
    drop(lattice);
    clock.1.store(false, Ordering::Relaxed);
    let lattice = bed.open().await;
    assert!(has(&lattice, "a") && lattice.status().fault.is_none());
    bed.check(&lattice);
}
