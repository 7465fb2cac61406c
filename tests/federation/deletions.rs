//! Deletions that wait, between two instances.

use crate::bed::{Instance, provider};
use ark_lattice::{
    federation::{
        engine::Synced,
        events::{EventKind, Heard},
        peers::{Direction, PeerState},
        round::{Outcome, differences::Differences},
    },
    lattice::{NodeDocument, Precondition},
    ops,
    types::{Clock, PeerId},
};
use bytes::Bytes;
use serde_json::json;
use std::time::Duration;

/// Two that hold the same 40 nodes; the second one exchanges with the first.
async fn in_step(direction: Direction) -> (Instance, Instance) {
    provider();
    let (a, b) = (Instance::start("a").await, Instance::start("b").await);
    a.put_many(40).await;
    b.put_many(40).await;
    b.engine().add_peer(&a.url, direction.into()).unwrap();
    let synced = b.sync(false).await;
    assert_eq!((synced.report.outcome, &synced.error), (Some(Outcome::InStep), &None));
    (a, b)
}

fn peer(instance: &Instance) -> PeerState {
    instance.engine().peers().remove(0)
}

async fn delete(instance: &Instance, numbers: std::ops::Range<usize>) {
    for number in numbers {
        instance.delete(&format!("node-{number:06}")).await;
    }
}

fn nodes(instance: &Instance) -> usize {
    instance.lattice().status().nodes
}

/// Outcome, deletions that wait here, and there.
fn told(synced: &Synced) -> (Option<Outcome>, u64, Option<u64>) {
    assert_eq!(synced.error, None);
    (synced.report.outcome, synced.report.waiting_here, synced.report.waiting_there)
}

fn id(instance: &Instance) -> PeerId {
    PeerId::parse(instance.name).unwrap()
}

