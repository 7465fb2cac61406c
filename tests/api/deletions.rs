//! Deletions of other instances that wait for the admin, over the API.

use crate::{
    app::{NOW, TOKEN, TestApp, key, manifest, problem, signed, spawn_app},
    bad_input::feeds::{RIGHT, signed_lines},
};
use ark_lattice::lattice::NodeDocument;
use serde_json::{Value, json};

const NODES: usize = 100;

fn id(number: usize) -> String {
    format!("n{number:03}")
}

/// So many nodes, and an instance that may push.
async fn filled() -> TestApp {
    let app = spawn_app().await;
    for number in 0..NODES {
        let node = json!({"id": id(number), "updated_at": NOW - 100});
        assert_eq!(app.put(&id(number), &node).await.status(), 201);
    }
    assert_eq!(app.post("/manifest", signed(&key(1), &manifest("ark-known"))).await.status(), 200);
    app
}

fn deleted(number: usize) -> Value {
    let hash = format!("sha256:{}", "0".repeat(64));
    json!({"seq": number + 1, "id": id(number), "at": NOW, "deleted": hash, "after": []})
}

fn edited(number: usize, at: i64) -> Value {
    let node = json!({"id": id(number), "edited": "there"});
    let document = NodeDocument::parse(node.to_string().into(), 64).unwrap();
    let hash = document.content_hash().to_string();
    json!({"seq": number + 1, "id": id(number), "at": at, "hash": hash, "size": 9, "after": [], "node": node})
}

async fn push(app: &TestApp, lines: impl IntoIterator<Item = Value>) -> Value {
    let body: String = lines.into_iter().map(|line| format!("{line}\n")).collect();
    let answer = signed_lines("/lattice/changes", &body, &key(1), &RIGHT).send(app.port).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_slice(&answer.body).unwrap()
}

async fn controls(app: &TestApp, path: &str) -> Value {
    let request = app.request(reqwest::Method::GET, &format!("/api/federation/{path}")).bearer_auth(TOKEN);
    request.send().await.unwrap().json().await.unwrap()
}

async fn settle(app: &TestApp, verb: &str) -> Value {
    let request = app.request(reqwest::Method::POST, &format!("/api/federation/deletions/{verb}")).bearer_auth(TOKEN);
    let response = request.json(&json!({"from": "ark-known"})).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

async fn nodes(app: &TestApp) -> u64 {
    app.get_json("/health").await["lattice"]["nodes"].as_u64().unwrap()
}

#[tokio::test]
async fn edits_of_a_push_are_taken_while_its_deletions_wait() {
    let app = filled().await;
    assert_eq!(app.get_json("/health").await["status"], "healthy");
    let lines = (0..50).map(deleted).chain((50..53).map(|number| edited(number, NOW)));
    let answer = push(&app, lines.clone()).await;
    let told = ["taken", "kept", "waiting", "waiting_total"].map(|name| answer[name].as_u64());
    assert_eq!(told, [Some(3), Some(0), Some(50), Some(50)], "{answer}");
    assert_eq!(answer["seq"].as_u64().unwrap() - answer["since"].as_u64().unwrap(), 3);
    assert_eq!((nodes(&app).await, app.get_json("/nodes/n050").await["edited"].clone()), (100, json!("there")));
    // The same once more waits still once.
    let again = push(&app, lines).await;
    assert_eq!(
        (again["taken"].as_u64(), again["same"].as_u64(), again["waiting_total"].as_u64()),
        (Some(0), Some(3), Some(50))
    );

    let health = app.get_json("/health").await;
    assert_eq!((&health["status"], &health["lattice"]["deletions_waiting"]), (&json!("degraded"), &json!(50)));
    let metrics = app.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("ark_deletions_waiting 50\n"), "{metrics}");
    assert!(metrics.contains("ark_events_total{kind=\"deletions-waiting\"} 1\n"), "told once: {metrics}");
    let status = controls(&app, "status").await;
    assert_eq!(status["deletionsWaiting"], json!([{"from": "ark-known", "deletions": 50, "since": NOW}]));
    let listed = controls(&app, "deletions?limit=2&from=ark-known").await;
    let first = json!({"id": "n000", "from": "ark-known", "deletedAt": NOW, "since": NOW});
    assert_eq!((&listed["deletions"][0], &listed["total"], &listed["next"]), (&first, &json!(50), &json!("n001")));
    let last = controls(&app, "deletions?limit=100&after=n048").await;
    assert_eq!(
        (last["count"].clone(), last["deletions"][0]["id"].clone(), last["next"].clone()),
        (json!(1), json!("n049"), Value::Null)
    );
    app.stop().await;
}

