//! `/sync`.

use crate::app::{TestApp, problem, spawn_app, spawn_with};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

async fn sync(app: &TestApp, body: &Value) -> Value {
    let response = app.post("/sync", body.to_string()).await;
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

async fn fill(app: &TestApp, count: usize) -> Vec<Value> {
    for number in 0..count {
        app.put(
            &format!("n-{number}"),
            &json!({"id": format!("n-{number}"), "value": number, "updated_at": 1_700_000_000}),
        )
        .await;
    }
    app.get_json("/nodes?limit=1000").await["nodes"].as_array().unwrap().clone()
}

fn ids(answer: &Value) -> BTreeSet<String> {
    answer["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_delta_is_exactly_what_differs() {
    let app = spawn_app().await;
    let listed = fill(&app, 10).await;
    let everything = sync(&app, &json!({"nodes": []})).await;
    assert_eq!(everything["delta_count"], 10);
    assert_eq!(ids(&everything).len(), 10);

    let mut held: Vec<Value> = listed.iter().map(|node| json!({"id": node["id"], "hash": node["hash"]})).collect();
    assert_eq!(sync(&app, &json!({"nodes": held})).await["delta_count"], 0);

    held[3]["hash"] = json!("sha256:def456");
    let lost = held.remove(7);
    held.push(json!({"id": "only-theirs", "hash": "ghi789"}));
    let answer = sync(&app, &json!({"manifest_hash": "abc123", "nodes": held})).await;
    assert_eq!(answer["delta_count"], 2);
    let expected = [&held[3]["id"], &lost["id"]].map(|id| id.as_str().unwrap().to_owned());
    assert_eq!(ids(&answer), BTreeSet::from(expected));
    assert_eq!(answer["wanted"], json!(["only-theirs"]));
    for node in answer["nodes"].as_array().unwrap() {
        assert_eq!(*node, app.get_json(&format!("/nodes/{}", node["id"].as_str().unwrap())).await);
    }
}

#[tokio::test]
async fn every_way_to_write_a_hash_counts() {
    let app = spawn_app().await;
    let node = fill(&app, 1).await[0].clone();
    let content = node["hash"].as_str().unwrap().to_owned();
    let file = std::fs::read(app.lattice.join("n-0.json")).unwrap();
    let of_file: String = Sha256::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect();
    for hash in [content.as_str(), content.strip_prefix("sha256:").unwrap(), &of_file, &format!("sha256:{of_file}")] {
        assert_eq!(sync(&app, &json!({"nodes": [{"id": "n-0", "hash": hash}]})).await["delta_count"], 0, "{hash}");
    }
}

#[tokio::test]
async fn an_equal_set_hash_answers_at_once() {
    let app = spawn_app().await;
    fill(&app, 5).await;
    let set_hash = sync(&app, &json!({"nodes": []})).await["manifest_hash"].clone();
    let answer = sync(&app, &json!({"manifest_hash": set_hash, "nodes": []})).await;
    assert_eq!((&answer["delta_count"], &answer["nodes"]), (&json!(0), &json!([])));
}

#[tokio::test]
async fn a_cursor_goes_on_where_the_limit_cut() {
    let app = spawn_app().await;
    fill(&app, 25).await;
    let (mut seen, mut pages) = (Vec::new(), 0);
    let mut body = json!({"nodes": [], "limit": 10});
    loop {
        let answer = sync(&app, &body).await;
        pages += 1;
        seen.extend(ids(&answer));
        let Some(cursor) = answer.get("cursor") else { break };
        body["cursor"] = cursor.clone();
    }
    assert_eq!((pages, seen.len()), (3, 25));
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>().len(), 25);
    // Exactly at the limit there is nothing more to ask for.
    assert!(sync(&app, &json!({"nodes": [], "limit": 25})).await.get("cursor").is_none());
}

#[tokio::test]
async fn lines_carry_one_node_each() {
    let app = spawn_app().await;
    let pretty = "{\n  \"id\": \"p\",\n  \"text\": \"a  b\\n\",\n  \"updated_at\": 1700000000\n}\n";
    std::io::Write::write_all(&mut std::fs::File::create(app.lattice.join("p.json")).unwrap(), pretty.as_bytes())
        .unwrap();
    app.wait_until("the file is seen", async |app| app.get("/nodes/p").await.status() == 200).await;
    let request = app.request(Method::POST, "/sync").header("content-type", "application/json");
    let response = request.header("accept", "application/x-ndjson").body("{\"nodes\":[]}").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    assert_eq!(response.headers()["ark-delta-count"], "1");
    assert!(response.headers()["ark-manifest-hash"].to_str().unwrap().starts_with("sha256:"));
    assert_eq!(response.text().await.unwrap(), "{\"id\":\"p\",\"text\":\"a  b\\n\",\"updated_at\":1700000000}\n");
}

#[tokio::test]
async fn lines_say_when_their_versions_were_made_to_callers_that_ask() {
    let app = spawn_app().await;
    app.put("p", &json!({"id": "p", "updated_at": 1_700_000_000.5})).await;
    app.put("q", &json!({"id": "q"})).await;
    let ask = async |accept: &str, body: &'static str| {
        let request = app.request(Method::POST, "/sync").header("content-type", "application/json");
        request.header("accept", accept).body(body).send().await.unwrap()
    };
    let response = ask("application/x-ndjson", r#"{"versions":true,"nodes":[]}"#).await;
    assert_eq!(response.headers()["ark-lines"], "versions");
    let text = response.text().await.unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["at"], &lines[1]["at"]), (&json!(1_700_000_000.5), &json!(crate::app::NOW)));
    assert_eq!(
        (&lines[1]["id"], &lines[1]["node"], &lines[1]["after"]),
        (&json!("q"), &json!({"id": "q"}), &json!([]))
    );
    assert!(lines[1]["hash"].as_str().unwrap().starts_with("sha256:"));
    for (accept, body) in [
        ("application/x-ndjson", r#"{"versions":false,"nodes":[]}"#),
        ("application/x-ndjson", r#"{"nodes":[]}"#),
        ("application/json", r#"{"versions":true,"nodes":[]}"#),
    ] {
        let response = ask(accept, body).await;
        assert!(response.headers().get("ark-lines").is_none());
        assert!(!response.text().await.unwrap().contains("\"at\""), "{accept} {body}");
    }
    assert_eq!(ask("application/x-ndjson", r#"{"versions":1,"nodes":[]}"#).await.status(), 400);
}

#[tokio::test]
async fn answers_are_compressed_as_the_client_asks() {
    let app = spawn_with(|_| {}).await;
    fill(&app, 20).await;
    for encoding in ["gzip", "br", "zstd"] {
        let client = reqwest::Client::builder().no_proxy().no_gzip().no_zstd().build().unwrap();
        let request = client.post(format!("{}/sync", app.url)).header("content-type", "application/json");
        let response = request.header("accept-encoding", encoding).body("{\"nodes\":[]}").send().await.unwrap();
        assert_eq!(response.headers()["content-encoding"], encoding);
        assert!(response.bytes().await.unwrap().len() < 900, "{encoding} made it no smaller");
    }
}

#[tokio::test]
async fn what_was_deleted_here_is_not_wanted_back() {
    let app = spawn_app().await;
    fill(&app, 2).await;
    app.delete("n-0").await;
    let answer = sync(&app, &json!({"nodes": [{"id": "n-0", "hash": "x"}, {"id": "new", "hash": "y"}]})).await;
    assert_eq!(answer["wanted"], json!(["new"]));
}

#[tokio::test]
async fn a_directory_that_is_gone_is_an_error_and_not_an_empty_delta() {
    let app = spawn_app().await;
    fill(&app, 5).await;
    let away = app.lattice.with_file_name("away");
    std::fs::rename(&app.lattice, &away).unwrap();
    let unavailable = (503, "lattice_unavailable".to_owned());
    assert_eq!(problem(app.post("/sync", r#"{"nodes":[]}"#).await).await, unavailable);
    assert_eq!(problem(app.get("/nodes/n-0").await).await, unavailable);
    // The index is still there: what needs no file works.
    assert_eq!(app.get_json("/nodes").await["total"], 5);
    std::fs::rename(&away, &app.lattice).unwrap();
    assert_eq!(sync(&app, &json!({"nodes": []})).await["delta_count"], 5);
}
