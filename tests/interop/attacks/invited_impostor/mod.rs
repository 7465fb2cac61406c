//! A machine that was invited joins under an id that has another key.

use crate::{
    attacks::bed::{Attacker, Victim},
    server::whole,
    service::{Place, problem, text},
};
use serde_json::json;

#[tokio::test]
async fn an_invited_machine_gets_no_id_that_has_another_key() {
    let named = Attacker::new("named");
    let setting = format!("named={}@http://127.0.0.1:9", named.public_key());
    let victim = Victim::start_in(Place::new().set("FEDERATION_TRUSTED_PEERS", &setting)).await;
    let bound = Attacker::new("bound").registered(&victim, 1).await;
    let verified = Attacker::new("verified").registered(&victim, 1).await;
    let key = verified.public_key();
    victim.operate("/v1/trust/verify", &json!({"peer_id": "verified", "public_key": key})).await;
    let line = victim.invite().await;
    for owner in [&named, &bound, &verified] {
        let guest = Attacker::new(owner.name);
        let answer = guest.join(&victim, &line, &[]).await;
        assert_eq!(problem(answer).await, (409, "key_mismatch".to_owned()), "{}", owner.name);
        victim.has_audited("key_mismatch", "/lattice/trust/join", owner.name);
    }
    let invites = victim.operator_sees("/api/federation/invites").await;
    assert_eq!(text(&invites["invites"][0]["state"]), "open", "the invite is not used");
    assert_eq!(named.push(&victim, &whole(1, "n", "honest")).await.status(), 200);
    // The instance that has the id may join.
    assert_eq!(bound.join(&victim, &line, &[]).await.status(), 200);
}
