//! Whoever stands before a peer goes on showing what it signed an hour ago, so that nobody hears of anything newer. It is noticed, the
//! peer is stale, and what is here stays.

use crate::{
    attacks::bed::{Victim, content},
    server::{Hostile, Reply, feed, now, ok, set_of, whole},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

#[tokio::test]
async fn an_expired_head_changes_nothing_and_is_told_of() {
    let frozen = Arc::new(AtomicBool::new(false));
    let is_frozen = Arc::clone(&frozen);
    let hour = Duration::from_secs(3600);
    let hostile = Hostile::start("peer", move |peer, request| match request.route {
        "head" => Some(Reply::Bytes(ok(peer.head(|head| {
            (head.seq, head.count, head.manifest_hash) = (1, 1, set_of(&[whole(1, "kept", "good")]));
            // What is accepted at first stops counting as soon as it is out of every tolerance.
            head.issued_at = now().minus(Duration::from_secs(if is_frozen.load(Ordering::Acquire) { 3700 } else { 0 }));
            head.expires = if is_frozen.load(Ordering::Acquire) { now().minus(hour) } else { now() };
        })))),
        "changes" => Some(Reply::Bytes(ok(feed(request, 1, &[whole(1, "kept", "good")]) + "{\"end\":1}\n"))),
        _ => None,
    })
    .await;
    let victim = Victim::with_peer(&hostile).await;
    victim.round().await;
    assert_eq!(content(&victim, "kept").await.as_deref(), Some("good"));
    frozen.store(true, Ordering::Release);
    let said = victim.round().await;
    assert!(said.contains("its head is dated"), "{said}");
    victim.has_audited("stale", "round", "peer");
    let nodes = victim.operator_sees("/v1/nodes").await;
    assert_eq!(nodes["nodes"][0]["status"], "stale", "{nodes}");
    assert_eq!(content(&victim, "kept").await.as_deref(), Some("good"), "the last good data is kept");
}
