use crate::bed::{Instance, nothing, provider};
use ark_lattice::federation::{
    peers::Direction,
    round::{Outcome, Reset, differences::Differences},
    run::RoundError,
};
use ark_lattice::{
    lattice::{NodeDocument, Precondition},
    types::Clock,
};
use bytes::Bytes;
use std::time::Duration;

async fn two() -> (Instance, Instance) {
    provider();
    let (a, b) = (Instance::start("a").await, Instance::start("b").await);
    a.register_at(&b).await;
    b.register_at(&a).await;
    (a, b)
}

#[tokio::test]
async fn two_instances_come_in_step_and_then_only_what_changes_moves() {
    let (a, b) = two().await;
    a.put_many(300).await;
    b.put("only-b", "b").await;
    let mut known = nothing(Direction::Both);
    let end = b.round(&a.url, &mut known).await;
    assert_eq!(end.report.outcome, Some(Outcome::InStep), "{:?}", end.error);
    assert_eq!((end.report.received.taken, end.report.sent, end.report.sent_taken), (300, 1, 1));
    assert_eq!(a.set_hash(), b.set_hash());

    // Nothing to do is one small question.
    let end = b.round(&a.url, &mut known).await;
    assert_eq!((end.report.outcome, end.report.requests, end.report.bytes_in), (Some(Outcome::InStep), 1, 0));

    a.put("node-000007", "edited on a").await;
    let end = b.round(&a.url, &mut known).await;
    assert_eq!((end.report.outcome, end.report.received.taken, end.report.sent), (Some(Outcome::InStep), 1, 0));
    assert!(end.report.bytes_in < 1000, "{:?}", end.report);
    assert_eq!(b.content("node-000007").await.as_deref(), Some("edited on a"));

    b.clock.advance(Duration::from_secs(1));
    b.put("node-000008", "edited on b").await;
    b.delete("node-000009").await;
    let end = b.round(&a.url, &mut known).await;
    assert_eq!((end.report.outcome, end.report.sent_taken, end.report.received.taken), (Some(Outcome::InStep), 2, 0));
    assert!(end.report.bytes_out < 1000 && end.report.bytes_in == 0, "what went need not come back: {:?}", end.report);
    assert_eq!(
        (a.content("node-000008").await.as_deref(), a.content("node-000009").await),
        (Some("edited on b"), None)
    );
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn of_two_edits_the_later_one_stays_and_the_other_is_kept_aside() {
    let (a, b) = two().await;
    a.put("x", "first").await;
    let mut known = nothing(Direction::Both);
    b.round(&a.url, &mut known).await;
    b.put("x", "b's, earlier").await;
    a.clock.advance(Duration::from_secs(5));
    a.put("x", "a's, later").await;
    let end = b.round(&a.url, &mut known).await;
    assert_eq!((end.report.outcome, end.report.received.conflicts), (Some(Outcome::InStep), 1), "{:?}", end.error);
    assert_eq!(b.content("x").await.as_deref(), Some("a's, later"));
    let conflicts = b.lattice().conflicts(0, 10).unwrap();
    let (_, content) = b.lattice().conflict(conflicts[0].number).unwrap().unwrap();
    assert!(String::from_utf8_lossy(&content).contains("b's, earlier"));
    assert_eq!((&*conflicts[0].from, a.lattice().conflict_count().unwrap()), ("a", 0));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_mirror_sends_nothing_and_a_source_takes_nothing() {
    let (a, b) = two().await;
    a.put("from-a", "a").await;
    b.put("from-b", "b").await;
    let end = b.round(&a.url, &mut nothing(Direction::Pull)).await;
    assert_eq!((end.report.outcome, end.report.received.taken, end.report.sent), (Some(Outcome::Exchanged), 1, 0));
    assert_eq!((a.content("from-b").await, b.content("from-a").await.as_deref()), (None, Some("a")));
    a.put("more", "a").await;
    let end = b.round(&a.url, &mut nothing(Direction::Push)).await;
    assert_eq!((end.report.outcome, end.report.received.taken), (Some(Outcome::Exchanged), 0), "{:?}", end.error);
    assert_eq!((a.content("from-b").await.as_deref(), b.content("more").await), (Some("b"), None));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn first_contact_of_two_full_lattices_moves_what_differs_only() {
    let (a, b) = two().await;
    a.put_many(500).await;
    b.put_many(500).await;
    a.put("node-000001", "a").await;
    b.clock.advance(Duration::from_secs(1));
    b.put("node-000002", "b").await;
    let end = b.round(&a.url, &mut nothing(Direction::Both)).await;
    assert_eq!(end.report.outcome, Some(Outcome::InStep), "{:?}", end.error);
    assert_eq!((end.report.reset, end.report.received.taken, end.report.sent_taken), (Some(Reset::FirstContact), 1, 1));
    assert_eq!(a.set_hash(), b.set_hash());
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_third_instance_hears_through_the_one_in_between() {
    let (a, b) = two().await;
    let c = Instance::start("c").await;
    c.register_at(&b).await;
    let (mut ab, mut cb) = (nothing(Direction::Both), nothing(Direction::Both));
    a.put("x", "from a").await;
    a.put("y", "from a").await;
    a.round(&b.url, &mut ab).await;
    c.clock.advance(Duration::from_secs(1));
    let end = c.round(&b.url, &mut cb).await;
    assert_eq!((end.report.outcome, c.content("x").await.as_deref()), (Some(Outcome::InStep), Some("from a")));
    c.delete("x").await;
    c.put("y", "edited on c").await;
    assert_eq!(c.round(&b.url, &mut cb).await.report.sent_taken, 2);
    let end = a.round(&b.url, &mut ab).await;
    assert_eq!((end.report.outcome, end.report.received.conflicts), (Some(Outcome::InStep), 0), "an edit of an edit");
    assert_eq!((a.content("x").await, a.content("y").await.as_deref()), (None, Some("edited on c")));
    for instance in [a, b, c] {
        instance.stop().await;
    }
}

#[tokio::test]
async fn many_deletions_at_once_wait_until_they_are_confirmed() {
    let (a, b) = two().await;
    a.put_many(40).await;
    let mut known = nothing(Direction::Both);
    b.round(&a.url, &mut known).await;
    for n in 0..12 {
        a.delete(&format!("node-{n:06}")).await;
    }
    let end = b.round(&a.url, &mut known).await;
    assert_eq!((end.report.outcome, end.report.waiting_here), (Some(Outcome::Waiting), 12), "{:?}", end.error);
    assert_eq!(b.lattice().status().nodes, 40);
    known.deletions_confirmed = true;
    assert_eq!(b.round(&a.url, &mut known).await.report.outcome, Some(Outcome::InStep));
    assert_eq!(b.lattice().status().nodes, 28);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn who_is_not_known_may_read_but_not_write() {
    provider();
    let (a, b) = (Instance::start("a").await, Instance::start("b").await);
    a.put("from-a", "a").await;
    b.put("from-b", "b").await;
    let end = b.round(&a.url, &mut nothing(Direction::Both)).await;
    assert!(end.error.unwrap().to_string().contains("not_trusted"));
    assert_eq!((b.content("from-a").await.as_deref(), a.content("from-b").await), (Some("a"), None));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn oneself_is_no_peer() {
    let (a, b) = two().await;
    let end = a.round(&a.url, &mut nothing(Direction::Both)).await;
    assert!(matches!(end.error, Some(RoundError::Self_)), "{:?}", end.error);
    // An address that leads to another instance than before is not followed.
    let mut known = nothing(Direction::Both);
    known.node_id = Some("c".to_owned());
    assert!(matches!(a.round(&b.url, &mut known).await.error, Some(RoundError::OtherInstance { .. })));
    let mut known = nothing(Direction::Both);
    known.public_key = Some(a.key.public_key().to_base64());
    assert!(matches!(a.round(&b.url, &mut known).await.error, Some(RoundError::OtherKey { .. })));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn what_lost_is_listed_with_its_content_and_can_be_put_back() {
    let (a, b) = two().await;
    a.put("x", "first").await;
    let mut known = nothing(Direction::Both);
    b.round(&a.url, &mut known).await;
    for n in 0..3 {
        b.put("x", &format!("b's {n}, earlier")).await;
        a.clock.advance(Duration::from_secs(5));
        b.clock.advance(Duration::from_secs(5));
        a.clock.advance(Duration::from_secs(1));
        a.put("x", &format!("a's {n}, later")).await;
        b.round(&a.url, &mut known).await;
        b.clock.advance(Duration::from_secs(2));
    }
    let get = async |query: &str| -> serde_json::Value {
        let text = reqwest::get(format!("{}/conflicts{query}", b.url)).await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let all = get("").await;
    assert_eq!((all["count"].as_u64(), all["total"].as_u64(), all["next"].as_u64()), (Some(3), Some(3), None), "{all}");
    assert!(all["conflicts"][0].get("node").is_none());
    let page = get("?limit=1&contents=true").await;
    let (first, next) = (&page["conflicts"][0], page["next"].as_u64().unwrap());
    assert_eq!((first["id"].as_str(), first["from"].as_str()), (Some("x"), Some("a")));
    assert_eq!(first["node"]["content"].as_str(), Some("b's 0, earlier"));
    assert!(first["won"]["at"].as_f64() > first["lost"]["at"].as_f64());
    assert_eq!(get(&format!("?after={next}")).await["count"].as_u64(), Some(2));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_version_that_is_not_believed_yet_comes_again_until_it_is() {
    let (a, b) = two().await;
    a.clock.advance(Duration::from_secs(200));
    let ahead = a.clock.now().plus(Duration::from_secs(250)).to_seconds_text();
    let text = format!("{{\"id\":\"x\",\"content\":\"early\",\"updated_at\":{ahead}}}");
    let node = NodeDocument::parse(Bytes::from(text), 64).unwrap();
    a.lattice().put(node, Precondition::None).await.unwrap();
    a.put("y", "later in the journal").await;
    let (mut pulling, mut pushing) = (nothing(Direction::Pull), nothing(Direction::Push));
    let end = b.round(&a.url, &mut pulling).await;
    assert_eq!((end.report.outcome, end.report.received.ahead), (Some(Outcome::Diverged), 1), "{:?}", end.error);
    a.round(&b.url, &mut pushing).await;
    assert_eq!((b.content("x").await, b.content("y").await.as_deref()), (None, Some("later in the journal")));
    b.clock.advance(Duration::from_secs(200));
    assert_eq!(pulling.positions.pulled.as_ref().map(|it| it.seq), Some(0));
    assert_eq!(pushing.positions.pushed.as_ref().map(|it| it.seq), Some(0));
    let end = b.round(&a.url, &mut pulling).await;
    assert_eq!(end.report.received.taken, 1);
    assert_eq!(b.content("x").await.as_deref(), Some("early"));
    // And where only the other one speaks.
    b.delete("x").await;
    a.register_at(&b).await;
    let end = a.round(&b.url, &mut pushing).await;
    assert_eq!((end.report.outcome, end.report.sent), (Some(Outcome::Diverged), 2), "{:?}", end.error);
    assert_eq!(end.report.differences, Differences { deleted_there: 1, ..Differences::default() });
    assert_eq!(pulling.positions.pulled.map(|it| it.seq), Some(2));
    assert_eq!(pushing.positions.pushed.map(|it| it.seq), Some(2));
    a.stop().await;
    b.stop().await;
}
