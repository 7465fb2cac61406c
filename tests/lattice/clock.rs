//! The machine's clock is set back: what is changed afterwards is still the newer version.

use crate::bed::{Bed, DEADLINE, id, node, until};
use ark_lattice::{
    lattice::{Lattice, Precondition, Written},
    types::{TestClock, Timestamp},
};
use std::{sync::Arc, time::Duration};

const NOW: Timestamp = Timestamp::from_micros(1_763_696_494_123_000);
const AN_HOUR_AGO: Timestamp = Timestamp::from_micros(1_763_692_894_123_000);

fn bed() -> (Bed, Arc<TestClock>) {
    Bed::at(NOW)
}

#[tokio::test]
async fn every_change_is_dated_after_the_version_that_it_replaces() {
    let (bed, clock) = bed();
    let lattice = bed.open().await;
    let date = || lattice.entry(&id("a")).unwrap().unwrap().updated_at;
    let edit = async |text: &str| lattice.put(node(text), Precondition::None).await.unwrap();

    edit(r#"{"id":"a","n":1}"#).await;
    assert_eq!(date(), NOW);
    clock.set_wall(AN_HOUR_AGO);
    // Through us, by another program, from elsewhere without a date, and deleted and made again.
    edit(r#"{"id":"a","n":2}"#).await;
    let (edited, seq) = (date(), lattice.status().seq);
    assert!(edited > NOW);
    bed.write("a.json", r#"{"id":"a","n":3}"#);
    until("the file's edit is seen", DEADLINE, || lattice.status().seq > seq).await;
    let by_hand = date();
    assert!(by_hand > edited);
    lattice.put(node(r#"{"id":"a","n":4}"#), Precondition::None).await.unwrap();
    let kept = date();
    assert!(kept > by_hand);
    let tombstone = lattice.delete(&id("a"), Precondition::None).await.unwrap().unwrap();
    assert!(tombstone.deleted_at > kept, "a deletion wins over what it deletes");
    assert!(matches!(edit(r#"{"id":"a","n":5}"#).await, Written::Created(_)));
    let again = date();
    assert!(again > tombstone.deleted_at, "a node that is made again wins over its deletion");
    // A file that is deleted and made again.
    let seq = lattice.status().seq;
    std::fs::remove_file(bed.data("a.json")).unwrap();
    // The journal has the tombstone a moment before the index shows the change.
    until("the file is gone", DEADLINE, || lattice.status().seq > seq).await;
    let deleted_at = lattice.tombstone(&id("a")).unwrap().unwrap().deleted_at;
    assert!(deleted_at > again);
    bed.write("a.json", r#"{"id":"a","n":6}"#);
    until("the file is there", DEADLINE, || lattice.entry(&id("a")).unwrap().is_some()).await;
    assert!(date() > deleted_at);
    bed.check(&lattice);
    // What is new is dated by the clock that there is.
    lattice.put(node(r#"{"id":"b"}"#), Precondition::None).await.unwrap();
    assert_eq!(lattice.entry(&id("b")).unwrap().unwrap().updated_at, AN_HOUR_AGO);
}

#[tokio::test]
async fn the_dates_hold_across_a_restart() {
    let (bed, clock) = bed();
    let lattice = bed.open().await;
    for text in [r#"{"id":"a"}"#, r#"{"id":"b"}"#] {
        lattice.put(node(text), Precondition::None).await.unwrap();
    }
    lattice.delete(&id("b"), Precondition::None).await.unwrap();
    drop(lattice);
    clock.set_wall(AN_HOUR_AGO);
    // Changed while nobody looked.
    bed.write("a.json", r#"{"id":"a","n":2}"#);
    bed.write("b.json", r#"{"id":"b","n":2}"#);
    let lattice = bed.open().await;
    for name in ["a", "b"] {
        assert!(lattice.entry(&id(name)).unwrap().unwrap().updated_at > NOW, "{name}");
    }
    assert_eq!(lattice.changes(0, 10).unwrap().len(), 2);
}

#[tokio::test]
async fn no_tombstone_goes_early_and_old_ones_go() {
    let (bed, clock) = bed();
    let lattice = bed.open().await;
    lattice.put(node(r#"{"id":"a"}"#), Precondition::None).await.unwrap();
    lattice.delete(&id("a"), Precondition::None).await.unwrap();
    let day = Duration::from_secs(24 * 60 * 60);
    clock.set_wall(AN_HOUR_AGO);
    // What the writer thread does every day, by the monotonic clock.
    clock.advance(day * 30);
    lattice.rescan().await.unwrap();
    assert!(lattice.tombstone(&id("a")).unwrap().is_some(), "29 days and 23 hours old");
    clock.advance(day);
    until("the tombstone goes", DEADLINE, || lattice.tombstone(&id("a")).unwrap().is_none()).await;
}

#[tokio::test]
async fn once_another_clock_agrees_an_edit_of_a_version_dated_ahead_is_dated_now() {
    let (bed, clock) = bed();
    let lattice = bed.open().await;
    let date = |name| lattice.entry(&id(name)).unwrap().unwrap().updated_at;
    let put = async |name: &str, n: u32| {
        let text = format!("{{\"id\":\"{name}\",\"n\":{n}}}");
        lattice.put(node(&text), Precondition::None).await.unwrap();
    };
    let year = Duration::from_secs(365 * 24 * 3600);
    clock.set_wall(NOW.plus(year));
    for name in ["a", "b", "by-hand", "near"] {
        put(name, 1).await;
    }
    lattice.delete(&id("b"), Precondition::None).await.unwrap();
    clock.set_wall(NOW);
    put("a", 2).await;
    assert!(date("a") > NOW.plus(year), "which of the two clocks was wrong is not known");

    lattice.note_clock_agrees();
    // What the clock that was ahead had dated is dated now, a deletion as well.
    lattice.rescan().await.unwrap();
    let near = |at: Timestamp| at.since(NOW) < Duration::from_secs(1);
    until("they are dated now", DEADLINE, || ["a", "by-hand", "near"].iter().all(|name| near(date(name)))).await;
    assert!(near(lattice.tombstone(&id("b")).unwrap().unwrap().deleted_at));
    put("a", 3).await;
    assert!(near(date("a")));
    put("b", 3).await;
    assert!(near(date("b")), "a node that is made again after its deletion");
    let seq = lattice.status().seq;
    bed.write("by-hand.json", r#"{"id":"by-hand","n":2}"#);
    until("the file's edit is seen", DEADLINE, || lattice.status().seq > seq).await;
    assert!(near(date("by-hand")), "by another program");
    let tombstone = lattice.delete(&id("near"), Precondition::None).await.unwrap().unwrap();
    assert!(near(tombstone.deleted_at));
    // Peers accept a version that is a little ahead: an edit comes after it.
    clock.set_wall(NOW.minus(Duration::from_secs(120)));
    put("a", 4).await;
    assert!(date("a") > NOW);
    // The clock is set: it did not agree with anything since.
    clock.set_wall(NOW.minus(year));
    let before = date("a");
    put("a", 5).await;
    assert!(date("a") > before);
    bed.check(&lattice);
}

#[tokio::test]
async fn a_start_with_a_clock_a_month_ahead_forgets_no_deletion() {
    let (bed, clock) = bed();
    let lattice = bed.open().await;
    lattice.put(node(r#"{"id":"a"}"#), Precondition::None).await.unwrap();
    lattice.delete(&id("a"), Precondition::None).await.unwrap();
    lattice.close().await;
    let day = Duration::from_secs(24 * 60 * 60);
    clock.set_wall(NOW.plus(day * 31));
    let lattice = bed.open().await;
    // The second look at all files begins after what a start prunes.
    for _ in 0..2 {
        lattice.rescan().await.unwrap();
    }
    assert!(lattice.tombstone(&id("a")).unwrap().is_some());
    // Lived through, over a restart, it goes.
    clock.advance(day * 20);
    lattice.rescan().await.unwrap();
    lattice.close().await;
    let lattice = bed.open().await;
    clock.advance(day * 9);
    lattice.rescan().await.unwrap();
    assert!(lattice.tombstone(&id("a")).unwrap().is_some());
    clock.advance(day * 2);
    until("the tombstone goes", DEADLINE, || lattice.tombstone(&id("a")).unwrap().is_none()).await;
}
