//! Rounds with stand-ins for the originals, written from their documents: `tests/support/original.py`.

use crate::{
    bed::{Instance, NOW, provider},
    stand_ins::Original,
};
use ark_lattice::{
    federation::{
        engine::Synced,
        peers::{Direction, PeerOptions},
        round::Outcome,
    },
    lattice::{NodeDocument, Precondition},
    trust::TrustMode,
    types::NodeId,
};
use bytes::Bytes;
use serde_json::{Value, json};

fn unsigned(direction: Direction) -> PeerOptions {
    PeerOptions { unsigned: true, ..direction.into() }
}

fn node(id: &str, seconds: i64, content: &str) -> Value {
    json!({ "id": id, "timestamp": seconds * 1000, "content": content })
}

async fn put(instance: &Instance, node: &Value) {
    let node = NodeDocument::parse(Bytes::from(node.to_string()), 64).unwrap();
    instance.lattice().put(node, Precondition::None).await.unwrap();
}

fn is_well(synced: &Synced) {
    assert_eq!(synced.error, None);
    assert_eq!(synced.report.outcome, Some(Outcome::Exchanged));
}

/// Nothing moves, either way, and nothing is written.
async fn is_quiet(me: &Instance) {
    for _ in 0..3 {
        let before = me.lattice().status().seq;
        let synced = me.sync(false).await;
        is_well(&synced);
        assert_eq!((synced.report.received.taken, synced.report.sent, synced.report.received.conflicts), (0, 0, 0));
        assert_eq!(me.lattice().status().seq, before);
    }
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(id, content)| ((*id).to_owned(), (*content).to_owned())).collect()
}

#[tokio::test]
async fn node_js_original_and_instance_hold_the_later_version_of_every_node() {
    provider();
    let original = Original::start(
        "node",
        &json!([
            node("both", NOW - 300, "theirs"),
            node("kept", NOW - 10, "theirs"),
            node("theirs", NOW - 300, "theirs")
        ]),
    );
    let me = Instance::start("me").await;
    put(&me, &node("both", NOW - 100, "ours")).await;
    me.put("plain", "without a time").await;
    // It says at which address it is, and that is all: nothing moves before it is added as what it is.
    me.engine().add_peer(&original.url(), PeerOptions::default()).unwrap();
    let refused = me.sync(false).await.error.unwrap();
    assert!(refused.contains("refused with 404 :"), "{refused}");
    assert_eq!(original.held().len(), 3);
    me.engine().add_peer(&original.url(), unsigned(Direction::Both)).unwrap();
    let synced = me.sync(false).await;
    is_well(&synced);
    assert_eq!((synced.report.received.taken, synced.report.sent, synced.report.sent_taken), (2, 2, 2));
    let all = pairs(&[("both", "ours"), ("kept", "theirs"), ("plain", "without a time"), ("theirs", "theirs")]);
    assert_eq!(original.held(), all);
    for (id, content) in &all {
        assert_eq!(me.content(id).await.as_ref(), Some(content), "{id}");
    }
    is_quiet(&me).await;

    // An edit there, by another client of the original.
    let edit = json!({ "instanceId": "z", "nodes": [node("kept", NOW - 5, "edited there")] });
    original.ask("POST", "/federation/sync", &edit.to_string());
    is_well(&me.sync(false).await);
    assert_eq!(me.content("kept").await.as_deref(), Some("edited there"));
    is_quiet(&me).await;

    // It knows no deletions: what is deleted here stays there, and does not come back; what it loses it gets again.
    me.delete("theirs").await;
    is_quiet(&me).await;
    assert_eq!(me.content("theirs").await, None);
    assert_eq!(original.held().len(), 4);
    drop(original);
    let synced = me.sync(false).await;
    assert!(synced.error.unwrap().contains("cannot be reached"));
    assert_eq!(me.lattice().status().nodes, 3);
    me.stop().await;
}

