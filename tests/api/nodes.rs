//! `/nodes`.

use crate::app::{TOKEN, TestApp, percent_encode, problem, spawn_app, spawn_in};
use reqwest::{Method, Response};
use serde_json::{Value, json};

fn etag(response: &Response) -> String {
    response.headers()["etag"].to_str().unwrap().to_owned()
}

async fn put_if(app: &TestApp, header: (&str, &str), node: &Value) -> Response {
    let path = format!("/nodes/{}", node["id"].as_str().unwrap());
    app.request(Method::PUT, &path).bearer_auth(TOKEN).header(header.0, header.1).json(node).send().await.unwrap()
}

#[tokio::test]
async fn a_node_is_written_read_listed_and_deleted() {
    let app = spawn_app().await;
    let node = json!({"id": "n-1", "type": "t", "value": "é", "updated_at": 1_700_000_000});
    let created = app.put("n-1", &node).await;
    assert_eq!(created.status(), 201);
    let tag = etag(&created);
    assert_eq!(app.put("n-1", &node).await.json::<Value>().await.unwrap()["status"], "unchanged");

    let read = app.get("/nodes/n-1").await;
    assert_eq!(etag(&read), tag);
    assert_eq!(read.json::<Value>().await.unwrap(), node);
    let on_disk: Value = serde_json::from_slice(&std::fs::read(app.lattice.join("n-1.json")).unwrap()).unwrap();
    assert_eq!(on_disk, node);
    let unchanged = app.request(Method::GET, "/nodes/n-1").header("if-none-match", &tag).send().await.unwrap();
    assert_eq!(unchanged.status(), 304);

    let list = app.get_json("/nodes").await;
    assert_eq!(list["total"], 1);
    assert_eq!(list["nodes"][0]["id"], "n-1");
    assert_eq!(format!("\"{}\"", list["nodes"][0]["hash"].as_str().unwrap()), tag);

    assert_eq!(app.delete("n-1").await.status(), 200);
    assert_eq!(problem(app.get("/nodes/n-1").await).await, (404, "node_not_found".to_owned()));
    assert_eq!(problem(app.delete("n-1").await).await, (404, "node_not_found".to_owned()));
    assert!(!app.lattice.join("n-1.json").exists());
    assert_eq!(app.get_json("/health").await["lattice"]["tombstones"], 1);
}

#[tokio::test]
async fn a_write_stores_what_was_sent_and_its_version_is_dated_beside_it() {
    let app = spawn_app().await;
    let version = async || app.get_json("/nodes").await["nodes"][0]["updated_at"].clone();
    let undated = json!({"id": "n", "v": 1});
    app.put("n", &undated).await;
    assert_eq!(app.get_json("/nodes/n").await, undated);
    assert_eq!(version().await, crate::app::NOW);
    assert_eq!(app.put("n", &undated).await.json::<Value>().await.unwrap()["status"], "unchanged");

    // Read, change, write back: the edit must be younger than what it replaces.
    let edited = json!({"id": "n", "v": 2, "updated_at": 7});
    app.clock.advance(std::time::Duration::from_secs(5));
    app.put("n", &edited).await;
    assert_eq!(app.get_json("/nodes/n").await, edited);
    assert_eq!(version().await, crate::app::NOW + 5);
}

#[tokio::test]
async fn if_match_guards_against_lost_updates() {
    let app = spawn_app().await;
    let first = etag(&app.put("n", &json!({"id": "n", "v": 1})).await);
    let second = etag(&put_if(&app, ("if-match", &first), &json!({"id": "n", "v": 2})).await);
    assert_ne!(first, second);
    for (name, value) in [("if-match", first.as_str()), ("if-none-match", "*"), ("if-match", "\"nonsense\"")] {
        let refused = put_if(&app, (name, value), &json!({"id": "n", "v": 3})).await;
        assert_eq!(problem(refused).await, (412, "precondition_failed".to_owned()), "{name}: {value}");
    }
    let absent = put_if(&app, ("if-match", "*"), &json!({"id": "other", "v": 3})).await;
    assert_eq!(problem(absent).await.1, "precondition_failed");
    assert_eq!(
        put_if(&app, ("if-match", &format!("{first}, {second}")), &json!({"id": "n", "v": 3})).await.status(),
        200
    );
    let stale =
        app.request(Method::DELETE, "/nodes/n").bearer_auth(TOKEN).header("if-match", &second).send().await.unwrap();
    assert_eq!(problem(stale).await.1, "precondition_failed");
    assert_eq!(app.get_json("/nodes/n").await["v"], 3);
}

