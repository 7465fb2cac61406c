//! A listener sends a recorded challenge again, between the challenge of an honest instance and its join.

use crate::attacks::bed::{Attacker, Victim, challenge_of, join_of};
use serde_json::json;

#[tokio::test]
async fn a_challenge_that_is_sent_again_ends_no_pairing() {
    let victim = Victim::start().await;
    let line = victim.invite().await;
    let honest = Attacker::new("laptop");
    let repeat = |recorded: &(String, Vec<(String, String)>)| {
        let (body, headers) = recorded.clone();
        let request = victim.service.request(reqwest::Method::POST, "/lattice/trust/challenge");
        headers.into_iter().fold(request, |request, (name, value)| request.header(name, value)).body(body)
    };
    let (_, old) = challenge_of(&honest, &victim).await;
    let (transcript, recorded) = challenge_of(&honest, &victim).await;
    for recorded in [&old, &recorded, &old] {
        assert!(repeat(recorded).send().await.unwrap().status().as_u16() < 500);
    }
    // Nor does an answer that fits nothing.
    let wrong = json!({"signature": "A".repeat(86) + "=="}).to_string();
    assert_eq!(honest.request(&victim, "/lattice/trust/proof", &wrong).send().await.unwrap().status(), 401);
    assert_eq!(join_of(&honest, &victim, &line, &transcript, &[]).await.status(), 200);
}