#[tokio::test]
async fn pulled_deletions_wait_and_all_else_of_the_round_is_taken() {
    let (a, b) = in_step(Direction::Both).await;
    delete(&a, 0..20).await;
    a.put("node-000030", "edited on a").await;
    a.put("new", "made on a").await;
    let begin = b.engine().events().listen(None, Vec::new()).unwrap().begins_after();
    let synced = b.sync(false).await;
    assert_eq!(told(&synced), (Some(Outcome::Waiting), 20, Some(0)));
    assert_eq!((nodes(&b), b.content("node-000030").await.as_deref()), (41, Some("edited on a")));
    assert_eq!((synced.report.received.taken, synced.report.received.waiting), (2, 20));
    let past = b.engine().history().newest(1).remove(0);
    assert_eq!((past.outcome.as_str(), past.waiting_here, past.error), ("waiting", 20, None));
    // It waits on, told once, and nothing is sent again.
    for _ in 0..3 {
        let again = b.sync(false).await;
        assert_eq!((told(&again), again.report.received.waiting), ((Some(Outcome::Waiting), 20, Some(0)), 0));
    }
    let mut heard = b.engine().events().listen(Some(begin), vec![EventKind::DeletionsWaiting]).unwrap();
    let events: Vec<String> = std::iter::from_fn(|| heard.kept())
        .filter_map(|heard| if let Heard::Event(event) = heard { Some(event.data.to_string()) } else { None })
        .collect();
    assert!(events.len() == 1 && events[0].contains("confirm-deletions a"), "{events:?}");
    // Edits go on both ways.
    b.clock.advance(Duration::from_secs(1));
    b.put("node-000031", "edited on b").await;
    assert_eq!(told(&b.sync(false).await).0, Some(Outcome::Waiting));
    assert_eq!(a.content("node-000031").await.as_deref(), Some("edited on b"));

    assert_eq!(ops::confirm_deletions(&b.context, &id(&a)).await.unwrap(), 20);
    assert_eq!(told(&b.sync(false).await), (Some(Outcome::InStep), 0, Some(0)));
    assert_eq!((nodes(&b), a.set_hash()), (21, b.set_hash()));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn pushed_deletions_wait_there_and_the_sender_knows() {
    for direction in [Direction::Both, Direction::Push] {
        let (a, b) = in_step(direction).await;
        let waits = if direction == Direction::Both { Outcome::Waiting } else { Outcome::Exchanged };
        delete(&b, 0..20).await;
        b.put("node-000030", "edited on b").await;
        let synced = b.sync(false).await;
        assert_eq!((told(&synced), synced.report.sent_taken), ((Some(waits), 0, Some(20)), 1));
        assert_eq!((nodes(&a), a.content("node-000030").await.as_deref()), (40, Some("edited on b")));
        assert_eq!((peer(&b).waiting_there, peer(&b).error), (20, None));
        assert_eq!(a.lattice().waiting_of("b").unwrap(), 20);
        let again = b.sync(false).await;
        assert_eq!((told(&again), again.report.sent), ((Some(waits), 0, Some(20)), 0));

        // Confirmed on the wrong machine, nothing is switched, and the right one is named.
        let wrong = ops::confirm_deletions(&b.context, &id(&a)).await.unwrap_err().to_string();
        let command = format!("wait at {}: on that machine: ark-lattice federation confirm-deletions b", a.url);
        assert!(wrong.contains("no deletions of a wait here") && wrong.contains(&command), "{wrong}");

        // A later edit there takes one of them back.
        a.clock.advance(Duration::from_secs(10));
        a.put("node-000000", "edited on a").await;
        b.clock.advance(Duration::from_secs(10));
        // One way that edit does not come back.
        let waits = if direction == Direction::Both { Outcome::Waiting } else { Outcome::Diverged };
        assert_eq!(told(&b.sync(false).await), (Some(waits), 0, Some(19)));
        ops::confirm_deletions(&a.context, &id(&b)).await.unwrap();
        let synced = b.sync(false).await;
        if direction == Direction::Both {
            assert_eq!(b.content("node-000000").await.as_deref(), Some("edited on a"));
            assert_eq!((told(&synced), a.set_hash()), ((Some(Outcome::InStep), 0, Some(0)), b.set_hash()));
        } else {
            assert_eq!(told(&synced), (Some(Outcome::Diverged), 0, Some(0)));
            assert_eq!(synced.report.differences, Differences { newer_there: 1, ..Differences::default() });
        }
        assert_eq!((nodes(&a), peer(&b).waiting_there), (21, 0));
        a.stop().await;
        b.stop().await;
    }
}

#[tokio::test]
async fn refused_deletions_bring_the_nodes_back() {
    let (a, b) = in_step(Direction::Both).await;
    // Where they were pulled: they go back by the next round.
    delete(&a, 0..20).await;
    assert_eq!(told(&b.sync(false).await), (Some(Outcome::Waiting), 20, Some(0)));
    b.clock.advance(Duration::from_secs(10));
    assert_eq!(ops::refuse_deletions(&b.context, &id(&a)).await.unwrap(), 20);
    a.clock.advance(Duration::from_secs(10));
    assert_eq!(told(&b.sync(false).await), (Some(Outcome::InStep), 0, Some(0)));
    assert_eq!((nodes(&a), a.set_hash()), (40, b.set_hash()));
    // Where they were pushed: they are pulled back.
    delete(&b, 20..40).await;
    assert_eq!(told(&b.sync(false).await), (Some(Outcome::Waiting), 0, Some(20)));
    a.clock.advance(Duration::from_secs(60));
    assert_eq!(ops::refuse_deletions(&a.context, &id(&b)).await.unwrap(), 20);
    b.clock.advance(Duration::from_secs(60));
    assert_eq!(told(&b.sync(false).await), (Some(Outcome::InStep), 0, Some(0)));
    assert_eq!((nodes(&b), a.set_hash()), (40, b.set_hash()));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn deletions_that_wait_explain_no_other_difference() {
    let (a, b) = in_step(Direction::Both).await;
    delete(&a, 0..20).await;
    assert_eq!(told(&b.sync(false).await).0, Some(Outcome::Waiting));
    // Dated too far ahead for the other side: it is refused there, and that is said.
    b.clock.advance(Duration::from_secs(100));
    let early = json!({"id": "early", "updated_at": b.clock.now().seconds() + 250}).to_string();
    let early = NodeDocument::parse(Bytes::from(early), 64).unwrap();
    b.lattice().put(early, Precondition::None).await.unwrap();
    let synced = b.sync(false).await;
    assert_eq!((synced.report.outcome, synced.report.waiting_here), (Some(Outcome::Unexplained), 20));
    assert!(synced.error.unwrap().contains("the two sets still differ"));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn deletions_wait_on_both_sides_and_end_with_a_confirmed_round() {
    let (a, b) = in_step(Direction::Both).await;
    delete(&a, 0..15).await;
    delete(&b, 15..30).await;
    assert_eq!(told(&b.sync(false).await), (Some(Outcome::Waiting), 15, Some(15)));
    assert_eq!((nodes(&a), nodes(&b)), (25, 25));
    b.clock.advance(Duration::from_secs(1));
    let synced = b.engine().sync(None, true).await.remove(0);
    assert_eq!((told(&synced), nodes(&b)), ((Some(Outcome::Waiting), 0, Some(15)), 10));
    ops::confirm_deletions(&a.context, &id(&b)).await.unwrap();
    assert_eq!(told(&b.sync(false).await), (Some(Outcome::InStep), 0, Some(0)));
    assert_eq!((nodes(&a), a.set_hash()), (10, b.set_hash()));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn what_a_third_instance_holds_and_edits_ends_no_wait() {
    let (a, b) = in_step(Direction::Both).await;
    delete(&b, 0..20).await;
    assert_eq!(told(&b.sync(false).await), (Some(Outcome::Waiting), 0, Some(20)));
    let c = Instance::start("c").await;
    c.put_many(40).await;
    c.engine().add_peer(&a.url, Direction::Both.into()).unwrap();
    assert_eq!(told(&c.sync(false).await), (Some(Outcome::InStep), 0, Some(0)));
    c.put("node-000030", "edited on c").await;
    assert_eq!(told(&c.sync(false).await), (Some(Outcome::InStep), 0, Some(0)));
    assert_eq!(a.lattice().waiting_of("b").unwrap(), 20);
    // What the sender itself holds, but deleted none of, ends none either.
    b.clock.advance(Duration::from_secs(1));
    assert_eq!(told(&b.sync(false).await), (Some(Outcome::Waiting), 0, Some(20)));
    assert_eq!((nodes(&a), a.lattice().waiting_of("b").unwrap()), (40, 20));
    for instance in [a, b, c] {
        instance.stop().await;
    }
}
