//! What the service says of itself to others: traces, as OpenTelemetry's own definitions read them, and log lines, whoever tries to
//! write them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it stands"
)]

#[path = "support/python.rs"]
mod python;
#[path = "support/service.rs"]
mod service;
#[path = "support/signing.rs"]
mod signing;

use ark_lattice::{
    identity::{KeyPair, trace_proof},
    types::Timestamp,
};
use python::{REPOSITORY, python};
use reqwest::Method;
use serde_json::{Value, json};
use service::{Place, Service, TOKEN, json_of, text, until};
use signing::{key, manifest, now, signed};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

const DEADLINE: Duration = Duration::from_secs(60);

/// A collector in a process of its own, which does not outlive this.
struct Collector {
    process: Child,
    port: u16,
    out: PathBuf,
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _already_gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

impl Collector {
    /// Its first answers have these statuses.
    fn start(place: &Place, statuses: &[&str]) -> Self {
        let out = place.path("spans");
        let mut command = python();
        command.arg(Path::new(REPOSITORY).join("tests/support/collector.py")).arg(&out).args(statuses);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let port = port.trim().parse().expect("the collector starts: `make test-deps` installs what it needs");
        Self { process, port, out }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The spans that came so far.
    fn spans(&self) -> Vec<Value> {
        let said = fs::read_to_string(&self.out).unwrap_or_default();
        let spans: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(spans.iter().all(|span| span["wrong"].is_null()), "{said}");
        spans
    }
}

/// Instances that export to `endpoint`, with nothing going on by itself.
fn traced(name: &str, endpoint: &str) -> Place {
    Place::new()
        .set("ARK_NODE_ID", name)
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .set("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20of-the-tests")
}

/// Without asking it first: the first round is the first contact.
async fn add_peer(service: &Service, other: &str) {
    let request = service.request(Method::POST, "/api/federation/peers/add").bearer_auth(TOKEN);
    json_of(request.json(&json!({ "peerUrl": other, "probe": false })).send().await.unwrap()).await;
}

async fn round(service: &Service) -> Value {
    let request = service.request(Method::POST, "/api/federation/sync").bearer_auth(TOKEN);
    json_of(request.json(&json!({})).send().await.unwrap()).await
}

async fn counted(service: &Service, line: &str) -> Option<u64> {
    let metrics = service.get("/metrics").await.text().await.unwrap();
    metrics.lines().find_map(|it| it.strip_prefix(line)?.trim().parse().ok())
}

fn of<'a>(spans: &'a [Value], instance: &str) -> Vec<&'a Value> {
    spans.iter().filter(|span| span["resource"]["service.instance.id"] == instance).collect()
}

