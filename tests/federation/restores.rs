//! Instances that are restored from copies of their directories: what was lost comes again, in every direction.

use crate::bed::{Copy, Instance, provider, stop};
use ark_lattice::{
    federation::{
        client::Client,
        filter::Filter,
        peers::{Direction, PeerOptions},
        round::{Outcome, differences::Differences},
    },
    lattice::NodeFilter,
    ops,
    trust::Entry,
    types::{NodeId, PeerId},
};
use std::{collections::BTreeSet, time::Duration};

fn ids(instance: &Instance) -> BTreeSet<String> {
    let page = instance.lattice().page(None, &NodeFilter::default(), 1000).unwrap();
    page.entries.iter().map(|entry| entry.id.to_string()).collect()
}

async fn put(instance: &Instance, prefix: &str, numbers: std::ops::RangeInclusive<u32>) {
    for number in numbers {
        instance.put(&format!("{prefix}{number}"), "1").await;
    }
}

fn named(prefix: &str, numbers: std::ops::RangeInclusive<u32>) -> BTreeSet<String> {
    numbers.map(|number| format!("{prefix}{number}")).collect()
}

fn kinds(instance: &Instance) -> Vec<String> {
    let log = std::fs::read_to_string(instance.state().join("audit.log")).unwrap();
    let texts: Vec<String> = log.lines().map(|line| line[65..].to_owned()).collect();
    Entry::parse_all(&texts).unwrap().into_iter().map(|entry| entry.kind).collect()
}

