//! A peer that joined by an invite and that the admin removed repeats its join.

use crate::{
    attacks::bed::{Attacker, Victim},
    server::Hostile,
    service::{TOKEN, problem, text},
};
use ark_lattice::identity::KeyPair;

#[tokio::test]
async fn a_peer_that_was_removed_does_not_return_by_its_invite() {
    let victim = Victim::start().await;
    let hostile = Hostile::start("guest", |_, _| None).await;
    let guest = Attacker { name: "guest", key: KeyPair::from_base64(&hostile.peer.key.to_base64()).unwrap() };
    let line = victim.invite().await;
    assert_eq!(guest.join(&victim, &line, &[&hostile.url]).await.status(), 200);
    assert_eq!(guest.join(&victim, &line, &[&hostile.url]).await.status(), 200, "in case the answer was lost");
    let peers = victim.operator_sees("/api/federation/peers").await;
    let url = text(&peers["peers"][0]["url"]);
    let path = format!("/api/federation/peers/{}", url.replace(':', "%3A").replace('/', "%2F"));
    let removed = victim.service.request(reqwest::Method::DELETE, &path).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(removed.status(), 200);
    let answer = guest.join(&victim, &line, &[&hostile.url]).await;
    assert_eq!(problem(answer).await, (401, "invite_refused".to_owned()));
    victim.has_audited("invite_refused", "/lattice/trust/join", "guest");
    assert_eq!(victim.operator_sees("/api/federation/peers").await["peers"].as_array().map(Vec::len), Some(0));
}
