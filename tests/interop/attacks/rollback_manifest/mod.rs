//! Somebody who kept an older manifest shows it again, after its owner has said something newer; also after a restart.

use crate::attacks::bed::{Attacker, Victim};
use serde_json::json;

#[tokio::test]
async fn an_older_manifest_does_not_replace_a_newer_one() {
    let victim = Victim::start().await;
    let owner = Attacker::new("owner");
    let (old, new) = (owner.manifest(5), owner.manifest(6));
    assert_eq!(victim.service.post("/manifest", old.clone()).await.status(), 200);
    assert_eq!(victim.service.post("/manifest", new).await.status(), 200);
    victim.refuses_manifest(old.clone(), (409, "rollback"), "owner").await;
    let dated = owner.manifest_with(7, |manifest| manifest["last_updated"] = json!(1_700_000_000));
    victim.refuses_manifest(dated, (409, "rollback"), "owner").await;
    let victim = victim.restarted().await;
    victim.refuses_manifest(old, (409, "rollback"), "owner").await;
    assert_eq!(victim.shows("owner").await["seq"], 6);
}
