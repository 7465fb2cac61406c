//! The admin's decisions: how long it takes from the request until they count at the door.

use super::{
    histogram,
    http1::{Connection, request},
    misdeeds::signed_request,
    service::TOKEN,
    signing::{key, manifest, signed},
};
use hdrhistogram::Histogram;
use serde_json::json;
use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

/// The peer that is decided on.
const PEER: &str = "decided-on";
const NUMBER: u64 = 900;
const EVERY: Duration = Duration::from_millis(500);

/// Verifies and revokes one peer in turn, for so long: microseconds until its push is judged by the new decision.
pub(crate) async fn measure(port: u16, duration: Duration) -> Histogram<u64> {
    let (ends, peer) = (Instant::now() + duration, key(NUMBER));
    let public_key = peer.public_key().to_base64();
    let register = request("POST", "/manifest", "", Some(signed(&peer, &manifest(PEER, 1)).as_bytes()));
    let mut connection = Connection::open_from(Ipv4Addr::new(127, 0, 1, 100), port).await.expect("a connection");
    // The second phase finds it revoked.
    let registered = connection.exchange(&register).await.expect("an answer").status;
    assert!(matches!(registered, 200 | 403), "{registered}");
    let mut times_us = histogram();
    for (what, expected) in [("verify", 200), ("revoke", 403)].into_iter().cycle() {
        if Instant::now() >= ends && what == "verify" {
            return times_us;
        }
        let began = Instant::now();
        decide(port, what, PEER, &public_key).await;
        while push(&peer, port).await != expected {
            assert!(began.elapsed() < Duration::from_secs(30), "the decision never counts: {what}");
        }
        times_us.saturating_record(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
        tokio::time::sleep(EVERY).await;
    }
    times_us
}

async fn push(peer: &ark_lattice::identity::KeyPair, port: u16) -> u16 {
    let from = Ipv4Addr::new(127, 0, 1, 100);
    let push = signed_request((PEER, peer), "/lattice/changes", "application/x-ndjson", "");
    let mut connection = Connection::open_from(from, port).await.expect("a connection of an honest peer");
    connection.exchange(&push).await.expect("an answer to an honest peer").status
}

/// The admin decides on a key.
pub(crate) async fn decide(port: u16, what: &str, id: &str, public_key: &str) {
    let body = json!({"peer_id": id, "public_key": public_key, "reason": "a measurement"}).to_string();
    let token = format!("Authorization: Bearer {TOKEN}\r\n");
    let decision = request("POST", &format!("/v1/trust/{what}"), &token, Some(body.as_bytes()));
    let mut connection =
        Connection::open_from(Ipv4Addr::new(127, 0, 1, 101), port).await.expect("the admin's connection");
    let answer = connection.exchange(&decision).await.expect("an answer to the admin");
    assert_eq!(answer.status, 200, "{}", answer.text());
}
