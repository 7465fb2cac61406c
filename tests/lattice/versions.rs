//! Versions of other instances, against what is held here.

use crate::bed::{Bed, DEADLINE, arrival, id, node, numbered, put, until};
use ark_lattice::{
    lattice::{
        Ancestry, Applied, Arrival, Arrived, Change, Dismissed, Lattice, NodeDocument, Precondition, Written,
        directory::DirectoryLattice,
    },
    types::{Clock, NodeId, TestClock, Timestamp},
};
use std::{fs, sync::Arc, time::Duration};

const START: Timestamp = Timestamp::from_seconds(1_763_696_494);

fn at(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

/// A bed whose clock stands, some time after [`START`].
fn bed() -> (Bed, Arc<TestClock>) {
    Bed::at(at(1000))
}

fn deletion(text: &str, at: Timestamp) -> Arrival {
    let gone = node(text);
    let change = Arrived::Deleted { id: gone.id().clone(), at, content_hash: gone.content_hash() };
    Arrival { change, ancestry: Ancestry::default(), from: "peer".into(), given: 0 }
}

async fn apply(lattice: &DirectoryLattice, arrival: Arrival) -> Applied {
    lattice.apply(vec![arrival]).await.unwrap().pop().unwrap()
}

fn held(bed: &Bed, name: &str) -> Option<String> {
    fs::read_to_string(bed.data(name)).ok()
}

/// Everything that one lattice has, as another one is told of it.
async fn changes(lattice: &DirectoryLattice, since: u64) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    for change in lattice.changes(since, usize::MAX).unwrap() {
        let (change, ancestry) = match change {
            Change::Put { id, updated_at, ancestry, .. } => {
                let Some(stored) = lattice.read(&id).await.unwrap() else { continue };
                let node = NodeDocument::parse(stored.bytes, 64).unwrap();
                (Arrived::Put { node, at: updated_at }, ancestry)
            }
            Change::Deleted(tombstone, ancestry) => {
                let (at, content_hash) = (tombstone.deleted_at, tombstone.content_hash);
                (Arrived::Deleted { id: tombstone.id, at, content_hash }, ancestry)
            }
        };
        arrivals.push(Arrival { change, ancestry, from: "peer".into(), given: 0 });
    }
    arrivals
}

