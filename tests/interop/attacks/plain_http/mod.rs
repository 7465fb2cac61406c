//! Peers outside loopback and private networks that would be asked without TLS, where anybody on the way reads and changes what is
//! exchanged: by their address, and by a name that leads to one.

use crate::{
    attacks::{
        bed::{Victim, until},
        dns_rebinding::{NameServer, OUTSIDE, on_a_machine, with_names},
    },
    server::Hostile,
    service::{Place, TOKEN, problem},
};
use ark_lattice::{trust::invite::InviteLine, types::PeerId};
use reqwest::Method;
use serde_json::json;
use std::process::Output;

const SETTING: &str = "federation.plain_http";

#[tokio::test]
async fn public_peer_over_plain_http_is_not_added() {
    let victim = Victim::start().await;
    let add = async |url: &str| {
        let request = victim.service.request(Method::POST, "/api/federation/peers/add").bearer_auth(TOKEN);
        // None of them is asked: packets go to this machine only.
        request.json(&json!({"peerUrl": url, "probe": false})).send().await.unwrap()
    };
    for url in ["http://203.0.113.7:9001", "HTTP://203.0.113.7", "http://[2606:4700::1111]", "http://[::ffff:8.8.8.8]"]
    {
        let answer = add(url).await;
        assert_eq!(problem(answer).await, (400, "plain_http".to_owned()), "{url}");
    }
    let detail = add("http://8.8.8.8").await.text().await.unwrap();
    assert!(detail.contains("federation.plain_http") && detail.contains("https://"), "{detail}");
    assert_eq!(victim.operator_sees("/api/federation/peers").await["peers"], json!([]));
    victim.has_audited("plain_http", "/api/federation/peers/add", "-");
    for url in [
        "https://203.0.113.7:9001",
        "http://10.0.0.1:9001",
        "http://127.0.0.1:9",
        "http://[fd12::1]",
        "http://peer.example",
    ] {
        assert_eq!(add(url).await.status(), 200, "{url}");
    }
}

#[test]
fn service_does_not_start_with_such_a_peer_in_its_settings() {
    let place = Place::new().set("FEDERATION_TRUSTED_PEERS", "http://10.0.0.1:9001,http://203.0.113.7:9001");
    for args in [&["serve", "--port", "0"][..], &["config", "check"]] {
        let Output { status, stderr, .. } = place.command(args).output().unwrap();
        let text = String::from_utf8(stderr).unwrap();
        assert!(!status.success() && text.contains("federation.plain_http"), "{args:?}: {text}");
        assert!(text.contains("http://203.0.113.7:9001") && !text.contains("10.0.0.1"), "{args:?}: {text}");
    }
    let place = place.set("ARK__FEDERATION__PLAIN_HTTP", "always");
    let Output { status, stderr, .. } = place.command(&["config", "check"]).output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
}

#[test]
fn name_that_leads_to_a_public_address_is_not_asked_over_plain_http() {
    on_a_machine(async || {
        let names = NameServer::start().await;
        names.leads_outside(usize::MAX);
        let outside = Hostile::start_on(&format!("{OUTSIDE}:0"), "outside", |_, _| None).await;
        let port = outside.url.rsplit(':').next().unwrap();
        let peer = format!("http://public.example:{port}");
        let place = || with_names(Place::new().set("FEDERATION_TRUSTED_PEERS", &peer));
        let victim = Victim::start_in(place()).await;
        // Said at the start, and where it is added or joined, with the setting's name.
        let is_said =
            || victim.place.log().lines().any(|line| line.contains("public.example") && line.contains(SETTING));
        until("the start has looked it up", async || is_said()).await;
        let other = format!("http://other.example:{port}");
        let add = victim.service.request(Method::POST, "/api/federation/peers/add").bearer_auth(TOKEN);
        let refused = add.json(&json!({"peerUrl": other})).send().await.unwrap().text().await.unwrap();
        assert!(refused.contains("\"plain_http\"") && refused.contains(SETTING), "{refused}");
        let line = InviteLine { addresses: vec![other], ..victim.invite().await };
        let line = InviteLine { peer: PeerId::parse("outside").unwrap(), ..line }.text().unwrap();
        let join = victim.service.request(Method::POST, "/api/federation/join").bearer_auth(TOKEN);
        let refused = join.json(&json!({"line": line})).send().await.unwrap().text().await.unwrap();
        assert!(refused.contains(SETTING), "{refused}");
        assert_eq!(outside.peer.asked("head"), 0);
        let error = victim.round().await;
        assert!(error.contains("plain HTTP") && error.contains("federation.plain_http"), "{error}");
        assert_eq!(outside.peer.asked("head"), 0);
        assert!(victim.audit().iter().any(|entry| entry.to_string().contains("plain_http")), "{:?}", victim.audit());
        drop(victim);
        let victim = Victim::start_in(place().set("ARK__FEDERATION__PLAIN_HTTP", "always")).await;
        victim.round().await;
        assert!(outside.peer.asked("head") > 0, "with the setting it is asked");
    });
}
