//! What a large delta costs in memory: a batch at a time, whatever its size and however slowly the client reads.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it stands"
)]

#[path = "support/service.rs"]
mod service;
#[path = "support/slow_client.rs"]
mod slow_client;

use serde_json::json;
use service::{Place, Random, Service};
use slow_client::{ask, read_slowly};
use std::{
    fs,
    time::{Duration, Instant},
};
use tokio::time::sleep;

const NODES: usize = 20_000;
/// Each delta is larger than 20 MB; all of them together, with what the allocator gives back a second late, may cost this much.
const MAY_GROW_KB: u64 = 48 << 10;
const STALL: Duration = Duration::from_millis(1500);

/// A line of `/proc/…/status`, kB.
fn status_kb(service: &Service, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", service.process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

/// Lets the peak start anew from what is in use now; what that is, kB.
fn start_measuring(service: &Service) -> u64 {
    fs::write(format!("/proc/{}/clear_refs", service.process.id()), "5").unwrap();
    status_kb(service, "VmHWM")
}

#[tokio::test]
async fn a_large_delta_costs_what_a_batch_costs() {
    let place = Place::new();
    let mut random = Random::seeded(1);
    for number in 0..NODES {
        // Compression must not make it small.
        let text: String = (0..20).map(|_| format!("{:013x}", random.below(1 << 52))).collect();
        let id = format!("node-{number:05}");
        place.write_node(&id, &json!({"id": id, "type": "sample", "text": text, "filler": "x".repeat(740)}));
    }
    let service = place.serve().await;
    assert_eq!(service.get_json("/health").await["lattice"]["nodes"], NODES);
    // What the first delta sets up once is no cost of a delta.
    service.post_json("/sync", &json!({"nodes": [], "limit": 200})).await;

    let before = start_measuring(&service);
    let forms = ["", "Accept: application/x-ndjson\r\n", "Accept-Encoding: gzip\r\n", "Accept-Encoding: zstd\r\n"];
    let mut clients = Vec::new();
    for form in forms {
        clients.push(ask(service.port, form).await);
    }
    let asked = Instant::now();
    while asked.elapsed() < STALL {
        let now = status_kb(&service, "VmRSS");
        assert!(now < before + MAY_GROW_KB, "{now} kB while nobody reads, {before} kB before");
        sleep(Duration::from_millis(20)).await;
    }
    let stalled = status_kb(&service, "VmHWM");

    let answers = futures_util::future::join_all(clients.into_iter().map(read_slowly)).await;
    assert!(answers[0].0 > 20 << 20 && answers[1].0 > 20 << 20, "{} and {} bytes", answers[0].0, answers[1].0);
    assert!(answers[0].1.contains(&format!("],\"delta_count\":{NODES},\"wanted\":[]}}")), "{}", answers[0].1);
    for (bytes, end) in &answers {
        assert!(*bytes > 1 << 20 && end.ends_with("\r\n0\r\n\r\n"), "{bytes} bytes, cut off");
    }
    let peak = status_kb(&service, "VmHWM");
    let bytes: usize = answers.iter().map(|(bytes, _)| bytes).sum();
    eprintln!(
        "{bytes} bytes in four deltas: {before} kB before, {stalled} kB while nobody read, {peak} kB at the peak"
    );
    assert!(peak < before + MAY_GROW_KB, "{peak} kB at the peak, {before} kB before");
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_running() {
    let place = Place::new();
    for number in 0..3000 {
        let id = format!("node-{number}");
        place.write_node(&id, &json!({"id": id, "filler": "x".repeat(4000)}));
    }
    let service = place.serve().await;
    service.post_json("/sync", &json!({"nodes": []})).await;
    let before = start_measuring(&service);
    for _ in 0..40 {
        drop(ask(service.port, "").await);
    }
    // They asked for 480 MB. Whatever was begun for them at one time is a batch each.
    let started = Instant::now();
    assert_eq!(service.post_json("/sync", &json!({"nodes": []})).await["delta_count"], 3000);
    let peak = status_kb(&service, "VmHWM");
    eprintln!(
        "40 clients went away: {before} kB before, {peak} kB at the peak, next delta after {:?}",
        started.elapsed()
    );
    assert!(peak < before + 2 * MAY_GROW_KB, "{peak} kB at the peak, {before} kB before");
}

/// Many bodies at once, each of the kind that costs most: without a common bound they would take gigabytes.
#[tokio::test]
async fn large_bodies_at_once_stay_within_their_budget() {
    const BUDGET_KB: u64 = 32 << 10;
    let place = Place::new().set("ARK__LIMITS__INFLIGHT_BYTES", &(BUDGET_KB << 10).to_string());
    let service = place.serve().await;
    let nodes: Vec<String> = (0..100_000).map(|number| format!("{{\"id\":\"{number:x}\",\"hash\":\"\"}}")).collect();
    let body = bytes::Bytes::from(format!("{{\"nodes\":[{}],\"limit\":1}}", nodes.join(",")));
    drop(nodes);
    let before = start_measuring(&service);
    let send = async || {
        let mut sent_away = 0;
        loop {
            let answer = service.post("/sync", body.clone()).await;
            match answer.status().as_u16() {
                200 => {
                    assert!(answer.bytes().await.unwrap().len() > 1 << 19, "all of them are wanted");
                    return sent_away;
                }
                503 => sent_away += 1,
                status => panic!("{status}"),
            }
        }
    };
    let started = Instant::now();
    let sent_away: u32 = futures_util::future::join_all((0..12).map(|_| send())).await.into_iter().sum();
    let peak = status_kb(&service, "VmHWM");
    eprintln!(
        "12 bodies of {} bytes in {:?}, {sent_away} times sent away: {before} kB before, {peak} kB at the peak",
        body.len(),
        started.elapsed()
    );
    // Beside the bodies: the answers, and what the allocator keeps.
    assert!(peak < before + BUDGET_KB + 5 * MAY_GROW_KB / 2, "{peak} kB at the peak, {before} kB before");
}