#[tokio::test]
async fn a_deletion_that_is_passed_on_says_what_was_deleted_where_it_was_made() {
    let (bed, _) = bed();
    let lattice = bed.open().await;
    apply(&lattice, arrival(r#"{"id":"a","n":"another's"}"#, at(10))).await;
    let gone = r#"{"id":"a","n":"what the third one deleted"}"#;
    assert_eq!(apply(&lattice, deletion(gone, at(20))).await, Applied::Taken(None));
    // Otherwise whoever made the first one would think that it was deleted knowingly, and not keep it.
    let passed_on = lattice.tombstone(&id("a")).unwrap().unwrap();
    assert_eq!(passed_on.content_hash, node(gone).content_hash());
    put(&lattice, numbered("a", 3)).await;
    let ancestry = lattice.ancestry(&id("a")).unwrap();
    assert_eq!(ancestry, Ancestry::default().after(&node(gone).content_hash()));
}

#[tokio::test]
async fn an_edit_made_here_that_comes_back_with_a_later_time_is_kept_where_it_loses_all_the_same() {
    let (bed, _) = bed();
    let lattice = bed.open().await;
    let text = r#"{"id":"a","updated_at":1763696504,"n":"mine"}"#;
    put(&lattice, node(text)).await;
    assert_eq!(apply(&lattice, arrival(text, at(20))).await, Applied::Same);
    assert_eq!(lattice.entry(&id("a")).unwrap().unwrap().updated_at, at(20));
    let other = r#"{"id":"a","n":"another's"}"#;
    let Applied::Taken(Some(number)) = apply(&lattice, arrival(other, at(30))).await else { panic!("it is not kept") };
    assert_eq!(&lattice.conflict(number).unwrap().unwrap().1[..], text.as_bytes());
}

#[tokio::test]
async fn who_overrules_his_own_versions_pushes_nothing_of_others_out_of_the_history() {
    let (bed, _) = bed();
    let lattice = bed.open().await;
    let of = |from: &str, text: String, seconds: u64| {
        let change = Arrived::Put { node: node(&text), at: at(seconds) };
        Arrival { change, ancestry: Ancestry::default(), from: from.into(), given: 0 }
    };
    for number in 0..20 {
        apply(&lattice, of("honest", format!(r#"{{"id":"h{number}","n":1}}"#), 1)).await;
        apply(&lattice, of("sender", format!(r#"{{"id":"h{number}","n":2}}"#), 2)).await;
    }
    // Each version takes 3 MiB; the history holds 64 MiB of them.
    let large = "x".repeat(3 << 20);
    for number in 0..30 {
        apply(&lattice, of("sender", format!(r#"{{"id":"own","n":{number},"text":"{large}"}}"#), 10 + number)).await;
    }
    let kept = lattice.overruled(0, 999).unwrap();
    let of_honest = kept.iter().filter(|it| it.id.as_str().starts_with('h')).count();
    assert_eq!(of_honest, 20, "{} are kept", kept.len());
    assert!((15..=21).contains(&(kept.len() - of_honest)), "{} are kept", kept.len());
    // What is forgotten by hand is out of both accounts.
    for conflict in kept {
        assert_eq!(lattice.dismiss_conflict(conflict.number).await.unwrap(), Some(Dismissed::Overruled));
    }
    assert_eq!(lattice.overruled(0, 9).unwrap(), Vec::new());
}

#[tokio::test]
async fn the_later_version_counts_and_a_repeated_one_changes_nothing() {
    let (bed, _) = bed();
    let lattice = bed.open().await;
    assert_eq!(apply(&lattice, arrival(r#"{"id":"a","n":1}"#, at(10))).await, Applied::Taken(None));
    assert_eq!(apply(&lattice, arrival(r#"{"id":"a","n":1}"#, at(10))).await, Applied::Same);
    let seq = lattice.status().seq;
    assert_eq!(apply(&lattice, arrival(r#"{"id":"a","n":0}"#, at(9))).await, Applied::Kept);
    assert_eq!(
        held(&bed, "a.json").as_deref(),
        Some(r#"{"id":"a","n":1}"#),
        "as it came, also without a time of its own"
    );
    assert_eq!(lattice.status().seq, seq);
    assert_eq!(apply(&lattice, arrival(r#"{"id":"a","n":2}"#, at(11))).await, Applied::Taken(None));
    assert_eq!(apply(&lattice, arrival(r#"{"id":"a","n":3}"#, at(1301))).await, Applied::Ahead);
    assert_eq!(held(&bed, "a.json").as_deref(), Some(r#"{"id":"a","n":2}"#));
    assert_eq!(lattice.entry(&id("a")).unwrap().unwrap().updated_at, at(11));
    bed.check(&lattice);
    drop(lattice);
    let lattice = bed.open().await;
    assert_eq!(lattice.entry(&id("a")).unwrap().unwrap().updated_at, at(11), "its time is not in the file");
}

#[tokio::test]
async fn the_same_content_with_a_later_time_is_passed_on() {
    let (bed, _) = bed();
    let lattice = bed.open().await;
    apply(&lattice, arrival(r#"{"id":"a"}"#, at(10))).await;
    let seq = lattice.status().seq;
    assert_eq!(apply(&lattice, arrival(r#"{"id":"a"}"#, at(20))).await, Applied::Same);
    assert!(matches!(&lattice.changes(seq, 9).unwrap()[..], [Change::Put { updated_at, .. }] if *updated_at == at(20)));
    assert_eq!(apply(&lattice, arrival(r#"{"id":"a","n":1}"#, at(15))).await, Applied::Kept);
    bed.check(&lattice);
}

#[tokio::test]
async fn deletions_are_versions_too() {
    let (bed, _) = bed();
    let lattice = bed.open().await;
    apply(&lattice, arrival(r#"{"id":"a"}"#, at(10))).await;
    assert_eq!(apply(&lattice, deletion(r#"{"id":"a"}"#, at(10))).await, Applied::Kept, "a tie deletes nothing");
    assert_eq!(apply(&lattice, deletion(r#"{"id":"a"}"#, at(11))).await, Applied::Taken(None));
    assert_eq!(held(&bed, "a.json"), None);
    assert_eq!(lattice.tombstone(&id("a")).unwrap().unwrap().deleted_at, at(11));
    assert_eq!(
        apply(&lattice, arrival(r#"{"id":"a"}"#, at(10))).await,
        Applied::Kept,
        "what is late does not revive it"
    );
    // Of a node that was never here: whoever brings it later must not revive it either.
    assert_eq!(apply(&lattice, deletion(r#"{"id":"b"}"#, at(20))).await, Applied::Taken(None));
    assert_eq!(apply(&lattice, arrival(r#"{"id":"b"}"#, at(19))).await, Applied::Kept);
    assert_eq!(apply(&lattice, arrival(r#"{"id":"b"}"#, at(21))).await, Applied::Taken(None));
    bed.check(&lattice);
    assert_eq!(lattice.conflict_count().unwrap(), 0, "nobody's edit was lost");
}

#[tokio::test]
async fn an_edit_made_here_that_loses_is_kept() {
    let (bed, clock) = bed();
    let lattice = bed.open().await;
    put(&lattice, numbered("a", 1)).await;
    let mine = held(&bed, "a.json").unwrap();
    let answer = apply(&lattice, arrival(r#"{"id":"a","n":"theirs"}"#, at(1001))).await;
    let Applied::Taken(Some(number)) = answer else { panic!("{answer:?}") };
    assert_eq!(held(&bed, "a.json").as_deref(), Some(r#"{"id":"a","n":"theirs"}"#));
    let (conflict, content) = lattice.conflict(number).unwrap().unwrap();
    assert_eq!((content.as_ref(), &*conflict.from), (mine.as_bytes(), "peer"));
    assert_eq!((conflict.lost.at, conflict.won.at, conflict.noticed_at), (at(1000), at(1001), clock.now()));
    // What came from elsewhere is kept where it was made.
    assert_eq!(apply(&lattice, arrival(r#"{"id":"a","n":"again"}"#, at(1002))).await, Applied::Taken(None));
    // A deletion can lose an edit as well.
    put(&lattice, numbered("b", 1)).await;
    assert!(matches!(apply(&lattice, deletion(r#"{"id":"b"}"#, at(1005))).await, Applied::Taken(Some(_))));
    let list = lattice.conflicts(0, 10).unwrap();
    assert_eq!(list.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    drop(lattice);
    let lattice = bed.open().await;
    assert_eq!(lattice.conflicts(number, 10).unwrap().len(), 1);
    // A dismissed conflict is history, and is forgotten only when it is dismissed there.
    assert_eq!(lattice.dismiss_conflict(number).await.unwrap(), Some(Dismissed::Conflict));
    assert_eq!((lattice.conflict_count().unwrap(), lattice.overruled_count().unwrap()), (1, 2));
    let (settled, content) = lattice.conflict(number).unwrap().unwrap();
    assert_eq!((settled.is_conflict, content.as_ref()), (false, mine.as_bytes()));
    assert_eq!(lattice.dismiss_conflict(number).await.unwrap(), Some(Dismissed::Overruled));
    assert_eq!(lattice.dismiss_conflict(number).await.unwrap(), None);
    assert_eq!((lattice.conflict_count().unwrap(), lattice.overruled_count().unwrap()), (1, 1));
}

/// An edit made here that lost against one of `peer`; its number.
async fn lost(lattice: &DirectoryLattice, here: &str, there: &str) -> u64 {
    lattice.put(node(here), Precondition::None).await.unwrap();
    match apply(lattice, arrival(there, at(1100))).await {
        Applied::Taken(Some(number)) => number,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_restored_version_wins_everywhere_and_what_it_replaces_is_kept() {
    let (bed, _) = bed();
    let lattice = bed.open().await;
    let there = r#"{"id":"a","v":"there","updated_at":1}"#;
    let first = lost(&lattice, r#"{"id":"a","v":"here","updated_at":"2025-11-21T00:00:00Z"}"#, there).await;
    let restored = lattice.restore(first, "me").await.unwrap().unwrap();
    let text = held(&bed, "a.json").unwrap();
    // As it was; its version is later than the one that it replaces, though our clock is behind that one.
    let dated = at(1100).plus(Duration::from_millis(1));
    assert_eq!(text, r#"{"id":"a","v":"here","updated_at":"2025-11-21T00:00:00Z"}"#);
    assert_eq!(restored.written.entry().updated_at, dated);
    let (kept, content) = lattice.conflict(restored.kept.unwrap()).unwrap().unwrap();
    assert_eq!((&content[..], &*kept.from, kept.lost.at, kept.won.at), (there.as_bytes(), "me", at(1100), dated));
    assert!(!kept.is_conflict, "nothing is left to settle");
    assert_eq!((lattice.conflict_count().unwrap(), lattice.conflict(first).unwrap()), (0, None));
    assert!(lattice.restore(first, "me").await.unwrap().is_none(), "it is done once");
    // Whoever holds the version that had won takes this one.
    let change = lattice.changes(0, 9).unwrap().pop().unwrap();
    assert!(matches!(&change, Change::Put { updated_at, ancestry, .. }
        if *updated_at == dated && ancestry.names(&node(there).content_hash())));

    let back = lattice.restore(kept.number, "me").await.unwrap().unwrap();
    assert!(held(&bed, "a.json").unwrap().contains("there"), "and back");
    let again = lattice.restore(back.kept.unwrap(), "me").await.unwrap().unwrap();
    bed.check(&lattice);
    drop(lattice);
    let lattice = bed.open().await;
    assert_eq!((lattice.conflict_count().unwrap(), lattice.overruled(0, 9).unwrap().len()), (0, 1));
    let (_, content) = lattice.conflict(again.kept.unwrap()).unwrap().unwrap();
    assert!(held(&bed, "a.json").unwrap().contains("here") && String::from_utf8_lossy(&content).contains("there"));
}

#[tokio::test]
async fn where_the_file_is_broken_a_restore_keeps_the_last_good_version() {
    let (bed, _) = bed();
    let lattice = bed.open().await;
    let first = lost(&lattice, r#"{"id":"a","v":"here"}"#, r#"{"id":"a","v":"there"}"#).await;
    let unsent = r#"{"id":"a","v":"unsent"}"#;
    lattice.put(node(unsent), Precondition::None).await.unwrap();
    bed.write("a.json", r#"{"id":"a","v":"#);
    until("the file is broken", DEADLINE, || lattice.is_unavailable(&id("a"))).await;
    let restored = lattice.restore(first, "me").await.unwrap().unwrap();
    assert_eq!(held(&bed, "a.json").unwrap(), r#"{"id":"a","v":"here"}"#);
    let (_, content) = lattice.conflict(restored.kept.unwrap()).unwrap().unwrap();
    assert_eq!(&content[..], unsent.as_bytes());
    assert_eq!(std::fs::read(bed.data(".a.json.broken")).unwrap(), br#"{"id":"a","v":"#);
}

#[tokio::test]
async fn a_deleted_node_is_restored_and_what_is_there_already_is_not_written_again() {
    let (bed, _) = bed();
    let lattice = bed.open().await;
    let first = lost(&lattice, r#"{"id":"a","v":1}"#, r#"{"id":"a","v":2}"#).await;
    lattice.delete(&id("a"), Precondition::None).await.unwrap().unwrap();
    let restored = lattice.restore(first, "me").await.unwrap().unwrap();
    assert!(matches!(&restored.written, Written::Created(_)) && restored.kept.is_none(), "{restored:?}");
    assert_eq!(held(&bed, "a.json").unwrap(), r#"{"id":"a","v":1}"#);
    assert_eq!(lattice.conflict_count().unwrap(), 0);

    // Somebody wrote it again by hand, as it was.
    let second = lost(&lattice, r#"{"id":"b","v":1}"#, r#"{"id":"b","v":2}"#).await;
    assert_eq!(second, first + 1, "no number is given twice");
    bed.write("b.json", r#"{"updated_at":7, "v":1,"id":"b"}"#);
    let restored = lattice.restore(second, "me").await.unwrap().unwrap();
    assert!(matches!(&restored.written, Written::Unchanged(_)) && restored.kept.is_none(), "{restored:?}");
    assert_eq!(held(&bed, "b.json").unwrap(), r#"{"updated_at":7, "v":1,"id":"b"}"#);
    assert_eq!(lattice.conflict_count().unwrap(), 0);

    let third = lost(&lattice, r#"{"id":"c","v":1}"#, r#"{"id":"c","v":2}"#).await;
    assert_eq!(lattice.dismiss_conflict(third).await.unwrap(), Some(Dismissed::Conflict));
    assert_eq!(lattice.dismiss_conflict(third).await.unwrap(), Some(Dismissed::Overruled));
    assert_eq!(lattice.dismiss_conflict(third).await.unwrap(), None);
    drop(lattice);
    let lattice = bed.open().await;
    let fourth = lost(&lattice, r#"{"id":"d","v":1}"#, r#"{"id":"d","v":2}"#).await;
    assert_eq!(fourth, third + 1, "nor after a restart");
    bed.check(&lattice);
}

#[tokio::test]
async fn an_edit_of_an_edit_made_here_is_no_conflict() {
    let ((here, clock), (there, other_clock)) = (bed(), bed());
    let (mine, theirs) = (here.open().await, there.open().await);
    put(&mine, numbered("a", 1)).await;
    theirs.apply(changes(&mine, 0).await).await.unwrap();
    for n in 2..5 {
        other_clock.advance(Duration::from_secs(1));
        put(&theirs, numbered("a", n)).await;
    }
    clock.advance(Duration::from_secs(10));
    // What it was given of this journal, this instance knows by its own record.
    let given = |arrivals: Vec<Arrival>| -> Vec<Arrival> {
        arrivals.into_iter().map(|arrival| Arrival { given: u64::MAX, ..arrival }).collect()
    };
    assert_eq!(mine.apply(given(changes(&theirs, 0).await)).await.unwrap(), [Applied::Taken(None)]);
    other_clock.advance(Duration::from_secs(1));
    theirs.delete(&id("a"), Default::default()).await.unwrap();
    assert_eq!(mine.apply(given(changes(&theirs, 0).await)).await.unwrap(), [Applied::Taken(None)]);
    assert_eq!(mine.conflict_count().unwrap(), 0);
    let history = mine.overruled(0, 9).unwrap();
    assert_eq!(
        history.iter().map(|it| it.lost.content.is_some()).collect::<Vec<_>>(),
        [true, true],
        "kept all the same"
    );
}

#[tokio::test]
async fn a_forged_ancestry_hides_no_conflict() {
    let (here, clock) = bed();
    let lattice = here.open().await;
    put(&lattice, numbered("a", 1)).await;
    clock.advance(Duration::from_secs(10));
    let mine = lattice.entry(&id("a")).unwrap().unwrap();
    let forged = Arrival {
        ancestry: Ancestry::default().after(&mine.content_hash),
        ..arrival(r#"{"id":"a","forged":true}"#, mine.updated_at.plus(Duration::from_secs(1)))
    };
    assert!(matches!(lattice.apply(vec![forged]).await.unwrap()[..], [Applied::Taken(Some(_))]));
    assert_eq!(lattice.conflict_count().unwrap(), 1);
}

#[tokio::test]
async fn an_edit_by_hand_wins_over_what_it_replaces_whatever_time_it_states() {
    let (bed, clock) = bed();
    let lattice = bed.open().await;
    let version = |name: &str| lattice.entry(&id(name)).unwrap().unwrap().updated_at;
    bed.write("a.json", r#"{"id":"a","updated_at":"2025-01-01T00:00:00Z","n":1}"#);
    until("it is seen", DEADLINE, || lattice.entry(&id("a")).unwrap().is_some()).await;
    let first = version("a");
    assert!(first < START, "what is stated counts for a new node");
    bed.write("a.json", r#"{"id":"a","updated_at":"2025-01-01T00:00:00Z","n":2}"#);
    until("the edit is seen", DEADLINE, || version("a") != first).await;
    assert_eq!(version("a"), clock.now());
    // The clock goes back an hour.
    clock.set_wall(START);
    bed.write("a.json", r#"{"id":"a","n":3}"#);
    until("the next edit is seen", DEADLINE, || version("a") > at(1000)).await;
    // Deleted and made again, also then.
    lattice.delete(&id("a"), Default::default()).await.unwrap();
    put(&lattice, numbered("a", 4)).await;
    let again = version("a");
    assert!(again > at(1000) && again < at(1001), "{again:?}");
    // A time far ahead would win for years.
    bed.write("z.json", r#"{"id":"z","updated_at":"2400-01-01T00:00:00Z"}"#);
    until("it is seen", DEADLINE, || lattice.entry(&id("z")).unwrap().is_some()).await;
    assert_eq!(version("z"), START);
    bed.check(&lattice);
}

/// A small generator, so that a failing seed can be run again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[tokio::test]
async fn any_edits_and_any_order_of_delivery_end_in_the_same_set() {
    for seed in [3, 20_261_121, 77_777] {
        let mut dice = Dice(seed);
        let beds: Vec<_> = (0..3).map(|_| bed()).collect();
        let mut lattices = Vec::new();
        for (bed, _) in &beds {
            lattices.push(bed.open().await);
        }
        for step in 0..120 {
            let who = usize::try_from(dice.below(3)).unwrap();
            let (lattice, clock) = (&lattices[who], &beds[who].1);
            let name = format!("n{}", dice.below(4));
            clock.advance(Duration::from_millis(dice.below(3) * 500));
            match dice.below(6) {
                0..=2 => drop(put(lattice, numbered(&name, step)).await),
                3 => drop(lattice.delete(&NodeId::parse(&name).unwrap(), Default::default()).await.unwrap()),
                _ => {
                    // A part of what another one has, in another order, some of it twice.
                    let other = &lattices[(who + 1 + usize::try_from(dice.below(2)).unwrap()) % 3];
                    let mut arrivals = changes(other, 0).await;
                    arrivals.retain(|_| dice.below(3) > 0);
                    arrivals.extend(arrivals.first().cloned());
                    arrivals.reverse();
                    lattice.apply(arrivals).await.unwrap();
                }
            }
        }
        for (to, from) in [(0, 1), (0, 2), (1, 0), (2, 0)] {
            let arrivals = changes(&lattices[from], 0).await;
            lattices[to].apply(arrivals).await.unwrap();
        }
        let hashes: Vec<_> = lattices.iter().map(|lattice| lattice.snapshot().unwrap().set_hash()).collect();
        assert!(hashes.iter().all(|hash| *hash == hashes[0]), "seed {seed}: {hashes:?}");
        for ((bed, _), lattice) in beds.iter().zip(&lattices) {
            bed.check(lattice);
        }
    }
}
