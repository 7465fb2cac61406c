//! A push is captured, the service restarts, and its memory of requests is empty: the push is sent again.

use crate::{
    attacks::bed::{Attacker, Victim, content},
    server::whole,
    service::problem,
};
use std::time::Duration;

const ROUTE: &str = "/lattice/changes";

#[tokio::test]
async fn a_request_of_before_a_restart_is_refused_after_it() {
    let victim = Victim::start().await;
    let peer = Attacker::new("peer").registered(&victim, 1).await;
    let line = format!("{}\n", whole(1, "captured", "c"));
    let headers_of = |victim: &Victim| peer.request(victim, ROUTE, &line).build().unwrap();
    let (delivered, withheld) = (headers_of(&victim), headers_of(&victim));
    let again = |captured: &reqwest::Request, victim: &Victim| {
        let request = victim.service.request(reqwest::Method::POST, ROUTE).headers(captured.headers().clone());
        request.body(line.clone()).send()
    };
    assert_eq!(again(&delivered, &victim).await.unwrap().status(), 200);
    let removed = victim.service.request(reqwest::Method::DELETE, "/nodes/captured").bearer_auth(crate::service::TOKEN);
    assert_eq!(removed.send().await.unwrap().status(), 200);
    let victim = victim.restarted_just_now().await;
    for captured in [&delivered, &withheld] {
        let refused = again(captured, &victim).await.unwrap();
        assert!(refused.headers().contains_key("ark-sign-from"), "the date to sign anew with");
        assert_eq!(problem(refused).await, (401, "signed_before_start".to_owned()));
    }
    victim.has_audited("signed_before_start", ROUTE, "peer");
    assert_eq!(content(&victim, "captured").await, None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let anew = peer.request(&victim, ROUTE, &line).send().await.unwrap();
    assert_eq!(anew.status(), 200, "signed anew it is taken");
}

#[tokio::test]
async fn what_was_seen_last_is_known_after_a_restart_in_order() {
    let victim = Victim::start().await;
    let peer = Attacker::new("peer").registered(&victim, 1).await;
    let line = format!("{}\n", whole(1, "captured", "c"));
    // By a clock that is ahead: dated after the restart.
    let created = crate::server::now().plus(Duration::from_secs(200));
    let ahead = peer.request_dated(&victim, (ROUTE, "victim", created), &line).build().unwrap();
    let again = |victim: &Victim| {
        let request = victim.service.request(reqwest::Method::POST, ROUTE).headers(ahead.headers().clone());
        request.body(line.clone()).send()
    };
    assert_eq!(again(&victim).await.unwrap().status(), 200);
    let place = victim.stopped().await;
    let service = place.serve().await;
    let victim = Victim { place, service };
    assert_eq!(problem(again(&victim).await.unwrap()).await, (409, "replayed".to_owned()));
    victim.has_audited("replayed", ROUTE, "peer");
    let anew = peer.request(&victim, ROUTE, &line).send().await.unwrap();
    assert_eq!(anew.status(), 200);
}
