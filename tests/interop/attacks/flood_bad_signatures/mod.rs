//! Somebody sends signatures that do not fit: after his share of them, each of which counts ten times, they are not looked at any more.

use crate::{
    attacks::bed::{Attacker, Victim, audit, refusals},
    service::{Place, problem},
};
use reqwest::Client;
use std::net::Ipv4Addr;

#[tokio::test]
async fn signatures_are_checked_as_often_as_an_address_may_ask_for_it() {
    let place = Place::new().set("ARK__LIMITS__COUNT_LOOPBACK", "true").set("ARK__LIMITS__SIGNED_PER_MINUTE", "300");
    let victim = Victim::start_in(place).await;
    let (attacker, honest) = (Attacker::new("attacker"), Attacker::new("honest"));
    let forged = attacker.manifest(1).replace("\"local\"", "\"cloud\"");
    let mut checked = 0;
    for _ in 0..100 {
        match problem(victim.service.post("/manifest", forged.clone()).await).await {
            (401, code) if code == "bad_signature" => checked += 1,
            (429, code) if code == "rate_limited" => {}
            other => panic!("{other:?}"),
        }
    }
    assert!((30..100).contains(&checked), "{checked}");
    let other = Client::builder().no_proxy().local_address(Some(Ipv4Addr::new(127, 0, 0, 2).into())).build().unwrap();
    let request = other.post(format!("{}/manifest", victim.service.url)).header("content-type", "application/json");
    assert_eq!(request.body(honest.manifest(1)).send().await.unwrap().status(), 200);
    assert_eq!(victim.service.get("/ready").await.status(), 200, "reading is counted by itself");
    victim.has_audited("bad_signature", "/manifest", "-");
    let entry = victim.has_audited("rate_limited", "signed", "-");
    assert_eq!(entry["detail"]["address"], "127.0.0.1");
    // A hundred requests, and a few lines that account for each of them.
    let place = victim.stopped().await;
    assert_eq!((refusals(&place, "bad_signature"), refusals(&place, "rate_limited")), (checked, 100 - checked));
    assert!(audit(&place).len() < 10, "{:#?}", audit(&place));
    let verified = place.command(&["audit", "verify"]).output().unwrap();
    assert!(verified.status.success(), "{verified:?}");
}