#[tokio::test]
async fn one_trace_follows_a_round_through_both_instances() {
    let beside = Place::new();
    // The first request is refused for now: it comes again.
    let collector = Collector::start(&beside, &["503"]);
    let (here, there) = (traced("ark-here", &collector.url()), traced("ark-there", &collector.url()));
    here.write_node("a", &json!({"id": "a", "content": "from here"}));
    there.write_node("b", &json!({"id": "b", "content": "from there"}));
    let (one, two) = (here.serve().await, there.serve().await);
    add_peer(&one, &two.url).await;
    round(&one).await;
    assert_eq!(one.set_hash().await, two.set_hash().await);
    until("the refused ones come again", DEADLINE, async || collector.spans().len() > 7).await;
    assert_eq!(counted(&one, "ark_trace_spans_total{outcome=\"failed\"} ").await, Some(0));
    round(&one).await;
    // What is not exported yet goes with the stop.
    assert!(two.terminate().await.success());
    assert!(one.terminate().await.success());

    let spans = collector.spans();
    let (ours, theirs) = (of(&spans, "ark-here"), of(&spans, "ark-there"));
    let roots: Vec<_> = ours.iter().filter(|span| span["name"] == "round").collect();
    let root = roots.iter().find(|span| span["attributes"]["ark.round.nodes_sent"] == 1).expect("a round that sent");
    assert_eq!((&root["kind"], &root["parent"]), (&json!("SPAN_KIND_INTERNAL"), &json!("")));
    assert_eq!(root["attributes"]["ark.round.outcome"], "in_step");
    assert_eq!(root["attributes"]["ark.round.nodes_received"], 1);
    assert_eq!(root["attributes"]["ark.peer.id"], "ark-there");
    assert_eq!(root["scope"], "ark-lattice");
    assert_eq!(root["authorization"], "Bearer of-the-tests");
    assert_eq!(root["resource"]["service.name"], "ark-lattice");

    // Everything that was asked in this round hangs below it, and what was done there below what was asked.
    let asked: Vec<_> = ours.iter().filter(|span| span["parent"] == root["span"]).collect();
    let names: Vec<_> = asked.iter().map(|span| text(&span["name"])).collect();
    for name in ["GET /lattice/head", "GET /lattice/changes", "POST /lattice/changes", "POST /manifest"] {
        assert!(names.iter().any(|it| it == name), "{name} is missing: {names:?}");
    }
    let mut joined = Vec::new();
    for span in &asked {
        assert_eq!((&span["trace"], &span["kind"]), (&root["trace"], &json!("SPAN_KIND_CLIENT")));
        let inside = |key: &str| span[key].as_u64().unwrap();
        assert!(inside("begun") <= inside("ended") && span["begun"].as_u64() >= root["begun"].as_u64(), "{span}");
        let below: Vec<_> = theirs.iter().filter(|other| other["parent"] == span["span"]).collect();
        for other in below {
            assert_eq!((&other["trace"], &other["kind"]), (&root["trace"], &json!("SPAN_KIND_SERVER")));
            assert_eq!(
                (&other["name"], &other["attributes"]["http.response.status_code"]),
                (&span["name"], &json!(200))
            );
            assert_eq!(other["attributes"]["ark.peer.id"], "ark-here");
            assert_eq!(other["flags"], 0x301, "its parent is another process's");
            joined.push(text(&other["name"]));
        }
    }
    for name in ["GET /lattice/changes", "POST /lattice/nodes", "POST /lattice/offer", "POST /lattice/changes"] {
        assert!(joined.iter().any(|it| it == name), "{name} is not seen from there: {joined:?}\n{spans:#?}");
    }

    // The first head of all was asked for before it was known whom to prove anything to; that of the second round was not.
    assert_eq!(theirs.iter().filter(|span| span["links"][0][0] == root["trace"]).count(), 1);
    let second = roots.iter().find(|span| span["trace"] != root["trace"]).expect("the second round");
    let heads: Vec<_> = theirs.iter().filter(|span| span["trace"] == second["trace"]).collect();
    assert!(!heads.is_empty() && heads.iter().all(|span| span["name"] == "GET /lattice/head"), "{spans:#?}");
}

/// Asks for the head with these headers.
async fn ask(service: &Service, headers: &[(&str, &str)]) {
    let mut request = service.request(Method::GET, "/lattice/head");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    assert_eq!(request.send().await.unwrap().status(), 200);
}

fn proof(trace: u8, from: &str, to: &str, key: &KeyPair) -> String {
    let now = Timestamp::from_seconds(i64::try_from(now()).unwrap());
    trace_proof::prove(&[trace; 16], (from, to), key, now).unwrap()
}

fn parent(trace: u8, flags: &str) -> String {
    format!("00-{}-00f067aa0ba902b7-{flags}", format!("{trace:02x}").repeat(16))
}

