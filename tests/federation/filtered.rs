//! Rounds that go one way through a filter: what differs within the filter is counted, and nothing else.

use crate::bed::{Instance, provider, stop};
use ark_lattice::{
    federation::{
        engine::Synced,
        filter::Filter,
        peers::{Direction, PeerOptions},
        round::{Outcome, differences::Differences},
    },
    lattice::NodeDocument,
    types::Clock,
};
use bytes::Bytes;
use serde_json::{Value, json};
use std::time::Duration;

fn options(direction: Direction, filter: &Value) -> PeerOptions {
    PeerOptions { direction, filter: Filter::parse(&filter.to_string()).unwrap(), priority: false, unsigned: false }
}

/// A hub, and a laptop that exchanges with it so.
async fn two(direction: Direction, filter: &Value) -> (Instance, Instance) {
    provider();
    let (hub, laptop) = (Instance::start("hub").await, Instance::start("laptop").await);
    laptop.engine().add_peer(&hub.url, options(direction, filter)).unwrap();
    (hub, laptop)
}

/// The one that gives, and the one that takes.
fn ways<'a>(direction: Direction, hub: &'a Instance, laptop: &'a Instance) -> (&'a Instance, &'a Instance) {
    if direction == Direction::Push { (laptop, hub) } else { (hub, laptop) }
}

async fn write(instance: &Instance, node: Value) {
    instance.clock.advance(Duration::from_millis(10));
    let node = NodeDocument::parse(Bytes::from(node.to_string()), 64).unwrap();
    instance.lattice().put_many(vec![node]).await.unwrap();
}

/// A round, a second later on both sides.
async fn sync(hub: &Instance, laptop: &Instance) -> Synced {
    hub.clock.advance(Duration::from_secs(1));
    let synced = laptop.sync(false).await;
    assert_eq!(synced.error, None);
    synced
}

fn ended(synced: &Synced) -> (Outcome, Differences) {
    (synced.report.outcome.unwrap(), synced.report.differences)
}

const NOTHING: Differences =
    Differences { newer_there: 0, newer_here: 0, deleted_there: 0, deleted_here: 0, only_there: 0, only_here: 0 };
const ONE_WAY: [Direction; 2] = [Direction::Push, Direction::Pull];

#[tokio::test]
async fn what_the_receiver_changed_within_the_filter_is_counted_until_it_is_exchanged() {
    for direction in ONE_WAY {
        for filter in [json!({ "ids": ["w*"] }), json!({ "types": ["work"] }), json!({ "tags": ["work"] })] {
            let case = format!("{direction:?} {filter}");
            let (hub, laptop) = two(direction, &filter).await;
            let (sender, receiver) = ways(direction, &hub, &laptop);
            let work = |id: &str, text: &str| json!({ "id": id, "type": "work", "tags": ["work"], "content": text });
            for number in 0..4 {
                write(sender, work(&format!("w{number}"), "1")).await;
            }
            // Of the receiver alone, and of both but outside of the filter.
            write(receiver, work("w-own", "1")).await;
            write(sender, json!({ "id": "other", "content": "1" })).await;
            write(receiver, json!({ "id": "other", "content": "2" })).await;
            let synced = sync(&hub, &laptop).await;
            assert_eq!(ended(&synced), (Outcome::Exchanged, NOTHING), "{case}");

            write(receiver, work("w2", "edited")).await;
            receiver.delete("w3").await;
            let expected = match direction {
                Direction::Push => Differences { newer_there: 1, deleted_there: 1, ..NOTHING },
                _ => Differences { newer_here: 1, deleted_here: 1, ..NOTHING },
            };
            for _ in 0..2 {
                assert_eq!(ended(&sync(&hub, &laptop).await), (Outcome::Diverged, expected), "{case}");
            }
            let quiet = sync(&hub, &laptop).await;
            assert_eq!((ended(&quiet), quiet.report.requests), ((Outcome::Diverged, expected), 1), "{case}");
            let kept = laptop.engine().peers()[0].positions.differences;
            assert_eq!(kept.and_then(|it| it.differences), Some(expected), "{case}");

            laptop.engine().add_peer(&hub.url, options(Direction::Both, &filter)).unwrap();
            sync(&hub, &laptop).await;
            laptop.engine().add_peer(&hub.url, options(direction, &filter)).unwrap();
            assert_eq!(ended(&sync(&hub, &laptop).await), (Outcome::Exchanged, NOTHING), "{case}");
            stop([laptop, hub]).await;
        }
    }
}

