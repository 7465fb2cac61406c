//! A manifest from the future would stand above everything that is said until then.

use crate::{
    attacks::bed::{Attacker, Victim},
    signing::now,
};
use serde_json::json;

#[tokio::test]
async fn nothing_is_taken_from_the_future() {
    let victim = Victim::start().await;
    let owner = Attacker::new("owner").registered(&victim, 5).await;
    let ahead = owner.manifest_with(6, |manifest| manifest["last_updated"] = json!(now() + 3600));
    victim.refuses_manifest(ahead, (400, "clock_skew"), "owner").await;
    assert_eq!(victim.service.post("/manifest", owner.manifest(6)).await.status(), 200);
}
