//! Whoever has a key for a moment signs the greatest number there is, so that its owner could never say anything again.

use crate::attacks::bed::{Attacker, Victim};

#[tokio::test]
async fn a_number_that_leaves_no_room_is_refused() {
    let victim = Victim::start().await;
    let owner = Attacker::new("owner").registered(&victim, 5).await;
    victim.refuses_manifest(owner.manifest((1 << 53) - 1), (409, "fast_forward"), "owner").await;
    victim.refuses_manifest(owner.manifest(6 + (1 << 32)), (409, "fast_forward"), "owner").await;
    assert_eq!(victim.service.post("/manifest", owner.manifest(6)).await.status(), 200, "its owner goes on");
}
