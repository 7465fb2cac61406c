//! More large bodies at once than the memory for them.

use crate::{
    app::{problem, spawn_with},
    raw_http::{Body, Connection, Raw},
};
use serde_json::json;

fn large() -> Vec<u8> {
    format!("{{\"nodes\":[]{}}}", " ".repeat(600 << 10)).into_bytes()
}

#[tokio::test]
async fn large_bodies_wait_or_are_sent_away_and_small_ones_pass() {
    let app = spawn_with(|settings| settings.limits.inflight_bytes = 4 << 20).await;
    // One that never ends, with all but its last byte.
    let whole =
        Raw::new("POST", "/sync").header("content-type", "application/json").body(Body::Sized(large())).to_bytes();
    let mut slow = Connection::open(app.port).await;
    slow.write(&whole[..whole.len() - 1]).await;
    app.wait_until("its bytes have come", async |app| {
        let answer = app.post("/sync", large()).await;
        let status = answer.status();
        if status == 503 {
            assert!(answer.headers().contains_key("retry-after"));
            assert_eq!(problem(answer).await, (503, "overloaded".to_owned()));
        }
        status == 503
    })
    .await;
    assert_eq!(app.post("/sync", "{\"nodes\":[]}").await.status(), 200);
    assert_eq!(app.put("small", &json!({"id": "small"})).await.status(), 201);
    assert_eq!(app.get("/health").await.status(), 200);

    slow.write(&whole[whole.len() - 1..]).await;
    assert_eq!(slow.answer(false).await.status, 200, "whoever was first is served");
    assert_eq!(app.post("/sync", large()).await.status(), 200, "and then the next");
}

#[tokio::test]
async fn a_client_that_goes_away_gives_its_share_back() {
    let app = spawn_with(|settings| settings.limits.inflight_bytes = 4 << 20).await;
    for _ in 0..5 {
        let whole =
            Raw::new("POST", "/sync").header("content-type", "application/json").body(Body::Sized(large())).to_bytes();
        let mut gone = Connection::open(app.port).await;
        gone.write(&whole[..whole.len() - 1]).await;
    }
    app.wait_until("a large body passes", async |app| app.post("/sync", large()).await.status() == 200).await;
}
