//! The real service on a real Redis that is brought into each of its states: the answers, the log, `/health`, `doctor`, and the way back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it stands"
)]

#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "support/service.rs"]
mod service;
#[path = "support/signing.rs"]
mod signing;

use redis::aio::MultiplexedConnection;
use redis_server::RedisServer;
use serde_json::{Value, json};
use service::{Place, Service, until};
use signing::{key, manifest, signed};
use std::{path::Path, time::Duration};

const SOON: Duration = Duration::from_secs(20);

fn place(redis: &RedisServer) -> Place {
    Place::new().set("ARK__LOG__LEVEL", "info").set("REDIS_URL", &redis.url())
}

/// A connection that stays open, past the service's.
async fn inside(redis: &RedisServer) -> MultiplexedConnection {
    redis::Client::open(redis.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

async fn command(inside: &mut MultiplexedConnection, words: &[&str]) {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query_async::<redis::Value>(inside).await.unwrap_or_else(|error| panic!("{words:?}: {error}"));
}

/// Closes the service's connections.
async fn disconnect_others(inside: &mut MultiplexedConnection) {
    command(inside, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
}

/// Status, problem, and whether it says when to come back.
async fn register(service: &Service, peer: &str, seq: u64) -> (u16, Value) {
    let answer = service.post("/manifest", signed(&key(1), &manifest(peer, seq))).await;
    let status = answer.status().as_u16();
    let waits = answer.headers().get("retry-after").is_some_and(|seconds| seconds.to_str().unwrap() != "0");
    assert_eq!(waits, status == 503, "Retry-After with {status}");
    (status, answer.json().await.unwrap())
}

/// The findings of `doctor` with this code: grade, what was found, what to do.
fn findings(place: &Place, code: &str) -> Vec<(String, String, String)> {
    let output = place.command(&["doctor", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |finding: &Value, member: &str| finding[member].as_str().unwrap_or_default().to_owned();
    let findings = report["findings"].as_array().unwrap().iter().filter(|finding| finding["code"] == code);
    findings.map(|finding| (text(finding, "grade"), text(finding, "found"), text(finding, "next"))).collect()
}

/// Is this line of the log of this level?
fn is_of(level: &str, line: &str) -> bool {
    line.split_whitespace().nth(1) == Some(level)
}

/// The lines of the log about Redis.
fn lines(place: &Place) -> Vec<String> {
    place.log().lines().filter(|line| line.contains("registry.kind")).map(str::to_owned).collect()
}

/// Whether reading goes on, and so the service stays ready.
#[derive(Clone, Copy, PartialEq)]
enum Reading {
    GoesOn,
    Fails,
}

/// Redis is in this state now: every answer, `/health`, `/ready` and `doctor` name it, and the log does so once.
async fn check(service: &Service, place: &Place, state: &str, reading: Reading, advice: &str) {
    let mut seq = 1000;
    let next_seq = |seq: &mut u64| {
        *seq += 1;
        *seq
    };
    until(&format!("registrations meet {state}"), SOON, async || {
        register(service, "steady", next_seq(&mut seq)).await.1["reason"] == state
    })
    .await;
    for _ in 0..10 {
        let (status, problem) = register(service, "steady", next_seq(&mut seq)).await;
        assert_eq!((status, &problem["code"]), (503, &json!("registry_unavailable")), "{state}: {problem}");
        assert_eq!(problem["reason"], state, "{problem}");
    }
    let health = service.get_json("/health").await;
    assert_eq!(health["status"], "degraded", "{health}");
    assert_eq!((&health["registry"]["status"], &health["registry"]["reason"]), (&json!("failing"), &json!(state)));
    let ready = service.get("/ready").await.status().as_u16();
    assert_eq!(ready, if reading == Reading::GoesOn { 200 } else { 503 }, "{state}");
    let code = format!("registry_{state}");
    let found = findings(place, &code);
    assert!(!found.is_empty(), "doctor names {state}");
    assert!(found.iter().any(|(_, _, next)| next.contains(advice)), "{state}: {found:?}");
    let about: Vec<String> = lines(place).into_iter().filter(|line| line.contains(state)).collect();
    assert_eq!(about.len(), 1, "{state}: {about:#?}");
    assert!(is_of("WARN", &about[0]), "{about:?}");
}

/// It is over: everything works, and the log says so once more.
async fn check_end(service: &Service, place: &Place, state: &str) {
    let mut seq = 2000;
    until(&format!("{state} is over"), SOON, async || {
        seq += 1;
        let registered = register(service, "steady", seq).await.0 == 200;
        registered && service.get_json("/health").await["status"] == "healthy"
    })
    .await;
    let log = lines(place);
    let ends = |line: &&String| is_of("INFO", line) && (line.contains("answers again") || line.contains(state));
    assert_eq!(log.iter().filter(ends).count(), 1, "{state}: {log:#?}");
    let begins = |line: &&String| is_of("WARN", line) && line.contains(state);
    assert_eq!(log.iter().filter(begins).count(), 1, "{state}: {log:#?}");
}

#[tokio::test]
async fn too_many_clients_are_named_as_long_as_there_are() {
    let redis = RedisServer::start().await;
    let place = place(&redis);
    let service = place.serve().await;
    assert_eq!(register(&service, "steady", 1).await.0, 200);
    let mut inside = inside(&redis).await;
    command(&mut inside, &["CONFIG", "SET", "maxclients", "1"]).await;
    disconnect_others(&mut inside).await;
    check(&service, &place, "too_many_clients", Reading::Fails, "CONFIG SET maxclients").await;
    assert_eq!(service.get("/discover?instance_type=pi").await.status(), 503);
    command(&mut inside, &["CONFIG", "SET", "maxclients", "1000"]).await;
    check_end(&service, &place, "too_many_clients").await;
}

#[tokio::test]
async fn too_many_clients_are_no_wrong_password() {
    let redis = RedisServer::start().await;
    let mut inside = inside(&redis).await;
    command(&mut inside, &["CONFIG", "SET", "requirepass", "right-one"]).await;
    command(&mut inside, &["CONFIG", "SET", "maxclients", "1"]).await;
    let place = Place::new()
        .set("ARK__LOG__LEVEL", "info")
        .set("REDIS_URL", &format!("redis://:right-one@{}", redis.address()));
    let service = place.serve().await;
    check(&service, &place, "too_many_clients", Reading::Fails, "CONFIG SET maxclients").await;
    command(&mut inside, &["CONFIG", "SET", "maxclients", "1000"]).await;
    check_end(&service, &place, "too_many_clients").await;
}

#[tokio::test]
async fn a_replica_is_named_until_it_is_a_master() {
    let redis = RedisServer::start().await;
    let place = place(&redis);
    let service = place.serve().await;
    assert_eq!(register(&service, "steady", 1).await.0, 200);
    redis.inline("REPLICAOF 127.0.0.1 1").await.unwrap();
    check(&service, &place, "read_only", Reading::GoesOn, "REPLICAOF NO ONE").await;
    redis.inline("REPLICAOF NO ONE").await.unwrap();
    check_end(&service, &place, "read_only").await;
}

#[tokio::test]
async fn a_replica_is_named_at_the_start_while_nothing_is_registered() {
    let redis = RedisServer::start().await;
    redis.inline("REPLICAOF 127.0.0.1 1").await.unwrap();
    let place = place(&redis);
    let service = place.serve().await;
    until("it is named", SOON, async || service.get_json("/health").await["registry"]["reason"] == "read_only").await;
    check(&service, &place, "read_only", Reading::GoesOn, "REPLICAOF NO ONE").await;
}

#[tokio::test]
async fn a_redis_that_loads_its_data_is_waited_for() {
    let with_debug = |port: u16, _: &Path| {
        ["--port", &port.to_string(), "--enable-debug-command", "yes"].map(str::to_owned).to_vec()
    };
    let redis = RedisServer::start_with(with_debug).await;
    let place = place(&redis);
    let service = place.serve().await;
    assert_eq!(register(&service, "steady", 1).await.0, 200);
    redis.inline("DEBUG POPULATE 20000 filler 100").await.unwrap();
    redis.inline("CONFIG SET loading-process-events-interval-bytes 1024").await.unwrap();
    // Microseconds for each key.
    redis.inline("CONFIG SET key-load-delay 20000").await.unwrap();
    // Saves and loads its data; the answer comes when that is done.
    drop(redis.inline("DEBUG RELOAD").await);
    check(&service, &place, "loading", Reading::Fails, "INFO persistence").await;
    until("the load goes faster", SOON, async || redis.inline("CONFIG SET key-load-delay 0").await.is_ok()).await;
    check_end(&service, &place, "loading").await;
}

#[tokio::test]
async fn a_redis_without_memory_is_named_until_it_has_some() {
    let redis = RedisServer::start().await;
    let place = place(&redis);
    let service = place.serve().await;
    assert_eq!(register(&service, "steady", 1).await.0, 200);
    redis.inline("CONFIG SET maxmemory 1").await.unwrap();
    check(&service, &place, "out_of_memory", Reading::GoesOn, "CONFIG SET maxmemory").await;
    redis.inline("CONFIG SET maxmemory 0").await.unwrap();
    check_end(&service, &place, "out_of_memory").await;
}

#[tokio::test]
async fn a_redis_that_cannot_save_is_named_until_it_can() {
    let redis = RedisServer::start().await;
    let place = place(&redis);
    let service = place.serve().await;
    assert_eq!(register(&service, "steady", 1).await.0, 200);
    redis.inline("CONFIG SET save \"3600 1\"").await.unwrap();
    // Where the snapshot would be written is a directory.
    std::fs::create_dir(redis.directory().join("dump.rdb")).unwrap();
    redis.inline("BGSAVE").await.unwrap();
    check(&service, &place, "not_persisting", Reading::GoesOn, "BGSAVE").await;
    std::fs::remove_dir(redis.directory().join("dump.rdb")).unwrap();
    redis.inline("BGSAVE").await.unwrap();
    check_end(&service, &place, "not_persisting").await;
}

#[tokio::test]
async fn a_key_of_another_type_is_named_until_it_is_gone() {
    let redis = RedisServer::start().await;
    let port = redis_server::free_port();
    let place = place(&redis).set("FEDERATION_PORT", &port.to_string());
    let service = place.serve_on(port).await;
    for (damaged, keeps_reading) in [("peers:by_expiry", Reading::Fails), ("pin:steady", Reading::GoesOn)] {
        register(&service, "steady", 1).await;
        redis.inline(&format!("DEL {damaged}")).await.unwrap();
        redis.inline(&format!("SET {damaged} text")).await.unwrap();
        check(&service, &place, "wrong_type", keeps_reading, &format!("DEL '{damaged}'")).await;
        assert_eq!(service.get_json("/health").await["registry"]["key"], damaged);
        let named = lines(&place).into_iter().filter(|line| is_of("WARN", line) && line.contains(damaged)).count();
        assert_eq!(named, 1, "{}", place.log());
        redis.inline(&format!("DEL {damaged}")).await.unwrap();
        check_end(&service, &place, "wrong_type").await;
        std::fs::write(place.path("log"), "").unwrap();
    }
}

#[tokio::test]
async fn a_login_that_is_refused_is_named_at_the_start_and_while_running() {
    let redis = RedisServer::start().await;
    let mut inside = inside(&redis).await;
    let place = place(&redis);
    let service = place.serve().await;
    assert_eq!(register(&service, "steady", 1).await.0, 200);
    command(&mut inside, &["CONFIG", "SET", "requirepass", "right-one"]).await;
    disconnect_others(&mut inside).await;
    check(&service, &place, "authentication", Reading::Fails, "redis_password_file").await;
    command(&mut inside, &["CONFIG", "SET", "requirepass", ""]).await;
    check_end(&service, &place, "authentication").await;

    command(&mut inside, &["CONFIG", "SET", "requirepass", "right-one"]).await;
    let wrong = Place::new()
        .set("ARK__LOG__LEVEL", "info")
        .set("REDIS_URL", &format!("redis://:wrong-one@{}", redis.address()));
    let service = wrong.serve().await;
    // Without any request.
    until("the log names it", SOON, async || lines(&wrong).iter().any(|line| line.contains("authentication"))).await;
    check(&service, &wrong, "authentication", Reading::Fails, "check the user name and the password").await;
    assert!(!wrong.log().contains("wrong-one"));
    command(&mut inside, &["ACL", "SETUSER", "default", ">wrong-one"]).await;
    check_end(&service, &wrong, "authentication").await;
}

#[tokio::test]
async fn a_missing_right_is_named_until_it_is_given() {
    let redis = RedisServer::start().await;
    let place = place(&redis);
    let service = place.serve().await;
    assert_eq!(register(&service, "steady", 1).await.0, 200);
    redis.inline("ACL SETUSER default -zadd").await.unwrap();
    check(&service, &place, "permission", Reading::GoesOn, "ACL line").await;
    redis.inline("ACL SETUSER default +zadd").await.unwrap();
    check_end(&service, &place, "permission").await;
}

#[tokio::test]
async fn too_few_replicas_are_named_until_there_are_enough() {
    let redis = RedisServer::start().await;
    let place = place(&redis);
    let service = place.serve().await;
    assert_eq!(register(&service, "steady", 1).await.0, 200);
    redis.inline("CONFIG SET min-replicas-to-write 1").await.unwrap();
    check(&service, &place, "too_few_replicas", Reading::GoesOn, "INFO replication").await;
    redis.inline("CONFIG SET min-replicas-to-write 0").await.unwrap();
    check_end(&service, &place, "too_few_replicas").await;
}

#[tokio::test]
async fn what_is_no_redis_is_no_fault_of_the_service() {
    let redis = RedisServer::start().await;
    // Another ark-lattice answers there, in HTTP.
    let other = Place::new();
    let web = other.serve().await;
    let place =
        Place::new().set("ARK__LOG__LEVEL", "info").set("REDIS_URL", &format!("redis://127.0.0.1:{}", web.port));
    let service = place.serve().await;
    let (status, problem) = register(&service, "steady", 1).await;
    assert_eq!((status, &problem["code"]), (503, &json!("registry_unavailable")), "{problem}");
    let none = Place::new().set("ARK__LOG__LEVEL", "info").set("REDIS_URL", &format!("{}99", redis.url()));
    let service = none.serve().await;
    check(&service, &none, "no_database", Reading::Fails, "REDIS_URL").await;
}

#[tokio::test]
async fn a_policy_that_may_delete_bindings_is_a_warning_everywhere() {
    const STATE: &str = "eviction_policy";
    let redis = RedisServer::start().await;
    redis.inline("CONFIG SET maxmemory 100mb").await.unwrap();
    for policy in ["allkeys-lru", "volatile-ttl"] {
        redis.inline(&format!("CONFIG SET maxmemory-policy {policy}")).await.unwrap();
        let place = place(&redis);
        let service = place.serve().await;
        // Without any request.
        until("the log names it", SOON, async || lines(&place).iter().any(|line| line.contains(policy))).await;
        assert_eq!(register(&service, "steady", signing::now()).await.0, 200);
        let health = service.get_json("/health").await;
        assert_eq!((&health["status"], &health["registry"]["status"]), (&json!("degraded"), &json!("ok")), "{health}");
        assert_eq!(health["registry"]["reason"], STATE);
        assert_eq!(service.get("/ready").await.status(), 200);
        let found = findings(&place, "registry_eviction_policy");
        let named = found.iter().find(|(grade, found, _)| grade == "warn" && found.contains(policy));
        assert!(named.is_some_and(|(_, _, next)| next.contains("maxmemory-policy noeviction")), "{found:?}");
        redis.inline("CONFIG SET maxmemory-policy noeviction").await.unwrap();
        until("it is mended", SOON, async || service.get_json("/health").await["status"] == "healthy").await;
        let about: Vec<String> = lines(&place).into_iter().filter(|line| line.contains(STATE)).collect();
        assert_eq!(about.len(), 2, "{about:#?}");
        assert!(findings(&place, "registry_eviction_policy").is_empty());
    }
}

#[tokio::test]
async fn a_policy_that_the_user_may_not_read_is_not_guessed() {
    let redis = RedisServer::start().await;
    redis.inline("CONFIG SET maxmemory-policy allkeys-lru").await.unwrap();
    redis.inline("ACL SETUSER ark on >hunter2 ~* &* +@all -info -config").await.unwrap();
    let place = Place::new()
        .set("ARK__LOG__LEVEL", "info")
        .set("REDIS_URL", &format!("redis://ark:hunter2@{}", redis.address()));
    let service = place.serve().await;
    assert_eq!(register(&service, "steady", 1).await.0, 200);
    until("it was asked", SOON, async || redis.inline("ACL LOG").await.unwrap().contains("config")).await;
    assert_eq!(service.get_json("/health").await["status"], "healthy");
    assert!(findings(&place, "registry_eviction_policy").is_empty());
    assert!(lines(&place).is_empty(), "{}", place.log());
    // Either right is enough.
    for (given, taken) in [("+info", "-config"), ("+config|get", "-info")] {
        redis.inline(&format!("ACL SETUSER ark {given} {taken}")).await.unwrap();
        assert_eq!(findings(&place, "registry_eviction_policy").len(), 1, "{given}");
    }
}

#[test]
fn the_readme_has_every_state() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    for state in ark_lattice::registry::StoreState::ALL {
        let code = state.code();
        assert!(readme.contains(&format!("`{code}`")), "{code}");
    }
}
