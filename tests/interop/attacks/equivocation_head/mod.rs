//! A peer signs two heads for one position and one instant, with other sets.

use crate::{
    attacks::bed::Victim,
    server::{Hostile, Reply, now, ok},
};
use ark_lattice::types::SetHash;

#[tokio::test]
async fn a_peer_that_signs_two_sets_for_one_instant_is_in_quarantine() {
    let instant = now();
    let hostile = Hostile::start("peer", move |peer, request| {
        let set = SetHash::of(request.before.to_string().as_bytes());
        let change = |head: &mut ark_lattice::manifest::Head| (head.issued_at, head.manifest_hash) = (instant, set);
        (request.route == "head").then(|| Reply::Bytes(ok(peer.head(change))))
    })
    .await;
    let victim = Victim::with_peer(&hostile).await;
    let said = victim.round().await;
    assert!(said.is_empty() || said.contains("two different heads") || said.contains("differ"), "{said}");
    let said = victim.round().await;
    assert!(said.contains("two different heads") || said.contains("quarantine"), "{said}");
    victim.has_audited("equivocation", "round", "peer");
    assert!(victim.round().await.contains("is in quarantine"));
    victim.has_audited("quarantined", "round", "peer");
    let victim = victim.restarted().await;
    assert!(victim.round().await.contains("is in quarantine"));
}
