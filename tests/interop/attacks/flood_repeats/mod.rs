//! Somebody repeats another instance's public envelopes and captured requests, as fast as he can: on his own account, not on theirs.

use crate::{
    attacks::bed::{Attacker, Victim, client_from, counted},
    server::whole,
    service::problem,
};

const ROUTE: &str = "/lattice/changes";

#[tokio::test]
async fn what_is_repeated_costs_who_repeats_it() {
    let place =
        counted().set("ARK__LIMITS__SIGNED_PER_KEY_PER_MINUTE", "6").set("ARK__LIMITS__SIGNED_PER_MINUTE", "60");
    let victim = Victim::start_in(place).await;
    let owner = Attacker::new("owner");
    let stranger = client_from(3);
    let (old, new) = (owner.manifest(1), owner.manifest(2));
    for envelope in [&old, &new] {
        assert_eq!(victim.service.post("/manifest", envelope.clone()).await.status(), 200);
    }
    let line = format!("{}\n", whole(1, "once", "o"));
    let captured = owner.request(&victim, ROUTE, &line).build().unwrap();
    let request = victim.service.request(reqwest::Method::POST, ROUTE).headers(captured.headers().clone());
    assert_eq!(request.body(line.clone()).send().await.unwrap().status(), 200);
    let dressed = new.replacen('{', "{\"note\":\"x\",", 1);
    let mut codes = Vec::new();
    for number in 0..80 {
        let repeat = match number % 4 {
            0 => stranger
                .post(format!("{}{ROUTE}", victim.service.url))
                .headers(captured.headers().clone())
                .body(line.clone()),
            repeated => {
                let envelope = [&old, &new, &dressed][repeated - 1].clone();
                let request = stranger.post(format!("{}/manifest", victim.service.url));
                request.header("content-type", "application/json").body(envelope)
            }
        };
        let answer = repeat.send().await.unwrap();
        codes.push(if answer.status() == 200 { String::new() } else { problem(answer).await.1 });
    }
    assert!(
        ["", "replayed", "rollback", "rate_limited"].iter().all(|code| codes.iter().any(|it| it == code)),
        "{codes:?}"
    );
    victim.has_audited("rate_limited", "signed", "-");
    // Three of six were its own.
    assert_eq!(victim.service.post("/manifest", owner.manifest(3)).await.status(), 200);
    assert_eq!(owner.push(&victim, &whole(2, "twice", "t")).await.status(), 200);
}
