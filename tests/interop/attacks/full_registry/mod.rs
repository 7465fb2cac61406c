//! Strangers take all places of the registry that they can get: a peer that the admin decided on registers all the same.

use crate::{
    attacks::bed::{Attacker, Victim},
    service::{Place, problem},
    signing::{key, manifest, signed},
};
use serde_json::json;

#[tokio::test]
async fn strangers_that_fill_the_registry_leave_places_to_known_peers() {
    let victim = Victim::start_in(Place::new().set("ARK__REGISTRY__MAX_PEERS", "40")).await;
    let register = async |id: &str, number: u64| {
        let answer = victim.service.post("/manifest", signed(&key(number), &manifest(id, 1))).await;
        if answer.status() == 200 { (200, String::new()) } else { problem(answer).await }
    };
    // One key has a share,
    let mut taken = 0;
    for number in 0..20 {
        taken += usize::from(register(&format!("one-{number}"), 7).await.0 == 200);
    }
    assert_eq!(taken, 16);
    // and all strangers have three quarters.
    for number in 0..40 {
        taken += usize::from(register(&format!("many-{number}"), 100 + number).await.0 == 200);
    }
    assert_eq!(taken, 30);
    assert_eq!(register("one more", 50).await, (503, "registry_full".to_owned()));
    victim.has_audited("registry_full", "/manifest", "-");
    let honest = Attacker::new("honest");
    let verified = json!({"peer_id": "honest", "public_key": honest.public_key()});
    victim.operate("/v1/trust/verify", &verified).await;
    let honest = honest.registered(&victim, 1).await;
    assert_eq!(victim.shows("honest").await["node_id"], "honest");
    // Who is live is renewed.
    assert_eq!(victim.service.post("/manifest", signed(&key(7), &manifest("one-3", 2))).await.status(), 200);
    assert_eq!(victim.service.post("/manifest", honest.manifest(2)).await.status(), 200);
}
