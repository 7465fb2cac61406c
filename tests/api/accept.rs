//! `POST /nodes/accept`: who may date versions now, and the node of that name.

use crate::app::{NOW, TOKEN, TestApp, problem, spawn_app, spawn_with};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use std::time::Duration;

async fn accept(app: &TestApp, body: &Value) -> Response {
    app.request(Method::POST, "/nodes/accept").bearer_auth(TOKEN).json(body).send().await.unwrap()
}

#[tokio::test]
async fn accepted_nodes_are_dated_now_with_the_contents_that_they_have() {
    let app = spawn_app().await;
    for id in ["a", "b/c"] {
        assert_eq!(app.put(id, &json!({"id": id, "updated_at": NOW - 9000})).await.status(), 201);
    }
    let before = app.get_json("/nodes").await["nodes"].clone();
    app.clock.advance(Duration::from_secs(60));
    let answer = accept(&app, &json!({"ids": ["b/c", "absent", "a", "a"]})).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.json::<Value>().await.unwrap(),
        json!({"accepted": ["a", "b/c"], "missing": ["absent"], "replaced": []})
    );
    let after = app.get_json("/nodes").await["nodes"].clone();
    for (before, after) in before.as_array().unwrap().iter().zip(after.as_array().unwrap()) {
        assert_eq!((&after["id"], &after["hash"]), (&before["id"], &before["hash"]));
        assert!(after["updated_at"].as_f64().unwrap() >= (NOW + 60) as f64, "{before} {after}");
    }
    assert_eq!(accept(&app, &json!({"ids": []})).await.status(), 200);
}

#[tokio::test]
async fn a_node_whose_file_was_replaced_already_is_left_as_it_is() {
    let app = spawn_app().await;
    let text = json!({"id": "a", "v": "from the backup", "updated_at": NOW - 9000});
    assert_eq!(app.put("a", &text).await.status(), 201);
    let later = json!({"from": "ark-b", "versions": [{"at": NOW - 100, "node": {"id": "a", "v": "later"}}]});
    let taken = app.request(Method::POST, "/nodes/versions").bearer_auth(TOKEN).json(&later).send().await.unwrap();
    let number = taken.json::<Value>().await.unwrap()["overruled"][0].clone();
    let before = app.get_json("/nodes").await["nodes"].clone();
    let answer = accept(&app, &json!({"ids": ["a"]})).await.json::<Value>().await.unwrap();
    let replaced = json!([{"id": "a", "number": number, "from": "ark-b"}]);
    assert_eq!(answer, json!({"accepted": [], "missing": [], "replaced": replaced}));
    assert_eq!(app.get_json("/nodes").await["nodes"], before, "nothing was dated");
    // Restored as this says, it counts, and may be accepted again.
    let restore = app.request(Method::POST, &format!("/conflicts/{number}/restore")).bearer_auth(TOKEN);
    assert_eq!(restore.send().await.unwrap().status(), 200);
    assert_eq!(app.get_json("/nodes/a").await["v"], "from the backup");
    assert_eq!(accept(&app, &json!({"ids": ["a"]})).await.json::<Value>().await.unwrap()["accepted"], json!(["a"]));
}

#[tokio::test]
async fn a_request_of_another_shape_is_refused_and_so_is_a_stranger() {
    let app = spawn_app().await;
    let wrong = (400, "invalid_federation_request".to_owned());
    let many: Vec<String> = (0..1001).map(|number| number.to_string()).collect();
    for body in [
        json!({}),
        json!([]),
        json!({"ids": "a"}),
        json!({"ids": [1]}),
        json!({"ids": [""]}),
        json!({"ids": ["a"], "all": true}),
        json!({"ids": many}),
    ] {
        assert_eq!(problem(accept(&app, &body).await).await, wrong, "{body}");
    }
    let stranger = app.post("/nodes/accept", "{\"ids\":[]}").await;
    assert_eq!(problem(stranger).await, (401, "operator_token_required".to_owned()));
    let mirror = spawn_with(|settings| settings.federation.read_only = true).await;
    assert_eq!(problem(accept(&mirror, &json!({"ids": []})).await).await, (403, "read_only".to_owned()));
}

#[tokio::test]
async fn a_node_with_the_id_accept_is_where_its_id_says() {
    let app = spawn_app().await;
    assert_eq!(app.put("accept", &json!({"id": "accept"})).await.status(), 201);
    assert_eq!(app.get_json("/nodes/accept").await["id"], "accept");
    assert_eq!(accept(&app, &json!({"ids": ["accept"]})).await.status(), 200);
    assert_eq!(app.delete("accept").await.status(), 200);
    assert_eq!(problem(app.get("/nodes/accept").await).await, (404, "node_not_found".to_owned()));
    let other = app.request(Method::PATCH, "/nodes/accept").send().await.unwrap();
    assert_eq!(other.headers()["allow"], "GET, HEAD, PUT, DELETE, POST");
    assert_eq!(problem(other).await.0, 405);
}

#[tokio::test]
async fn a_broken_node_is_counted_and_degrades_the_service() {
    let app = spawn_app().await;
    assert_eq!(app.put("a", &json!({"id": "a"})).await.status(), 201);
    assert_eq!(app.get_json("/health").await["lattice"]["unavailable"], 0);
    std::fs::write(app.lattice.join("a.json"), "{").unwrap();
    app.wait_until("the node is broken", async |app| app.get_json("/health").await["lattice"]["unavailable"] == 1)
        .await;
    let health = app.get_json("/health").await;
    assert_eq!((&health["status"], &health["lattice"]["nodes"]), (&"degraded".into(), &1.into()), "{health}");
    let answer = accept(&app, &json!({"ids": ["a"]})).await.json::<Value>().await.unwrap();
    assert_eq!(answer["missing"], json!(["a"]));
}
