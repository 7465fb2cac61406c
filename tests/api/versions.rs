//! `POST /nodes/versions`: versions that were made elsewhere are judged as a round would judge them.

use crate::app::{NOW, TOKEN, TestApp, problem, spawn_app, spawn_with};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use std::time::Duration;

async fn take(app: &TestApp, body: &Value) -> Response {
    app.request(Method::POST, "/nodes/versions").bearer_auth(TOKEN).json(body).send().await.unwrap()
}

async fn fates(app: &TestApp, dry: bool, versions: Value) -> (Value, Value) {
    let answer = take(app, &json!({"from": "ark-other", "dryRun": dry, "versions": versions})).await;
    assert_eq!(answer.status(), 200);
    let mut answer: Value = answer.json().await.unwrap();
    (answer["fates"].take(), answer["overruled"].take())
}

#[tokio::test]
async fn the_later_version_counts_and_a_deletion_is_one() {
    let app = spawn_app().await;
    for id in ["older", "newer", "same", "gone", "back"] {
        assert_eq!(app.put(id, &json!({"id": id, "updated_at": NOW - 100})).await.status(), 201);
    }
    app.clock.advance(Duration::from_secs(10));
    for id in ["gone", "back"] {
        assert_eq!(app.delete(id).await.status(), 200);
    }
    app.clock.advance(Duration::from_secs(10));
    let version = |id: &str, at: i64| json!({"at": at, "after": [], "node": {"id": id, "v": "there"}});
    let versions = json!([
        version("older", NOW - 50),
        version("newer", NOW - 150),
        {"at": NOW - 100, "node": {"id": "same", "updated_at": NOW - 100}},
        version("gone", NOW - 50),
        {"node": {"id": "gone", "v": "nothing dates it"}},
        version("back", NOW + 15),
        version("new", NOW - 50),
        version("ahead", NOW + 4000),
    ]);
    let (judged, none) = fates(&app, true, versions.clone()).await;
    let outcomes: Vec<&str> = judged.as_array().unwrap().iter().map(|it| it["outcome"].as_str().unwrap()).collect();
    let expected = ["replaced", "kept", "unchanged", "kept_deleted", "kept_deleted", "added", "added", "refused"];
    assert_eq!((outcomes, none), (expected.to_vec(), json!([])));
    assert!(judged[7]["reason"].as_str().unwrap().contains("ahead of this machine's clock"), "{judged}");
    assert_eq!(app.get("/nodes/new").await.status(), 404, "a dry run writes nothing");

    let (taken, overruled) = fates(&app, false, versions).await;
    assert_eq!(taken, judged, "what was judged is what is done");
    assert_eq!(overruled.as_array().unwrap().len(), 1);
    let lost = app.get_json(&format!("/conflicts/{}", overruled[0])).await;
    assert_eq!((&lost["id"], &lost["from"]), (&json!("older"), &json!("ark-other")), "{lost}");
    assert_eq!(app.get_json("/nodes/older").await["v"], "there");
    assert_eq!(app.get_json("/nodes/back").await["v"], "there");
    assert_eq!(app.get("/nodes/gone").await.status(), 404);
    let listed = app.get_json("/nodes").await;
    let new = listed["nodes"].as_array().unwrap().iter().find(|node| node["id"] == "new").unwrap();
    assert_eq!(new["updated_at"], NOW - 50, "it has the time of the version, not that of the request");
}

#[tokio::test]
async fn of_two_versions_of_a_node_in_one_request_the_later_one_stays() {
    let app = spawn_app().await;
    let version = |at: i64| json!({"at": at, "node": {"id": "a", "at": at}});
    let (taken, _) = fates(&app, false, json!([version(NOW - 5), version(NOW - 9), version(NOW - 1)])).await;
    assert_eq!(taken, json!([{"outcome": "added"}, {"outcome": "kept"}, {"outcome": "replaced"}]));
    assert_eq!(app.get_json("/nodes/a").await["at"], NOW - 1);
}

#[tokio::test]
async fn a_request_of_another_shape_is_refused_and_so_is_a_stranger() {
    let app = spawn_app().await;
    let wrong = (400, "invalid_federation_request".to_owned());
    let of = |version: Value| json!({"from": "x", "versions": [version]});
    for body in [
        json!({}),
        json!({"from": "x"}),
        json!({"versions": []}),
        json!({"from": "x", "versions": [], "more": 1}),
        of(json!(1)),
        of(json!({"at": 1})),
        of(json!({"at": "x", "node": {"id": "a"}})),
        of(json!({"after": [1], "node": {"id": "a"}})),
        of(json!({"node": {"no": "id"}})),
        of(json!({"node": {"id": "a"}, "deleted": true})),
    ] {
        assert_eq!(problem(take(&app, &body).await).await, wrong, "{body}");
    }
    let stranger = app.post("/nodes/versions", "{\"from\":\"x\",\"versions\":[]}").await;
    assert_eq!(problem(stranger).await, (401, "operator_token_required".to_owned()));
    let small = spawn_with(|settings| settings.limits.sync_bytes = 2000).await;
    let large = of(json!({"node": {"id": "a", "text": "x".repeat(3000)}}));
    assert_eq!(problem(take(&small, &large).await).await, (413, "body_too_large".to_owned()));
}

#[tokio::test]
async fn a_node_with_the_id_versions_is_where_its_id_says() {
    let app = spawn_app().await;
    assert_eq!(app.put("versions", &json!({"id": "versions"})).await.status(), 201);
    assert_eq!(app.get_json("/nodes/versions").await["id"], "versions");
    assert_eq!(app.delete("versions").await.status(), 200);
    let other = app.request(Method::PATCH, "/nodes/versions").send().await.unwrap();
    assert_eq!(other.headers()["allow"], "GET, HEAD, PUT, DELETE, POST");
}