#[tokio::test]
async fn nobody_writes_into_a_trace_but_a_peer_that_proves_it_is_its_own() {
    let beside = Place::new();
    let collector = Collector::start(&beside, &[]);
    let place = traced("ark-here", &collector.url());
    let service = place.serve().await;
    assert_eq!(service.post("/manifest", signed(&key(1), &manifest("ark-friend", 1))).await.status(), 200);

    let began = Instant::now();
    let good = proof(1, "ark-friend", "ark-here", &key(1));
    ask(&service, &[("traceparent", &parent(1, "01")), ("ark-trace", &good)]).await;
    // A stranger's key, another one's proof, one for somebody else, one of another trace, rubbish, twice, and none.
    let strangers = proof(2, "ark-friend", "ark-here", &key(2));
    let unknown = proof(2, "ark-stranger", "ark-here", &key(2));
    let for_another = proof(2, "ark-friend", "ark-there", &key(1));
    let long = "x".repeat(4000);
    for claimed in [&strangers, &unknown, &for_another, &good, &long] {
        ask(&service, &[("traceparent", &parent(2, "01")), ("ark-trace", claimed)]).await;
    }
    let twice = proof(2, "ark-friend", "ark-here", &key(1));
    ask(&service, &[("traceparent", &parent(2, "01")), ("ark-trace", &twice), ("ark-trace", &twice)]).await;
    for _ in 0..300 {
        ask(&service, &[("traceparent", &parent(2, "01"))]).await;
    }
    // Whoever keeps nothing himself, and what is no traceparent.
    let unsampled = proof(3, "ark-friend", "ark-here", &key(1));
    ask(&service, &[("traceparent", &parent(3, "00")), ("ark-trace", &unsampled)]).await;
    ask(&service, &[("traceparent", "00-zz-1-01"), ("ark-trace", &good)]).await;
    ask(&service, &[("traceparent", &parent(3, "01")), ("traceparent", &parent(3, "01"))]).await;
    let seconds = began.elapsed().as_secs() + 2;
    assert!(service.terminate().await.success());

    let spans = collector.spans();
    let trace = |number: u8| format!("{number:02x}").repeat(16);
    let joined: Vec<_> = spans.iter().filter(|span| span["trace"] == trace(1)).collect();
    assert_eq!(joined.len(), 1, "{spans:#?}");
    assert_eq!(joined[0]["parent"], "00f067aa0ba902b7");
    assert!(spans.iter().all(|span| span["trace"] != trace(2) && span["trace"] != trace(3)), "{spans:#?}");
    // Of the others there are traces of our own that name theirs, and not more than we want of them.
    let linked: Vec<_> = spans.iter().filter(|span| span["links"][0][0] == trace(2)).collect();
    assert!(linked.iter().all(|span| span["parent"] == "" && span["attributes"]["ark.peer.id"].is_null()));
    let most = usize::try_from(seconds * 5).unwrap();
    assert!(!linked.is_empty() && linked.len() <= most, "{} of {most}", linked.len());
    assert_eq!(spans.len(), 1 + linked.len(), "{spans:#?}");
}

#[tokio::test]
async fn a_collector_that_is_away_or_silent_holds_nothing_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for endpoint in [format!("http://{gone}"), format!("http://{}", silent.local_addr().unwrap())] {
        let (here, there) = (traced("ark-here", &endpoint), Place::new().set("ARK_NODE_ID", "ark-there"));
        there.write_node("b", &json!({"id": "b"}));
        let (one, two) = (here.serve().await, there.serve().await);
        add_peer(&one, &two.url).await;
        let report = round(&one).await;
        assert_eq!(one.nodes().await.len(), 1, "{report}");
        // More than the queue holds: what finds no room is counted, and every round ends as ever.
        assert_eq!(counted(&one, "ark_trace_spans_total{outcome=\"exported\"} ").await, Some(0));
        let stopping = Instant::now();
        assert!(one.terminate().await.success());
        // Its own bound on the last attempt is 2 s; a request to the collector may take 10.
        assert!(stopping.elapsed() < Duration::from_secs(9), "{:?}", stopping.elapsed());
    }
}

#[tokio::test]
async fn the_metrics_of_the_federation_are_those_of_its_rounds() {
    let (here, there) = (Place::new().set("ARK_NODE_ID", "ark-here"), Place::new().set("ARK_NODE_ID", "ark-there"));
    there.write_node("b", &json!({"id": "b"}));
    let (one, two) = (here.serve().await, there.serve().await);
    assert_eq!(counted(&one, "federation_peers_connected ").await, Some(0));
    add_peer(&one, &two.url).await;
    round(&one).await;
    assert_eq!(counted(&one, "federation_peers_connected ").await, Some(1));
    assert_eq!(counted(&one, "federation_sync_duration_seconds_count{outcome=\"in_step\"} ").await, Some(1));
    for request in ["head", "changes", "manifest"] {
        let line = format!("federation_network_latency_seconds_count{{request=\"{request}\"}} ");
        assert!(counted(&one, &line).await.is_some_and(|count| count > 0), "{line}");
    }
    // Nothing is traced where nobody asked for it.
    assert_eq!(counted(&one, "ark_trace_spans_total{outcome=\"exported\"} ").await, None);
    two.kill();
    round(&one).await;
    assert_eq!(counted(&one, "federation_peers_connected ").await, Some(0));
    assert!(counted(&one, "federation_sync_duration_seconds_count{outcome=\"failed\"} ").await >= Some(1));
}

