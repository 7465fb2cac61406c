//! The requests of the service that this one replaces, as its guide writes them, with a valid signature filled in.

use crate::{
    app::{TestApp, key, spawn_with},
    raw_http::Raw,
};
use ark_lattice::trust::TrustMode;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const MANIFEST: &str = r#"{
  "node_id": "ark-node-local",
  "instance_type": "local",
  "version": "1.0.0",
  "last_updated": 1699564800,
  "nodes": [
    {
      "id": "python_flask_basic",
      "type": "framework_node",
      "hash": "sha256:abc123...",
      "updated_at": 1699564700
    },
    {
      "id": "react_component_form",
      "type": "component_node",
      "hash": "sha256:def456...",
      "updated_at": 1699564750
    }
  ]
}"#;

/// What `json.dumps(manifest, sort_keys=True)` makes of it.
const MANIFEST_DUMPED: &str = concat!(
    r#"{"instance_type": "local", "last_updated": 1699564800, "node_id": "ark-node-local", "nodes": ["#,
    r#"{"hash": "sha256:abc123...", "id": "python_flask_basic", "type": "framework_node", "updated_at": 1699564700}, "#,
    r#"{"hash": "sha256:def456...", "id": "react_component_form", "type": "component_node", "updated_at": 1699564750}"#,
    r#"], "version": "1.0.0"}"#
);

/// With the trust mode that a service has without a setting for it: the guide's requests work as they stand.
async fn spawn_by_default() -> TestApp {
    spawn_with(|settings| settings.trust.mode = TrustMode::default()).await
}

/// The body as the guide's curl sends it; `dumped` is what is signed.
fn data(manifest: &str, dumped: &str) -> String {
    let signature = STANDARD.encode(key(1).sign(dumped.as_bytes()));
    let pubkey = key(1).public_key().to_base64();
    format!(
        "{{\n    \"manifest\": {manifest},\n    \"signature\": \"{signature}\",\n    \"pubkey\": \"{pubkey}\"\n  }}"
    )
}

fn curl(path: &str, body: &str) -> Raw {
    Raw::new("POST", path).header("User-Agent", "curl/8.5.0").header("Accept", "*/*").json(body)
}

#[tokio::test]
async fn a_manifest_of_nothing_but_id_and_nodes_is_registered() {
    let app = spawn_by_default().await;
    for (manifest, dumped) in [
        (r#"{"node_id": "ark-1", "nodes": []}"#, r#"{"node_id": "ark-1", "nodes": []}"#),
        (
            r#"{"node_id": "ark-1", "nodes": [{"id": "n", "hash": "abc"}]}"#,
            r#"{"node_id": "ark-1", "nodes": [{"hash": "abc", "id": "n"}]}"#,
        ),
    ] {
        let answer = curl("/manifest", &data(manifest, dumped)).send(app.port).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((&answer["status"], &answer["node_id"]), (&json!("registered"), &json!("ark-1")));
    }
}

#[tokio::test]
async fn the_manifest_of_the_guide_is_registered_and_discovered() {
    let app = spawn_by_default().await;
    let empty = app.get_json("/discover").await;
    assert_eq!((&empty["peers"], &empty["count"]), (&json!([]), &json!(0)));
    let body = data(MANIFEST, MANIFEST_DUMPED);
    let answer = curl("/manifest", &body).send(app.port).await;
    assert_eq!(answer.status, 200, "{}", answer.text());

    let found = app.get_json("/discover").await;
    assert_eq!(found["count"], 1);
    let peer = &found["peers"][0];
    let said: Value = serde_json::from_str(MANIFEST).unwrap();
    for field in ["node_id", "instance_type", "version", "last_updated"] {
        assert_eq!(peer[field], said[field], "{field}");
    }
    assert_eq!(peer["pubkey"], key(1).public_key().to_base64());
    assert!(peer["last_seen"].is_number());
    assert_eq!(app.get("/manifest/ark-node-local").await.text().await.unwrap(), body);
}

#[tokio::test]
async fn sync_takes_hashes_of_any_make() {
    let app = spawn_by_default().await;
    for id in ["node-1", "node-2", "node-3"] {
        app.put(id, &json!({"id": id, "value": "x"})).await;
    }
    let body = r#"{
    "manifest_hash": "abc123",
    "nodes": [
      {"id": "node-1", "hash": "def456"},
      {"id": "node-2", "hash": "ghi789"}
    ]
  }"#;
    let answer = curl("/sync", body).send(app.port).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(answer["delta_count"], 3);
    let nodes = answer["nodes"].as_array().unwrap();
    let ids: BTreeSet<&str> = nodes.iter().map(|node| node["id"].as_str().unwrap()).collect();
    assert_eq!(ids, BTreeSet::from(["node-1", "node-2", "node-3"]));
    assert!(nodes.iter().all(|node| node["value"] == "x"));
}
