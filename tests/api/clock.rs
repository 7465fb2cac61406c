//! The service's clock is set back or forward by an hour while it runs.

use crate::app::{key, manifest, problem, signed, spawn_app};
use ark_lattice::types::{Clock, Timestamp};
use serde_json::{Value, json};
use std::time::Duration;

const HOUR: i64 = 3600;

fn dated(peer: &str, at: i64) -> Value {
    let mut manifest = manifest(peer);
    manifest["last_updated"] = json!(at);
    manifest
}

#[tokio::test]
async fn peers_live_as_long_as_they_should_and_their_statements_stay_welcome() {
    for step in [-HOUR, HOUR] {
        let app = spawn_app().await;
        // Time as everybody else has it.
        let right = app.clock.now().seconds();
        let old = signed(&key(1), &dated("p", right));
        assert_eq!(app.post("/manifest", old.clone()).await.status(), 200);
        app.clock.set_wall(Timestamp::from_seconds(right + step));

        let peers = app.get_json("/discover").await;
        assert_eq!((&peers["count"], &peers["peers"][0]["expires_in"]), (&json!(1), &json!(120)), "{step}: {peers}");
        // The same again, and a newer one, by the peer's own right clock.
        assert_eq!(app.post("/manifest", old).await.status(), 200, "{step}: a heartbeat");
        app.clock.advance(Duration::from_secs(60));
        let newer = signed(&key(1), &dated("p", right + 60));
        assert_eq!(app.post("/manifest", newer).await.status(), 200, "{step}: a newer statement");
        let older = signed(&key(1), &dated("p", right + 30));
        assert_eq!(problem(app.post("/manifest", older).await).await, (409, "rollback".to_owned()), "{step}");
        // What comes from the future by both clocks is refused as ever.
        let future = signed(&key(2), &dated("q", right + HOUR.max(step) + 460));
        assert_eq!(problem(app.post("/manifest", future).await).await, (400, "clock_skew".to_owned()), "{step}");

        app.clock.advance(Duration::from_secs(119));
        assert_eq!(app.get_json("/discover").await["count"], 1, "{step}: not early");
        app.clock.advance(Duration::from_secs(1));
        assert_eq!(app.get_json("/discover").await["count"], 0, "{step}: nor late");
    }
}

#[tokio::test]
async fn an_edit_after_the_clock_went_back_wins_over_what_it_edits() {
    let app = spawn_app().await;
    let before = app.clock.now().seconds();
    assert_eq!(app.put("a", &json!({"id": "a", "n": 1})).await.status(), 201);
    app.clock.set_wall(Timestamp::from_seconds(before - HOUR));
    let version = async |place: usize| app.get_json("/nodes").await["nodes"][place]["updated_at"].as_f64();
    let first = version(0).await;
    assert_eq!(app.put("a", &json!({"id": "a", "n": 2, "updated_at": before - HOUR})).await.status(), 200);
    let second = version(0).await;
    assert!(second > first, "{first:?} {second:?}");
    assert_eq!(app.put("a", &json!({"id": "a", "n": 3})).await.status(), 200);
    let third = version(0).await;
    assert!(third > second, "{second:?} {third:?}");
    assert_eq!(app.put("b", &json!({"id": "b"})).await.status(), 201);
    let seconds = app.get_json("/nodes").await["nodes"][1]["updated_at"].as_i64();
    assert_eq!(seconds, Some(before - HOUR));
}