#[tokio::test]
async fn nodes_that_a_sender_adds_first_do_not_raise_what_it_may_delete() {
    let app = filled().await;
    // Of a verified peer as of any other.
    let key = key(1).public_key().to_base64();
    let verify = app.request(reqwest::Method::POST, "/v1/trust/verify").bearer_auth(TOKEN);
    let verified = verify.json(&json!({"peer_id": "ark-known", "public_key": key})).send().await.unwrap();
    assert_eq!(verified.status(), 200);
    for part in 1..=4 {
        let junk = (0..250).map(|number| edited(part * 1000 + number, NOW));
        assert_eq!(push(&app, junk).await["taken"].as_u64(), Some(250));
    }
    let answer = push(&app, (0..100).map(deleted)).await;
    assert_eq!(
        (answer["waiting"].as_u64(), nodes(&app).await),
        (Some(100), 1100),
        "a quarter of the 100 that were here"
    );
    settle(&app, "refuse").await;
    // What it added it takes back, within the bound on all nodes.
    let own = (0..250).map(|number| {
        let Value::Object(mut line) = deleted(1000 + number) else { unreachable!() };
        line.insert("at".to_owned(), json!(NOW + 1));
        Value::Object(line)
    });
    let answer = push(&app, own).await;
    assert_eq!((answer["taken"].as_u64(), answer.get("waiting"), nodes(&app).await), (Some(250), None, 850));
    app.stop().await;
}

#[tokio::test]
async fn confirmed_deletions_are_carried_out() {
    let app = filled().await;
    push(&app, (0..50).map(deleted)).await;
    let confirmed = settle(&app, "confirm").await;
    assert_eq!(confirmed, json!({"status": "confirmed", "from": "ark-known", "deleted": 50}));
    assert_eq!((nodes(&app).await, app.get("/nodes/n000").await.status().as_u16()), (50, 404));
    assert_eq!(app.get_json("/health").await["status"], "healthy");
    // As many again belong to it, where they come within ten minutes.
    let answer = push(&app, (50..80).map(deleted)).await;
    assert_eq!((answer["taken"].as_u64(), answer.get("waiting"), nodes(&app).await), (Some(30), None, 20));
    app.stop().await;
}

#[tokio::test]
async fn where_nothing_waits_nothing_is_confirmed_and_the_guard_stays_on() {
    let app = filled().await;
    let refused = async |verb: &str, from: &str| {
        let path = format!("/api/federation/deletions/{verb}");
        let request = app.request(reqwest::Method::POST, &path).bearer_auth(TOKEN).json(&json!({"from": from}));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 404);
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["code"], "no_deletions_wait");
        problem["detail"].as_str().unwrap().to_owned()
    };
    let detail = refused("confirm", "ark-known").await;
    assert!(
        detail.contains("no deletions of ark-known wait here") && detail.contains("federation deletions"),
        "{detail}"
    );
    let answer = push(&app, (0..50).map(deleted)).await;
    assert_eq!((answer["waiting"].as_u64(), nodes(&app).await), (Some(50), 100), "the guard is on");
    for verb in ["confirm", "refuse"] {
        let detail = refused(verb, "ark-typo").await;
        assert!(detail.contains(&format!("wait here: ark-known (ark-lattice federation {verb}-deletions ark-known)")));
    }
    assert_eq!(settle(&app, "confirm").await["deleted"], 50);
    app.stop().await;
}

#[tokio::test]
async fn refused_deletions_leave_nodes_that_win() {
    let app = filled().await;
    push(&app, (0..50).map(deleted)).await;
    let seq = app.get_json("/health").await["lattice"]["seq"].as_u64().unwrap();
    assert_eq!(settle(&app, "refuse").await, json!({"status": "refused", "from": "ark-known", "kept": 50}));
    let health = app.get_json("/health").await;
    assert_eq!((health["lattice"]["seq"].as_u64(), health["lattice"]["nodes"].as_u64()), (Some(seq + 50), Some(100)));
    let answer = push(&app, (0..50).map(deleted)).await;
    assert_eq!((answer["kept"].as_u64(), answer.get("waiting")), (Some(50), None));
    app.stop().await;
}

#[tokio::test]
async fn a_later_edit_ends_the_wait() {
    let app = filled().await;
    push(&app, (0..50).map(deleted)).await;
    assert_eq!(app.put("n000", &json!({"id": "n000", "edited": "here"})).await.status(), 200);
    assert_eq!(app.delete("n001").await.status(), 200);
    let answer = push(&app, [edited(2, NOW + 1)]).await;
    assert_eq!(
        (answer["taken"].as_u64(), answer["waiting"].as_u64(), answer["waiting_total"].as_u64()),
        (Some(1), Some(0), Some(47))
    );
    let listed = controls(&app, "deletions").await;
    assert_eq!((&listed["total"], &listed["deletions"][0]["id"]), (&json!(47), &json!("n003")));
    app.stop().await;
}

#[tokio::test]
async fn only_the_admin_sees_and_ends_what_waits() {
    let app = filled().await;
    for verb in ["confirm", "refuse"] {
        let path = format!("/api/federation/deletions/{verb}");
        let request = app.request(reqwest::Method::POST, &path).json(&json!({"from": "ark-known"}));
        assert_eq!(problem(request.send().await.unwrap()).await.0, 401);
    }
    assert_eq!(problem(app.get("/api/federation/deletions").await).await.0, 401);
    app.stop().await;
}

#[tokio::test]
async fn parallel_pushes_delete_no_more_than_a_quarter() {
    let app = filled().await;
    let pushes = (0..10).map(|part| push(&app, (part * 10..part * 10 + 10).map(deleted)));
    let answers = futures_util::future::join_all(pushes).await;
    let taken: u64 = answers.iter().map(|answer| answer["taken"].as_u64().unwrap()).sum();
    assert_eq!((taken, nodes(&app).await), (20, 80));
    app.stop().await;
}
