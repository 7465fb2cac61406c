//! Somebody keeps public envelopes of another instance and sends them again: to roll it back within one second, and to keep it alive.

use crate::{
    attacks::bed::{Attacker, Victim},
    service::{Place, problem, until},
    signing::now,
};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn what_was_replaced_within_a_second_does_not_come_back() {
    let mut victim = Victim::start().await;
    let owner = Attacker::new("owner");
    let date = now();
    let at = |address: &str| {
        owner.manifest_with(1, |it| {
            it.as_object_mut().unwrap().remove("seq");
            (it["last_updated"], it["address"], it["nodes"]) = (json!(date), json!(address), json!([]));
        })
    };
    for address in ["http://old.example", "http://new.example"] {
        assert_eq!(victim.service.post("/manifest", at(address)).await.status(), 200);
    }
    victim.refuses_manifest(at("http://old.example"), (409, "rollback"), "owner").await;
    assert_eq!(victim.shows("owner").await["address"], "http://new.example");
    victim = victim.restarted().await;
    let answer = problem(victim.service.post("/manifest", at("http://old.example")).await).await;
    assert_eq!(answer, (409, "rollback".to_owned()));
    assert_eq!(
        victim.service.post("/manifest", at("http://new.example")).await.status(),
        200,
        "the newest is a heartbeat"
    );
    assert_eq!(
        victim.service.post("/manifest", at("http://third.example")).await.status(),
        200,
        "one more of that second"
    );
}

#[tokio::test]
async fn an_envelope_that_says_when_it_was_signed_is_repeated_for_a_day_at_most() {
    let victim = Victim::start_in(Place::new().set("ARK_PEER_TTL", "1s")).await;
    let owner = Attacker::new("owner");
    let issued = |seconds_ago: u64| {
        owner.manifest_with(5, |it| {
            (it["issued_at"], it["last_updated"]) = (json!(now() - seconds_ago), json!(1_699_564_800));
            it["nodes"] = json!([]);
        })
    };
    let listed = async || victim.service.get_json("/discover").await;
    let (older, newer) = (issued(600), issued(60));
    for envelope in [&older, &newer] {
        assert_eq!(victim.service.post("/manifest", envelope.clone()).await.status(), 200);
    }
    assert_eq!(listed().await["peers"][0]["freshness"], "proven");
    victim.refuses_manifest(older.clone(), (409, "rollback"), "owner").await;
    until("its entry has expired", Duration::from_secs(30), async || listed().await["count"] == 0).await;
    let answer = problem(victim.service.post("/manifest", older).await).await;
    assert_eq!(
        (answer, listed().await["count"].clone()),
        ((409, "rollback".to_owned()), json!(0)),
        "nor is it brought back"
    );
    victim.refuses_manifest(issued(24 * 3600 + 60), (409, "stale_statement"), "owner").await;
    assert_eq!(victim.service.post("/manifest", newer).await.status(), 200);
    // A script that signs once and says no time: it goes on, and is marked.
    let script = Attacker::new("script").registered(&victim, 1).await;
    assert_eq!(victim.service.post("/manifest", script.manifest(1)).await.status(), 200);
    let listed = listed().await;
    let marks =
        listed["peers"].as_array().unwrap().iter().map(|peer| (peer["node_id"].as_str(), peer["freshness"].as_str()));
    assert!(marks.clone().any(|it| it == (Some("script"), Some("unproven"))), "{listed}");
}
