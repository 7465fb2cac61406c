//! The four scenarios of the seed's guide, with real processes: commands, variables and workflows as they are written there. Between
//! the machines lie cables that are cut; processes are killed; a clock is wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::as_conversions,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test may panic"
)]

#[path = "../support/faketime.rs"]
mod faketime;
mod machine;
#[path = "../support/service.rs"]
mod service;
mod wire;

use machine::{LONG, Machine, until_equal};
use serde_json::json;
use service::until;
use std::{fs, time::Duration};

fn nodes(prefix: &str, count: usize) -> String {
    let nodes: Vec<_> = (0..count)
        .map(|n| json!({ "id": format!("{prefix}_{n:03}"), "type": "code_node", "content": "x".repeat(300) }))
        .collect();
    json!({ "nodes": nodes }).to_string()
}

/// Everybody looks often, so that the test need not wait for what the seed does every minute.
const OFTEN: (&str, &str) = ("FEDERATION_SYNC_INTERVAL", "2000");

#[tokio::test(flavor = "multi_thread")]
async fn a_laptop_and_a_cloud_server() {
    let mut local = Machine::new("laptop", &[("ARK_INSTANCE_TYPE", "local"), OFTEN]);
    let mut cloud = Machine::new("cloud", &[("ARK_INSTANCE_TYPE", "cloud"), OFTEN]);
    local.start().await;
    cloud.start().await;
    let (to_cloud, to_local) = (cloud.wire(), local.wire());
    let said = local.command(&["federation", "start"]).await;
    assert!(said.contains(&format!("port {}", local.port)), "{said}");
    cloud.command(&["federation", "start"]).await;
    cloud.command(&["federation", "add-peer", &to_local.url]).await;
    local.command(&["federation", "add-peer", &to_cloud.url]).await;

    let file = local.place.path("security-pentesting-nodes.json");
    fs::write(&file, nodes("security", 300)).unwrap();
    local.command(&["import", file.to_str().unwrap()]).await;
    until("the import is seen", LONG, async || local.service().nodes().await.len() == 300).await;
    let synced = local.json(&["federation", "sync"]).await;
    assert_eq!(
        (&synced["result"][0]["success"], &synced["result"][0]["nodesSent"]),
        (&json!(true), &json!(300)),
        "{synced}"
    );
    assert_eq!(cloud.hash().await, local.hash().await);

    // By itself from now on; the server dies in the middle of it, again and again.
    local.command(&["federation", "auto-sync", "--start"]).await;
    for n in 0..5 {
        fs::write(&file, nodes(&format!("more_{n}"), 200)).unwrap();
        local.command(&["import", file.to_str().unwrap()]).await;
        until("some of it is there", LONG, async || cloud.service().nodes().await.len() > 300 + 200 * n).await;
        cloud.kill();
        cloud.start().await;
    }
    until_equal("the server catches up", &[&local, &cloud]).await;
    assert_eq!(cloud.service().nodes().await.len(), 1300);
    let status = local.json(&["federation", "status"]).await;
    assert_eq!(status["info"]["instanceType"], "local");
    // What the server took before it died, without having said so, is not counted.
    assert!(status["stats"]["nodesSent"].as_u64().unwrap() > 300, "{status}");
    // A restart keeps what the operator switched on, and the figures.
    local.kill();
    local.start().await;
    let again = local.json(&["federation", "status"]).await;
    assert_eq!(again["info"]["autoSync"], true);
    assert!(again["stats"]["nodesSent"].as_u64() >= status["stats"]["nodesSent"].as_u64(), "{again}");
    let history = local.json(&["federation", "history"]).await;
    assert!(
        history["rounds"].as_array().unwrap().iter().any(|round| round["nodesSent"].as_u64() >= Some(200)),
        "{history}"
    );
    local.command(&["federation", "stop"]).await;
    let refused = cloud.try_command(&["federation", "sync"]).await;
    assert!(
        !refused.status.success() && String::from_utf8_lossy(&refused.stdout).contains("federation_stopped")
            || String::from_utf8_lossy(&refused.stderr).contains("federation_stopped"),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_office_with_several_developers() {
    let mut team = [Machine::new("ann", &[OFTEN]), Machine::new("ben", &[OFTEN]), Machine::new("cleo", &[OFTEN])];
    for machine in &mut team {
        machine.start().await;
    }
    let [ann, ben, cleo] = &team;
    let (to_ben, to_cleo) = (ben.wire(), cleo.wire());
    ann.command(&["federation", "add-peer", &to_ben.url]).await;
    ann.command(&["federation", "add-peer", &to_cleo.url]).await;
    ann.command(&["federation", "auto-sync", "--start"]).await;
    until("both answer", LONG, async || {
        ann.json(&["federation", "list-peers"]).await["activePeers"].as_array().unwrap().len() == 2
    })
    .await;
    // What Ann adds is with the others; what Ben adds goes to Cleo through Ann, who hears of it.
    ann.service().put("hooks", &json!({ "id": "hooks", "content": "useState" })).await;
    let took = until_equal("it is with all", &[ann, ben, cleo]).await;
    ben.service().put("forms", &json!({ "id": "forms", "content": "useForm" })).await;
    let through = until("it is with Cleo", LONG, async || cleo.node("forms").await.is_some()).await;
    eprintln!("an edit was with all after {took:?}, and through a third one after {through:?}");

    // Two edit the same node while the network is down: the later one counts, the other one is kept where it was made.
    to_ben.cut();
    to_cleo.cut();
    ann.service().put("hooks", &json!({ "id": "hooks", "content": "Ann's" })).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    cleo.service().put("hooks", &json!({ "id": "hooks", "content": "Cleo's, later" })).await;
    until("Ann sees that nobody answers", LONG, async || {
        ann.json(&["federation", "list-peers"]).await["activePeers"].as_array().unwrap().is_empty()
    })
    .await;
    to_ben.mend();
    to_cleo.mend();
    until_equal("all agree again", &[ann, ben, cleo]).await;
    assert_eq!(ben.node("hooks").await.unwrap()["content"], "Cleo's, later");
    let conflicts = ann.json(&["conflicts", "list"]).await;
    assert_eq!(conflicts["conflicts"][0]["id"], "hooks", "{conflicts}");
    let number = conflicts["conflicts"][0]["number"].to_string();
    assert!(ann.command(&["conflicts", "show", &number]).await.contains("Ann's"));
    ann.command(&["conflicts", "restore", &number]).await;
    until("Ann's is back everywhere", LONG, async || ben.node("hooks").await.unwrap()["content"] == "Ann's").await;

    ann.command(&["federation", "remove-peer", &to_ben.url]).await;
    ann.service().put("private", &json!({ "id": "private", "content": "for Cleo" })).await;
    until("Cleo has it", LONG, async || cleo.node("private").await.is_some()).await;
    assert!(ben.node("private").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raspberry_pi_that_is_seldom_online() {
    let mut hub = Machine::new("hub", &[("ARK_INSTANCE_TYPE", "cloud"), ("FEDERATION_MODE", "hub")]);
    hub.start().await;
    let to_hub = hub.wire();
    let spoke = [
        ("ARK_INSTANCE_TYPE", "pi"),
        ("FEDERATION_MODE", "hub"),
        ("FEDERATION_HUB_URL", to_hub.url.as_str()),
        ("FEDERATION_AUTO_SYNC", "true"),
        OFTEN,
    ];
    // Its clock is four minutes ahead: no battery.
    let library = faketime::library();
    let ahead = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("FAKETIME", "+4m"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("NO_FAKE_STAT", "1"),
    ];
    let mut pi = Machine::new("pi", &[&spoke[..], &ahead[..]].concat());
    let mut other = Machine::new("laptop", &spoke);
    pi.start().await;
    other.start().await;
    hub.service().put("lights", &json!({ "id": "lights", "content": "off" })).await;
    hub.service().put("doors", &json!({ "id": "doors", "content": "locked" })).await;
    until_equal("the pi has what the hub has", &[&hub, &pi, &other]).await;

    // Offline: everything local goes on, also over a power cut.
    to_hub.cut();
    pi.service().put("sensor", &json!({ "id": "sensor", "content": "22.5" })).await;
    pi.service().delete("doors").await;
    pi.kill();
    pi.start().await;
    pi.service().put("lights", &json!({ "id": "lights", "content": "on" })).await;
    hub.service().put("news", &json!({ "id": "news", "content": "from the hub" })).await;
    assert!(hub.node("sensor").await.is_none() && pi.node("news").await.is_none());
    to_hub.mend();
    let took = until_equal("one round catches up", &[&hub, &pi, &other]).await;
    eprintln!("the pi was in step {took:?} after it came back");
    assert_eq!(hub.node("sensor").await.unwrap()["content"], "22.5");
    assert_eq!((hub.node("doors").await, hub.node("lights").await.unwrap()["content"].clone()), (None, json!("on")));
    // The hub's later edit counts, although the pi's clock says that its own was made after it.
    hub.service().put("lights", &json!({ "id": "lights", "content": "dimmed" })).await;
    until("the pi has it", LONG, async || pi.node("lights").await.unwrap()["content"] == "dimmed").await;
    assert_eq!(pi.service().get_json("/conflicts").await["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn hubs_in_several_regions() {
    let mut us = Machine::new("us-hub", &[("FEDERATION_MODE", "hub"), ("ARK_INSTANCE_TYPE", "cloud"), OFTEN]);
    us.start().await;
    let (eu_us, ap_us) = (us.wire(), us.wire());
    let region = |name, url: &str| {
        let auto = ("FEDERATION_AUTO_SYNC", "true");
        Machine::new(name, &[("FEDERATION_MODE", "p2p"), ("FEDERATION_HUB_URL", url), auto, OFTEN])
    };
    let (mut eu, mut ap) = (region("eu-hub", &eu_us.url), region("ap-hub", &ap_us.url));
    eu.start().await;
    ap.start().await;
    let eu_ap = ap.wire();
    eu.command(&["federation", "add-peer", &eu_ap.url]).await;
    let (at_eu, at_ap) = (eu.wire(), ap.wire());
    let developer = |name, url: &str| {
        let auto = ("FEDERATION_AUTO_SYNC", "true");
        Machine::new(name, &[("FEDERATION_MODE", "hub"), ("FEDERATION_HUB_URL", url), auto, OFTEN])
    };
    let (mut berlin, mut tokyo) = (developer("berlin", &at_eu.url), developer("tokyo", &at_ap.url));
    berlin.start().await;
    tokyo.start().await;

    berlin.service().put("bonjour", &json!({ "id": "bonjour", "content": "from Berlin" })).await;
    let took = until("it is in Tokyo", LONG, async || tokyo.node("bonjour").await.is_some()).await;
    eprintln!("from Berlin to Tokyo, over two hubs, in {took:?}");
    until_equal("it is everywhere", &[&us, &eu, &ap, &berlin, &tokyo]).await;

    // Without the primary hub the regions go on with each other.
    us.kill();
    tokyo.service().put("konnichiwa", &json!({ "id": "konnichiwa", "content": "from Tokyo" })).await;
    until("it is in Berlin", LONG, async || berlin.node("konnichiwa").await.is_some()).await;
    // And without each other over the primary one.
    eu_ap.cut();
    us.start().await;
    berlin.service().put("hallo", &json!({ "id": "hallo", "content": "from Berlin" })).await;
    until("it is in Tokyo", LONG, async || tokyo.node("hallo").await.is_some()).await;
    eu_ap.mend();
    until_equal("it is everywhere", &[&us, &eu, &ap, &berlin, &tokyo]).await;
}
