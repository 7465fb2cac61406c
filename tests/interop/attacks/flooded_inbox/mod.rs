//! Strangers with many keys and addresses ask to write, so that an honest instance that asks as well is not found among them.

use crate::{
    attacks::bed::{Attacker, Victim, client_at, client_from, counted, outcome},
    server::whole,
};
use serde_json::{Value, json};
use std::net::Ipv4Addr;

#[tokio::test]
async fn many_keys_from_many_addresses_displace_no_other_network_and_the_admin_accepts() {
    let place = counted().set("ARK_TRUST_MODE", "verified").set("ARK__LIMITS__NEW_IDS_PER_MINUTE", "0");
    let place = place.set("ARK__LIMITS__SIGNED_PER_MINUTE", "0");
    let victim = Victim::start_in(place).await;
    let honest = Attacker::new("honest");
    let own = client_at(Ipv4Addr::new(127, 1, 0, 1));
    let line = whole(1, "of-honest", "h");
    let refused = (403, "not_trusted".to_owned());
    let registered = own.post(format!("{}/manifest", victim.service.url)).header("content-type", "application/json");
    assert_eq!(registered.body(honest.manifest(1)).send().await.unwrap().status(), 200);
    assert_eq!(outcome(honest.push_by(&own, &victim, &line).await).await, refused);
    for last in 10..30 {
        let client = client_from(last);
        for _ in 0..60 {
            // The id of the honest one, and ids of their own.
            let flood = Attacker::new(if last == 10 { "honest" } else { "flood" });
            assert_eq!(outcome(flood.push_by(&client, &victim, &line).await).await, refused);
        }
    }
    victim.has_audited("not_trusted", "/lattice/changes", "flood");
    let pending = victim.operator_sees("/api/federation/pending").await;
    let listed = pending["pending"].as_array().unwrap();
    let of_id = |id: &str| listed.iter().filter(|it| it["nodeId"] == id).count();
    assert!(of_id("flood") <= 8 && of_id("honest") <= 8, "{} and {}", of_id("flood"), of_id("honest"));
    let is_honest = |it: &&Value| it["publicKey"] == honest.public_key();
    assert!(listed.iter().any(|it| is_honest(&it)), "it is still in the list");
    let accepted =
        victim.operate("/api/federation/pending/honest/accept", &json!({"publicKey": honest.public_key()})).await;
    assert_eq!(accepted["trust_level"], "verified", "{accepted}");
    assert_eq!(outcome(honest.push_by(&own, &victim, &line).await).await, (200, String::new()));
}

#[tokio::test]
async fn many_ids_from_many_addresses_displace_no_other_network() {
    let place = counted().set("ARK_TRUST_MODE", "verified").set("ARK__LIMITS__NEW_IDS_PER_MINUTE", "0");
    let victim = Victim::start_in(place.set("ARK__LIMITS__SIGNED_PER_MINUTE", "0")).await;
    let own = client_at(Ipv4Addr::new(127, 1, 0, 1));
    let line = whole(1, "n", "n");
    outcome(Attacker::new("honest").push_by(&own, &victim, &line).await).await;
    let clients: Vec<_> = (10..40).map(client_from).collect();
    for (number, client) in clients.iter().cycle().take(900).enumerate() {
        let name: &'static str = format!("flood-{number}").leak();
        outcome(Attacker::new(name).push_by(client, &victim, &line).await).await;
    }
    let pending = victim.operator_sees("/api/federation/pending").await;
    assert_eq!(pending["count"], 800, "the rest is reserved");
    assert!(pending["pending"].as_array().unwrap().iter().any(|it| it["nodeId"] == "honest"));
}
