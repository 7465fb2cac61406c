//! A stranger proves a key under the id of another instance, and the admin revokes that key: what the honest instance gave is shown as before.

use crate::{
    attacks::bed::{Attacker, Victim, challenge_of, proof_of},
    server::whole,
};
use serde_json::{Value, json};

async fn giver_trust(victim: &Victim, id: &str) -> Value {
    let nodes = victim.service.get_json("/nodes").await["nodes"].clone();
    let nodes = nodes.as_array().unwrap().clone();
    nodes.into_iter().find(|node| node["id"] == id).unwrap()["giver_trust"].clone()
}

#[tokio::test]
async fn a_revoked_impostor_leaves_the_level_of_the_honest_giver() {
    let victim = Victim::start().await;
    let honest = Attacker::new("honest").registered(&victim, 1).await;
    let impostor = Attacker::new("honest");
    let (transcript, _) = challenge_of(&impostor, &victim).await;
    assert_eq!(proof_of(&impostor, &victim, &transcript).await.status(), 200);
    let decide = async |path: &str, key: String| {
        victim.operate(path, &json!({"peer_id": "honest", "public_key": key})).await;
    };
    decide("/v1/trust/verify", honest.public_key()).await;
    assert_eq!(honest.push(&victim, &whole(1, "n", "1")).await.status(), 200);
    assert_eq!(giver_trust(&victim, "n").await, "verified");
    decide("/v1/trust/revoke", impostor.public_key()).await;
    assert_eq!(giver_trust(&victim, "n").await, "verified");
    decide("/v1/trust/revoke", honest.public_key()).await;
    assert_eq!(giver_trust(&victim, "n").await, "revoked");
}
