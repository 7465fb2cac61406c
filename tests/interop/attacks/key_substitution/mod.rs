//! Another key speaks for an id that has one: at the registry, in pushes, as a peer, and beside a key that the operator verified.

use crate::{
    attacks::bed::{Attacker, Victim},
    server::{Hostile, whole},
    service::problem,
};
use serde_json::json;

#[tokio::test]
async fn another_key_does_not_speak_for_an_id() {
    let victim = Victim::start().await;
    let owner = Attacker::new("owner").registered(&victim, 5).await;
    let thief = Attacker::new("owner");
    victim.refuses_manifest(thief.manifest(6), (409, "key_mismatch"), "owner").await;
    assert_eq!(problem(thief.push(&victim, &whole(1, "n", "stolen")).await).await, (403, "not_trusted".to_owned()));
    victim.has_audited("not_trusted", "/lattice/changes", "owner");

    let verified = json!({"peer_id": "owner", "public_key": owner.public_key()});
    assert_eq!(victim.operate("/v1/trust/verify", &verified).await["trust_level"], "verified");
    victim.refuses_manifest(thief.manifest(7), (409, "key_mismatch"), "owner").await;
    assert_eq!(victim.service.post("/manifest", owner.manifest(6)).await.status(), 200);
}

#[tokio::test]
async fn another_key_behind_a_peers_address_is_not_the_peer() {
    let hostile = Hostile::start("peer", |_, _| None).await;
    let victim = Victim::with_peer(&hostile).await;
    let impostor = json!({"peer_id": "peer", "public_key": Attacker::new("peer").public_key()});
    // Another key is the verified one: whoever answers is an impostor.
    victim.operate("/v1/trust/verify", &impostor).await;
    let said = victim.round().await;
    assert!(said.contains("nothing is taken from it"), "{said}");
    victim.has_audited("not_trusted", "round", "peer");
}
