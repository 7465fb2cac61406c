//! A revoked key publishes: under its id, under another, in every form; also after a restart. What it said before is marked.

use crate::attacks::bed::{Attacker, Victim};
use ark_lattice::{
    manifest::{Canonicalization, sign},
    types::Limits,
};
use serde_json::json;

#[tokio::test]
async fn a_revoked_key_publishes_nothing() {
    let victim = Victim::start().await;
    let revoked = Attacker::new("revoked").registered(&victim, 5).await;
    let answer = victim.operate("/v1/trust/revoke", &json!({"peer_id": "revoked", "reason": "stolen"})).await;
    assert_eq!(answer["relationships"][0]["trust_level"], "revoked", "{answer}");
    let manifest = format!("{{\"node_id\":\"revoked\",\"seq\":6,\"last_updated\":{}}}", crate::signing::now());
    for form in [Canonicalization::Python, Canonicalization::Jcs, Canonicalization::Dsse] {
        let (text, key) = (manifest.clone().into(), &revoked.key);
        let envelope = sign(text, form, &Limits::default(), key.public_key(), |bytes| key.sign(bytes)).unwrap();
        victim.refuses_manifest(envelope, (403, "peer_revoked"), "revoked").await;
    }
    // Not even what it is known for: it would go on living.
    victim.refuses_manifest(revoked.manifest(5), (403, "peer_revoked"), "revoked").await;
    let elsewhere = Attacker { name: "another-id", key: revoked.key };
    victim.refuses_manifest(elsewhere.manifest(1), (403, "peer_revoked"), "another-id").await;
    let nodes = victim.operator_sees("/v1/nodes").await;
    assert_eq!(
        (&nodes["nodes"][0]["status"], &nodes["nodes"][0]["trust_level"]),
        (&json!("revoked"), &json!("revoked"))
    );
    assert_eq!(victim.service.get_json("/discover").await["peers"][0]["trust_level"], "revoked", "marked");
    let victim = victim.restarted().await;
    let manifest = elsewhere.manifest(2);
    assert_eq!(crate::service::problem(victim.service.post("/manifest", manifest).await).await.1, "peer_revoked");
}
