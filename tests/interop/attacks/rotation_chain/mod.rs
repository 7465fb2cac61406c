//! A stranger rotates its own key again and again: each rotation costs a durable row, a record and a line of the audit log. And the
//! records that are left then are not enough for the admin's decisions.

use crate::{
    attacks::bed::{Attacker, Victim},
    server::now,
    service::problem,
};
use ark_lattice::{
    identity::{Change, KeyPlace, write_new},
    types::PeerId,
};
use serde_json::json;

#[tokio::test]
async fn a_chain_of_rotations_is_refused_and_the_admin_decides_as_before() {
    let victim = Victim::start().await;
    let mut chain = Attacker::new("chain").registered(&victim, 1).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity.key");
    write_new(&path, &chain.key).unwrap();
    let place = KeyPlace::new(path);
    let (mut taken, mut spoken) = (0, chain.public_key());
    for _ in 0..20 {
        let change = Change { node_id: PeerId::parse(chain.name).unwrap(), now: now() };
        let held = place.rotate(&change, None, None, None).unwrap();
        chain.key = held.key;
        let answer = victim.service.post("/v1/trust/rotate", held.log.to_json()).await;
        match answer.status().as_u16() {
            200 => {
                taken += 1;
                spoken = chain.public_key();
            }
            _ => assert_eq!(problem(answer).await, (429, "rate_limited".to_owned())),
        }
    }
    assert_eq!(taken, 8);
    victim.has_audited("rate_limited", "/v1/trust/rotate", "-");
    let rotations = victim.audit().into_iter().filter(|entry| entry["kind"] == "rotation").count();
    assert!(rotations <= 8, "{rotations}");
    let honest = Attacker::new("honest").registered(&victim, 1).await;
    let verified = json!({"peer_id": "honest", "public_key": honest.public_key()});
    let decided = victim.operate("/v1/trust/verify", &verified).await.to_string();
    assert!(decided.contains("\"verified\""), "{decided}");
    // The last one that was taken speaks, and is revoked.
    let revoked = json!({"peer_id": "chain", "public_key": spoken});
    victim.operate("/v1/trust/revoke", &revoked).await;
    let relationships = victim.operator_sees("/v1/trust/relationships").await.to_string();
    assert!(relationships.contains("\"revoked\"") && relationships.contains(&spoken), "{relationships}");
}
