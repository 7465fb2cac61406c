//! A node whose `type` has two megabytes, pushed by a peer: it must not make lists, feeds and rounds as large.

use crate::{
    attacks::bed::{Attacker, Victim, outcome},
    server::whole,
    service::Place,
};
use ark_lattice::lattice::NodeDocument;
use bytes::Bytes;
use serde_json::json;

#[tokio::test]
async fn a_type_of_two_megabytes_is_in_no_list() {
    let victim = Victim::start_in(Place::new()).await;
    let peer = Attacker::new("peer").registered(&victim, 1).await;
    let mut line = whole(1, "typed", "t");
    let node = json!({"id": "typed", "type": "y".repeat(2 << 20)});
    let document = NodeDocument::parse(Bytes::from(node.to_string()), 64).unwrap();
    (line["hash"], line["size"]) = (document.content_hash().to_string().into(), node.to_string().len().into());
    line["node"] = node;
    let (status, code) = outcome(peer.push(&victim, &line).await).await;
    eprintln!("{status} {code}");
    let listed = victim.service.get("/nodes").await.text().await.unwrap();
    let feed = victim.service.get("/lattice/changes?since=0").await.text().await.unwrap();
    assert!(listed.len() < 4096 && feed.len() < 4096, "{} and {} bytes", listed.len(), feed.len());
}
