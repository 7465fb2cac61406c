//! Verified instances vouch for a second key of an id that has one: they would take the id from its owner.

use crate::{
    attacks::bed::{Attacker, Victim},
    service::{Place, problem},
};
use serde_json::json;

const ROUTE: &str = "/lattice/trust/vouch";

#[tokio::test]
async fn an_id_that_has_a_key_is_vouched_to_no_other() {
    let victim = Victim::start_in(Place::new().set("ARK__TRUST__VOUCHERS", "2")).await;
    let mut vouchers = Vec::new();
    for name in ["one", "two"] {
        let voucher = Attacker::new(name).registered(&victim, 1).await;
        victim.operate("/v1/trust/verify", &json!({"peer_id": name, "public_key": voucher.public_key()})).await;
        vouchers.push(voucher);
    }
    let vouch = async |by: &Attacker, id: &str, key: &str| {
        let body = json!({"peer_id": id, "public_key": key}).to_string();
        by.request(&victim, ROUTE, &body).send().await.unwrap()
    };
    let bound = Attacker::new("bound").registered(&victim, 1).await;
    let thief = Attacker::new("bound");
    for voucher in &vouchers {
        let answer = problem(vouch(voucher, "bound", &thief.public_key()).await).await;
        assert_eq!(answer, (409, "key_mismatch".to_owned()));
        victim.has_audited("key_mismatch", ROUTE, voucher.name);
    }
    victim.refuses_manifest(thief.manifest(2), (409, "key_mismatch"), "bound").await;
    assert_eq!(victim.service.post("/manifest", bound.manifest(2)).await.status(), 200);
    // Of an id that nobody has yet, one key.
    let [first, second] = [Attacker::new("new"), Attacker::new("new")];
    for voucher in &vouchers {
        assert_eq!(vouch(voucher, "new", &first.public_key()).await.status(), 200);
        let answer = problem(vouch(voucher, "new", &second.public_key()).await).await;
        assert_eq!(answer, (409, "key_mismatch".to_owned()));
    }
    // The id is reserved for that key before it registers.
    victim.refuses_manifest(second.manifest(1), (409, "key_mismatch"), "new").await;
    assert_eq!(victim.service.post("/manifest", first.manifest(1)).await.status(), 200);
    victim.refuses_manifest(second.manifest(2), (409, "key_mismatch"), "new").await;
}
