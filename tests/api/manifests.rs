//! `/manifest` and `/discover`.

use crate::app::{NOW, key, manifest, problem, signed, signed_as, spawn_app, spawn_with};
use ark_lattice::{manifest::Canonicalization, trust::TrustMode};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn a_signed_manifest_is_registered_and_discovered() {
    let app = spawn_app().await;
    let response = app.post("/manifest", signed(&key(1), &manifest("ark-1"))).await;
    assert_eq!(response.status(), 200);
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["status"], "registered");
    assert_eq!(answer["node_id"], "ark-1");
    assert_eq!(answer["expires_in"], 120);
    assert_eq!(answer["trust_level"], "pending");
    assert!(answer["manifest_hash"].as_str().unwrap().starts_with("sha256:"));

    let found = app.get_json("/discover").await;
    assert_eq!((&found["count"], &found["total"]), (&json!(1), &json!(1)));
    let peer = &found["peers"][0];
    assert_eq!(peer["node_id"], "ark-1");
    assert_eq!(peer["instance_type"], "local");
    assert_eq!(peer["node_count"], 1);
    assert_eq!(peer["manifest_hash"], answer["manifest_hash"]);
    assert_eq!(peer["pubkey"], key(1).public_key().to_base64());
    assert_eq!(peer["expires_in"], 120);
    assert_eq!(peer["last_seen"], NOW);
    assert!(peer.get("nodes").is_none());
}

#[tokio::test]
async fn the_envelope_is_served_as_it_was_received() {
    let app = spawn_app().await;
    for form in [Canonicalization::Python, Canonicalization::Jcs, Canonicalization::Dsse] {
        let peer = format!("ark/{form:?} ☃%2F");
        let text = format!("{{ \"node_id\" : {}, \"x\": 1.50 }}", Value::from(peer.as_str()));
        let envelope = signed_as(&key(2), &text, form);
        assert_eq!(app.post("/manifest", envelope.clone()).await.status(), 200);
        let response = app.get(&format!("/manifest/{}", crate::app::percent_encode(&peer))).await;
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.text().await.unwrap(), envelope);
    }
    assert_eq!(problem(app.get("/manifest/nobody").await).await, (404, "peer_not_found".to_owned()));
}

#[tokio::test]
async fn what_nobody_signed_is_not_served_with_what_somebody_signed() {
    let app = spawn_app().await;
    for form in [Canonicalization::Python, Canonicalization::Jcs, Canonicalization::Dsse] {
        let peer = format!("ark-{form:?}");
        let envelope =
            signed_as(&key(2), &json!({"node_id": peer, "address": "http://good.example"}).to_string(), form);
        let members =
            r#"{"address":"http://evil.example","trust_level":"verified","nodes":[{"id":"evil"}],"note":"pay to me","#;
        let dressed = envelope.replacen('{', members, 1);
        let served = async || app.get(&format!("/manifest/{peer}")).await.text().await.unwrap();
        // The first, a repeat, and one that brings an expired entry back.
        for expired in [false, false, true] {
            if expired {
                app.clock.advance(Duration::from_secs(121));
            }
            assert_eq!(app.post("/manifest", dressed.clone()).await.status(), 200);
            assert_eq!(served().await, envelope);
        }
        let listed = app.get_json("/discover").await;
        let shown = listed["peers"].as_array().unwrap().iter().find(|it| it["node_id"] == peer.as_str()).unwrap();
        assert_eq!((shown["address"].as_str(), shown.get("note")), (Some("http://good.example"), None));
    }
}

#[tokio::test]
async fn an_entry_says_whether_somebody_else_can_keep_it() {
    let app = spawn_app().await;
    let with = |peer: &str, change: Value| {
        let mut manifest = manifest(peer);
        manifest.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        manifest
    };
    // The seeds' example is of 2023.
    let old = json!({"node_id": "old", "last_updated": 1_699_564_800, "freshness": "proven"});
    for (number, manifest) in
        [(1, old), (2, with("new", json!({"issued_at": NOW}))), (3, with("other", json!({"issued_at": "2023"})))]
    {
        for _ in 0..2 {
            assert_eq!(app.post("/manifest", signed(&key(number), &manifest)).await.status(), 200);
        }
    }
    let marks = async || {
        let listed = app.get_json("/discover").await;
        let mark = |it: &Value| format!("{} {}", it["node_id"].as_str().unwrap(), it["freshness"].as_str().unwrap());
        listed["peers"].as_array().unwrap().iter().map(mark).collect::<Vec<_>>()
    };
    assert_eq!(marks().await, ["new proven", "old unproven", "other unproven"]);
    // Signed anew without another word, under the same seq.
    let again = |at: i64| signed(&key(4), &with("counts", json!({"seq": 7, "last_updated": NOW, "issued_at": at})));
    for at in [NOW, NOW + 60] {
        assert_eq!(app.post("/manifest", again(at)).await.status(), 200);
    }
    assert_eq!(problem(app.post("/manifest", again(NOW)).await).await, (409, "rollback".to_owned()));
    assert_eq!(app.get("/manifest/counts").await.text().await.unwrap(), again(NOW + 60));
    // The same seq with other content is what it was.
    let other = signed(&key(4), &with("counts", json!({"seq": 7, "last_updated": NOW, "issued_at": NOW + 61, "x": 1})));
    assert_eq!(problem(app.post("/manifest", other).await).await, (409, "equivocation".to_owned()));
}

