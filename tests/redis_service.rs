//! The real service on a real Redis: what lies there, replicas, outages, and the way back.
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

use redis::{AsyncTypedCommands, aio::MultiplexedConnection};
use redis_server::RedisServer;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use service::{Place, Service, json_of, problem, until};
use signing::{key, manifest, signed};
use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// What is promised while Redis is gone, and once it is back.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
const RECOVERS_WITHIN: Duration = Duration::from_secs(5);

fn place(redis: &RedisServer) -> Place {
    let place = Place::new().set("REDIS_URL", &redis.url());
    place.write_node("here", &json!({"id": "here", "type": "sample"}));
    place
}

async fn look_inside(redis: &RedisServer) -> MultiplexedConnection {
    redis::Client::open(redis.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

async fn register(service: &Service, peer: &str, seq: u64) -> Value {
    json_of(service.post("/manifest", signed(&key(1), &manifest(peer, seq))).await).await
}

async fn discovered(service: &Service) -> Vec<String> {
    let answer = service.get_json("/discover").await;
    answer["peers"].as_array().unwrap().iter().map(|peer| service::text(&peer["node_id"])).collect()
}

#[tokio::test]
async fn the_services_own_id_is_its_own_whatever_lies_in_redis() {
    let redis = RedisServer::start().await;
    let own = "ark-under-test";
    // Registered by somebody at another service that shares this Redis.
    let other = place(&redis).set("ARK_NODE_ID", "another").serve().await;
    register(&other, own, 1).await;
    assert_eq!(discovered(&other).await, [own]);
    let place = place(&redis).set("ARK__LOG__LEVEL", "error");
    let service = place.serve().await;
    until("it says so", Duration::from_secs(10), async || {
        place.log().contains("binds the id of this instance to another key")
    })
    .await;
    assert!(discovered(&service).await.is_empty());
    assert_eq!(service.get(&format!("/manifest/{own}")).await.status(), StatusCode::NOT_FOUND);
    let refused = problem(service.post("/manifest", signed(&key(1), &manifest(own, 2))).await).await;
    assert_eq!(refused, (409, "key_mismatch".to_owned()));
    // Where it came first, the id is taken for all that share the Redis.
    let mut inside = look_inside(&redis).await;
    let binding: HashMap<String, String> = inside.hgetall("pin:another").await.unwrap();
    assert!(!binding["pubkey"].is_empty());
    let refused = problem(service.post("/manifest", signed(&key(1), &manifest("another", 1))).await).await;
    assert_eq!(refused, (409, "key_mismatch".to_owned()));
}

#[tokio::test]
async fn a_manifest_is_discovered_and_lies_in_redis_as_documented() {
    let redis = RedisServer::start().await;
    let place = place(&redis);
    let service = place.serve().await;
    assert_eq!(json_of(service.get("/ready").await).await["status"], "ready");

    let statement = json!({"node_id": "ark-grüße", "instance_type": "pi", "version": "1.0.0", "last_updated": signing::now(),
        "capabilities": ["sync", "gossip"], "load": 0.25, "nodes": [{"id": "a", "hash": "sha256:abc"}]});
    let envelope = signed(&key(1), &statement);
    let answer = json_of(service.post("/manifest", envelope.clone()).await).await;
    assert_eq!((&answer["status"], &answer["node_id"]), (&json!("registered"), &json!("ark-grüße")));
    assert_eq!(answer["expires_in"], 120);

    let peers = service.get_json("/discover").await;
    let peer = &peers["peers"][0];
    assert_eq!((&peers["count"], &peer["node_id"], &peer["node_count"]), (&json!(1), &json!("ark-grüße"), &json!(1)));
    assert_eq!((&peer["capabilities"], &peer["load"]), (&json!(["sync", "gossip"]), &json!(0.25)));
    assert_eq!(peer["manifest_hash"], answer["manifest_hash"]);
    assert_eq!(service.get("/manifest/ark-gr%C3%BC%C3%9Fe").await.text().await.unwrap(), envelope);

    let mut inside = look_inside(&redis).await;
    let mut keys = inside.keys("*").await.unwrap();
    keys.sort();
    // The service's own id is bound to its own key.
    keys.retain(|key| key != "pin:ark-under-test");
    let ids = format!("ids:{}", key(1).public_key());
    let strangers = ["all".to_owned(), "bytes".to_owned(), format!("key:{}", key(1).public_key())];
    let [all, bytes, of_key] = strangers.map(|name| format!("ids:strangers:{name}"));
    assert_eq!(keys, [ids.as_str(), &all, &bytes, &of_key, "peer:ark-grüße", "peers:by_expiry", "pin:ark-grüße"]);
    let count: HashMap<String, String> = inside.hgetall(&ids).await.unwrap();
    assert_eq!(count["count"], "1");
    let fields: HashMap<String, String> = inside.hgetall("peer:ark-grüße").await.unwrap();
    // Texts as they are, everything else as JSON text.
    assert_eq!((&*fields["node_id"], &*fields["instance_type"], &*fields["version"]), ("ark-grüße", "pi", "1.0.0"));
    assert_eq!(serde_json::from_str::<Value>(&fields["capabilities"]).unwrap(), statement["capabilities"]);
    assert_eq!(serde_json::from_str::<Value>(&fields["nodes"]).unwrap(), statement["nodes"]);
    assert_eq!((&*fields["load"], &*fields["last_updated"]), ("0.25", &*statement["last_updated"].to_string()));
    assert_eq!((&fields["envelope"], &fields["pubkey"]), (&envelope, &key(1).public_key().to_base64()));
    let age = signing::now().abs_diff(fields["last_seen"].parse().unwrap());
    assert!(age <= 5, "last_seen is {age} s off");

    let lives = inside.ttl("peer:ark-grüße").await.unwrap();
    assert!(matches!(lives, redis::IntegerReplyOrNoOp::IntegerReply(115..=120)), "{lives:?}");
    // A stranger's binding: 90 days after it was last used it goes. The service's own one stays.
    const LAST_DAY: usize = 89 * 86_400;
    let binding = inside.ttl("pin:ark-grüße").await.unwrap();
    assert!(matches!(binding, redis::IntegerReplyOrNoOp::IntegerReply(LAST_DAY..=7_776_000)), "{binding:?}");
    assert_eq!(inside.ttl("pin:ark-under-test").await.unwrap(), redis::IntegerReplyOrNoOp::ExistsButNotRelevant);
    let pin: HashMap<String, String> = inside.hgetall("pin:ark-grüße").await.unwrap();
    assert_eq!(pin["pubkey"], fields["pubkey"]);
    let expiry = inside.zscore("peers:by_expiry", "ark-grüße").await.unwrap().unwrap();
    let expiry = Duration::from_secs_f64(expiry / 1000.0).as_secs();
    assert!((115..=121).contains(&expiry.saturating_sub(signing::now())), "{expiry}");

    // The binding is what outlives the entry.
    inside.del(&["peer:ark-grüße", "peers:by_expiry"]).await.unwrap();
    until("the list is asked for again", Duration::from_secs(5), async || discovered(&service).await.is_empty()).await;
    let foreign = service.post("/manifest", signed(&key(2), &statement)).await;
    assert_eq!(problem(foreign).await, (409, "key_mismatch".to_owned()));
}

#[tokio::test]
async fn an_entry_expires() {
    let redis = RedisServer::start().await;
    let service = place(&redis).set("ARK_PEER_TTL", "1s").serve().await;
    register(&service, "short", 1).await;
    assert_eq!(discovered(&service).await, ["short"]);
    until("the entry expires", Duration::from_secs(5), async || discovered(&service).await.is_empty()).await;
    let gone = service.get("/manifest/short").await;
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn many_who_ask_for_the_same_list_at_once_cost_few_questions_to_redis() {
    const ASKING: u64 = 200;
    let redis = RedisServer::start().await;
    let place = place(&redis);
    let service = place.serve().await;
    register(&service, "a", 1).await;
    let mut inside = look_inside(&redis).await;
    let before = scripts_run(&mut inside).await;
    let asked = (0..ASKING).map(|_| service.get_json("/discover"));
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!(answer["count"], 1);
    }
    let cost = scripts_run(&mut inside).await - before;
    // One, and one more for each 200 ms that a slow machine needs for all of them.
    assert!(cost > 0 && cost < ASKING / 4, "{cost} questions");
}

#[tokio::test]
async fn replicas_on_one_redis_see_each_others_registrations() {
    let redis = RedisServer::start().await;
    let (one, two) = (place(&redis), place(&redis));
    let (one, two) = (one.serve().await, two.serve().await);
    register(&one, "a", 1).await;
    register(&two, "b", 1).await;
    for service in [&one, &two] {
        let mut peers = discovered(service).await;
        peers.sort();
        assert_eq!(peers, ["a", "b"]);
    }
    // Both keep that list for a moment: what is changed here shows at once, what the other changed soon.
    register(&two, "c", 3).await;
    assert_eq!(discovered(&two).await.len(), 3);
    until("the other's list is asked for again", Duration::from_secs(5), async || discovered(&one).await.len() == 3)
        .await;
    // Bindings and versions are shared too.
    let foreign = two.post("/manifest", signed(&key(2), &manifest("a", 2))).await;
    assert_eq!(problem(foreign).await, (409, "key_mismatch".to_owned()));
    register(&two, "a", 5).await;
    let older = one.post("/manifest", signed(&key(1), &manifest("a", 4))).await;
    assert_eq!(problem(older).await, (409, "rollback".to_owned()));
}

#[tokio::test]
async fn keys_lie_under_the_prefix() {
    let redis = RedisServer::start().await;
    let (plain, prefixed) = (place(&redis), place(&redis).set("ARK__REGISTRY__PREFIX", "team-a:"));
    let (plain, prefixed) = (plain.serve().await, prefixed.serve().await);
    register(&prefixed, "a", 1).await;
    let mut keys: Vec<String> = look_inside(&redis).await.keys("*").await.unwrap();
    keys.sort();
    // What binds the id of each of the two services.
    keys.retain(|key| !key.ends_with("pin:ark-under-test"));
    let strangers = ["all".to_owned(), "bytes".to_owned(), format!("key:{}", key(1).public_key())];
    let [all, bytes, of_key] = strangers.map(|name| format!("team-a:ids:strangers:{name}"));
    let ids = format!("team-a:ids:{}", key(1).public_key());
    assert_eq!(keys, [ids.as_str(), &all, &bytes, &of_key, "team-a:peer:a", "team-a:peers:by_expiry", "team-a:pin:a"]);
    assert_eq!(discovered(&prefixed).await, ["a"]);
    assert_eq!(discovered(&plain).await, Vec::<String>::new());
}

/// How many scripts Redis has run.
async fn scripts_run(inside: &mut MultiplexedConnection) -> u64 {
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(inside).await.unwrap();
    let calls = stats.lines().filter(|line| line.starts_with("cmdstat_eval"));
    calls.map(|line| line.split(['=', ',']).nth(1).unwrap().parse::<u64>().unwrap()).sum()
}

#[tokio::test]
async fn a_filter_that_lets_nobody_through_asks_redis_in_large_steps() {
    const PEERS: u64 = 1200;
    let redis = RedisServer::start().await;
    let service = place(&redis).serve().await;
    for number in (0..PEERS).step_by(100) {
        let few = (number..number + 100).map(|number| {
            let mut statement = manifest(&format!("peer-{number:04}"), 1);
            // One in a hundred.
            if number % 100 == 42 {
                statement["instance_type"] = json!("pi");
            }
            service.post("/manifest", signed(&key(1), &statement))
        });
        for answer in futures_util::future::join_all(few).await {
            assert_eq!(answer.status(), StatusCode::OK);
        }
    }
    let mut inside = look_inside(&redis).await;
    let before = scripts_run(&mut inside).await;
    let nobody = service.get_json("/discover?instance_type=cloud&limit=1").await;
    assert_eq!((&nobody["count"], &nobody["total"]), (&json!(0), &json!(PEERS)));
    let asked = scripts_run(&mut inside).await - before;
    assert!(asked <= 3, "asked {asked} times for {PEERS} peers");

    // However many steps it takes a client, it sees each peer that fits once.
    for limit in [1, 5, 12, 13] {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = service.get_json(&format!("/discover?instance_type=pi&limit={limit}{cursor}")).await;
            let peers = page["peers"].as_array().unwrap();
            assert!(peers.len() <= limit);
            found.extend(peers.iter().map(|peer| service::text(&peer["node_id"])));
            let Some(next) = page["cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        found.sort();
        let expected: Vec<String> = (0..12).map(|hundred| format!("peer-{hundred:02}42")).collect();
        assert_eq!(found, expected, "pages of {limit}");
    }
}

/// Everything that needs Redis says so in time; everything else works.
async fn check_outage(service: &Service, round: u64) -> Duration {
    let slowest = async |requests: Vec<reqwest::RequestBuilder>| {
        let mut longest = Duration::ZERO;
        let answers = requests.into_iter().map(|request| async {
            let started = Instant::now();
            let answer = request.send().await.unwrap();
            let retry_after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
            let url = answer.url().clone();
            let said = problem(answer).await;
            (started.elapsed(), said, retry_after, url)
        });
        for (took, said, retry_after, url) in futures_util::future::join_all(answers).await {
            assert_eq!(said, (503, "registry_unavailable".to_owned()), "{url}");
            assert!(retry_after.is_some_and(|seconds| seconds.parse::<u32>().unwrap() > 0), "{url}: Retry-After");
            assert!(took < ANSWERS_WITHIN, "{url} took {took:?}");
            longest = longest.max(took);
        }
        longest
    };
    let publish = || {
        let envelope = signed(&key(1), &manifest("ark-outage", round));
        service.request(Method::POST, "/manifest").header("content-type", "application/json").body(envelope)
    };
    // First the calls that find out, more of them than there are connections; then those that come later. With a filter: the list of
    // all that was made a moment ago may still be shown.
    let mut finders: Vec<_> = (0..30).map(|_| service.request(Method::GET, "/discover?instance_type=pi")).collect();
    finders.extend((0..10).map(|_| publish()));
    let mut longest = slowest(finders).await;
    let later = vec![
        service.request(Method::GET, "/discover"),
        publish(),
        service.request(Method::GET, "/manifest/ark-outage"),
        service.request(Method::GET, "/ready"),
    ];
    longest = longest.max(slowest(later).await);

    let started = Instant::now();
    let id = format!("n{round}");
    let written = service.put(&id, &json!({"id": id, "round": round})).await;
    assert_eq!(written.status(), StatusCode::CREATED);
    assert_eq!(service.get_json(&format!("/nodes/{id}")).await["round"], round);
    assert!(service.nodes().await.iter().any(|(listed, _)| *listed == id));
    assert!(service.post_json("/sync", &json!({"nodes": []})).await["delta_count"].as_u64() > Some(1));
    let health = service.get_json("/health").await;
    assert_eq!((&health["status"], &health["registry"]["status"]), (&json!("degraded"), &json!("failing")));
    assert_eq!(health["lattice"]["status"], "ok");
    assert_eq!(service.get("/metrics").await.status(), StatusCode::OK);
    assert!(started.elapsed() < ANSWERS_WITHIN, "what needs no Redis took {:?}", started.elapsed());
    longest
}

/// How long after Redis is back everything works again.
async fn check_recovery(service: &Service, round: u64) -> Duration {
    let attempts = AtomicU64::new(0);
    until("the service recovers", RECOVERS_WITHIN, async || {
        // What was answered with 503 may have been taken all the same: a number counts for one statement only.
        let seq = round * 1000 + attempts.fetch_add(1, Ordering::Relaxed);
        let ready = service.get("/ready").await.status();
        let envelope = signed(&key(1), &manifest("ark-outage", seq));
        let published = service.post("/manifest", envelope).await.status();
        let listed = service.get("/discover").await.status();
        [ready, published, listed].iter().all(|status| *status == StatusCode::OK)
    })
    .await
}

/// The service's own connections.
async fn connections(redis: &RedisServer) -> usize {
    let mut inside = look_inside(redis).await;
    let list: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut inside).await.unwrap();
    list.lines().count() - 1
}

#[tokio::test]
async fn a_redis_that_is_killed_costs_no_more_than_what_needs_it() {
    let mut redis = RedisServer::start().await;
    let place = place(&redis);
    let service = place.serve().await;
    register(&service, "ark-outage", 1).await;
    for round in 2..5 {
        redis.stop();
        let longest = check_outage(&service, round).await;
        redis.restart().await;
        let recovery = check_recovery(&service, round).await;
        eprintln!("killed: slowest answer {longest:?}, recovery {recovery:?}");
        // It came back empty; registering brings entry and binding back.
        assert_eq!(discovered(&service).await, ["ark-outage"]);
    }
    assert!(!place.log().contains("panic"), "{}", place.log());
}

#[tokio::test]
async fn ten_hanging_redis_outages_leak_no_connection() {
    const POOL: usize = 4;
    let redis = RedisServer::start().await;
    let place = place(&redis).set("ARK__REGISTRY__POOL_SIZE", &POOL.to_string());
    let service = place.serve().await;
    register(&service, "ark-outage", 1).await;
    let (mut slowest, mut recovery) = (Duration::ZERO, Duration::ZERO);
    for round in 2..12 {
        redis.pause();
        slowest = slowest.max(check_outage(&service, round).await);
        redis.resume();
        recovery = recovery.max(check_recovery(&service, round).await);
        let open = async || connections(&redis).await;
        // Redis needs a moment to see that connections of the outage were closed.
        let what = format!("at most {POOL} connections after outage {}", round - 1);
        until(&what, RECOVERS_WITHIN, async || open().await <= POOL).await;
    }
    eprintln!("hanging: slowest answer {slowest:?}, slowest recovery {recovery:?}");
    assert_eq!(discovered(&service).await, ["ark-outage"]);
}

#[tokio::test]
async fn a_service_that_starts_without_redis_serves_once_it_comes() {
    let mut redis = RedisServer::start().await;
    redis.stop();
    let place = place(&redis);
    let service = place.serve().await;
    check_outage(&service, 1).await;
    redis.restart().await;
    let recovery = check_recovery(&service, 1).await;
    eprintln!("started without Redis: recovery {recovery:?}");
    assert_eq!(discovered(&service).await, ["ark-outage"]);
    assert!(service.terminate().await.success());
}

#[tokio::test]
async fn a_service_stops_in_order_while_redis_hangs() {
    let redis = RedisServer::start().await;
    let service = place(&redis).serve().await;
    register(&service, "a", 1).await;
    redis.pause();
    let started = Instant::now();
    assert!(service.terminate().await.success());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_wrong_password_is_a_503_and_a_line_in_the_log_that_says_what_to_do() {
    let redis = RedisServer::start().await;
    redis.inline("CONFIG SET requirepass right-one").await.unwrap();
    let address = redis.address();
    for (url, advice) in [
        (format!("redis://:wrong-one@{address}"), "check the user name and the password"),
        (format!("redis://{address}"), "set registry.redis_username and redis_password_file"),
    ] {
        let place = Place::new().set("REDIS_URL", &url);
        let service = place.serve().await;
        for path in ["/discover", "/ready", "/manifest/a"] {
            let answer = service.get(path).await;
            assert!(answer.headers().contains_key("retry-after"), "{path}");
            assert_eq!(problem(answer).await, (503, "registry_unavailable".to_owned()), "{path}");
        }
        assert_eq!(service.get_json("/health").await["status"], "degraded");
        let log = place.log();
        assert!(log.contains(advice) && !log.contains("wrong-one"), "{log}");
    }
    // With the right one from a file.
    let place = Place::new();
    std::fs::write(place.path("password"), "right-one\n").unwrap();
    let file = place.path("password").display().to_string();
    let place = place.set("REDIS_URL", &format!("redis://{address}")).set("ARK__REGISTRY__REDIS_PASSWORD_FILE", &file);
    let service = place.serve().await;
    register(&service, "a", 1).await;
    assert_eq!(discovered(&service).await, ["a"]);
}

#[test]
fn settings_of_redis_that_cannot_be_used_are_one_line_at_the_start() {
    for (variables, expected) in [
        (
            vec![("REDIS_URL", "rediss://localhost"), ("ARK__REGISTRY__REDIS_CA_FILE", "/nowhere")],
            "registry.redis_ca_file: /nowhere",
        ),
        (vec![("REDIS_URL", "redis://h"), ("ARK__REGISTRY__REDIS_SENTINELS", "a:1,b:1")], "registry.redis_url"),
        (
            vec![("ARK__REGISTRY__REDIS_SENTINELS", "a:1"), ("ARK__REGISTRY__REDIS_CLUSTER_NODES", "a:1")],
            "redis_cluster_nodes",
        ),
        (vec![("REDIS_URL", "redis://u:hunter2@h/x/y")], "registry.redis_url"),
    ] {
        let place = variables.into_iter().fold(Place::new(), |place, (name, value)| place.set(name, value));
        for command in [&["config", "check"][..], &["serve", "--port", "0"]] {
            let output = place.command(command).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success(), "{expected}");
            assert!(said.contains(expected) && !said.contains("hunter2"), "{command:?}: {said}");
            assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        }
    }
}

/// What a program with the service's own Redis user can write, behind the service's back.
#[tokio::test]
async fn what_another_program_writes_to_redis_is_checked_like_input() {
    let redis = RedisServer::start().await;
    let place = place(&redis);
    let service = place.serve().await;
    let mut inside = look_inside(&redis).await;
    let mut seq = 1;
    register(&service, "honest", seq).await;
    let other = signed(&key(2), &manifest("other", 1));
    assert_eq!(service.post("/manifest", other.clone()).await.status(), 200);
    let listed = async || -> Vec<Value> {
        // The service keeps a list for a moment.
        tokio::time::sleep(Duration::from_millis(400)).await;
        service.get_json("/discover").await["peers"].as_array().unwrap().clone()
    };
    let before = listed().await;
    assert_eq!(before.len(), 2, "{before:?}");
    let envelope = service.get("/manifest/honest").await.text().await.unwrap();

    // What the list shows is made from the envelope.
    for (field, value) in [
        ("summary", r#"{"a":1}],"peers":[{"node_id":"injected"}"#),
        ("summary", r#"{"node_id":"honest","address":"http://attacker.example"}"#),
        ("summary", "\u{1b}[2J"),
        ("pubkey", &key(3).public_key().to_base64()),
        ("ark_instance_type", "\"\u{1b}[2J"),
    ] {
        let was: Option<String> = inside.hget("peer:honest", field).await.unwrap();
        inside.hset("peer:honest", field, value).await.unwrap();
        let peers = listed().await;
        assert_eq!(peers.len(), 2, "{field}: {peers:?}");
        let honest = peers.iter().find(|peer| peer["node_id"] == "honest").unwrap();
        let expected = before.iter().find(|peer| peer["node_id"] == "honest").unwrap();
        for member in ["address", "pubkey", "instance_type", "node_count", "manifest_hash"] {
            assert_eq!(honest[member], expected[member], "{field}: {member}");
        }
        match was {
            Some(was) => inside.hset("peer:honest", field, was).await.map(drop).unwrap(),
            None => inside.hdel("peer:honest", field).await.map(drop).unwrap(),
        }
    }

    // An envelope that its peer did not sign is not served, and the peer is left out; numbers that are none likewise.
    for (field, value) in [
        ("envelope", envelope.replace("honest", "forged")),
        ("envelope", other),
        ("envelope", "\0".repeat(100)),
        ("envelope", "x".repeat(17 << 20)),
        ("last_seen", "9".repeat(400)),
        ("last_seen", "-1".to_owned()),
        ("summary", "x".repeat(8 << 20)),
        ("pubkey", "zz".to_owned()),
    ] {
        let shown = format!("{field} {value:.20}");
        inside.hset("peer:honest", field, &value).await.unwrap();
        if field == "envelope" {
            // Nothing is known of the peer's listed fields any more.
            inside.hset("peer:honest", "summary", "{}").await.unwrap();
            let answer = problem(service.get("/manifest/honest").await).await;
            assert_eq!(answer, (404, "peer_not_found".to_owned()), "{shown}");
        }
        let names: Vec<Value> = listed().await.into_iter().map(|peer| peer["node_id"].clone()).collect();
        assert_eq!(names, ["other"], "{shown}");
        // The peer's next manifest puts its entry right.
        seq += 1;
        inside.del("peer:honest").await.unwrap();
        register(&service, "honest", seq).await;
        assert_eq!(listed().await.len(), 2, "{shown}");
    }

    // Entries of the index that are no peers, also with ids that are too long and expiries that never come.
    let mut pipe = redis::pipe();
    for number in 0..3000 {
        pipe.zadd("peers:by_expiry", format!("\u{1}junk{number}"), "+inf");
        pipe.zadd("peers:by_expiry", format!("\u{1}live{number}"), i64::MAX / (1 << 20));
    }
    pipe.zadd("peers:by_expiry", "y".repeat(3 << 20), (signing::now() + 60) * 1000);
    pipe.exec_async(&mut inside).await.unwrap();
    let started = Instant::now();
    assert_eq!(listed().await.len(), 2);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());

    // A value of another type is an error that names the key, and everything else goes on.
    inside.del("pin:honest").await.unwrap();
    inside.rpush("pin:honest", "x").await.unwrap();
    assert_eq!(service.post("/manifest", signed(&key(1), &manifest("honest", seq + 1))).await.status(), 503);
    inside.del("peers:by_expiry").await.unwrap();
    inside.set("peers:by_expiry", "x").await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(service.get("/discover").await.status(), 503);
    assert_eq!(service.get("/nodes").await.status(), 200);
    let log = place.log();
    assert!(log.contains("pin:honest") && log.contains("peers:by_expiry"), "{log}");
    assert!(log.contains("peer:honest") && !log.contains("panicked"), "{log}");
    // Repaired, it serves again.
    inside.del(&["peers:by_expiry", "pin:honest"]).await.unwrap();
    register(&service, "honest", seq + 2).await;
    assert!(discovered(&service).await.contains(&"honest".to_owned()));
}
