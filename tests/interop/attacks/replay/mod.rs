//! A signed request is sent again: within the time in which it is valid, after it, and to another instance.

use crate::{
    attacks::bed::{Attacker, Victim},
    server::whole,
    service::problem,
};

const ROUTE: &str = "/lattice/changes";

#[tokio::test]
async fn a_request_counts_once_in_its_time_and_at_its_place() {
    let victim = Victim::start().await;
    let peer = Attacker::new("peer").registered(&victim, 1).await;
    let line = format!("{}\n", whole(1, "once", "o"));
    let request = peer.request(&victim, ROUTE, &line);
    assert_eq!(request.try_clone().unwrap().send().await.unwrap().status(), 200);
    assert_eq!(problem(request.send().await.unwrap()).await, (409, "replayed".to_owned()));
    victim.has_audited("replayed", ROUTE, "peer");

    let late = peer.request_made(&victim, (ROUTE, "victim", 301), &line).send().await.unwrap();
    assert_eq!(problem(late).await, (401, "request_signature".to_owned()));
    // Whose date does not count, is nobody.
    victim.has_audited("request_signature", ROUTE, "-");
    let elsewhere = peer.request_made(&victim, (ROUTE, "another-instance", 0), &line).send().await.unwrap();
    assert_eq!(problem(elsewhere).await, (401, "request_signature".to_owned()));
    victim.has_audited("request_signature", ROUTE, "peer");
}

#[tokio::test]
async fn what_was_signed_in_one_conversation_proves_nothing_in_another() {
    let victim = Victim::start().await;
    let peer = Attacker::new("peer");
    let question = r#"{"nonce":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}"#;
    let ask = || peer.request(&victim, "/lattice/trust/challenge", question);
    assert_eq!(ask().send().await.unwrap().status(), 200);
    // Not over this conversation's nonces.
    let signature =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, peer.key.sign(b"something else"));
    let proof = format!("{{\"signature\":\"{signature}\"}}");
    let answer = peer.request(&victim, "/lattice/trust/proof", &proof).send().await.unwrap();
    assert_eq!(problem(answer).await, (401, "request_signature".to_owned()));
    victim.has_audited("request_signature", "/lattice/trust/proof", "peer");
    // A wrong answer ends nothing, so that a recorded one does not, and it proves nothing.
    let again = peer.request(&victim, "/lattice/trust/proof", &proof).send().await.unwrap();
    assert_eq!(problem(again).await, (401, "request_signature".to_owned()));
    assert_eq!(victim.operator_sees("/v1/trust/relationships").await["count"], 0);
}
