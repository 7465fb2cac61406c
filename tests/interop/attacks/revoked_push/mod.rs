//! A revoked key knocks at every door for signed requests. What it wrote before stays.

use crate::{
    attacks::bed::{Attacker, Victim, content},
    server::whole,
    service::problem,
};
use serde_json::json;

#[tokio::test]
async fn a_revoked_key_finds_every_signed_door_closed() {
    let victim = Victim::start().await;
    let revoked = Attacker::new("revoked").registered(&victim, 5).await;
    assert_eq!(revoked.push(&victim, &whole(1, "before", "stays")).await.status(), 200);
    victim.operate("/v1/trust/revoke", &json!({"peer_id": "revoked", "public_key": revoked.public_key()})).await;
    let line = format!("{}\n", whole(2, "after", "never"));
    let question = r#"{"nonce":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}"#;
    for (route, body) in [
        ("/lattice/changes", line.as_str()),
        ("/lattice/offer", line.as_str()),
        ("/federation/sync", "{\"nodes\":[]}"),
        ("/lattice/trust/challenge", question),
        ("/lattice/trust/proof", "{}"),
        ("/lattice/trust/vouch", "{}"),
    ] {
        let answer = revoked.request(&victim, route, body).send().await.unwrap();
        assert_eq!(problem(answer).await, (403, "peer_revoked".to_owned()), "{route}");
        victim.has_audited("peer_revoked", route, "revoked");
    }
    assert_eq!((content(&victim, "before").await.as_deref(), content(&victim, "after").await), (Some("stays"), None));
}
