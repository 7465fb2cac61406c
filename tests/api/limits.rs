//! What one address and one key may ask for, behind a proxy that says who asks.

use crate::app::{NOW, TOKEN, TestApp, key, manifest, problem, signed, spawn_in, spawn_with};
use ark_lattice::settings::Settings;
use reqwest::{Method, Response};
use serde_json::json;
use std::time::Duration;

const ONE: &str = "198.51.100.1";
const OTHER: &str = "198.51.100.2";

fn behind_a_proxy(settings: &mut Settings) {
    settings.server.trusted_proxies = vec!["127.0.0.1".to_owned()];
}

async fn get(app: &TestApp, from: &str, path: &str) -> Response {
    app.request(Method::GET, path).header("x-forwarded-for", from).send().await.unwrap()
}

async fn publish(app: &TestApp, from: &str, envelope: String) -> Response {
    let request = app.request(Method::POST, "/manifest").header("x-forwarded-for", from);
    request.header("content-type", "application/json").body(envelope).send().await.unwrap()
}

fn header(response: &Response, name: &str) -> String {
    let values: Vec<&str> = response.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
    values.join(", ")
}

#[tokio::test]
async fn an_address_that_asks_too_often_waits_and_the_others_do_not() {
    let app = spawn_with(|settings| {
        behind_a_proxy(settings);
        settings.limits.reads_per_minute = 6;
    })
    .await;
    for left in (0..6).rev() {
        let answer = get(&app, ONE, "/nodes").await;
        assert_eq!(answer.status(), 200);
        assert_eq!(header(&answer, "ratelimit-policy"), "\"read\";q=6;w=60");
        assert_eq!(header(&answer, "ratelimit"), format!("\"read\";r={left};t={}", (6 - left) * 10));
    }
    for path in ["/nodes", "/nowhere", "/docs/", "/health"] {
        let refused = get(&app, ONE, path).await;
        assert_eq!(header(&refused, "retry-after"), "10");
        assert_eq!(header(&refused, "ratelimit"), "\"read\";r=0;t=10");
        assert_eq!(problem(refused).await, (429, "rate_limited".to_owned()), "{path}");
    }
    assert_eq!(get(&app, OTHER, "/nodes").await.status(), 200);
    assert_eq!(publish(&app, ONE, signed(&key(1), &manifest("a"))).await.status(), 200, "another class");
    // Everything of one /64 is one customer.
    for nth in 0..6 {
        assert_eq!(get(&app, &format!("2001:db8::{nth:x}"), "/nodes").await.status(), 200);
    }
    assert_eq!(get(&app, "2001:db8::7", "/nodes").await.status(), 429);
    assert_eq!(get(&app, "2001:db8:0:1::7", "/nodes").await.status(), 200);
    app.clock.advance(Duration::from_secs(10));
    assert_eq!(get(&app, ONE, "/nodes").await.status(), 200);
    assert_eq!(get(&app, ONE, "/nodes").await.status(), 429);
    let metrics = get(&app, OTHER, "/metrics").await.text().await.unwrap();
    assert!(metrics.contains("ark_requests_limited_total{reason=\"read\"} 6"), "{metrics}");
}

#[tokio::test]
async fn programs_of_this_machine_are_not_counted_unless_the_settings_say_so() {
    let one = |settings: &mut Settings| settings.limits.reads_per_minute = 1;
    let app = spawn_with(one).await;
    for _ in 0..5 {
        let answer = app.get("/nodes").await;
        assert_eq!((answer.status().as_u16(), header(&answer, "ratelimit")), (200, String::new()));
    }
    // Somebody is behind a proxy that the settings do not name: whoever he is, he is not a program of this machine.
    assert_eq!(get(&app, ONE, "/nodes").await.status(), 200);
    assert_eq!(get(&app, OTHER, "/nodes").await.status(), 429);
    let app = spawn_with(|settings| {
        settings.limits.bodies_per_minute = 1;
        settings.limits.count_loopback = true;
    });
    let app = app.await;
    assert_eq!(app.post("/sync", "{\"nodes\":[]}").await.status(), 200);
    assert_eq!(problem(app.post("/sync", "{\"nodes\":[]}").await).await, (429, "rate_limited".to_owned()));
}

#[tokio::test]
async fn the_operator_is_not_counted_and_who_guesses_his_token_is() {
    let app = spawn_with(|settings| {
        behind_a_proxy(settings);
        settings.limits.reads_per_minute = 1;
    })
    .await;
    let with = |token: &'static str| {
        let request = app.request(Method::GET, "/nodes").header("x-forwarded-for", ONE);
        async move { request.bearer_auth(token).send().await.unwrap().status().as_u16() }
    };
    for _ in 0..3 {
        assert_eq!(with(TOKEN).await, 200);
    }
    assert_eq!(with("a-guess").await, 200);
    assert_eq!(with("another-guess").await, 429);
}

