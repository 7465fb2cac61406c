//! Clients that ask for large answers and read none of them: their address gets no more of them, others do, and what is offered and not read
//! ends after `server.write_timeout`.

use crate::attacks::bed::{Victim, client_from, connect_from, counted, last_words, outcome, until};
use crate::service::TOKEN;
use serde_json::json;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn answers_that_are_not_read_refuse_no_other_address() {
    let place = counted().set("ARK__LIMITS__ANSWER_BYTES", &(32 << 20).to_string());
    let victim = Victim::start_in(place.set("ARK__SERVER__WRITE_TIMEOUT", "8s")).await;
    assert!(victim.service.put("large", &json!({"id": "large", "n": "x".repeat(3 << 20)})).await.status().is_success());
    let url = format!("{}/nodes/large", victim.service.url);
    let mut unread = Vec::new();
    for _ in 0..24 {
        let mut stream = connect_from(3, victim.service.port).await;
        stream.write_all(b"GET /nodes/large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        unread.push(stream);
    }
    let refused = (503, "overloaded".to_owned());
    until("the share of that address is used up", async || {
        outcome(client_from(3).get(&url).send().await.unwrap()).await == refused
    })
    .await;
    for last in 4..7 {
        assert_eq!(outcome(client_from(last).get(&url).send().await.unwrap()).await, (200, String::new()), "{last}");
    }
    let admin = client_from(3).get(&url).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(outcome(admin).await, (200, String::new()), "the admin, from the same address");
    let entry = victim.has_audited("overloaded", "/nodes/{id}", "-");
    assert_eq!(entry["detail"]["address"], "127.0.0.3");
    until("its share is free again", async || client_from(3).get(&url).send().await.unwrap().status() == 200).await;
    for stream in unread {
        let answer = last_words(stream).await;
        assert!(answer.len() < 3 << 20, "none of them was sent to its end");
    }
}
