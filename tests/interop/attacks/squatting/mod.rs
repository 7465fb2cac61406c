//! An id that belongs to somebody is taken while its owner is away: before and after its entry expires, and after a restart. And one
//! that was taken before its owner came is taken back by the operator's word.

use crate::{
    attacks::bed::{Attacker, Victim},
    service::{Place, until},
};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn an_id_stays_its_owners_while_he_is_away() {
    let victim = Victim::start_in(Place::new().set("ARK_PEER_TTL", "1s")).await;
    let owner = Attacker::new("owner").registered(&victim, 5).await;
    let squatter = Attacker::new("owner");
    victim.refuses_manifest(squatter.manifest(6), (409, "key_mismatch"), "owner").await;
    until("its entry has expired", Duration::from_secs(30), async || {
        victim.service.get_json("/discover").await["count"] == 0
    })
    .await;
    victim.refuses_manifest(squatter.manifest(7), (409, "key_mismatch"), "owner").await;
    let victim = victim.restarted().await;
    victim.refuses_manifest(squatter.manifest(8), (409, "key_mismatch"), "owner").await;
    assert_eq!(victim.service.post("/manifest", owner.manifest(6)).await.status(), 200);
}

#[tokio::test]
async fn a_squatter_that_came_first_goes_when_the_operator_knows_the_owner() {
    let victim = Victim::start().await;
    let squatter = Attacker::new("owner").registered(&victim, 1).await;
    let owner = Attacker::new("owner");
    victim.refuses_manifest(owner.manifest(2), (409, "key_mismatch"), "owner").await;
    victim.operate("/v1/trust/verify", &json!({"peer_id": "owner", "public_key": owner.public_key()})).await;
    assert_eq!(victim.service.post("/manifest", owner.manifest(1)).await.status(), 200);
    assert_eq!(victim.service.get_json("/discover").await["peers"][0]["pubkey"], owner.public_key());
    victim.refuses_manifest(squatter.manifest(9), (409, "key_mismatch"), "owner").await;
}