#[tokio::test]
async fn undated_node_of_an_original_wins_over_no_edit_of_a_third_instance() {
    provider();
    let original = Original::start("node", &json!([{ "id": "x", "content": "old" }]));
    let (me, third) = (Instance::start("me").await, Instance::start("third").await);
    put(&third, &json!({ "id": "x", "content": "an edit" })).await;
    me.engine().add_peer(&original.url(), unsigned(Direction::Pull)).unwrap();
    is_well(&me.sync(false).await);
    assert_eq!(me.lattice().status().nodes, 1);
    assert!(me.engine().remove_peer(&original.url()).unwrap());
    me.engine().add_peer(&third.url, PeerOptions::default()).unwrap();
    assert_eq!(me.sync(false).await.error, None);
    for instance in [&me, &third] {
        let held = instance.lattice().current_version(&NodeId::parse("x").unwrap()).unwrap().unwrap();
        let edit = NodeDocument::parse(Bytes::from_static(br#"{"id":"x","content":"an edit"}"#), 64).unwrap();
        assert_eq!(held.content, Some(edit.content_hash()));
    }
    assert_eq!(third.lattice().conflict_count().unwrap(), 0);
}

#[tokio::test]
async fn absence_in_an_original_deletes_nothing_and_is_filled() {
    provider();
    let me = Instance::start("me").await;
    me.put_many(300).await;
    let original = Original::start("node", &json!([]));
    me.engine().add_peer(&original.url(), unsigned(Direction::Both)).unwrap();
    is_well(&me.sync(false).await);
    assert_eq!((me.lattice().status().nodes, original.held().len()), (300, 300));
    is_quiet(&me).await;
    // A mirror of it gives nothing.
    let empty = Original::start("node", &json!([]));
    me.engine().remove_peer(&original.url()).unwrap();
    me.engine().add_peer(&empty.url(), unsigned(Direction::Pull)).unwrap();
    is_quiet(&me).await;
    assert_eq!((me.lattice().status().nodes, empty.held().len()), (300, 0));
    me.stop().await;
}

#[tokio::test]
async fn python_original_is_read_and_knows_this_instance() {
    provider();
    let original =
        Original::start("python", &json!([node("both", NOW - 300, "theirs"), node("theirs", NOW - 300, "theirs")]));
    let me = Instance::start("me").await;
    put(&me, &node("both", NOW - 100, "ours")).await;
    me.engine().add_peer(&original.url(), unsigned(Direction::Both)).unwrap();
    let synced = me.sync(false).await;
    is_well(&synced);
    assert_eq!(synced.report.received.taken, 1);
    assert_eq!(me.content("theirs").await.as_deref(), Some("theirs"));
    assert_eq!(me.content("both").await.as_deref(), Some("ours"));
    // It verified the manifest as its document says, and lists the nodes that are here.
    assert_eq!(original.ask("GET", "/_peers", ""), json!({ "me": ["both", "theirs"] }));
    is_quiet(&me).await;
    me.engine().add_peer(&original.url(), unsigned(Direction::Push)).unwrap();
    let refused = me.sync(false).await.error.unwrap();
    assert!(refused.contains("takes no nodes"), "{refused}");
    me.stop().await;
}

#[tokio::test]
async fn hostile_original_is_bounded() {
    provider();
    let me = Instance::start("me").await;
    me.put("mine", "here").await;
    for (wire, said) in [("endless", "its answer is larger than"), ("garbage", "its nodes")] {
        let original = Original::start(wire, &json!([]));
        let url = original.url();
        me.engine().add_peer(&url, unsigned(Direction::Both)).unwrap();
        let error = me.sync(false).await.error.unwrap();
        assert!(error.contains(said), "{wire}: {error}");
        assert_eq!(me.lattice().status().nodes, 1, "{wire}");
        me.engine().remove_peer(&url).unwrap();
    }
    let original = Original::start("odd", &json!([]));
    me.engine().add_peer(&original.url(), unsigned(Direction::Pull)).unwrap();
    is_well(&me.sync(false).await);
    // Ids with slashes and dots are names of files in the directory, and of nothing else.
    assert!(me.lattice().read(&NodeId::parse("good").unwrap()).await.unwrap().is_some());
    assert!(me.lattice().read(&NodeId::parse("../../etc/passwd").unwrap()).await.unwrap().is_some());
    let entries: Vec<_> = std::fs::read_dir(me.directory()).unwrap().map(|entry| entry.unwrap()).collect();
    assert!(entries.iter().all(|entry| entry.file_type().unwrap().is_file()), "{entries:?}");
    let around = std::fs::read_dir(me.directory().parent().unwrap()).unwrap().count();
    assert_eq!(around, 2, "lattice and state");
    is_quiet(&me).await;
    me.stop().await;
}

#[tokio::test]
async fn where_only_keys_count_no_original_is_asked() {
    provider();
    for (mode, required, said) in [
        (TrustMode::Allowlist, false, "trust.mode is allowlist"),
        (TrustMode::Tofu, true, "trust.require_verified is on"),
    ] {
        let original = Original::start("node", &json!([node("theirs", NOW - 300, "theirs")]));
        let me = Instance::start_with("me", |settings| {
            (settings.trust.mode, settings.trust.require_verified) = (mode, required);
        })
        .await;
        me.engine().add_peer(&original.url(), unsigned(Direction::Both)).unwrap();
        let error = me.sync(false).await.error.unwrap();
        assert!(error.contains(said), "{error}");
        assert_eq!((me.lattice().status().nodes, original.ask("GET", "/_log", "")), (0, json!([])));
        me.stop().await;
    }
}
