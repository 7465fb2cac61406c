//! Somebody uses the id of the service itself, with a key of his own.

use crate::{
    attacks::bed::{Attacker, VICTIM, Victim},
    server::whole,
    service::problem,
};

#[tokio::test]
async fn the_services_own_id_is_nobody_elses() {
    let victim = Victim::start().await;
    let thief = Attacker::new(VICTIM);
    victim.refuses_manifest(thief.manifest(1), (409, "key_mismatch"), VICTIM).await;
    assert_eq!(victim.service.get_json("/discover").await["count"], 0);
    assert_eq!(victim.service.get(&format!("/manifest/{VICTIM}")).await.status(), 404);
    let answer = problem(thief.push(&victim, &whole(1, "n", "planted")).await).await;
    assert_eq!(answer, (403, "not_trusted".to_owned()));
    victim.has_audited("not_trusted", "/lattice/changes", VICTIM);
    let victim = victim.restarted().await;
    victim.refuses_manifest(thief.manifest(2), (409, "key_mismatch"), VICTIM).await;
    // Nor is it a name that only looks like another's.
    let unsigned = Attacker::new("unsigned:bank");
    let answer = problem(victim.service.post("/manifest", unsigned.manifest(1)).await).await;
    assert_eq!(answer, (400, "invalid_manifest".to_owned()));
}
