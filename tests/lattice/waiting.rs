//! Deletions of other instances that wait for the admin.

use crate::bed::{Bed, arrival, id, node, put};
use ark_lattice::{
    lattice::{
        Ancestry, Applied, Arrival, Arrived, Change, Conflict, DeletionBudget, Lattice, LatticeError, NodeDocument,
        Precondition, directory::DirectoryLattice,
    },
    types::{Clock, ContentHash, NodeId, TestClock, Timestamp},
};
use std::{sync::Arc, time::Duration};

const START: Timestamp = Timestamp::from_seconds(1_763_696_494);

fn at(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

fn bed() -> (Bed, Arc<TestClock>) {
    Bed::at(at(1000))
}

fn name(number: usize) -> String {
    format!("n{number:02}")
}

/// A bed with so many nodes, made at [`START`].
async fn filled(count: usize) -> (Bed, Arc<TestClock>, Arc<DirectoryLattice>) {
    let (bed, clock) = bed();
    let lattice = bed.open().await;
    let text = |number| format!("{{\"id\":\"{}\",\"updated_at\":{}}}", name(number), START.seconds());
    let nodes = (0..count).map(|number| node(&text(number)));
    lattice.put_many(nodes.collect()).await.unwrap();
    (bed, clock, lattice)
}

fn deletion(from: &str, number: usize, at: Timestamp) -> Arrival {
    let change = Arrived::Deleted { id: id(&name(number)), at, content_hash: ContentHash::of(b"there") };
    Arrival { change, ancestry: Ancestry::default(), from: from.into(), given: 0 }
}

fn deletions(from: &str, numbers: std::ops::Range<usize>, at: Timestamp) -> Vec<Arrival> {
    numbers.map(|number| deletion(from, number, at)).collect()
}

fn budget(deletions: usize) -> Arc<DeletionBudget> {
    Arc::new(DeletionBudget::new(deletions, false))
}

/// Makes them wait.
async fn wait(lattice: &DirectoryLattice, from: &str, numbers: std::ops::Range<usize>, at: Timestamp) {
    let applied = lattice.apply_within(deletions(from, numbers, at), &budget(0)).await.unwrap();
    assert!(applied.iter().all(|applied| *applied == Applied::Waiting), "{applied:?}");
}

fn waiting(lattice: &DirectoryLattice, from: Option<&str>) -> Vec<(String, String)> {
    let found = lattice.waiting(from, None, usize::MAX).unwrap();
    found.into_iter().map(|it| (it.id.to_string(), it.from.to_string())).collect()
}

fn counts(lattice: &DirectoryLattice) -> Vec<(String, u64)> {
    lattice.waiting_senders().unwrap().into_iter().map(|it| (it.from.to_string(), it.deletions)).collect()
}

#[tokio::test]
async fn deletions_beyond_the_budget_wait_and_outlive_the_process() {
    let (bed, clock, lattice) = filled(10).await;
    let few = budget(3);
    let mut arrivals = deletions("laptop", 0..8, at(10));
    arrivals.push(deletion("laptop", 99, at(10)));
    let applied = lattice.apply_within(arrivals, &few).await.unwrap();
    let waits = applied.iter().filter(|applied| **applied == Applied::Waiting).count();
    assert_eq!((waits, few.deleted(), lattice.status().nodes), (5, 3, 7));
    assert_eq!(applied[8], Applied::Taken(None), "what is not here deletes nothing");
    let seq = lattice.status().seq;
    // The same once more waits still once.
    clock.advance(Duration::from_secs(5));
    wait(&lattice, "laptop", 3..8, at(10)).await;
    wait(&lattice, "laptop", 3..8, at(9)).await;
    assert_eq!((lattice.status().seq, counts(&lattice)), (seq, vec![("laptop".to_owned(), 5)]));
    drop(lattice);

    let lattice = bed.open().await;
    assert_eq!(waiting(&lattice, Some("laptop")).len(), 5);
    let first = lattice.waiting(None, None, 1).unwrap().remove(0);
    assert_eq!((first.id, first.at, first.since), (id("n03"), at(10), at(1000)));
    let behind = lattice.waiting(None, Some((&id("n03"), "laptop")), 2).unwrap();
    assert_eq!(behind.iter().map(|it| it.id.to_string()).collect::<Vec<_>>(), ["n04", "n05"]);
    assert!(waiting(&lattice, Some("lap")).is_empty());
    bed.check(&lattice);
}

#[tokio::test]
async fn confirmed_deletions_are_those_of_their_sender() {
    let (bed, _, lattice) = filled(10).await;
    wait(&lattice, "a", 0..6, at(10)).await;
    wait(&lattice, "b", 4..8, at(20)).await;
    assert_eq!(counts(&lattice), [("a".to_owned(), 6), ("b".to_owned(), 4)]);
    assert_eq!(lattice.confirm_waiting("a").await.unwrap(), 6);
    assert_eq!((lattice.status().nodes, counts(&lattice)), (4, vec![("b".to_owned(), 2)]));
    let tombstone = lattice.tombstone(&id("n00")).unwrap().unwrap();
    assert_eq!((tombstone.deleted_at, tombstone.content_hash), (at(10), ContentHash::of(b"there")));
    assert_eq!(lattice.givers(&[&id("n00")]).unwrap(), [Some("a".into())]);
    assert_eq!(lattice.confirm_waiting("a").await.unwrap(), 0);
    bed.check(&lattice);
}

#[tokio::test]
async fn a_confirmed_deletion_of_the_version_that_is_here_is_no_conflict() {
    let (bed, _, lattice) = filled(2).await;
    // Of n00 the version that is here was deleted there, of n01 another one.
    let content_hash = lattice.entry(&id("n00")).unwrap().unwrap().content_hash;
    let same = Arrived::Deleted { id: id("n00"), at: at(10), content_hash };
    let same = Arrival { change: same, ..deletion("a", 0, at(10)) };
    let applied = lattice.apply_within(vec![same, deletion("a", 1, at(10))], &budget(0)).await.unwrap();
    assert_eq!(applied, [Applied::Waiting; 2]);
    assert_eq!(lattice.confirm_waiting("a").await.unwrap(), 2);
    let ids = |of: Vec<Conflict>| of.into_iter().map(|it| it.id.to_string()).collect::<Vec<_>>();
    assert_eq!(ids(lattice.conflicts(0, 9).unwrap()), ["n01"]);
    assert_eq!(ids(lattice.overruled(0, 9).unwrap()), ["n00"]);
    bed.check(&lattice);
}

#[tokio::test]
async fn refused_deletions_lose_against_the_nodes_everywhere() {
    let (bed, clock, lattice) = filled(5).await;
    let (_there, _, other) = filled(5).await;
    let seq = lattice.status().seq;
    // Of a clock that is ahead.
    let ahead = clock.now().plus(Duration::from_secs(100));
    wait(&lattice, "a", 0..4, ahead).await;
    other.apply(deletions("a", 0..4, ahead)).await.unwrap();
    assert_eq!((lattice.refuse_waiting("a").await.unwrap(), counts(&lattice)), (4, vec![]));
    assert_eq!((lattice.status().nodes, lattice.refuse_waiting("a").await.unwrap()), (5, 0));
    let mut back = Vec::new();
    for change in lattice.changes(seq, usize::MAX).unwrap() {
        let Change::Put { id, updated_at, ancestry, .. } = change else { panic!("{change:?}") };
        assert!(updated_at > ahead, "{updated_at:?}");
        let node = NodeDocument::parse(lattice.read(&id).await.unwrap().unwrap().bytes, 64).unwrap();
        back.push(Arrival { change: Arrived::Put { node, at: updated_at }, ancestry, from: "b".into(), given: 0 });
    }
    assert_eq!(other.apply(back).await.unwrap(), vec![Applied::Taken(None); 4]);
    assert_eq!(other.snapshot().unwrap().set_hash(), lattice.snapshot().unwrap().set_hash());
    let again = lattice.apply_within(deletions("a", 0..4, ahead), &budget(0)).await.unwrap();
    assert_eq!(again, [Applied::Kept; 4], "the refused deletions lost");
    bed.check(&lattice);
}

#[tokio::test]
async fn a_later_version_of_the_node_ends_the_wait() {
    let (bed, clock, lattice) = filled(6).await;
    wait(&lattice, "a", 0..6, at(10)).await;
    wait(&lattice, "b", 0..6, at(11)).await;
    put(&lattice, node(r#"{"id":"n00","edited":"here"}"#)).await;
    lattice.delete(&id("n01"), Precondition::None).await.unwrap();
    let theirs = arrival(r#"{"id":"n02","edited":"there"}"#, at(12));
    assert!(matches!(lattice.apply(vec![theirs]).await.unwrap()[..], [Applied::Taken(_)]));
    // Older than what waits, newer than what is here.
    let older = arrival(r#"{"id":"n03","edited":"before"}"#, at(5));
    assert!(matches!(lattice.apply(vec![older]).await.unwrap()[..], [Applied::Taken(_)]));
    bed.write("n04.json", r#"{"id":"n04","edited":"by hand"}"#);
    lattice.rescan().await.unwrap();
    let left: Vec<NodeId> = lattice.waiting(Some("a"), None, 9).unwrap().into_iter().map(|it| it.id).collect();
    assert_eq!(left, [id("n03"), id("n05")]);
    assert_eq!(counts(&lattice), [("a".to_owned(), 2), ("b".to_owned(), 2)]);
    clock.advance(Duration::from_secs(1));
    assert_eq!(lattice.confirm_waiting("b").await.unwrap(), 2);
    assert_eq!((lattice.status().nodes, counts(&lattice)), (3, vec![]));
}

#[tokio::test]
async fn what_a_sender_holds_again_waits_no_longer_of_that_sender() {
    let (bed, _, lattice) = filled(10).await;
    wait(&lattice, "a", 0..6, at(10)).await;
    wait(&lattice, "b", 4..8, at(20)).await;
    let seq = lattice.status().seq;
    let held: Vec<NodeId> = (3..10).map(|number| id(&name(number))).collect();
    assert_eq!(lattice.end_waiting("a", &held).await.unwrap(), 3);
    assert_eq!(lattice.end_waiting("a", &held).await.unwrap(), 0);
    assert_eq!(counts(&lattice), [("a".to_owned(), 3), ("b".to_owned(), 4)]);
    assert_eq!((lattice.status().seq, lattice.status().nodes), (seq, 10));
    // Deleted there once more, it waits once more.
    wait(&lattice, "a", 3..4, at(10)).await;
    assert_eq!(lattice.confirm_waiting("a").await.unwrap(), 4);
    assert_eq!((lattice.status().nodes, counts(&lattice)), (6, vec![("b".to_owned(), 4)]));
    bed.check(&lattice);
}

#[tokio::test]
async fn senders_that_are_not_verified_fill_no_more_than_there_are_nodes() {
    let (_bed, _, lattice) = filled(10).await;
    let bounded = Arc::new(DeletionBudget::new(0, true));
    for from in ["a", "b"] {
        let applied = lattice.apply_within(deletions(from, 0..5, at(10)), &bounded).await.unwrap();
        assert_eq!(applied, [Applied::Waiting; 5]);
    }
    let edit = arrival(&format!("{{\"id\":\"{}\",\"text\":\"edited\"}}", name(9)), at(5));
    let before = lattice.entry(edit.id()).unwrap().unwrap().content_hash;
    let applied = lattice.apply_within(vec![deletion("b", 5, at(10)), edit], &bounded).await.unwrap();
    assert!(matches!(applied[..], [Applied::LeftOut, Applied::Taken(_)]), "{applied:?}");
    let reason = bounded.take_left_out();
    assert!(matches!(reason, Some(LatticeError::WaitingFull { from }) if &*from == "b"), "it sent as much as any");
    let after = lattice.entry(&id(&name(9))).unwrap().unwrap().content_hash;
    assert_ne!(before, after, "an edit behind it counts");
    wait(&lattice, "verified", 0..10, at(10)).await;
    let again = lattice.apply_within(deletions("a", 0..5, at(11)), &bounded).await.unwrap();
    assert_eq!((again, lattice.waiting_of("a").unwrap()), (vec![Applied::Waiting; 5], 5));
    // Of one that sent less the deletion is kept, and the one that sent most makes room.
    assert_eq!(lattice.apply_within(deletions("c", 0..1, at(10)), &bounded).await.unwrap(), [Applied::Waiting]);
    let expected = [("b", 5), ("c", 1), ("verified", 10)].map(|(from, count)| (from.to_owned(), count));
    assert_eq!(counts(&lattice), expected);
}

#[tokio::test]
async fn a_call_lists_the_versions_that_it_stored_and_which_nodes_are_new() {
    let (bed, clock, lattice) = filled(3).await;
    // A file that breaks: what takes its place is neither new nor a version in the place of another one.
    bed.write(&format!("{}.json", name(2)), "{");
    lattice.rescan().await.unwrap();
    let ahead = clock.now().plus(Duration::from_secs(3600));
    let text = |number: usize, text: &str| format!("{{\"id\":\"{}\",\"text\":\"{text}\"}}", name(number));
    let before = lattice.entry(&id(&name(0))).unwrap().unwrap().seq;
    let arrivals = vec![
        arrival(&text(0, "edited"), at(10)),
        arrival(&text(1, "older"), START.minus(Duration::from_secs(10))),
        arrival(&text(2, "whole"), at(10)),
        arrival(&text(7, "ahead"), ahead),
        arrival(&text(8, "new"), at(10)),
        deletion("peer", 1, at(10)),
    ];
    let some = budget(1);
    let applied = lattice.apply_within(arrivals, &some).await.unwrap();
    let taken = applied.iter().map(|applied| matches!(applied, Applied::Taken(_))).collect::<Vec<_>>();
    assert_eq!(taken, [true, false, true, false, true, true], "{applied:?}");
    let stored = some.take_stored();
    let stored: Vec<_> = stored.iter().map(|it| (it.id.as_str(), it.seq, it.replaced)).collect();
    let seq = |number: usize| lattice.entry(&id(&name(number))).unwrap().unwrap().seq;
    assert_eq!(stored, [("n00", seq(0), Some(before)), ("n08", seq(8), None)]);
    assert_eq!((some.deleted(), some.take_stored().len()), (1, 0));
    // The same version with a later time is a version in its place; after its deletion it is new.
    let again = budget(1);
    lattice.apply_within(vec![arrival(&text(8, "new"), at(20))], &again).await.unwrap();
    lattice.apply_within(vec![deletion("peer", 8, at(30))], &again).await.unwrap();
    lattice.apply_within(vec![arrival(&text(8, "back"), at(40))], &again).await.unwrap();
    let replaced: Vec<_> = again.take_stored().into_iter().map(|it| it.replaced.is_some()).collect();
    assert_eq!(replaced, [true, false]);
}
