//! Deletions whose tombstones are gone when the instances meet again: they are not undone, and nothing else counts as deleted.

use crate::bed::{Copy, Instance, provider, until};
use ark_lattice::{
    federation::{
        engine::Synced,
        filter::Filter,
        peers::{Direction, PeerOptions},
        round::{Outcome, differences::Differences},
    },
    lattice::NodeFilter,
    ops,
    types::{NodeId, PeerId},
};
use std::{collections::BTreeSet, time::Duration};

/// Longer than tombstones are kept.
const ABSENCE: Duration = Duration::from_secs(40 * 24 * 60 * 60);

fn id(text: &str) -> NodeId {
    NodeId::parse(text).unwrap()
}

fn ids(instance: &Instance) -> BTreeSet<String> {
    let page = instance.lattice().page(None, &NodeFilter::default(), 1000).unwrap();
    page.entries.iter().map(|entry| entry.id.to_string()).collect()
}

fn named<const N: usize>(ids: [&str; N]) -> BTreeSet<String> {
    ids.into_iter().map(str::to_owned).collect()
}

/// A hub, and a laptop that exchanges with it: they hold `n1` to `n6`, and what each of them has for itself.
async fn two(direction: Direction, filtered: bool, own: bool) -> (Instance, Instance) {
    provider();
    let (hub, laptop) = (Instance::start("hub").await, Instance::start("laptop").await);
    let filter = Filter::parse(if filtered { r#"{"ids":["n*"]}"# } else { "{}" }).unwrap();
    laptop.engine().add_peer(&hub.url, PeerOptions { direction, filter, priority: false, unsigned: false }).unwrap();
    let author = if direction == Direction::Pull { &hub } else { &laptop };
    for number in 1..=6 {
        author.put(&format!("n{number}"), "first").await;
    }
    if own {
        hub.put("of-hub", "own").await;
        laptop.put("of-laptop", "own").await;
    }
    laptop.clock.advance(Duration::from_secs(1));
    for _ in 0..2 {
        synced(&laptop).await;
    }
    (hub, laptop)
}

async fn synced(laptop: &Instance) -> Synced {
    let synced = laptop.sync(false).await;
    assert_eq!(synced.error, None);
    synced
}

/// Both are away until every tombstone is gone. `forgets`: the one that deleted nodes.
async fn away([hub, laptop]: [Instance; 2], forgets: &str) -> (Instance, Instance, Copy) {
    for instance in [&hub, &laptop] {
        instance.clock.advance(ABSENCE);
    }
    let ((hub, copy), (laptop, _)) = (hub.copied().await, laptop.copied().await);
    let forgetful = if forgets == "hub" { &hub } else { &laptop };
    until("the tombstones are forgotten", async || forgetful.lattice().status().tombstones == 0).await;
    assert!(forgetful.lattice().floor().unwrap() > 0);
    laptop.clock.advance(Duration::from_secs(1));
    (hub, laptop, copy)
}

/// The nodes of which versions are in the history, none of them as a conflict.
fn overruled(instance: &Instance) -> Vec<String> {
    assert_eq!(instance.lattice().conflict_count().unwrap(), 0);
    instance.lattice().overruled(0, 99).unwrap().into_iter().map(|it| it.id.to_string()).collect()
}

#[tokio::test]
async fn what_the_peer_deleted_before_a_long_absence_is_deleted_here_and_edits_survive() {
    for (direction, filtered, own) in [
        (Direction::Both, false, false),
        (Direction::Both, true, true),
        (Direction::Pull, false, false),
        (Direction::Pull, false, true),
        (Direction::Pull, true, true),
    ] {
        let case = format!("{direction:?} filtered {filtered} own {own}");
        let (hub, laptop) = two(direction, filtered, own).await;
        hub.delete("n3").await;
        hub.delete("n4").await;
        laptop.put("n4", "edited meanwhile").await;
        let (hub, laptop, _) = away([hub, laptop], "hub").await;
        for _ in 0..2 {
            synced(&laptop).await;
        }
        let alike = |instance: &Instance| {
            let mut ids = ids(instance);
            ids.retain(|id| id.starts_with('n'));
            ids
        };
        assert_eq!(alike(&laptop), named(["n1", "n2", "n4", "n5", "n6"]), "{case}");
        assert_eq!(laptop.content("n4").await.as_deref(), Some("edited meanwhile"), "{case}");
        assert_eq!(overruled(&laptop), ["n3"], "{case}");
        if direction == Direction::Both {
            assert_eq!(alike(&hub), alike(&laptop), "{case}");
        }
        if own {
            assert!(ids(&laptop).contains("of-laptop") && ids(&hub).contains("of-hub"), "{case}");
        }
        // The deletion goes on from here, as any other one.
        let tombstone = laptop.lattice().tombstone(&id("n3")).unwrap().unwrap();
        assert!(tombstone.deleted_at < laptop.lattice().entry(&id("n4")).unwrap().unwrap().updated_at, "{case}");
        laptop.clock.advance(Duration::from_secs(10));
        let (laptop, _) = laptop.copied().await;
        assert_eq!(laptop.lattice().status().tombstones, 1, "{case}: kept as long as those of others");
        hub.stop().await;
        laptop.stop().await;
    }
}

#[tokio::test]
async fn what_was_deleted_here_before_a_long_absence_is_deleted_at_the_peer() {
    for (direction, filtered, own) in
        [(Direction::Both, false, false), (Direction::Both, true, true), (Direction::Push, false, false)]
    {
        let case = format!("{direction:?} filtered {filtered} own {own}");
        let (hub, laptop) = two(direction, filtered, own).await;
        laptop.delete("n3").await;
        laptop.delete("n4").await;
        // Later than the deletion, also by the clock of the laptop.
        hub.clock.advance(Duration::from_secs(60));
        hub.put("n4", "edited meanwhile").await;
        let (hub, laptop, _) = away([hub, laptop], "laptop").await;
        for _ in 0..2 {
            synced(&laptop).await;
        }
        assert!(!ids(&hub).contains("n3") && !ids(&laptop).contains("n3"), "{case}");
        assert_eq!(hub.content("n4").await.as_deref(), Some("edited meanwhile"), "{case}");
        assert_eq!(ids(&laptop).contains("n4"), direction == Direction::Both, "{case}");
        assert_eq!(overruled(&hub), ["n3"], "{case}");
        hub.stop().await;
        laptop.stop().await;
    }
}

#[tokio::test]
async fn a_mirror_neither_brings_back_nor_sends_back_what_was_deleted() {
    // Deleted at the receiver, which no direction carries to the sender: it stays there, does not come back, and is named.
    for direction in [Direction::Push, Direction::Pull] {
        let (hub, laptop) = two(direction, false, false).await;
        let (receiver, other, name) =
            if direction == Direction::Push { (&hub, &laptop, "hub") } else { (&laptop, &hub, "laptop") };
        receiver.delete("n3").await;
        // The sender forgot a deletion too, so that everything is sent anew.
        other.delete("n6").await;
        let (hub, laptop, _) = away([hub, laptop], name).await;
        until("both forgot", async || hub.lattice().status().tombstones + laptop.lattice().status().tombstones == 0)
            .await;
        let report = synced(&laptop).await.report;
        let (receiver, sender) = if direction == Direction::Push { (&hub, &laptop) } else { (&laptop, &hub) };
        assert_eq!(ids(receiver), named(["n1", "n2", "n4", "n5"]), "{direction:?}");
        assert_eq!(ids(sender), named(["n1", "n2", "n3", "n4", "n5"]), "{direction:?}");
        let expected = match direction {
            Direction::Push => Differences { deleted_there: 1, ..Differences::default() },
            _ => Differences { deleted_here: 1, ..Differences::default() },
        };
        assert_eq!((report.outcome, report.differences), (Some(Outcome::Diverged), expected), "{direction:?}");
        hub.stop().await;
        laptop.stop().await;
    }
}

#[tokio::test]
async fn nodes_that_a_restored_peer_lost_are_not_deleted() {
    for direction in [Direction::Both, Direction::Pull, Direction::Push] {
        for lost in ["everything", "state", "nodes and journal"] {
            let case = format!("{direction:?} {lost}");
            let (mut hub, laptop) = two(direction, false, false).await;
            let copy;
            (hub, copy) = hub.copied().await;
            let author = if direction == Direction::Pull { &hub } else { &laptop };
            author.put("n7", "later").await;
            laptop.clock.advance(Duration::from_secs(1));
            for _ in 0..2 {
                synced(&laptop).await;
            }
            hub.put("gone", "1").await;
            hub.delete("gone").await;
            hub.clock.advance(Duration::from_secs(60));
            // As a restore from a backup, of everything or of nodes and journal alone; or the state is lost. Then it deletes and forgets.
            hub = match lost {
                "everything" => hub.restored(&copy, |_| true).await,
                "state" => hub.lose_state().await,
                _ => hub.restored(&copy, |name| name.contains("lattice")).await,
            };
            hub.put("gone", "2").await;
            hub.delete("gone").await;
            let url = hub.url.clone();
            if lost == "state" {
                let options = laptop.engine().peers()[0].options.clone();
                let before = laptop.engine().peers()[0].url.clone();
                assert!(laptop.engine().remove_peer(&before).unwrap());
                laptop.engine().add_peer(&url, options).unwrap();
            }
            let (hub, laptop, _) = away([hub, laptop], "hub").await;
            for _ in 0..3 {
                synced(&laptop).await;
            }
            assert!(ids(&laptop).contains("n7"), "{case}: {:?}", ids(&laptop));
            if direction != Direction::Pull {
                assert!(ids(&hub).contains("n7"), "{case}: it comes back");
            }
            assert_eq!(overruled(&laptop), [""; 0], "{case}");
            hub.stop().await;
            laptop.stop().await;
        }
    }
}

#[tokio::test]
async fn forgotten_deletions_of_many_nodes_wait_and_nothing_goes_back() {
    provider();
    let (hub, laptop) = (Instance::start("hub").await, Instance::start("laptop").await);
    laptop.engine().add_peer(&hub.url, PeerOptions::default()).unwrap();
    laptop.put_many(40).await;
    laptop.clock.advance(Duration::from_secs(1));
    assert_eq!(synced(&laptop).await.report.outcome, Some(Outcome::InStep));
    for number in 0..20 {
        hub.delete(&format!("node-{number:06}")).await;
    }
    let (hub, laptop, _) = away([hub, laptop], "hub").await;
    for _ in 0..3 {
        let report = synced(&laptop).await.report;
        assert_eq!((report.outcome, report.waiting_here), (Some(Outcome::Waiting), 20));
        assert_eq!((ids(&hub).len(), ids(&laptop).len()), (20, 40));
    }
    assert_eq!(ops::confirm_deletions(&laptop.context, &PeerId::parse("hub").unwrap()).await.unwrap(), 20);
    assert_eq!(synced(&laptop).await.report.outcome, Some(Outcome::InStep));
    assert_eq!((ids(&hub).len(), ids(&laptop).len()), (20, 20));
    hub.stop().await;
    laptop.stop().await;
}
