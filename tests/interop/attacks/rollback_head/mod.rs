//! A peer, or whoever stands before it, shows a position that is older than one it has signed already; also after a restart.

use crate::{
    attacks::bed::Victim,
    server::{Hostile, Reply, ok},
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

#[tokio::test]
async fn a_peer_does_not_go_back_behind_what_it_signed() {
    let seq = Arc::new(AtomicU64::new(9));
    let shown = Arc::clone(&seq);
    let hostile = Hostile::start("peer", move |peer, request| {
        let seq = shown.load(Ordering::Acquire);
        (request.route == "head").then(|| Reply::Bytes(ok(peer.head(|head| head.seq = seq))))
    })
    .await;
    let victim = Victim::with_peer(&hostile).await;
    let first = victim.round().await;
    assert!(!first.contains("older"), "{first}");
    seq.store(4, Ordering::Release);
    let said = victim.round().await;
    assert!(said.contains("older than the newest accepted one (seq)"), "{said}");
    victim.has_audited("rollback", "round", "peer");
    let victim = victim.restarted().await;
    let said = victim.round().await;
    assert!(said.contains("older than the newest accepted one (seq)"), "{said}");
    // It goes on where it was.
    seq.store(10, Ordering::Release);
    assert!(!victim.round().await.contains("older"));
}