#[tokio::test]
async fn an_entry_expires_and_a_heartbeat_renews_it() {
    let app = spawn_app().await;
    let envelope = signed(&key(1), &manifest("ark-1"));
    app.post("/manifest", envelope.clone()).await;
    app.clock.advance(Duration::from_secs(100));
    assert_eq!(app.get_json("/discover").await["peers"][0]["expires_in"], 20);
    assert_eq!(app.post("/manifest", envelope).await.status(), 200);
    app.clock.advance(Duration::from_secs(100));
    assert_eq!(app.get_json("/discover").await["count"], 1);
    app.clock.advance(Duration::from_secs(21));
    assert_eq!(app.get_json("/discover").await["count"], 0);
    assert_eq!(problem(app.get("/manifest/ark-1").await).await.0, 404);
}

#[tokio::test]
async fn nobody_speaks_for_another_and_nothing_old_passes_for_new() {
    let app = spawn_app().await;
    let with = |change: Value| {
        let mut manifest = manifest("ark-1");
        manifest.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        manifest
    };
    assert_eq!(app.post("/manifest", signed(&key(1), &with(json!({"seq": 5})))).await.status(), 200);
    for (number, change, code) in [
        (2, json!({"seq": 6}), "key_mismatch"),
        (1, json!({"seq": 4}), "rollback"),
        (1, json!({"seq": 6, "last_updated": NOW - 1}), "rollback"),
        (1, json!({"seq": 5, "extra": true}), "equivocation"),
    ] {
        let response = app.post("/manifest", signed(&key(number), &with(change))).await;
        assert_eq!(problem(response).await, (409, code.to_owned()));
    }
    let ahead = app.post("/manifest", signed(&key(1), &with(json!({"seq": 6, "last_updated": NOW + 301})))).await;
    assert_eq!(problem(ahead).await, (400, "clock_skew".to_owned()));
    assert_eq!(
        app.post("/manifest", signed(&key(1), &with(json!({"seq": 6, "last_updated": NOW + 299})))).await.status(),
        200
    );

    // The binding outlives the entry.
    app.clock.advance(Duration::from_secs(3600));
    let stolen = app.post("/manifest", signed(&key(2), &with(json!({"seq": 7, "last_updated": NOW + 3600})))).await;
    assert_eq!(problem(stolen).await, (409, "key_mismatch".to_owned()));
}

#[tokio::test]
async fn the_binding_survives_a_restart() {
    let app = spawn_app().await;
    app.post("/manifest", signed(&key(1), &manifest("ark-1"))).await;
    let folder = app.stop().await;
    let app = crate::app::spawn_in(folder, |_| {}).await;
    assert_eq!(app.get_json("/discover").await["count"], 1);
    let stolen = app.post("/manifest", signed(&key(2), &manifest("ark-1"))).await;
    assert_eq!(problem(stolen).await, (409, "key_mismatch".to_owned()));
}

#[tokio::test]
async fn trust_modes_decide_who_is_let_in() {
    let open = spawn_with(|settings| settings.trust.mode = TrustMode::Open).await;
    for number in [1, 2] {
        let response = open.post("/manifest", signed(&key(number), &manifest("ark-1"))).await;
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["trust_level"], "unknown");
    }
    let listed = spawn_with(|settings| {
        settings.trust.mode = TrustMode::Allowlist;
        settings.trust.listed = vec![ark_lattice::settings::ListedPeer {
            node_id: "ark-1".to_owned(),
            pubkey: key(1).public_key().to_base64(),
        }];
    })
    .await;
    let answer: Value = listed.post("/manifest", signed(&key(1), &manifest("ark-1"))).await.json().await.unwrap();
    assert_eq!(answer["trust_level"], "verified");
    for (number, peer) in [(2, "ark-1"), (1, "ark-2")] {
        let response = listed.post("/manifest", signed(&key(number), &manifest(peer))).await;
        assert_eq!(problem(response).await, (403, "not_listed".to_owned()));
    }
}

#[tokio::test]
async fn discover_filters_pages_and_answers_304() {
    let app = spawn_app().await;
    for number in 0..25_u8 {
        let mut manifest = manifest(&format!("ark-{number:02}"));
        manifest["instance_type"] = json!(if number % 5 == 0 { "pi" } else { "cloud" });
        assert_eq!(app.post("/manifest", signed(&key(number), &manifest)).await.status(), 200);
        app.clock.advance(Duration::from_millis(10));
    }
    assert_eq!(app.get_json("/discover?instance_type=pi").await["count"], 5);
    assert_eq!(app.get_json("/discover?trust_level=verified").await["count"], 0);
    let mut seen = Vec::new();
    let mut path = "/discover?limit=10&instance_type=cloud".to_owned();
    loop {
        let page = app.get_json(&path).await;
        assert!(page["count"].as_u64().unwrap() <= 10);
        seen.extend(page["peers"].as_array().unwrap().iter().map(|peer| peer["node_id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["cursor"].as_str() else { break };
        path = format!("/discover?limit=10&instance_type=cloud&cursor={cursor}");
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 20);

    let first = app.get("/discover").await;
    let etag = first.headers()["etag"].to_str().unwrap().to_owned();
    app.clock.advance(Duration::from_secs(1));
    let again = app.request(reqwest::Method::GET, "/discover").header("if-none-match", &etag).send().await.unwrap();
    assert_eq!(again.status(), 304);
    app.post("/manifest", signed(&key(99), &manifest("ark-99"))).await;
    let changed = app.request(reqwest::Method::GET, "/discover").header("if-none-match", &etag).send().await.unwrap();
    assert_eq!(changed.status(), 200);
}
