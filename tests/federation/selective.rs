use crate::bed::{Instance, nothing, provider, until};
use ark_lattice::{
    federation::{
        filter::Filter,
        peers::{Direction, PeerOptions},
        round::Outcome,
        run::Known,
    },
    lattice::{NodeDocument, NodeFilter},
};
use bytes::Bytes;
use serde_json::{Value, json};

async fn two() -> (Instance, Instance) {
    provider();
    let (a, b) = (Instance::start("a").await, Instance::start("b").await);
    a.register_at(&b).await;
    b.register_at(&a).await;
    (a, b)
}

async fn write(instance: &Instance, nodes: &[Value]) {
    let nodes = nodes.iter().map(|node| NodeDocument::parse(Bytes::from(node.to_string()), 64).unwrap()).collect();
    instance.lattice().put_many(nodes).await.unwrap();
}

fn ids(instance: &Instance) -> Vec<String> {
    let page = instance.lattice().page(None, &NodeFilter::default(), 1000).unwrap();
    let mut ids: Vec<String> = page.entries.iter().map(|entry| entry.id.to_string()).collect();
    ids.sort();
    ids
}

fn options(filter: &Value) -> PeerOptions {
    PeerOptions { filter: Filter::parse(&filter.to_string()).unwrap(), ..PeerOptions::default() }
}

fn some_nodes() -> [Value; 4] {
    [
        json!({ "id": "hook-1", "type": "hook", "tags": ["web", "ui"], "content": "1" }),
        json!({ "id": "hook-2", "type": "hook", "tags": "cli", "content": "2" }),
        json!({ "id": "note-1", "type": "note", "tags": ["web"], "content": "3" }),
        json!({ "id": "note-2", "type": "note", "content": "4" }),
    ]
}

#[tokio::test]
async fn only_what_the_filter_lets_through_goes_in_either_direction() {
    for (filter, expected) in [
        (json!({ "types": ["hook"] }), vec!["hook-1", "hook-2"]),
        (json!({ "ids": ["*-1"] }), vec!["hook-1", "note-1"]),
        (json!({ "tags": ["web", "cli"] }), vec!["hook-1", "hook-2", "note-1"]),
        (json!({ "types": ["note"], "tags": ["web"] }), vec!["note-1"]),
    ] {
        for held in [vec![], vec![json!({ "id": "own", "type": "own", "content": "so that a list comes first" })]] {
            let (a, b) = two().await;
            write(&a, &some_nodes()).await;
            write(&b, &held).await;
            let mut known = nothing(options(&filter));
            let end = b.round(&a.url, &mut known).await;
            assert_eq!(end.report.outcome, Some(Outcome::Exchanged), "{filter} {:?}", end.error);
            let without_own = |ids: Vec<String>| ids.into_iter().filter(|id| id != "own").collect::<Vec<_>>();
            assert_eq!(without_own(ids(&b)), expected, "{filter}");
            assert_eq!(ids(&a).len(), 4, "what does not match does not go back");

            let (c, d) = two().await;
            write(&c, &some_nodes()).await;
            let end = c.round(&d.url, &mut nothing(options(&filter))).await;
            assert!(end.error.is_none(), "{filter} {:?}", end.error);
            assert_eq!(ids(&d), expected, "{filter}, pushed");
            for instance in [a, b, c, d] {
                instance.stop().await;
            }
        }
    }
}

