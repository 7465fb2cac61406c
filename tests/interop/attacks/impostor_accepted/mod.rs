//! An impostor asks to write under the id of an instance that was refused before, so that the command of that refusal accepts the impostor.

use crate::{
    attacks::bed::{Attacker, Victim},
    server::whole,
    service::{Place, TOKEN, text},
};
use reqwest::Response;
use serde_json::{Value, json};

/// The body of a refusal with this status.
async fn refusal(answer: Response, status: u16) -> Value {
    assert_eq!(answer.status(), status);
    answer.json().await.unwrap()
}

#[tokio::test]
async fn the_command_of_a_refusal_accepts_the_key_that_was_refused_and_no_other() {
    let victim = Victim::start_in(Place::new().set("ARK_TRUST_MODE", "verified")).await;
    let honest = Attacker::new("laptop").registered(&victim, 1).await;
    let refused = refusal(honest.push(&victim, &whole(1, "n", "1")).await, 403).await;
    let command = format!("ark-lattice federation accept laptop --key {}", honest.public_key());
    assert!(text(&refused["detail"]).ends_with(&command), "{refused}");
    // The list of those that ask is in memory.
    let victim = victim.restarted().await;
    let impostor = Attacker::new("laptop");
    assert_eq!(impostor.push(&victim, &whole(2, "n", "2")).await.status(), 403);
    let accept = "/api/federation/pending/laptop/accept";
    let request = victim.service.request(reqwest::Method::POST, accept).bearer_auth(TOKEN);
    let answer = request.json(&json!({})).send().await.unwrap();
    let answer = refusal(answer, 409).await;
    let detail = text(&answer["detail"]);
    assert_eq!(answer["code"], "several_keys");
    for key in [honest.public_key(), impostor.public_key()] {
        assert!(detail.contains(&format!("ark-lattice federation accept laptop --key {key}")), "{detail}");
    }
    victim.operate(accept, &json!({"publicKey": honest.public_key()})).await;
    assert_eq!(honest.push(&victim, &whole(3, "n", "3")).await.status(), 200);
    assert_eq!(impostor.push(&victim, &whole(4, "n", "4")).await.status(), 403);
}
