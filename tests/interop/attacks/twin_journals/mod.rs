//! A peer shows two journals in turn under one id and key: each time both lattices would be compared from the beginning, and each of two
//! honest instances with a copied key would take the other's positions for its own.

use crate::{
    attacks::bed::Victim,
    server::{Hostile, INDEX, Reply, now, ok},
};
use std::time::Duration;

/// The other journal.
const OTHER: &str = "fedcba9876543210fedcba9876543210";

#[tokio::test]
async fn journals_that_alternate_under_one_identity_are_told_with_the_command() {
    let started = now();
    let hostile = Hostile::start("peer", move |peer, request| {
        let at = u64::try_from(request.before).unwrap();
        let change = |head: &mut ark_lattice::manifest::Head| {
            head.index_id = if at % 2 == 0 { INDEX } else { OTHER }.to_owned();
            head.issued_at = started.plus(Duration::from_secs(at));
        };
        (request.route == "head").then(|| Reply::Bytes(ok(peer.head(change))))
    })
    .await;
    let victim = Victim::with_peer(&hostile).await;
    for _ in 0..3 {
        let said = victim.round().await;
        assert!(!said.contains("identity"), "a state directory may be lost, and restored: {said}");
    }
    let said = victim.round().await;
    assert!(said.contains("two instances have the identity of peer") && said.contains("ARK_NODE_ID"), "{said}");
    victim.has_audited("cloned", "round", "peer");
    let victim = victim.restarted().await;
    let said = victim.round().await;
    assert!(said.contains("two instances have the identity of peer"), "{said}");
}