#[tokio::test]
async fn a_narrower_filter_deletes_nothing_and_a_wider_one_brings_what_was_left_out() {
    let (a, b) = two().await;
    write(&a, &some_nodes()).await;
    let mut known = nothing(PeerOptions::default());
    b.round(&a.url, &mut known).await;
    assert_eq!(ids(&b).len(), 4);

    // What is outside of the filter stays on either side, whatever happens to it on the other.
    known.options = options(&json!({ "types": ["hook"] }));
    a.delete("note-1").await;
    a.delete("hook-1").await;
    b.clock.advance(std::time::Duration::from_secs(1));
    b.delete("note-2").await;
    b.delete("hook-2").await;
    let end = b.round(&a.url, &mut known).await;
    assert_eq!(end.report.outcome, Some(Outcome::Exchanged), "{:?}", end.error);
    assert_eq!((ids(&a), ids(&b)), (vec!["note-2".to_owned()], vec!["note-1".to_owned()]));

    write(&a, &[json!({ "id": "note-9", "type": "note", "content": "9" })]).await;
    b.round(&a.url, &mut known).await;
    assert_eq!(ids(&b), ["note-1"]);
    // As the peers do when an operator changes a filter.
    let mut known = Known { positions: Default::default(), options: PeerOptions::default(), ..known };
    let end = b.round(&a.url, &mut known).await;
    assert_eq!(end.report.outcome, Some(Outcome::InStep), "{:?}", end.error);
    assert_eq!(ids(&b), ["note-9"], "the deletions were the later ones");
    a.stop().await;
    b.stop().await;
}

/// In which order the nodes came: that of their positions in the journal.
fn in_order(instance: &Instance) -> Vec<String> {
    let page = instance.lattice().page(None, &NodeFilter::default(), 1000).unwrap();
    let mut entries: Vec<_> = page.entries.iter().map(|entry| (entry.seq, entry.id.to_string())).collect();
    entries.sort();
    entries.into_iter().map(|(_, id)| id).collect()
}

#[tokio::test]
async fn what_is_more_important_goes_first() {
    let nodes = [
        json!({ "id": "a", "content": "no priority" }),
        json!({ "id": "b", "priority": 1, "content": "1" }),
        json!({ "id": "c", "priority": 10.5, "content": "10.5" }),
        json!({ "id": "d", "priority": -1, "content": "-1" }),
        json!({ "id": "e", "priority": 10, "content": "10" }),
    ];
    let by_priority = PeerOptions { priority: true, ..PeerOptions::default() };
    let (a, b) = two().await;
    write(&a, &nodes).await;
    let end = b.round(&a.url, &mut nothing(by_priority.clone())).await;
    assert_eq!(end.report.outcome, Some(Outcome::InStep), "{:?}", end.error);
    assert_eq!(in_order(&b), ["c", "e", "b", "a", "d"]);

    let (c, d) = two().await;
    write(&c, &nodes).await;
    let end = c.round(&d.url, &mut nothing(by_priority)).await;
    assert_eq!(end.report.outcome, Some(Outcome::InStep), "{:?}", end.error);
    assert_eq!(in_order(&d), ["c", "e", "b", "a", "d"], "pushed");
    for instance in [a, b, c, d] {
        instance.stop().await;
    }
}

#[tokio::test]
async fn a_read_only_instance_takes_and_never_gives() {
    provider();
    let a = Instance::start("a").await;
    write(&a, &some_nodes()).await;
    let url = a.url.clone();
    let mirror = Instance::start_with("mirror", |settings| {
        settings.federation.auto_sync = true;
        settings.federation.read_only = true;
        settings.federation.trusted_peers = vec![url];
        settings.admin.token = Some("a-long-enough-token".into());
    })
    .await;
    until("the mirror has what the source has", async || ids(&mirror) == ids(&a)).await;
    // A file that somebody puts there is not sent on.
    write(&mirror, &[json!({ "id": "stray", "content": "by hand" })]).await;
    let engine = mirror.context.engine.clone().unwrap();
    let synced = engine.sync(None, false).await;
    assert!(synced[0].error.is_none(), "{synced:?}");
    assert_eq!(ids(&a).len(), 4);
    let http = reqwest::Client::new();
    let answer = http.delete(format!("{}/nodes/stray", mirror.url)).bearer_auth("a-long-enough-token").send().await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 403);
    assert!(answer.text().await.unwrap().contains("\"read_only\""));
    a.register_at(&mirror).await;
    let end = a.round(&mirror.url, &mut nothing(Direction::Push)).await;
    assert!(end.error.unwrap().to_string().contains("read_only"));
    a.stop().await;
    mirror.stop().await;
}
