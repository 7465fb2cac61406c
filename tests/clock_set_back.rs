//! The real program while the machine's clock is set back and forward by an hour under it (libfaketime; the monotonic clock is
//! left alone, as the kernel leaves it alone).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it stands"
)]
#![cfg(target_os = "linux")]

#[path = "support/faketime.rs"]
mod faketime;
#[path = "support/service.rs"]
mod service;
#[path = "support/signing.rs"]
mod signing;

use serde_json::{Value, json};
use service::{Place, Service, problem, until};
use signing::{key, manifest, now, signed};
use std::{fs, time::Duration};

const LIMIT: Duration = Duration::from_secs(30);
const HOUR: f64 = 3600.0;

/// A place whose services read the machine's clock moved by what `set` says last.
fn place(ttl: &str) -> Place {
    let place = Place::new();
    let file = place.path("clock");
    set(&place, "+0");
    place
        .set("LD_PRELOAD", faketime::library().to_str().unwrap())
        .set("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap())
        .set("FAKETIME_NO_CACHE", "1")
        .set("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .set("NO_FAKE_STAT", "1")
        .set("ARK_PEER_TTL", ttl)
}

fn set(place: &Place, offset: &str) {
    // Renamed into place: the library must not read half a file.
    fs::write(place.path("clock.new"), offset).unwrap();
    fs::rename(place.path("clock.new"), place.path("clock")).unwrap();
}

/// What the service's clock reads now, seconds: it dates a new node by it.
async fn clock(service: &Service, id: &str) -> f64 {
    assert_eq!(service.put(id, &json!({"id": id})).await.status(), 201);
    date(service, id).await
}

async fn date(service: &Service, id: &str) -> f64 {
    let nodes = service.get_json("/nodes").await["nodes"].as_array().unwrap().clone();
    nodes.into_iter().find(|node| node["id"] == id).unwrap()["updated_at"].as_f64().unwrap()
}

fn dated(peer: &str, seq: u64, at: u64) -> String {
    let mut manifest: Value = manifest(peer, seq);
    manifest["last_updated"] = json!(at);
    signed(&key(1), &manifest)
}

#[tokio::test]
async fn the_clock_is_set_back_an_hour_and_forward_again() {
    let place = place("60s");
    let service = place.serve().await;
    let moved = |clock: f64| clock - f64::from(u32::try_from(now()).unwrap());
    assert!(moved(clock(&service, "at-first").await).abs() < HOUR / 4.0);
    assert_eq!(service.put("a", &json!({"id": "a", "n": 1})).await.status(), 201);
    assert_eq!(service.post("/manifest", dated("p", 1, now())).await.status(), 200);
    let mut newest = date(&service, "a").await;

    for (step, offset) in [(-1_i8, "-3600"), (1, "+3600"), (-1, "-3600")] {
        set(&place, offset);
        let hours = moved(clock(&service, &format!("after{newest}")).await) / HOUR;
        assert!((hours - f64::from(step)).abs() < 0.25, "the library does not set the clock: {hours} h");

        let peers = service.get_json("/discover").await;
        let left = peers["peers"][0]["expires_in"].as_f64().expect("the peer is alive");
        assert!(left > 0.0 && left <= 60.0, "{offset}: {left} s");

        // Whoever has the right time is neither too old nor from the future.
        let peer = format!("right{offset}{newest}");
        assert_eq!(service.post("/manifest", dated(&peer, 1, now())).await.status(), 200, "{offset}");
        let future = service.post("/manifest", dated("future", 1, now() + 3 * 3600)).await;
        assert_eq!(problem(future).await, (400, "clock_skew".to_owned()), "{offset}");

        // Edits over HTTP and of the file order after what they replace.
        assert_eq!(service.put("a", &json!({"id": "a", "n": newest})).await.status(), 200);
        let edited = date(&service, "a").await;
        assert!(edited > newest, "{offset}: {edited} after {newest}");
        newest = edited;
        place.write_node("by-hand", &json!({"id": "by-hand", "n": newest}));
        let listed = async || {
            let nodes = service.get_json("/nodes").await["nodes"].as_array().unwrap().clone();
            nodes.into_iter().find(|node| node["id"] == "by-hand").map(|node| node["updated_at"].as_f64().unwrap())
        };
        until("the file is seen", LIMIT, async || listed().await.is_some()).await;
        let first = listed().await;
        set(&place, if offset == "-3600" { "-7200" } else { "+0" });
        place.write_node("by-hand", &json!({"id": "by-hand", "n": -newest}));
        until("the edit is seen", LIMIT, async || listed().await != first).await;
        assert!(listed().await > first, "{offset}: {:?} after {first:?}", listed().await);
        fs::remove_file(place.lattice().join("by-hand.json")).unwrap();
        until("the file is gone", LIMIT, async || listed().await.is_none()).await;
    }
    assert_eq!(service.get_json("/health").await["status"], "healthy");
}

#[tokio::test]
async fn entries_end_although_the_clock_went_back() {
    let place = place("3s");
    let service = place.serve().await;
    let count = async |service: &Service| service.get_json("/discover").await["count"].as_u64().unwrap();
    assert_eq!(service.post("/manifest", dated("p", 1, now())).await.status(), 200);
    set(&place, "-3600");
    until("the entry ends", LIMIT, async || count(&service).await == 0).await;
    // And over a restart: what the file says lies an hour ahead now.
    set(&place, "+0");
    assert_eq!(service.post("/manifest", dated("p", 2, now())).await.status(), 200);
    assert!(service.terminate().await.success());
    set(&place, "-3600");
    let service = place.serve().await;
    until("the entry ends", LIMIT, async || count(&service).await == 0).await;
}
