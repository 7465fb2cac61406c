//! A node whose `type` has two megabytes, pushed by a peer: it must not make lists, feeds and rounds as large.

use crate::{
    attacks::bed::{Attacker, Victim, outcome},
    server::whole,
};
use ark_lattice::lattice::NodeDocument;
use bytes::Bytes;
use serde_json::json;

#[tokio::test]
async fn a_type_of_two_megabytes_is_in_no_list() {
    let victim = Victim::start().await;
    let peer = Attacker::new("peer").registered(&victim, 1).await;
    let mut line = whole(1, "typed", "t");
    let node = json!({"id": "typed", "type": "y".repeat(2 << 20)});
    let document = NodeDocument::parse(Bytes::from(node.to_string()), 64).unwrap();
    (line["hash"], line["size"]) = (document.content_hash().to_string().into(), node.to_string().len().into());
    line["node"] = node;
    // What it wrote is kept whole, and its type is in no list.
    assert_eq!(outcome(peer.push(&victim, &line).await).await, (200, String::new()));
    let kept = victim.service.get_json("/nodes/typed").await;
    assert_eq!(kept["type"].as_str().map(str::len), Some(2 << 20));
    for path in ["/nodes", "/lattice/changes?since=0"] {
        let listed = victim.service.get(path).await.text().await.unwrap();
        assert!(listed.len() < 4096, "{path}: {} bytes", listed.len());
    }
    // Over HTTP it is refused.
    let long = json!({"id": "long", "type": "y".repeat(2 << 20)});
    assert_eq!(outcome(victim.service.put("long", &long).await).await, (400, "type_too_long".to_owned()));
}
