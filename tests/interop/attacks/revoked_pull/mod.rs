//! A peer is revoked while a round with it goes on: what comes after that moment is not taken, and no further round begins.

use crate::{
    attacks::bed::{Victim, content},
    server::{Hostile, Reply, feed, head_of_answer, ok, whole},
    service::until,
};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn nothing_more_is_pulled_from_a_revoked_key() {
    // More changes than wait to be compared, and then a line that has no end, for as long as anybody reads.
    let hostile = Hostile::start("peer", move |peer, request| match request.route {
        "head" => Some(Reply::Bytes(ok(peer.head(|head| (head.seq, head.count) = (1 << 20, 1 << 19))))),
        "changes" => {
            let first: Vec<Value> = (1..=12_000).map(|seq| whole(seq, &format!("early-{seq}"), "e")).collect();
            let begun = head_of_answer("Content-Type: application/x-ndjson");
            let begun = [begun.as_slice(), feed(request, 1 << 20, &first).as_bytes()].concat();
            Some(Reply::Slowly([begun, b"{".to_vec()].concat(), vec![b' '; 300], Duration::from_millis(20)))
        }
        _ => None,
    })
    .await;
    let victim = Victim::with_peer(&hostile).await;
    let body = json!({});
    let (ended, ()) = tokio::join!(victim.operate("/api/federation/sync", &body), async {
        until("the round is under way", Duration::from_secs(30), async || content(&victim, "early-1").await.is_some())
            .await;
        let key = hostile.peer.key.public_key().to_base64();
        victim.operate("/v1/trust/revoke", &json!({"peer_id": "peer", "public_key": key})).await;
    });
    let said = ended["result"][0]["error"].as_str().unwrap_or_default();
    assert!(said.contains("the key of peer is revoked here"), "{ended}");
    assert_eq!(content(&victim, "early-1").await.as_deref(), Some("e"), "what came from it stays");
    let asked = hostile.peer.asked("changes");
    let said = victim.round().await;
    assert!(said.contains("the key of peer is revoked here"), "{said}");
    victim.has_audited("peer_revoked", "round", "peer");
    assert_eq!(hostile.peer.asked("changes"), asked, "it is not even asked");
}