/// A hub, and a laptop that exchanges with it so.
async fn two(direction: Direction, filtered: bool) -> (Instance, Instance) {
    provider();
    let (hub, laptop) = (Instance::start("hub").await, Instance::start("laptop").await);
    let filter = if filtered { r#"{"ids":["h*","l*"]}"# } else { "{}" };
    let options = PeerOptions { direction, filter: Filter::parse(filter).unwrap(), priority: false, unsigned: false };
    laptop.engine().add_peer(&hub.url, options).unwrap();
    (hub, laptop)
}

/// What each of them is to have, of `h` made at the hub and `l` made at the laptop.
fn assert_exchanged(hub: &Instance, laptop: &Instance, direction: Direction, made: (&[u32], u32), case: &str) {
    let (of_hub, of_laptop) = made;
    let h: BTreeSet<String> = of_hub.iter().map(|number| format!("h{number}")).collect();
    if direction != Direction::Pull {
        assert!(ids(hub).is_superset(&named("l", 1..=of_laptop)), "{case}: hub {:?}", ids(hub));
    }
    if direction != Direction::Push {
        assert!(ids(laptop).is_superset(&h), "{case}: laptop {:?}", ids(laptop));
    }
}

const DIRECTIONS: [Direction; 3] = [Direction::Push, Direction::Pull, Direction::Both];

#[tokio::test]
async fn what_a_restored_hub_lost_comes_again_and_what_it_gives_anew_is_taken() {
    for direction in DIRECTIONS {
        // It is written to before the next round by fewer and by more nodes than were lost, or not at all.
        for (filtered, written) in [(false, 0), (false, 2), (true, 0), (true, 2), (false, 9), (true, 9)] {
            let case = format!("{direction:?} filtered {filtered} written {written}");
            let (mut hub, laptop) = two(direction, filtered).await;
            put(&hub, "h", 1..=3).await;
            put(&laptop, "l", 1..=3).await;
            assert_eq!(laptop.sync(true).await.error, None, "{case}");
            let copy;
            (hub, copy) = hub.copied().await;
            put(&hub, "h", 4..=6).await;
            put(&laptop, "l", 4..=6).await;
            assert_eq!(laptop.sync(true).await.error, None, "{case}");
            assert_exchanged(&hub, &laptop, direction, (&[1, 2, 3, 4, 5, 6], 6), &case);

            hub = hub.restored(&copy, |_| true).await;
            hub.clock.advance(Duration::from_secs(5));
            assert!(!ids(&hub).contains("h6") && !ids(&hub).contains("l6"), "{case}");
            put(&hub, "h", 11..=10 + written).await;
            assert_eq!(laptop.sync(true).await.error, None, "{case}");
            let mut of_hub = vec![1, 2, 3];
            of_hub.extend(11..=10 + written);
            assert_exchanged(&hub, &laptop, direction, (&of_hub, 6), &case);
            assert!(kinds(&laptop).contains(&"restored".to_owned()), "{case}: {:?}", kinds(&laptop));

            // From then on as before, and nothing moves that need not.
            put(&hub, "h", 31..=31).await;
            put(&laptop, "l", 7..=7).await;
            let synced = laptop.sync(true).await;
            assert_eq!((synced.error, synced.report.reset), (None, None), "{case}");
            of_hub.push(31);
            assert_exchanged(&hub, &laptop, direction, (&of_hub, 7), &case);
            let quiet = laptop.sync(true).await.report;
            assert_eq!((quiet.requests, quiet.reset, quiet.bytes_in, quiet.bytes_out), (1, None, 0, 0), "{case}");
            laptop.stop().await;
            hub.stop().await;
        }
    }
}

#[tokio::test]
async fn what_a_restored_laptop_lost_comes_again_whatever_of_it_was_restored() {
    type IsRestored = fn(&str) -> bool;
    let parts: [(&str, IsRestored); 4] = [
        ("everything", |_| true),
        ("the positions", |name| name == "state/peers.json"),
        ("the journal", |name| name == "state/lattice.redb"),
        ("the journal and the positions", |name| ["state/peers.json", "state/lattice.redb"].contains(&name)),
    ];
    for direction in DIRECTIONS {
        for (filtered, (what, part)) in [false, true].into_iter().flat_map(|it| parts.map(|part| (it, part))) {
            let case = format!("{direction:?} filtered {filtered} {what}");
            let (hub, mut laptop) = two(direction, filtered).await;
            put(&hub, "h", 1..=3).await;
            put(&laptop, "l", 1..=3).await;
            assert_eq!(laptop.sync(true).await.error, None, "{case}");
            let copy;
            (laptop, copy) = laptop.copied().await;
            put(&hub, "h", 4..=6).await;
            put(&laptop, "l", 4..=6).await;
            assert_eq!(laptop.sync(true).await.error, None, "{case}");
            laptop = laptop.restored(&copy, part).await;
            laptop.clock.advance(Duration::from_secs(5));
            put(&laptop, "l", 21..=24).await;
            put(&hub, "h", 7..=7).await;
            assert_eq!(laptop.sync(true).await.error, None, "{case}");
            assert_exchanged(&hub, &laptop, direction, (&[1, 2, 3, 4, 5, 6, 7], 3), &case);
            if direction != Direction::Pull {
                assert!(ids(&hub).is_superset(&named("l", 21..=24)), "{case}: {:?}", ids(&hub));
            }
            laptop.stop().await;
            hub.stop().await;
        }
    }
}

#[tokio::test]
async fn a_copy_that_runs_beside_its_original_is_named_with_what_to_do() {
    // It pulls: of the registrations that a push needs each copy has its own.
    let (mut hub, laptop) = two(Direction::Pull, false).await;
    put(&hub, "h", 1..=3).await;
    assert_eq!(laptop.sync(true).await.error, None);
    let original;
    (hub, original) = hub.copied().await;
    put(&hub, "h", 4..=4).await;
    assert_eq!(laptop.sync(true).await.error, None);
    // One address, behind which now the one and now the other answers.
    let mut copies = [original, Copy::default()];
    let mut errors = Vec::new();
    for turn in 0..4 {
        let current;
        (hub, current) = hub.copied().await;
        let next = std::mem::take(&mut copies[turn % 2]);
        copies[(turn + 1) % 2] = current;
        hub = hub.restored(&next, |_| true).await;
        hub.clock.advance(Duration::from_secs(5));
        laptop.clock.advance(Duration::from_secs(5));
        hub.put(&format!("turn{turn}"), "1").await;
        errors.push(laptop.sync(true).await.error);
        assert!(ids(&laptop).contains(&format!("turn{turn}")), "it is exchanged all the same");
    }
    let last = errors.pop().flatten().unwrap();
    assert!(errors[0].is_none() && last.contains("hub") && last.contains("ARK_NODE_ID"), "{errors:?} {last}");
    assert!(laptop.engine().peers()[0].error.as_deref().is_some_and(|error| error.contains("two instances")));
    assert!(kinds(&laptop).contains(&"cloned".to_owned()));
    laptop.stop().await;
    hub.stop().await;
}

#[tokio::test]
async fn an_instance_that_a_peer_knows_to_have_been_further_begins_a_new_epoch() {
    let (mut hub, laptop) = two(Direction::Both, false).await;
    hub.engine().add_peer(&laptop.url, PeerOptions::default()).unwrap();
    put(&hub, "h", 1..=3).await;
    let copy;
    (hub, copy) = hub.copied().await;
    put(&hub, "h", 4..=6).await;
    assert_eq!(laptop.sync(true).await.error, None);
    hub = hub.restored(&copy, |_| true).await;
    hub.clock.advance(Duration::from_secs(5));
    // As after a live snapshot: the process does not know that it was started again.
    put(&hub, "h", 11..=12).await;
    let begun = hub.lattice().epochs();
    assert_eq!(begun.next, None);
    let client = Client::new(&laptop.url, &hub.context.limits).unwrap();
    let shown = client.head_of(&hub.context.identity.node_id, &hub.context.limits).await.unwrap().unwrap();
    assert_eq!(shown.get().seq, 6);
    let stranger = client.head_of(&laptop.context.identity.node_id, &hub.context.limits).await.unwrap();
    assert!(stranger.is_none(), "of itself it shows nothing");
    let synced = hub.sync(true).await;
    assert_eq!(synced.error, None);
    let after = hub.lattice().epochs();
    assert!(after.next.is_some() || after.lineage.starts().len() > begun.lineage.starts().len(), "{after:?}");
    assert_eq!(laptop.sync(true).await.error, None);
    assert_eq!(ids(&hub), ids(&laptop));
    assert!(ids(&hub).is_superset(&named("h", 1..=6)), "what was lost came back");
    laptop.stop().await;
    hub.stop().await;
}

#[tokio::test]
async fn copies_that_send_to_one_hub_are_named_there_and_to_both() {
    let (hub, mut laptop) = two(Direction::Push, false).await;
    put(&laptop, "l", 1..=3).await;
    assert_eq!(laptop.sync(true).await.error, None);
    let copy;
    (laptop, copy) = laptop.copied().await;
    let twin = laptop.cloned(&copy).await;
    let mut told = Vec::new();
    for turn in 0..4 {
        for (name, instance) in [("one", &laptop), ("other", &twin)] {
            instance.put(&format!("{name}{turn}"), "1").await;
            told.push(instance.sync(true).await.error);
        }
        hub.clock.advance(Duration::from_secs(1));
    }
    let is_told = |error: &Option<String>| {
        error
            .as_ref()
            .is_some_and(|error| error.contains("the identity of this one, laptop") && error.contains("ARK_NODE_ID"))
    };
    let (before, after) = told.split_at(3);
    assert!(before.iter().all(Option::is_none) && after.iter().all(is_told), "{told:?}");
    assert_eq!(kinds(&hub).iter().filter(|kind| *kind == "cloned").count(), 1);
    assert!(ids(&hub).is_superset(&["one3".to_owned(), "other3".to_owned()].into()), "it is exchanged all the same");
    for instance in [hub, laptop, twin] {
        instance.stop().await;
    }
}

#[tokio::test]
async fn versions_that_were_stepped_back_to_are_no_conflicts() {
    let (hub, mut laptop) = two(Direction::Both, false).await;
    put(&laptop, "l", 1..=12).await;
    assert_eq!(laptop.sync(true).await.error, None);
    let copy;
    (laptop, copy) = laptop.copied().await;
    for number in 1..=12 {
        laptop.put(&format!("l{number}"), "2").await;
    }
    hub.clock.advance(Duration::from_secs(1));
    assert_eq!(laptop.sync(true).await.error, None);
    laptop = laptop.restored(&copy, |name| name.starts_with("lattice/")).await;
    assert_eq!(laptop.content("l1").await.as_deref(), Some("1"));
    // One of them is accepted: it counts as edited here, and where it loses that is a conflict.
    laptop.lattice().accept(vec![NodeId::parse("l12").unwrap()]).await.unwrap();
    hub.clock.advance(Duration::from_secs(5));
    hub.put("l12", "3").await;
    laptop.clock.advance(Duration::from_secs(4));
    assert_eq!(laptop.sync(true).await.error, None);
    assert_eq!((laptop.content("l1").await.as_deref(), laptop.content("l12").await.as_deref()), (Some("2"), Some("3")));
    let of = |versions: Vec<ark_lattice::lattice::Conflict>| {
        versions.into_iter().map(|it| it.id.to_string()).collect::<BTreeSet<_>>()
    };
    assert_eq!(of(laptop.lattice().conflicts(0, 99).unwrap()), named("l", 12..=12));
    assert_eq!(of(laptop.lattice().overruled(0, 99).unwrap()), named("l", 1..=11));
    laptop.stop().await;
    hub.stop().await;
}

#[tokio::test]
async fn a_one_way_exchange_names_what_differs_after_a_restore() {
    for direction in [Direction::Push, Direction::Pull] {
        let (mut hub, mut laptop) = two(direction, false).await;
        let author = if direction == Direction::Push { &laptop } else { &hub };
        put(author, "n", 1..=12).await;
        laptop.clock.advance(Duration::from_secs(1));
        assert_eq!(laptop.sync(true).await.error, None);
        let copy;
        if direction == Direction::Push {
            (laptop, copy) = laptop.copied().await;
        } else {
            (hub, copy) = hub.copied().await;
        }
        let author = if direction == Direction::Push { &laptop } else { &hub };
        for number in 1..=12 {
            author.put(&format!("n{number}"), "2").await;
        }
        for instance in [&hub, &laptop] {
            instance.clock.advance(Duration::from_secs(1));
        }
        assert_eq!(laptop.sync(true).await.report.outcome, Some(Outcome::InStep), "{direction:?}");
        let is_node = |name: &str| name.starts_with("lattice/");
        let expected = if direction == Direction::Push {
            laptop = laptop.restored(&copy, is_node).await;
            Differences { newer_there: 12, ..Differences::default() }
        } else {
            hub = hub.restored(&copy, is_node).await;
            hub.clock.advance(Duration::from_secs(5));
            laptop.clock.advance(Duration::from_secs(5));
            Differences { newer_here: 12, ..Differences::default() }
        };
        for _ in 0..2 {
            let synced = laptop.sync(true).await;
            assert_eq!(
                (synced.error, synced.report.outcome, synced.report.differences),
                (None, Some(Outcome::Diverged), expected),
                "{direction:?}"
            );
        }
        let kept = laptop.engine().peers()[0].positions.differences;
        assert_eq!(kept.and_then(|it| it.differences), Some(expected));
        // What the receiver has beside that is its own.
        let receiver = if direction == Direction::Push { &hub } else { &laptop };
        put(receiver, "own", 1..=2).await;
        let both = laptop.engine().peers()[0].options.clone();
        laptop.engine().add_peer(&hub.url, PeerOptions { direction: Direction::Both, ..both.clone() }).unwrap();
        assert_eq!(laptop.sync(true).await.report.outcome, Some(Outcome::InStep), "{direction:?}");
        laptop.engine().add_peer(&hub.url, both).unwrap();
        laptop.clock.advance(Duration::from_secs(1));
        hub.clock.advance(Duration::from_secs(1));
        put(if direction == Direction::Push { &hub } else { &laptop }, "more", 1..=2).await;
        let synced = laptop.sync(true).await;
        let own = match direction {
            Direction::Push => Differences { only_there: 2, ..Differences::default() },
            _ => Differences { only_here: 2, ..Differences::default() },
        };
        assert_eq!(
            (synced.report.outcome, synced.report.differences),
            (Some(Outcome::Exchanged), own),
            "{direction:?}"
        );
        laptop.stop().await;
        hub.stop().await;
    }
}

#[tokio::test]
async fn a_clock_that_jumps_begins_a_new_epoch_with_the_next_write() {
    provider();
    let a = Instance::start("a").await;
    put(&a, "x", 1..=2).await;
    let before = a.lattice().epochs();
    assert_eq!(before.next, None);
    a.clock.set_wall(ark_lattice::types::Clock::now(&*a.clock).plus(Duration::from_secs(3600)));
    put(&a, "x", 3..=4).await;
    let after = a.lattice().epochs();
    assert_eq!((after.lineage.starts().len(), after.next), (before.lineage.starts().len() + 1, None));
    assert_eq!(after.lineage.current().unwrap().since, 3);
    a.stop().await;
}

/// Deletes `l1` to `l20` of 30.
async fn delete_many(instance: &Instance) {
    for number in 1..=20 {
        instance.delete(&format!("l{number}")).await;
    }
}

type IsRestored = fn(&str) -> bool;
const NODES: IsRestored = |name| name.starts_with("lattice/");
const EVERYTHING: IsRestored = |_| true;
/// Ways in which deletions go to the peer, filtered or not, and how a round ends while they wait there.
const WAYS: [(Direction, bool, Outcome); 4] = [
    (Direction::Both, false, Outcome::Waiting),
    (Direction::Push, false, Outcome::Exchanged),
    (Direction::Both, true, Outcome::Exchanged),
    (Direction::Push, true, Outcome::Exchanged),
];

#[tokio::test]
async fn deletions_wait_no_longer_there_once_the_sender_is_restored() {
    for direction in [Direction::Both, Direction::Push] {
        for (what, part) in [("nodes", NODES), ("everything", EVERYTHING)] {
            let case = format!("{direction:?} {what}");
            let (hub, laptop) = two(direction, false).await;
            put(&laptop, "l", 1..=30).await;
            assert_eq!(laptop.sync(false).await.report.outcome, Some(Outcome::InStep), "{case}");
            let (laptop, copy) = laptop.copied().await;
            delete_many(&laptop).await;
            let waits = laptop.sync(false).await.report;
            assert_eq!((waits.waiting_there, hub.lattice().waiting_of("laptop").unwrap()), (Some(20), 20), "{case}");
            let laptop = laptop.restored(&copy, part).await;
            let synced = laptop.sync(false).await;
            let told = (synced.error, synced.report.outcome, synced.report.waiting_there);
            assert_eq!(told, (None, Some(Outcome::InStep), Some(0)), "{case}");
            assert_eq!((ids(&hub), hub.lattice().waiting_of("laptop").unwrap()), (named("l", 1..=30), 0), "{case}");
            assert_eq!(ids(&laptop), named("l", 1..=30), "{case}");
            stop([hub, laptop]).await;
        }
    }
}

#[tokio::test]
async fn what_the_restored_sender_lacks_still_waits_there() {
    for (direction, filtered, outcome) in WAYS {
        let (hub, laptop) = two(direction, filtered).await;
        put(&laptop, "l", 1..=30).await;
        assert_eq!(laptop.sync(false).await.error, None);
        let (laptop, copy) = laptop.copied().await;
        delete_many(&laptop).await;
        assert_eq!(laptop.sync(false).await.report.waiting_there, Some(20));
        // 5 of 20 come back.
        let is_lost = |name: &str| (1..=15).any(|number| name.ends_with(&format!("/l{number}.json")));
        let laptop = laptop.restored(&copy, |name| NODES(name) && !is_lost(name)).await;
        for _ in 0..2 {
            let synced = laptop.sync(false).await;
            let told = (synced.error, synced.report.outcome, synced.report.waiting_there);
            assert_eq!(told, (None, Some(outcome), Some(15)), "{direction:?} filtered {filtered}");
        }
        let laptop_id = PeerId::parse("laptop").unwrap();
        assert_eq!(
            ops::confirm_deletions(&hub.context, &laptop_id).await.unwrap(),
            15,
            "{direction:?} filtered {filtered}"
        );
        assert_eq!(laptop.sync(false).await.report.outcome, Some(Outcome::InStep), "{direction:?} filtered {filtered}");
        assert_eq!(
            (ids(&hub), ids(&laptop)),
            (named("l", 16..=30), named("l", 16..=30)),
            "{direction:?} filtered {filtered}"
        );
        stop([hub, laptop]).await;
    }
}

#[tokio::test]
async fn pulled_deletions_wait_no_longer_here_once_the_sender_is_restored() {
    for direction in [Direction::Both, Direction::Pull] {
        for (what, part) in [("nodes", NODES), ("everything", EVERYTHING)] {
            let case = format!("{direction:?} {what}");
            let (hub, laptop) = two(direction, false).await;
            put(&hub, "l", 1..=30).await;
            assert_eq!(laptop.sync(false).await.report.outcome, Some(Outcome::InStep), "{case}");
            let (hub, copy) = hub.copied().await;
            delete_many(&hub).await;
            assert_eq!(laptop.sync(false).await.report.waiting_here, 20, "{case}");
            let hub = hub.restored(&copy, part).await;
            hub.clock.advance(Duration::from_secs(10));
            laptop.clock.advance(Duration::from_secs(10));
            let synced = laptop.sync(false).await;
            let told = (synced.error, synced.report.outcome, synced.report.waiting_here);
            assert_eq!(told, (None, Some(Outcome::InStep), 0), "{case}");
            assert_eq!((ids(&hub), ids(&laptop)), (named("l", 1..=30), named("l", 1..=30)), "{case}");
            stop([hub, laptop]).await;
        }
    }
}

#[tokio::test]
async fn deletions_that_waited_at_a_restored_hub_wait_there_again_after_one_round() {
    for (direction, filtered, outcome) in WAYS {
        let (hub, laptop) = two(direction, filtered).await;
        put(&laptop, "l", 1..=30).await;
        assert_eq!(laptop.sync(false).await.error, None);
        let (hub, copy) = hub.copied().await;
        delete_many(&laptop).await;
        assert_eq!(laptop.sync(false).await.report.waiting_there, Some(20));
        let hub = hub.restored(&copy, EVERYTHING).await;
        for _ in 0..2 {
            let synced = laptop.sync(false).await;
            let told = (synced.error, synced.report.outcome, synced.report.waiting_there);
            assert_eq!(told, (None, Some(outcome), Some(20)), "{direction:?} filtered {filtered}");
            assert_eq!(
                (ids(&hub).len(), hub.lattice().waiting_of("laptop").unwrap()),
                (30, 20),
                "{direction:?} filtered {filtered}"
            );
        }
        stop([hub, laptop]).await;
    }
}
