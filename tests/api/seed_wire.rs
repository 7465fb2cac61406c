//! The wire of the first ARK instances: their requests, as their guide writes them, on ours.

use crate::{
    app::{NOW, TOKEN, TestApp, key, manifest, problem, signed, spawn_app, spawn_with},
    bad_input::feeds::{RIGHT, Speech, signed_json},
    raw_http::{Body, Raw},
};
use ark_lattice::trust::TrustMode;
use serde_json::{Value, json};

/// As the seed was: on a closed network, for everybody.
async fn open() -> TestApp {
    spawn_with(|settings| settings.trust.mode = TrustMode::Open).await
}

async fn push(app: &TestApp, body: &str) -> Value {
    let answer = app.post("/federation/sync", body.to_owned()).await;
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Counts of an answer: received, accepted, unchanged, kept, conflicts, skipped.
fn counts(answer: &Value) -> [u64; 6] {
    ["received", "accepted", "unchanged", "kept", "conflicts", "skippedTotal"].map(|key| answer[key].as_u64().unwrap())
}

fn ids(answer: &Value) -> Vec<&str> {
    answer["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_guides_requests_work() {
    let app = open().await;
    // curl http://peer-ip:9000/federation/info
    let info = app.get_json("/federation/info").await;
    assert_eq!(
        info,
        json!({"instanceId": "ark-under-test", "instanceName": "ARK-local-ark-unde", "instanceType": "local",
            "federationMode": "p2p", "listenPort": app.port, "autoSync": false, "syncInterval": 60000, "peers": [],
            "publicKey": info["publicKey"], "address": null})
    );
    // GET /federation/nodes -> {nodes: [...]}
    assert_eq!(app.get_json("/federation/nodes").await, json!({"nodes": [], "count": 0}));
    // POST /federation/sync {nodes: [...]} -> {received: N}
    let body = r#"{"nodes": [{"id": "a", "updated_at": 1699564700, "value": 12345678901234567890123},
        {"id": "notes/b", "updated_at": "2023-11-09T21:20:00Z"}]}"#;
    let answer = push(&app, body).await;
    let expected = json!({"received": 2, "accepted": 2, "unchanged": 0, "kept": 0, "conflicts": 0, "skipped": [],
        "skippedTotal": 0});
    assert_eq!(answer, expected);
    assert_eq!(counts(&push(&app, body).await), [2, 0, 2, 0, 0, 0], "the same again changes nothing");
    let text = app.get("/federation/nodes").await.text().await.unwrap();
    assert!(text.contains("12345678901234567890123"), "the node's own text: {text}");
    assert!(app.lattice.join("a.json").is_file() && app.lattice.join("notes%2Fb.json").is_file());
    let (stand, health) = (app.get_json("/federation/sync").await, app.get_json("/health").await);
    assert_eq!(
        stand,
        json!({"instanceId": "ark-under-test", "nodeCount": 2, "manifestHash": stand["manifestHash"],
            "seq": health["lattice"]["seq"], "nodes": [], "count": 0})
    );
    assert_eq!(
        app.post("/sync", r#"{"nodes":[]}"#).await.json::<Value>().await.unwrap()["manifest_hash"],
        stand["manifestHash"]
    );
    app.stop().await;
}

#[tokio::test]
async fn a_whole_exchange_of_two_of_the_first_instances() {
    // Each is only a client of the seed's kind: takes all nodes of the other, and pushes its own.
    let (a, b) = (open().await, open().await);
    push(
        &a,
        r#"{"nodes": [{"id": "of-a", "updated_at": 1700000000}, {"id": "both", "v": "a", "updated_at": 1700000001}]}"#,
    )
    .await;
    push(
        &b,
        r#"{"nodes": [{"id": "of-b", "updated_at": 1700000000}, {"id": "both", "v": "b", "updated_at": 1700000002}]}"#,
    )
    .await;
    for (from, to) in [(&a, &b), (&b, &a)] {
        let nodes = from.get("/federation/nodes").await.text().await.unwrap();
        push(to, &nodes.replace("\"count\"", "\"total\"")).await;
    }
    let stand = async |app: &TestApp| app.get_json("/federation/sync").await["manifestHash"].clone();
    assert_eq!(stand(&a).await, stand(&b).await);
    assert_eq!(a.get_json("/nodes/both").await["v"], "b", "the later one");
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn nodes_come_in_pages_and_since_a_time() {
    let app = open().await;
    let node = |n: i64| json!({"id": format!("node-{n:04}"), "updated_at": 1_700_000_000 + n, "text": "x".repeat(900)});
    let nodes: Vec<Value> = (0..400).map(node).collect();
    assert_eq!(push(&app, &json!({"nodes": nodes}).to_string()).await["accepted"], 400);

    let whole = app.get_json("/federation/nodes").await;
    assert_eq!((whole["nodes"].as_array().unwrap(), &whole["count"]), (&nodes, &json!(400)));
    assert_eq!(whole.get("cursor"), None);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.get_json(&format!("/federation/nodes?limit=150{cursor}")).await;
        seen.extend(page["nodes"].as_array().unwrap().clone());
        let Some(next) = page["cursor"].as_str() else { break };
        assert_eq!(page["count"], 150);
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, nodes);
    for since in ["1700000390", "1700000390000", "1700000389.5", "1.70000039e9"] {
        for path in ["nodes", "sync"] {
            let late = app.get_json(&format!("/federation/{path}?since={since}")).await;
            assert_eq!((ids(&late).len(), ids(&late)[0]), (10, "node-0390"), "{path} {since}");
        }
    }
    assert_eq!(app.get_json("/federation/sync?since=1700000398&limit=1").await["count"], 1);
    assert_eq!(app.get_json("/federation/nodes?since=99999999999999").await["count"], 0);
    app.stop().await;
}

#[tokio::test]
async fn the_later_version_counts_and_one_without_a_time_never_replaces() {
    let app = open().await;
    let value = async |id: &str| app.get_json(&format!("/nodes/{id}")).await["v"].clone();
    let at = |at: &str, v: &str| format!(r#"{{"nodes": [{{"id": "x", "v": "{v}"{at}}}], "instanceId": "ark-old"}}"#);
    push(&app, &at(r#", "updated_at": 1700000010"#, "first")).await;
    assert_eq!(counts(&push(&app, &at(r#", "updated_at": 1700000009"#, "older")).await), [1, 0, 0, 1, 0, 0]);
    assert_eq!(counts(&push(&app, &at("", "undated")).await), [1, 0, 0, 1, 0, 0]);
    assert_eq!(value("x").await, "first");
    // The seed's own name for the time, in milliseconds.
    assert_eq!(counts(&push(&app, &at(r#", "timestamp": 1700000011000"#, "later")).await), [1, 1, 0, 0, 0, 0]);
    assert_eq!(value("x").await, "later");
    // Of two equal times both sides keep the same one, whoever sends it.
    let same = [at(r#", "updated_at": 1700000020"#, "p"), at(r#", "updated_at": 1700000020"#, "q")];
    let other = open().await;
    for (app, order) in [(&app, [0, 1]), (&other, [1, 0])] {
        push(app, &same[order[0]]).await;
        push(app, &same[order[1]]).await;
    }
    assert_eq!(value("x").await, other.get_json("/nodes/x").await["v"]);

    // Unknown, an undated one counts as made now; deleted here, it does not come back.
    assert_eq!(counts(&push(&app, r#"{"nodes": [{"id": "undated"}]}"#).await), [1, 1, 0, 0, 0, 0]);
    assert_eq!(counts(&push(&app, r#"{"nodes": [{"id": "undated"}]}"#).await), [1, 0, 1, 0, 0, 0]);
    app.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(app.delete("undated").await.status(), 200);
    assert_eq!(counts(&push(&app, r#"{"nodes": [{"id": "undated"}]}"#).await), [1, 0, 0, 1, 0, 0]);
    assert_eq!(app.get("/nodes/undated").await.status(), 404);
    app.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn an_edit_made_here_that_loses_is_kept_with_who_sent_the_other() {
    let app = open().await;
    assert_eq!(app.put("x", &json!({"id": "x", "v": "mine", "updated_at": NOW - 10})).await.status(), 201);
    let body = json!({"nodes": [{"id": "x", "v": "theirs", "updated_at": NOW - 5}], "instanceId": "ark-old"});
    assert_eq!(counts(&push(&app, &body.to_string()).await), [1, 1, 0, 0, 1, 0]);
    let kept = app.get_json("/conflicts?contents=true").await;
    assert_eq!(kept["conflicts"][0]["from"], "unsigned:ark-old");
    assert_eq!(kept["conflicts"][0]["node"]["v"], "mine");
    app.stop().await;
}

#[tokio::test]
async fn an_unsigned_push_is_nobodys_who_signs() {
    let app = spawn_with(|settings| {
        settings.trust.mode = TrustMode::Open;
        settings.limits.peer_conflicts = 2;
    })
    .await;
    assert_eq!(app.post("/manifest", signed(&key(1), &manifest("ark-known"))).await.status(), 200);
    let verify = json!({"peer_id": "ark-known", "public_key": key(1).public_key().to_base64(), "reason": "compared"});
    let verified = app.request(reqwest::Method::POST, "/v1/trust/verify").bearer_auth(TOKEN).json(&verify);
    assert_eq!(verified.send().await.unwrap().status(), 200);
    for id in ["a", "b", "c"] {
        assert_eq!(app.put(id, &json!({"id": id, "v": "mine", "updated_at": NOW - 10})).await.status(), 201);
    }
    let node = |id: &str| json!({"id": id, "v": "theirs", "updated_at": NOW - 5});
    let forged = json!({"instanceId": "ark-known", "nodes": [node("a"), node("b"), {"id": "iban", "updated_at": NOW}]});
    push(&app, &forged.to_string()).await;
    push(&app, &json!({"nodes": [{"id": "nameless", "updated_at": NOW}]}).to_string()).await;
    let nodes = app.get_json("/nodes").await;
    let given = |id: &str| {
        let node = nodes["nodes"].as_array().unwrap().iter().find(|node| node["id"] == id).unwrap();
        (node["given_by"].as_str(), node["giver_trust"].as_str())
    };
    assert_eq!(given("iban"), (Some("unsigned:ark-known"), Some("unknown")));
    assert_eq!(given("nameless"), (Some("unsigned:unknown"), Some("unknown")));
    // Its conflicts are not those of the peer whose name it states.
    let signed = signed_json("/federation/sync", &json!({"nodes": [node("c")]}).to_string(), &key(1), &RIGHT);
    assert_eq!(signed.send(app.port).await.status, 200);
    let conflicts = app.get_json("/conflicts").await;
    let from: Vec<_> = conflicts["conflicts"].as_array().unwrap().iter().map(|it| it["from"].as_str()).collect();
    assert_eq!(from.iter().filter(|it| **it == Some("unsigned:ark-known")).count(), 2, "{conflicts}");
    assert_eq!(from.iter().filter(|it| **it == Some("ark-known")).count(), 1, "{conflicts}");
    app.stop().await;
}

#[tokio::test]
async fn one_broken_node_loses_none_of_the_others() {
    let app = spawn_with(|settings| {
        settings.trust.mode = TrustMode::Open;
        settings.limits.node_bytes = 1000;
    })
    .await;
    let broken = [
        r#"{"id": "twice", "a": 1, "a": 2}"#.to_owned(),
        r#"{"id": "word", "a": tru}"#.to_owned(),
        r#"{"id": "lone", "a": "\ud800"}"#.to_owned(),
        r#"{"id": "huge", "a": 1e400}"#.to_owned(),
        r#"{"no": "id"}"#.to_owned(),
        r#"{"id": 7}"#.to_owned(),
        r#"{"id": ""}"#.to_owned(),
        r#"{"id": "a\u0000b"}"#.to_owned(),
        "7".to_owned(),
        String::new(),
        "[]".to_owned(),
        r#"{"id": "one"} {"id": "two"}"#.to_owned(),
        format!(r#"{{"id": "long", "a": "{}"}}"#, "x".repeat(1000)),
        format!(r#"{{"id": "deep", "a": {}{}}}"#, "[".repeat(64), "]".repeat(64)),
        format!(r#"{{"id": "tomorrow", "updated_at": {}}}"#, NOW + 86_400),
    ];
    let good = |n: usize| format!(r#" {{"id": "../good-{n}", "updated_at": 1700000000}} "#);
    let mut nodes: Vec<String> = Vec::new();
    for (n, broken) in broken.iter().enumerate() {
        nodes.extend([good(n), broken.clone()]);
    }
    let mut body = format!(r#"{{"instanceId": "ark-old", "nodes": [{}], "more": {{"nodes": [1]}}}}"#, nodes.join(","))
        .into_bytes();
    let answer = push(&app, std::str::from_utf8(&body).unwrap()).await;
    let all = u64::try_from(broken.len()).unwrap();
    assert_eq!(counts(&answer), [2 * all, all, 0, 0, 0, all], "{answer}");
    let skipped = answer["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), broken.len());
    let ahead: Vec<&Value> = skipped.iter().filter(|skipped| !skipped["id"].is_null()).collect();
    assert_eq!((ahead.len(), &ahead[0]["id"]), (1, &json!("tomorrow")));
    assert!(skipped[0]["reason"].as_str().unwrap().starts_with("nodes[1]: "), "{skipped:?}");
    let listed = app.get_json("/nodes?limit=100").await;
    assert_eq!(listed["count"], all, "{listed}");
    assert!(ids(&listed).iter().all(|id| id.starts_with("../good-")));
    let files = std::fs::read_dir(&app.lattice).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let files = files.filter(|file| file.ends_with(".json") && file != "manifest.json").count();
    assert_eq!(files, broken.len(), "nothing outside the directory");

    // A byte that is no UTF-8 breaks its own node only.
    let place = body.windows(4).position(|window| window == b"tru}").unwrap();
    body[place] = 0xff;
    let answer = app.post("/federation/sync", body).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(counts(&answer.json().await.unwrap()), [2 * all, 0, all, 0, 0, all]);
    assert_eq!(app.get_json("/health").await["status"], "healthy");

    let many = format!("{{\"nodes\":[{}7]}}", "7,".repeat(5000));
    let answer = push(&app, &many).await;
    assert_eq!((counts(&answer)[5], answer["skipped"].as_array().unwrap().len()), (5001, 1000));
    app.stop().await;
}

#[tokio::test]
async fn unless_the_network_is_open_a_push_is_signed_by_one_who_is_known() {
    let app = spawn_app().await;
    let body = json!({"nodes": [{"id": "x", "updated_at": NOW - 10}], "instanceId": "somebody-else"}).to_string();
    let unsigned = app.post("/federation/sync", body.clone()).await;
    assert_eq!(problem(unsigned).await, (401, "request_signature".to_owned()));
    let send = async |speech: &Speech<'_>, number: u8| {
        let answer = signed_json("/federation/sync", &body, &key(number), speech).send(app.port).await;
        (answer.status, answer.text())
    };
    let (status, text) = send(&RIGHT, 1).await;
    assert!(status == 403 && text.contains("not_trusted"), "nobody knows it yet: {text}");
    assert_eq!(app.post("/manifest", signed(&key(1), &manifest("ark-known"))).await.status(), 200);
    assert_eq!(app.put("x", &json!({"id": "x", "v": "mine", "updated_at": NOW - 20})).await.status(), 201);
    let (status, text) = send(&RIGHT, 1).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, counts(&answer)), (200, [1, 1, 0, 0, 1, 0]), "{text}");
    assert_eq!(app.get_json("/conflicts").await["conflicts"][0]["from"], "ark-known", "who signed, not who is named");
    assert_eq!(send(&RIGHT, 2).await.0, 403);
    assert_eq!(send(&Speech { audience: "ark-other", ..RIGHT }, 1).await.0, 401);
    app.stop().await;

    // Where anybody may send, a signature that does not fit is refused all the same, and so is what a web page sends unasked.
    let app = open().await;
    let wrong = signed_json("/federation/sync", &body, &key(1), &Speech { audience: "ark-other", ..RIGHT });
    assert_eq!(wrong.send(app.port).await.status, 401);
    let undeclared = Raw::new("POST", "/federation/sync").body(Body::Sized(body.clone().into_bytes()));
    assert_eq!(undeclared.send(app.port).await.status, 415);
    assert_eq!(app.get_json("/nodes").await["count"], 0);
    app.stop().await;

    let mirror = spawn_with(|settings| {
        settings.trust.mode = TrustMode::Open;
        settings.federation.read_only = true;
    })
    .await;
    assert_eq!(problem(mirror.post("/federation/sync", body).await).await, (403, "read_only".to_owned()));
    mirror.stop().await;
}

#[tokio::test]
async fn live_peers_are_listed_the_seeds_way() {
    let app = spawn_app().await;
    let mut known = manifest("ark-known-peer");
    known["address"] = json!("http://192.168.1.100:9000");
    for (number, manifest) in [(1, known), (2, json!({"node_id": "plain", "last_updated": NOW}))] {
        assert_eq!(app.post("/manifest", signed(&key(number), &manifest)).await.status(), 200);
    }
    let answer = app.get_json("/federation/discover").await;
    let expected = json!({"peers": [
        {"instanceId": "ark-known-peer", "instanceName": "ARK-local-ark-know", "instanceType": "local",
            "peerUrl": "http://192.168.1.100:9000", "publicKey": key(1).public_key().to_base64(), "lastSeen": NOW},
        {"instanceId": "plain", "instanceName": "ARK-unknown-plain", "instanceType": null, "peerUrl": null,
            "publicKey": key(2).public_key().to_base64(), "lastSeen": NOW},
    ], "count": 2});
    assert_eq!(answer, expected);
    let first = app.get_json("/federation/discover?limit=1").await;
    let next =
        app.get_json(&format!("/federation/discover?limit=1&cursor={}", first["cursor"].as_str().unwrap())).await;
    assert_ne!(first["peers"][0]["instanceId"], next["peers"][0]["instanceId"]);
    app.stop().await;
}
