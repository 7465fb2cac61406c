//! Two manifests with one number and other content: each could be shown to somebody else. From then on nothing is taken from that key,
//! until the operator verifies it again; also after a restart.

use crate::{
    attacks::bed::{Attacker, Victim},
    server::whole,
    service::problem,
};
use serde_json::json;

#[tokio::test]
async fn who_says_two_things_under_one_number_is_in_quarantine() {
    let victim = Victim::start().await;
    let liar = Attacker::new("liar").registered(&victim, 5).await;
    assert_eq!(liar.push(&victim, &whole(1, "before", "b")).await.status(), 200);
    let other = liar.manifest_with(5, |manifest| manifest["nodes"] = json!([]));
    victim.refuses_manifest(other, (409, "equivocation"), "liar").await;
    let quarantined = (403, "quarantined".to_owned());
    assert_eq!(problem(liar.push(&victim, &whole(2, "after", "a")).await).await, quarantined);
    victim.has_audited("quarantined", "/lattice/changes", "liar");
    assert!(victim.audit().iter().any(|entry| entry["kind"] == "quarantine" && entry["subject"] == "liar"));
    let victim = victim.restarted().await;
    assert_eq!(problem(liar.push(&victim, &whole(2, "after", "a")).await).await, quarantined);
    let nodes = victim.operator_sees("/v1/nodes").await;
    assert_eq!(nodes["nodes"][0]["status"], "quarantined", "{nodes}");

    let verified = json!({"peer_id": "liar", "public_key": liar.public_key(), "reason": "it ran twice by accident"});
    assert_eq!(victim.operate("/v1/trust/verify", &verified).await["quarantined"], false);
    assert_eq!(liar.push(&victim, &whole(2, "after", "a")).await.status(), 200);
}