#[tokio::test]
async fn the_metrics_count_keys_by_their_level_of_trust() {
    let place = Place::new();
    let service = place.serve().await;
    let decide = async |what: &str, number: u64| {
        let named = json!({ "peer_id": format!("ark-{number}"), "public_key": key(number).public_key().to_base64() });
        let request = service.request(Method::POST, &format!("/v1/trust/{what}")).bearer_auth(TOKEN);
        json_of(request.json(&named).send().await.unwrap()).await
    };
    for number in [1, 2, 3] {
        decide("verify", number).await;
    }
    decide("revoke", 2).await;
    for (level, count) in [("unknown", 0), ("pending", 0), ("verified", 2), ("revoked", 1)] {
        let line = format!("federation_trust_relationships_total{{level=\"{level}\"}} ");
        assert_eq!(counted(&service, &line).await, Some(count), "{level}");
    }
}

/// What ends a line, speaks to a terminal, or turns the direction of what follows.
fn is_harmful(c: char) -> bool {
    c.is_control() || "\u{202e}\u{2028}\u{2066}".contains(c)
}

/// Answers every request with a refusal that wants to be a line of the log.
fn liar() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _whatever_it_asks = stream.read(&mut [0; 4096]);
            let code = "\\u001b[2J\\n{\\\"event\\\":\\\"forged\\\"}\\u202e\\u2028\\u009b31m";
            let body = format!("{{\"code\":\"{code}\",\"detail\":\"{code}\"}}");
            let head = format!("HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _gone = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    url
}

#[tokio::test]
async fn a_log_line_is_one_line_and_says_what_the_service_says() {
    const NAME: &str = "x\n{\"level\":\"ERROR\",\"event\":\"forged\"}\n2026-01-01T00:00:00Z ERROR forged\u{1b}[2J\u{9b}31m\u{202e}\u{2028}.json";
    for format in ["json", "text"] {
        let there = Place::new().set("ARK_NODE_ID", "ark-there");
        let place = Place::new().set("ARK_NODE_ID", "ark-here").set("ARK__LOG__FORMAT", format);
        let place = place.set("ARK__LOG__LEVEL", "info,ark_lattice=debug");
        fs::write(place.lattice().join(NAME), "no JSON\u{1b}[2J").unwrap();
        let (one, two) = (place.serve().await, there.serve().await);
        add_peer(&one, &liar()).await;
        add_peer(&one, &two.url).await;
        round(&one).await;
        assert!(one.terminate().await.success());
        let log = place.log();
        assert!(log.contains("forged"), "{log}");
        for line in log.lines() {
            assert!(!line.chars().any(is_harmful), "{line:?}");
            if format == "text" {
                let first = line.split_whitespace().nth(1).unwrap();
                assert!(
                    ["DEBUG", "INFO", "WARN", "ERROR"].contains(&first) && !line.starts_with("2026-01-01T"),
                    "{line}"
                );
                continue;
            }
            let said: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
            assert!(said["event"] != "forged" && said["timestamp"].is_string(), "{line}");
        }
        if format == "json" {
            let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let connected = lines.iter().find(|line| line["event"] == "peer_connected").expect(&log);
            assert_eq!((&connected["level"], &connected["peer_id"]), (&json!("INFO"), &json!("ark-there")));
            assert!(connected["latency_ms"].is_u64(), "{connected}");
            let broken = lines.iter().find(|line| line["lattice.file"].is_string()).expect(&log);
            assert_eq!(broken["lattice.file"], NAME, "whoever reads the JSON reads the name itself");
        }
    }
}
