//! Uploads that stop just before their end: they hold what one address may, until they are too slow, and refuse no other address's bodies.

use crate::attacks::bed::{Attacker, Victim, client_from, connect_from, counted, last_words, outcome};
use serde_json::json;
use tokio::io::AsyncWriteExt;

const LARGE: usize = 600 << 10;

fn body() -> String {
    format!("{{\"nodes\":[]{}}}", " ".repeat(LARGE))
}

#[tokio::test]
async fn stalled_uploads_refuse_no_other_address_and_end() {
    // Bodies that arrive have half of it, an address a quarter of that; a body is too slow after 10 s at the latest.
    let place = counted().set("ARK__LIMITS__INFLIGHT_BYTES", &(8 << 20).to_string());
    let victim = Victim::start_in(place.set("ARK__SERVER__BODY_TIMEOUT", "30s")).await;
    let body = body();
    let mut stalled = Vec::new();
    for _ in 0..12 {
        let mut stream = connect_from(3, victim.service.port).await;
        let head = format!(
            "POST /sync HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let _it_may_be_refused = stream.write_all(format!("{head}{}", &body[..body.len() - 1]).as_bytes()).await;
        stalled.push(stream);
    }
    let send = async |last: u8| {
        let request = client_from(last).post(format!("{}/sync", victim.service.url));
        outcome(request.header("content-type", "application/json").body(body.clone()).send().await.unwrap()).await
    };
    assert_eq!(send(3).await, (503, "overloaded".to_owned()), "its share is used up");
    for last in 4..9 {
        assert_eq!(send(last).await, (200, String::new()), "127.0.0.{last}");
    }
    // A known peer has the reserve, wherever it sends from.
    let peer = Attacker::new("peer").registered(&victim, 1).await;
    victim.operate("/v1/trust/verify", &json!({"peer_id": "peer", "public_key": peer.public_key()})).await;
    let line = json!({"seq": 1, "id": "p", "updated_at": 1, "node": {"id": "p", "text": "x".repeat(LARGE)}});
    assert_ne!(outcome(peer.push_by(&client_from(3), &victim, &line).await).await.1, "overloaded");
    let entry = victim.has_audited("overloaded", "/sync", "-");
    assert_eq!(entry["detail"]["address"], "127.0.0.3");
    let (mut slow, mut refused) = (0, 0);
    for stream in stalled {
        let answer = last_words(stream).await;
        slow += usize::from(answer.starts_with("HTTP/1.1 408") && answer.contains("body_too_slow"));
        refused += usize::from(answer.contains("overloaded"));
    }
    assert!(slow >= 1 && slow + refused == 12, "{slow} and {refused}");
    victim.has_audited("body_too_slow", "/sync", "-");
    assert_eq!(send(3).await, (200, String::new()), "its share is free again");
}
