//! The federation's controls, as the guide of the service that this one replaces writes them.

use crate::{
    app::{TOKEN, TestApp, percent_encode, problem, spawn_app, spawn_in, spawn_with},
    raw_http::{Body, Raw},
};
use ark_lattice::{ops::KEPT_ROUNDS, settings::Settings};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// An instance with no admin token: its operator has the local one.
async fn instance(name: &'static str) -> TestApp {
    spawn_with(|settings| local(settings, name)).await
}

fn local(settings: &mut Settings, name: &str) {
    settings.admin.token = None;
    settings.instance.node_id = Some(name.to_owned());
}

/// Asks and expects 200.
async fn ask(app: &TestApp, method: &str, path: &str, body: &str) -> Value {
    let mut request = app.request(method.parse().unwrap(), path).bearer_auth(app.local_token());
    if !body.is_empty() {
        request = request.header("content-type", "application/json").body(body.to_owned());
    }
    let response = request.send().await.unwrap();
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert_eq!(status, StatusCode::OK, "{method} {path}: {text}");
    serde_json::from_str(&text).unwrap()
}

/// The problem that a request of a well-meaning operator gets.
async fn refused(app: &TestApp, method: &str, path: &str, body: &str) -> (u16, String) {
    let request = app.request(method.parse().unwrap(), path).header("content-type", "application/json");
    let request = request.bearer_auth(app.local_token());
    problem(request.body(body.to_owned()).send().await.unwrap()).await
}