#[tokio::test]
async fn a_node_that_passes_the_filter_on_one_side_only_is_not_counted() {
    for direction in ONE_WAY {
        for filter in [json!({ "types": ["work"] }), json!({ "tags": ["work"] })] {
            let case = format!("{direction:?} {filter}");
            let (hub, laptop) = two(direction, &filter).await;
            let (sender, receiver) = ways(direction, &hub, &laptop);
            let work = |id: &str, text: &str| json!({ "id": id, "type": "work", "tags": ["work"], "content": text });
            write(receiver, json!({ "id": "own", "content": "1" })).await;
            for id in ["a", "b", "c"] {
                write(sender, work(id, "1")).await;
            }
            assert_eq!(ended(&sync(&hub, &laptop).await), (Outcome::Exchanged, NOTHING), "{case}");
            write(sender, json!({ "id": "a", "type": "private", "content": "1" })).await;
            receiver.clock.advance(Duration::from_secs(1));
            write(receiver, json!({ "id": "b", "type": "private", "content": "1" })).await;
            for _ in 0..2 {
                assert_eq!(ended(&sync(&hub, &laptop).await), (Outcome::Exchanged, NOTHING), "{case}");
            }
            write(receiver, work("c", "2")).await;
            let one = match direction {
                Direction::Push => Differences { newer_there: 1, ..NOTHING },
                _ => Differences { newer_here: 1, ..NOTHING },
            };
            assert_eq!(ended(&sync(&hub, &laptop).await), (Outcome::Diverged, one), "{case}");
            // It is taken out of the filter there: nothing is left that should be alike.
            write(receiver, json!({ "id": "c", "type": "private", "content": "2" })).await;
            assert_eq!(ended(&sync(&hub, &laptop).await), (Outcome::Exchanged, NOTHING), "{case}");
            stop([laptop, hub]).await;
        }
    }
}

#[tokio::test]
async fn only_what_moved_is_listed_where_nothing_differed() {
    for direction in ONE_WAY {
        let (hub, laptop) = two(direction, &json!({ "ids": ["node-*"] })).await;
        let (sender, receiver) = ways(direction, &hub, &laptop);
        sender.put_many(2000).await;
        assert_eq!(sync(&hub, &laptop).await.report.differences, NOTHING, "{direction:?}");
        receiver.clock.advance(Duration::from_secs(1));
        write(receiver, json!({ "id": "own", "content": "1" })).await;
        let synced = sync(&hub, &laptop).await;
        assert_eq!(ended(&synced), (Outcome::Exchanged, NOTHING), "{direction:?}");
        assert!(synced.report.bytes_in < 1000, "{direction:?} {:?}", synced.report);
        sender.clock.advance(Duration::from_secs(5));
        sender.put("node-000007", "edited").await;
        let synced = sync(&hub, &laptop).await;
        assert_eq!(ended(&synced), (Outcome::Exchanged, NOTHING), "{direction:?}");
        assert!(synced.report.bytes_in < 2000, "{direction:?} {:?}", synced.report);
        stop([laptop, hub]).await;
    }
}

#[tokio::test]
async fn what_differed_before_is_not_told_again_once_it_was_sent() {
    for filter in [json!({ "ids": ["w*"] }), json!({})] {
        let (hub, laptop) = two(Direction::Push, &filter).await;
        // Both sides have it, so that the sets differ in versions alone.
        write(&laptop, json!({ "id": "w1", "content": "1" })).await;
        sync(&hub, &laptop).await;
        // Dated further ahead than the hub believes yet, by a clock that is ahead.
        laptop.clock.advance(Duration::from_secs(200));
        let ahead = laptop.clock.now().plus(Duration::from_secs(250)).to_seconds_text();
        write(&laptop, json!({ "id": "w1", "content": "2", "updated_at": ahead.parse::<f64>().unwrap() })).await;
        for _ in 0..2 {
            let synced = sync(&hub, &laptop).await;
            assert_eq!(ended(&synced), (Outcome::Diverged, Differences { newer_here: 1, ..NOTHING }), "{filter}");
        }
        hub.clock.advance(Duration::from_secs(200));
        let synced = sync(&hub, &laptop).await;
        let (outcome, differences) = ended(&synced);
        assert!(matches!(outcome, Outcome::Exchanged | Outcome::InStep), "{filter} {:?}", synced.report);
        assert_eq!((differences, synced.report.sent_taken), (NOTHING, 1), "{filter}");
        stop([laptop, hub]).await;
    }
}

#[tokio::test]
async fn deletions_that_wait_are_not_counted_within_a_filter() {
    for direction in ONE_WAY {
        let (hub, laptop) = two(direction, &json!({ "ids": ["node-*"] })).await;
        let (sender, receiver) = ways(direction, &hub, &laptop);
        sender.put_many(100).await;
        sync(&hub, &laptop).await;
        for number in 0..100 {
            sender.delete(&format!("node-{number:06}")).await;
        }
        let synced = sync(&hub, &laptop).await;
        assert!(receiver.lattice().status().nodes > 0, "{direction:?} {:?}", synced.report);
        assert_eq!(ended(&synced), (Outcome::Exchanged, NOTHING), "{direction:?}");
        stop([laptop, hub]).await;
    }
}