#[tokio::test]
async fn new_ids_are_scarce_and_known_ones_are_not_also_after_a_restart() {
    let few = |settings: &mut Settings| {
        behind_a_proxy(settings);
        settings.limits.new_ids_per_minute = 3;
    };
    let app = spawn_with(few).await;
    for id in ["a", "b", "c"] {
        assert_eq!(publish(&app, ONE, signed(&key(1), &manifest(id))).await.status(), 200, "{id}");
    }
    let refused = publish(&app, ONE, signed(&key(1), &manifest("d"))).await;
    assert_eq!(header(&refused, "retry-after"), "20");
    assert!(header(&refused, "ratelimit").contains("\"new-id\";r=0;t=20"), "{}", header(&refused, "ratelimit"));
    assert_eq!(problem(refused).await, (429, "rate_limited".to_owned()));
    let heartbeat = signed(&key(1), &manifest("a"));
    assert_eq!(publish(&app, ONE, heartbeat.clone()).await.status(), 200);
    // Expired ones are bound all the same.
    app.clock.advance(Duration::from_secs(15));
    let folder = app.stop().await;
    let app = spawn_in(folder, few).await;
    for id in ["d", "e", "f"] {
        assert_eq!(publish(&app, ONE, signed(&key(1), &manifest(id))).await.status(), 200, "{id}");
    }
    assert_eq!(publish(&app, ONE, signed(&key(1), &manifest("g"))).await.status(), 429);
    assert_eq!(publish(&app, ONE, heartbeat).await.status(), 200, "it was known before the restart");
    assert_eq!(publish(&app, OTHER, signed(&key(1), &manifest("g"))).await.status(), 200);
    let squatted = publish(&app, OTHER, signed(&key(2), &manifest("b"))).await;
    assert_eq!(problem(squatted).await, (409, "key_mismatch".to_owned()), "which costs no place");
}

#[tokio::test]
async fn one_key_has_only_so_many_ids_also_after_a_restart() {
    let few = |settings: &mut Settings| settings.limits.ids_per_key = 2;
    let app = spawn_with(few).await;
    for id in ["a", "b"] {
        assert_eq!(app.post("/manifest", signed(&key(1), &manifest(id))).await.status(), 200);
    }
    let third = signed(&key(1), &manifest("c"));
    assert_eq!(problem(app.post("/manifest", third.clone()).await).await, (403, "id_quota".to_owned()));
    assert_eq!(app.post("/manifest", signed(&key(2), &manifest("c"))).await.status(), 200, "the id is not taken");
    let app = spawn_in(app.stop().await, few).await;
    assert_eq!(app.post("/manifest", signed(&key(1), &manifest("a"))).await.status(), 200);
    assert_eq!(app.post("/manifest", signed(&key(1), &manifest("d"))).await.status(), 403);
}

#[tokio::test]
async fn one_key_asks_only_so_often_wherever_it_asks_from() {
    let app = spawn_with(|settings| {
        behind_a_proxy(settings);
        settings.limits.signed_per_key_per_minute = 2;
    })
    .await;
    for (later, from, status) in [(0, ONE, 200), (1, OTHER, 200), (2, "198.51.100.3", 429)] {
        let mut newer = manifest("a");
        // The same again could come from anybody, and uses up nothing of the key.
        newer["last_updated"] = json!(NOW + later);
        assert_eq!(publish(&app, from, signed(&key(1), &newer)).await.status(), status, "{from}");
    }
    // A signature that does not fit uses up nothing of the key that it names.
    let forged = signed(&key(2), &manifest("b")).replace("\"a\"", "\"z\"");
    for _ in 0..4 {
        assert_eq!(problem(publish(&app, ONE, forged.clone()).await).await, (401, "bad_signature".to_owned()));
    }
    assert_eq!(publish(&app, ONE, signed(&key(2), &manifest("b"))).await.status(), 200);
}

#[tokio::test]
async fn a_flood_of_bad_signatures_is_sent_away_before_they_are_checked() {
    let app = spawn_with(|settings| {
        behind_a_proxy(settings);
        settings.limits.signed_per_minute = 50;
    })
    .await;
    let forged = signed(&key(1), &manifest("a")).replace("\"local\"", "\"cloud\"");
    for nth in 0..8 {
        let answer = publish(&app, ONE, forged.clone()).await;
        assert_eq!(answer.status(), if nth < 5 { 401 } else { 429 }, "each takes ten of fifty");
        if nth < 5 {
            let left = format!("\"signed\";r={};t={}", 40 - nth * 10, 12 * (nth + 1));
            assert_eq!(answer.headers()["ratelimit"], left.as_str());
        }
    }
    assert_eq!(publish(&app, OTHER, signed(&key(1), &manifest("a"))).await.status(), 200);
}