#[tokio::test]
async fn without_any_token_writes_say_how_to_enable_them() {
    let folder = tempfile::tempdir().unwrap();
    // What is in the way of the local token stays there.
    std::fs::create_dir_all(folder.path().join("state/local.token/x")).unwrap();
    let app = spawn_in(folder, |settings| settings.admin.token = None).await;
    let response = app.put("n", &json!({"id": "n"})).await;
    assert_eq!(response.status(), 403);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["code"], "operator_disabled");
    assert!(body["detail"].as_str().unwrap().contains("ARK_ADMIN_TOKEN"));
    assert_eq!(app.delete("n").await.status(), 403);
}

#[tokio::test]
async fn the_token_is_asked_for_before_anything_else() {
    let app = spawn_app().await;
    for (scheme, token) in [("Bearer", "wrong"), ("Basic", TOKEN), ("Bearer", ""), ("", "")] {
        let request = app.request(Method::PUT, "/nodes/n").header("authorization", format!("{scheme} {token}"));
        let response = request.header("content-type", "text/plain").body("not json").send().await.unwrap();
        assert_eq!(response.headers()["www-authenticate"], "Bearer realm=\"ark-lattice operator\"");
        assert_eq!(problem(response).await, (401, "operator_token_required".to_owned()));
    }
}

#[tokio::test]
async fn lists_are_ordered_filtered_and_paged() {
    let app = spawn_app().await;
    for number in 0..30 {
        let node = json!({"id": format!("n-{number:02}"), "type": if number % 3 == 0 { "x" } else { "y" },
            "updated_at": 1_700_000_000 + number});
        app.put(&format!("n-{number:02}"), &node).await;
    }
    let mut ids = Vec::new();
    let mut path = "/nodes?limit=7&type=y".to_owned();
    loop {
        let page = app.get_json(&path).await;
        ids.extend(page["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["cursor"].as_str() else { break };
        path = format!("/nodes?limit=7&type=y&cursor={cursor}");
    }
    assert_eq!(ids.len(), 20);
    assert!(ids.is_sorted());
    assert_eq!(app.get_json("/nodes?updated_since=1700000020").await["count"], 10);
    assert_eq!(app.get_json("/nodes?updated_since=2023-11-14T22:13:40Z").await["count"], 10);
}

#[tokio::test]
async fn any_id_finds_its_way_to_a_file_and_back() {
    let app = spawn_app().await;
    for id in [
        "a/b",
        "../../etc/passwd",
        "manifest",
        ".hidden",
        "a%2Fb",
        "50% off",
        "☃ \u{1F600}",
        "a?b#c&d",
        "CON",
        "x.json",
        &"é".repeat(256),
    ] {
        let created = app.put(id, &json!({"id": id})).await;
        assert_eq!(created.status(), 201, "{id}");
        assert_eq!(app.get_json(&format!("/nodes/{}", percent_encode(id))).await["id"], id);
    }
    let files = std::fs::read_dir(&app.lattice).unwrap().count();
    assert_eq!(app.get_json("/nodes").await["total"], 11);
    assert!(files >= 11, "one file a node, and manifest.json");
}

#[tokio::test]
async fn what_other_programs_do_to_the_directory_is_seen() {
    let app = spawn_app().await;
    let file = |name: &str| app.lattice.join(name);
    let write = |name: &str, text: &str| {
        std::io::Write::write_all(&mut std::fs::File::create(file(name)).unwrap(), text.as_bytes()).unwrap();
    };
    write("n.json", r#"{"id":"n","v":1}"#);
    write("broken.json", "{");
    write("liar.json", r#"{"id":"someone-else"}"#);
    app.wait_until("the new file is seen", async |app| app.get("/nodes/n").await.status() == 200).await;
    app.wait_until("the broken files are reported", async |app| {
        app.get_json("/health").await["lattice"]["broken_total"] == 2
    })
    .await;
    let health = app.get_json("/health").await;
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["lattice"]["broken"][0]["file"], "broken.json");
    write("n.json", r#"{"id":"n","v":2}"#);
    app.wait_until("the edit is seen", async |app| app.get_json("/nodes/n").await["v"] == 2).await;
    std::fs::remove_file(file("n.json")).unwrap();
    app.wait_until("the deletion is seen", async |app| app.get("/nodes/n").await.status() == 404).await;
    app.wait_until("the tombstone is counted", async |app| app.get_json("/health").await["lattice"]["tombstones"] == 1)
        .await;
}
