//! Addresses that lead the service to where only it can go: a cloud's metadata, and, where the settings say so, its own network.

use crate::{
    attacks::bed::{Attacker, Victim},
    server::Hostile,
    service::{Place, TOKEN, problem},
};
use reqwest::Method;
use serde_json::json;
use std::process::Output;

async fn add(victim: &Victim, url: &str) -> reqwest::Response {
    let request = victim.service.request(Method::POST, "/api/federation/peers/add").bearer_auth(TOKEN);
    request.json(&json!({"peerUrl": url})).send().await.unwrap()
}

#[tokio::test]
async fn a_clouds_secrets_are_never_asked_for_however_they_are_written() {
    let victim = Victim::start().await;
    for url in [
        "http://169.254.169.254/latest/meta-data",
        "http://2852039166",
        "http://0xa9.0xfe.0xa9.0xfe",
        "http://0251.0376.0251.0376",
        "http://[::ffff:169.254.169.254]",
        "http://[64:ff9b::a9fe:a9fe]",
        "http://[2002:a9fe:a9fe::]",
        "http://[fd00:ec2::254]",
        "http://100.100.100.200",
        "http://224.0.0.251",
    ] {
        assert_eq!(problem(add(&victim, url).await).await, (400, "invalid_peer".to_owned()), "{url}");
    }
    assert_eq!(victim.operator_sees("/api/federation/peers").await["peers"], json!([]));
    victim.has_audited("invalid_peer", "/api/federation/peers/add", "-");
}

#[tokio::test]
async fn its_own_network_is_out_of_reach_where_the_settings_say_so_but_for_the_peers_in_them() {
    let (named, hidden) = (Hostile::start("named", |_, _| None).await, Hostile::start("hidden", |_, _| None).await);
    let place = Place::new().set("ARK__FEDERATION__PRIVATE_PEERS", "false");
    let victim = Victim::start_in(place.set("FEDERATION_TRUSTED_PEERS", &named.url)).await;
    for url in [&hidden.url, "http://10.0.0.1", "http://[::1]:9", "http://[fe80::1]", "http://0.0.0.0:9"] {
        assert_eq!(problem(add(&victim, url).await).await, (400, "invalid_peer".to_owned()), "{url}");
    }
    assert_eq!(
        add(&victim, "http://192.0.2.0.example").await.status(),
        200,
        "a name is looked at when it is looked up"
    );
    let synced = victim.operate("/api/federation/sync", &json!({"peerUrl": named.url})).await;
    assert!(named.peer.asked("head") > 0, "{synced}");
    assert_eq!(hidden.peer.asked("head"), 0);
}

#[tokio::test]
async fn what_somebody_says_of_his_address_leads_nowhere_inside() {
    let (hidden, named) = (Hostile::start("hidden", |_, _| None).await, Hostile::start("named", |_, _| None).await);
    // As it is where the settings say nothing.
    let victim = Victim::start_in(Place::new().set("FEDERATION_AUTO_SYNC", "true")).await;
    let liar = Attacker::new("liar");
    let manifest = liar.manifest_with(1, |manifest| manifest["address"] = json!(hidden.url));
    assert_eq!(victim.service.post("/manifest", manifest).await.status(), 200);
    let found = victim.operate("/api/federation/discover", &json!({"accept": true})).await;
    assert!(found.to_string().contains(&hidden.url), "the operator may see it: {found}");
    assert_eq!(victim.operator_sees("/api/federation/peers").await["peers"], json!([]), "and it is no peer");
    victim.round().await;
    // Whom the operator names may be there.
    assert_eq!(add(&victim, &named.url).await.status(), 200);
    victim.round().await;
    assert!(named.peer.asked("head") > 0);
    assert_eq!(["head", "manifest", "identity", "notify"].map(|route| hidden.peer.asked(route)), [0; 4], "nobody came");
}

#[test]
fn a_webhook_leads_to_no_secret_either() {
    let place = Place::new().set("ARK_ENV", "hooks");
    let config = place.path("config");
    std::fs::create_dir(&config).unwrap();
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let text = format!("[events]\nwebhooks = [{{ url = \"http://169.254.169.254/\", secret = \"{secret}\" }}]\n");
    std::fs::write(config.join("hooks.toml"), text).unwrap();
    let Output { status, stderr, .. } = place.command(&["serve", "--port", "0"]).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert!(!status.success() && said.contains("169.254.169.254 is an address that is never asked"), "{said}");
}