fn members(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// `value` without what differs from run to run.
fn only(value: &Value, keys: &[&str]) -> Value {
    keys.iter().map(|key| ((*key).to_owned(), value[*key].clone())).collect::<serde_json::Map<_, _>>().into()
}

#[tokio::test]
async fn the_status_has_the_members_of_the_guide() {
    let app = instance("abc123-and-more").await;
    let peer = r#"{"peerUrl": "http://192.168.1.100:9000", "probe": false}"#;
    let added = ask(&app, "POST", "/api/federation/peers/add", peer).await;
    let url = "http://192.168.1.100:9000";
    assert_eq!(added, json!({"status": "added", "peerUrl": url, "totalPeers": 1, "autoSync": false}));

    let status = ask(&app, "GET", "/api/federation/status", "").await;
    let info = json!({
        "instanceId": "abc123-and-more", "instanceName": "ARK-local-abc123-a", "instanceType": "local",
        "federationMode": "p2p", "listenPort": app.port, "autoSync": false, "syncInterval": 60000,
        "peers": ["http://192.168.1.100:9000"], "publicKey": status["info"]["publicKey"], "address": null,
    });
    assert_eq!(status["info"], info);
    assert_eq!(status["info"]["publicKey"].as_str().unwrap().len(), 44);
    let stats = json!({
        "totalSyncs": 0, "nodesSent": 0, "nodesReceived": 0, "conflictsResolved": 0, "bytes": 0, "failures": 0
    });
    assert_eq!(
        only(&status, &["status", "isRunning", "activePeers", "stats"]),
        json!({"status": "ok", "isRunning": true, "activePeers": [], "stats": stats})
    );
    assert_eq!(members(&status["lattice"]), ["brokenFiles", "conflicts", "manifestHash", "nodes", "seq", "status"]);

    let listed = ask(&app, "GET", "/api/federation/peers", "").await;
    assert_eq!(listed["peers"], status["peers"]);
    assert_eq!(only(&listed, &["count", "activePeers"]), json!({"count": 1, "activePeers": []}));
    let fresh = json!({
        "url": "http://192.168.1.100:9000", "nodeId": null, "publicKey": null, "active": false, "direction": "both",
        "filter": {"types": [], "ids": [], "tags": []}, "priority": false, "addedAt": crate::app::NOW, "lastSync": null,
        "lag": listed["peers"][0]["lag"], "deletionsWaiting": {"here": 0, "there": 0}, "error": null, "errorCode": null, "next": null, "failuresInARow": 0,
        "stats": {"rounds": 0, "failures": 0, "nodesSent": 0, "nodesReceived": 0, "conflictsResolved": 0, "bytes": 0},
    });
    assert_eq!(listed["peers"][0], fresh);
    assert_eq!(members(&fresh["lag"]), ["toReceive", "toSend"]);
    app.stop().await;
}

#[tokio::test]
async fn two_instances_become_peers_exchange_and_part() {
    let (a, b) = (instance("ark-a").await, instance("ark-b").await);
    std::fs::write(a.lattice.join("made-on-a.json"), r#"{"id":"made-on-a","updated_at":1700000000}"#).unwrap();
    std::fs::write(b.lattice.join("made-on-b.json"), r#"{"id":"made-on-b","updated_at":1700000000}"#).unwrap();
    for app in [&a, &b] {
        app.wait_until("the file is seen", async |app| app.get_json("/nodes").await["count"] == 1).await;
    }
    let peer = json!({"peerUrl": format!("{}/", b.url)}).to_string();
    let added = ask(&a, "POST", "/api/federation/peers/add", &peer).await;
    assert_eq!(
        only(&added, &["status", "peerUrl", "totalPeers"]),
        json!({"status": "added", "peerUrl": b.url, "totalPeers": 1})
    );
    let found = json!({"answers": true, "protocol": "ark-lattice", "nodeId": "ark-b", "error": null, "errorCode": null, "next": null});
    let shown = ["answers", "protocol", "nodeId", "error", "errorCode", "next"];
    assert_eq!(only(&added["probe"], &shown), found);
    assert_eq!(ask(&a, "POST", "/api/federation/peers/add", &peer).await["status"], "unchanged");

    let synced = ask(&a, "POST", "/api/federation/sync", "").await;
    let round = &synced["result"][0];
    assert_eq!(only(&synced, &["status"]), json!({"status": "synced"}));
    let expected = json!({
        "peer": b.url, "success": true, "nodesSent": 1, "nodesReceived": 1, "conflictsResolved": 0, "outcome": "in_step",
        "error": null, "errorCode": null, "next": null, "bytes": round["bytes"], "requests": round["requests"], "deletionsWaiting": {"here": 0, "there": 0},
    });
    assert_eq!(*round, expected);
    assert!(round["bytes"].as_u64().unwrap() > 100 && round["requests"].as_u64().unwrap() > 2, "{round}");
    for app in [&a, &b] {
        assert_eq!(app.get_json("/nodes").await["total"], 2);
    }
    let one = json!({"peerUrl": b.url, "confirmDeletions": true}).to_string();
    assert_eq!(ask(&a, "POST", "/api/federation/sync", &one).await["result"][0]["success"], true);

    let status = ask(&a, "GET", "/api/federation/status", "").await;
    assert_eq!(status["activePeers"], json!([b.url]));
    assert_eq!(
        only(&status["stats"], &["totalSyncs", "nodesSent", "nodesReceived", "failures"]),
        json!({"totalSyncs": 2, "nodesSent": 1, "nodesReceived": 1, "failures": 0})
    );
    let theirs = ask(&b, "GET", "/api/federation/status", "").await;
    assert_eq!(status["lattice"]["manifestHash"], theirs["lattice"]["manifestHash"]);
    let peer = &status["peers"][0];
    assert_eq!(
        only(peer, &["nodeId", "publicKey", "active", "lastSync", "error"]),
        json!({"nodeId": "ark-b", "publicKey": theirs["info"]["publicKey"], "active": true, "lastSync": crate::app::NOW,
            "error": null})
    );

    let past = ask(&a, "GET", "/federation/history?limit=5", "").await;
    assert_eq!(past["count"], 1, "a round in which nothing moved is not listed: {past}");
    let names = [
        "at",
        "bytes",
        "conflictsResolved",
        "deletionsWaiting",
        "durationMs",
        "error",
        "inbound",
        "nodesReceived",
        "nodesSent",
        "outcome",
        "peer",
    ];
    assert_eq!(members(&past["rounds"][0]), names);
    assert_eq!(
        only(&past["rounds"][0], &["at", "peer", "outcome", "error", "nodesReceived", "nodesSent"]),
        json!({"at": crate::app::NOW, "peer": b.url, "outcome": "in_step", "error": null, "nodesReceived": 1,
            "nodesSent": 1})
    );
    let of = |peer: &str| format!("/federation/history?peer={}", percent_encode(peer));
    assert_eq!(ask(&a, "GET", &of(&b.url), "").await["count"], 1);
    assert_eq!(ask(&a, "GET", &of("http://other"), "").await["count"], 0);

    let path = format!("/api/federation/peers/{}", percent_encode(&b.url));
    let removed = ask(&a, "DELETE", &path, "").await;
    assert_eq!(removed, json!({"status": "removed", "peerUrl": b.url, "totalPeers": 0}));
    assert_eq!(refused(&a, "DELETE", &path, "").await, (404, "peer_not_found".to_owned()));
    assert_eq!(refused(&a, "POST", "/api/federation/sync", &one).await, (404, "peer_not_found".to_owned()));
    assert_eq!(
        ask(&a, "POST", "/api/federation/sync", "{}").await,
        json!({"status": "synced", "result": [],
        "lattice": ask(&a, "GET", "/api/federation/status", "").await["lattice"]})
    );
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn the_status_of_a_sync_says_how_many_rounds_came_to_their_end() {
    let (a, b) = (instance("ark-a").await, instance("ark-b").await);
    let add =
        async |url: &str| ask(&a, "POST", "/api/federation/peers/add", &json!({"peerUrl": url}).to_string()).await;
    let status = async || ask(&a, "POST", "/api/federation/sync", "{}").await["status"].clone();
    add("http://127.0.0.1:1").await;
    assert_eq!(status().await, "failed");
    add(&b.url).await;
    assert_eq!(status().await, "partial");
    let path = format!("/api/federation/peers/{}", percent_encode("http://127.0.0.1:1"));
    ask(&a, "DELETE", &path, "").await;
    assert_eq!(status().await, "synced");
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn what_goes_to_a_peer_can_be_chosen() {
    let (a, b) = (instance("ark-a").await, instance("ark-b").await);
    for (id, kind) in [("note-1", "note"), ("note-2", "note"), ("other", "else")] {
        let node = json!({"id": id, "type": kind, "updated_at": 1_700_000_000});
        std::fs::write(b.lattice.join(format!("{id}.json")), node.to_string()).unwrap();
    }
    b.wait_until("the files are seen", async |app| app.get_json("/nodes").await["count"] == 3).await;
    let filter = json!({"types": ["note"], "ids": ["*-1", "nothing-?"], "tags": []});
    let chosen = json!({"peerUrl": b.url, "direction": "pull", "filter": filter, "priority": true}).to_string();
    assert_eq!(ask(&a, "POST", "/api/federation/peers/add", &chosen).await["status"], "added");
    assert_eq!(ask(&a, "POST", "/api/federation/peers/add", &chosen).await["status"], "unchanged");
    let peer = &ask(&a, "GET", "/api/federation/peers", "").await["peers"][0];
    assert_eq!(
        only(peer, &["direction", "filter", "priority"]),
        json!({"direction": "pull", "filter": filter, "priority": true})
    );
    let round = &ask(&a, "POST", "/api/federation/sync", "{}").await["result"][0];
    assert_eq!(only(round, &["nodesReceived", "outcome"]), json!({"nodesReceived": 1, "outcome": "exchanged"}));
    assert_eq!(a.get_json("/nodes").await["nodes"][0]["id"], "note-1");

    let all = json!({"peerUrl": b.url}).to_string();
    assert_eq!(ask(&a, "POST", "/api/federation/peers/add", &all).await["status"], "changed");
    assert_eq!(ask(&a, "POST", "/api/federation/sync", "{}").await["result"][0]["nodesReceived"], 2);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_peer_that_is_gone_is_told_of_in_its_own_entry() {
    let (a, b) = (instance("ark-a").await, instance("ark-b").await);
    for url in [&b.url, "http://127.0.0.1:1"] {
        ask(&a, "POST", "/api/federation/peers/add", &json!({"peerUrl": url}).to_string()).await;
    }
    let synced = ask(&a, "POST", "/api/federation/sync", "").await;
    let of = |url: &str| synced["result"].as_array().unwrap().iter().find(|round| round["peer"] == url).unwrap();
    assert_eq!((&of(&b.url)["success"], &of(&b.url)["error"]), (&json!(true), &Value::Null));
    let gone = of("http://127.0.0.1:1");
    assert_eq!((&gone["success"], &gone["outcome"]), (&json!(false), &Value::Null));
    assert!(gone["error"].as_str().is_some_and(|error| !error.is_empty()));
    let status = ask(&a, "GET", "/api/federation/status", "").await;
    assert_eq!((&status["activePeers"], &status["stats"]["failures"]), (&json!([b.url]), &json!(1)));
    let gone = status["peers"].as_array().unwrap().iter().find(|peer| peer["url"] == "http://127.0.0.1:1").unwrap();
    assert_eq!((&gone["failuresInARow"], &gone["lastSync"]), (&json!(1), &Value::Null));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn stopped_is_stopped_also_after_a_restart() {
    let (a, b) = (instance("ark-a").await, instance("ark-b").await);
    ask(&b, "POST", "/api/federation/peers/add", &json!({"peerUrl": a.url}).to_string()).await;
    let mut listening = a.get("/lattice/notify").await;
    assert!(listening.chunk().await.unwrap().is_some());

    assert_eq!(ask(&a, "POST", "/api/federation/stop", "").await, json!({"status": "stopped"}));
    assert_eq!(ask(&a, "POST", "/api/federation/stop", "{}").await, json!({"status": "stopped"}));
    while listening.chunk().await.unwrap().is_some() {}
    let folder = a.stop().await;
    let a = spawn_in(folder, |settings| local(settings, "ark-a")).await;

    assert_eq!(ask(&a, "GET", "/api/federation/status", "").await["isRunning"], false);
    for (method, path) in [
        ("GET", "/lattice/head"),
        ("GET", "/lattice/changes"),
        ("GET", "/lattice/notify"),
        ("POST", "/lattice/nodes"),
        ("POST", "/lattice/round"),
        ("POST", "/lattice/offer"),
        ("POST", "/lattice/changes"),
    ] {
        let response = a.request(method.parse().unwrap(), path).body("x".repeat(100_000)).send().await.unwrap();
        assert_eq!(response.headers()["retry-after"], "60", "{path}");
        assert_eq!(problem(response).await, (503, "federation_stopped".to_owned()), "{method} {path}");
    }
    assert_eq!(refused(&a, "POST", "/api/federation/sync", "{}").await, (503, "federation_stopped".to_owned()));
    for path in ["/health", "/ready", "/nodes", "/discover", "/api/federation/peers", "/federation/history"] {
        ask(&a, "GET", path, "").await;
    }
    assert_eq!(a.post("/sync", r#"{"nodes":[]}"#).await.status(), 200);
    let added = json!({"peerUrl": a.url}).to_string();
    ask(&b, "POST", "/api/federation/peers/add", &added).await;
    let round = &ask(&b, "POST", "/api/federation/sync", &added).await["result"][0];
    assert!(round["error"].as_str().is_some_and(|error| error.contains("federation_stopped")), "{round}");

    let started = ask(&a, "POST", "/api/federation/start", "").await;
    let names = json!({"port": a.port, "instanceId": "ark-a", "instanceName": "ARK-local-ark-a"});
    assert_eq!(only(&started, &["port", "instanceId", "instanceName"]), names);
    assert_eq!(started["status"], "started");
    assert_eq!(ask(&a, "POST", "/api/federation/start", "").await["status"], "running");
    assert_eq!(ask(&b, "POST", "/api/federation/sync", &added).await["result"][0]["success"], true);
    let folder = a.stop().await;
    let a = spawn_in(folder, |settings| local(settings, "ark-a")).await;
    assert_eq!(ask(&a, "GET", "/api/federation/status", "").await["isRunning"], true);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn exchanging_by_itself_is_switched_on_and_off_durably() {
    let (a, b) = (instance("ark-a").await, instance("ark-b").await);
    ask(&a, "POST", "/api/federation/peers/add", &json!({"peerUrl": b.url}).to_string()).await;
    let on = ask(&a, "POST", "/api/federation/auto-sync/start", "").await;
    assert_eq!(on, json!({"status": "started", "autoSync": true, "syncInterval": 60000}));
    std::fs::write(b.lattice.join("made-on-b.json"), r#"{"id":"made-on-b"}"#).unwrap();
    a.wait_until("the node comes by itself", async |app| app.get_json("/nodes").await["count"] == 1).await;
    let on = ask(&a, "POST", "/api/federation/auto-sync/start", r#"{"intervalMs": 5000.0}"#).await;
    assert_eq!(on, json!({"status": "started", "autoSync": true, "syncInterval": 5000}));
    let folder = a.stop().await;

    let a = spawn_in(folder, |settings| local(settings, "ark-a")).await;
    let info = &ask(&a, "GET", "/api/federation/status", "").await["info"];
    assert_eq!(only(info, &["autoSync", "syncInterval"]), json!({"autoSync": true, "syncInterval": 5000}));
    std::fs::write(b.lattice.join("made-later.json"), r#"{"id":"made-later"}"#).unwrap();
    a.wait_until("the node comes by itself", async |app| app.get_json("/nodes").await["count"] == 2).await;
    let off = ask(&a, "POST", "/api/federation/auto-sync/stop", "").await;
    assert_eq!(off, json!({"status": "stopped", "autoSync": false, "syncInterval": 5000}));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn with_a_token_only_the_token_counts() {
    let app = spawn_app().await;
    assert_eq!(problem(app.get("/api/federation/status").await).await, (401, "operator_token_required".to_owned()));
    let wrong = app.request(Method::GET, "/federation/history").bearer_auth("another-token").send().await.unwrap();
    assert_eq!(wrong.headers()["www-authenticate"], "Bearer realm=\"ark-lattice operator\"");
    assert_eq!(problem(wrong).await.0, 401);
    // Also through a proxy, and under any name.
    let right = Raw::new("GET", "/api/federation/status").header("authorization", format!("Bearer {TOKEN}"));
    assert_eq!(right.header("x-forwarded-for", "192.0.2.7").send(app.port).await.status, 200);
    app.stop().await;
}

#[tokio::test]
async fn trust_loopback_gives_admin_rights_to_direct_requests_of_this_machine_only() {
    let app = spawn_with(|settings| {
        local(settings, "ark-a");
        settings.server.trust_loopback = true;
    })
    .await;
    let stop = |headers: &[(&str, String)]| {
        let raw = Raw::new("POST", "/api/federation/stop");
        headers.iter().fold(raw, |raw, (name, value)| raw.header(name, value))
    };
    let host = ("host", format!("localhost:{}", app.port));
    let with = |name: &'static str, value: &str| vec![host.clone(), (name, value.to_owned())];
    let page = format!("http://localhost:{}", app.port);
    let refused = [
        // The helper's own Host, `ark`, is no name of this machine.
        vec![],
        with("x-forwarded-for", "127.0.0.1"),
        with("x-forwarded-host", "localhost"),
        with("forwarded", "for=127.0.0.1"),
        with("x-real-ip", "127.0.0.1"),
        with("via", "1.1 proxy"),
        with("origin", "http://attacker.example"),
        with("origin", "null"),
        with("origin", "http://localhost:1"),
        with("sec-fetch-site", "cross-site"),
    ];
    for headers in &refused {
        let answer = stop(headers).send(app.port).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "not_local"), "{headers:?}");
    }
    // What a form or a script of a page may send without asking: the body is no JSON, or is not said to be.
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let body = Body::Sized(b"{}".to_vec());
        let answer = stop(&with("content-type", content_type)).body(body).send(app.port).await;
        assert_eq!((answer.status, answer.code().as_str()), (415, "unsupported_media_type"), "{content_type}");
    }
    let undeclared = stop(std::slice::from_ref(&host)).body(Body::Sized(b"{}".to_vec())).send(app.port).await;
    assert_eq!((undeclared.status, undeclared.code().as_str()), (415, "unsupported_media_type"));
    assert_eq!(ask(&app, "GET", "/api/federation/status", "").await["isRunning"], true, "nothing of this stopped it");

    let same = vec![host.clone(), ("origin", page), ("sec-fetch-site", "same-origin".to_owned())];
    assert_eq!(stop(&same).send(app.port).await.status, 200, "Swagger UI on this machine may");
    app.stop().await;

    let behind = spawn_with(|settings| {
        local(settings, "ark-a");
        settings.server.trust_loopback = true;
        settings.server.trusted_proxies = vec!["127.0.0.1".to_owned()];
    })
    .await;
    let answer = stop(&[("host", "localhost".to_owned())]).send(behind.port).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "not_local"), "whoever it is, it may be the proxy");
    behind.stop().await;
}

#[tokio::test]
async fn without_a_key_there_is_nobody_to_exchange_as() {
    let app = spawn_with(|settings| {
        local(settings, "ark-a");
        // Its private key is somewhere else.
        settings.instance.public_key = Some(crate::app::key(1).public_key().to_base64());
    })
    .await;
    for (method, path) in [
        ("GET", "/api/federation/status"),
        ("GET", "/api/federation/peers"),
        ("POST", "/api/federation/start"),
        ("POST", "/api/federation/stop"),
        ("POST", "/api/federation/sync"),
        ("POST", "/api/federation/auto-sync/start"),
        ("DELETE", "/api/federation/peers/http%3A%2F%2Fa"),
        ("GET", "/federation/history"),
    ] {
        assert_eq!(refused(&app, method, path, "").await, (503, "no_key".to_owned()), "{method} {path}");
    }
    app.stop().await;
}

#[tokio::test]
async fn the_history_has_an_end() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("state")).unwrap();
    let past = |n: usize| {
        json!({"at": n, "peer": "http://a", "duration_ms": 1, "outcome": "exchanged", "error": null, "received": 1,
            "sent": 0, "conflicts": 0, "bytes": n})
    };
    let rounds: Vec<Value> = (0..KEPT_ROUNDS).map(past).collect();
    std::fs::write(folder.path().join("state/rounds.json"), json!(rounds).to_string()).unwrap();
    let app = spawn_in(folder, |settings| local(settings, "ark-a")).await;
    let count = async |path: &str| ask(&app, "GET", path, "").await["count"].as_u64().unwrap();
    assert_eq!(count("/federation/history").await, 100);
    assert_eq!(count("/federation/history?limit=500").await, 500);
    let newest = ask(&app, "GET", "/federation/history?limit=1", "").await;
    assert_eq!(newest["rounds"][0]["bytes"], KEPT_ROUNDS - 1);
    app.stop().await;
}
