//! As `fast_forward_manifest`, with a journal's position.

use crate::{
    attacks::bed::Victim,
    server::{Hostile, Reply, ok},
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

#[tokio::test]
async fn a_position_that_leaves_no_room_is_refused() {
    let seq = Arc::new(AtomicU64::new(9));
    let shown = Arc::clone(&seq);
    let hostile = Hostile::start("peer", move |peer, request| {
        let seq = shown.load(Ordering::Acquire);
        (request.route == "head").then(|| Reply::Bytes(ok(peer.head(|head| head.seq = seq))))
    })
    .await;
    let victim = Victim::with_peer(&hostile).await;
    victim.round().await;
    seq.store((1 << 53) - 1, Ordering::Release);
    let said = victim.round().await;
    assert!(said.contains("its position jumped by"), "{said}");
    victim.has_audited("fast_forward", "round", "peer");
    seq.store(10, Ordering::Release);
    assert!(!victim.round().await.contains("jumped"), "its owner goes on");
}
