//! The service behind real proxies, with the files of deploy/: over TLS everything works as without them, the client's address is the
//! client's, and what is not for outside stays inside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it stands"
)]

#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/service.rs"]
mod service;
#[path = "support/signing.rs"]
mod signing;

use proxy::{CLIENT, Proxy};
use reqwest::{StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};
use service::{Place, TOKEN, json_of, problem, until};
use signing::{key, manifest, signed};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::net::{TcpListener, TcpStream};

/// `limits.sync_bytes`.
const SYNC_BYTES: usize = 32 << 20;

/// As docker-compose.yml and the how-tos configure it: the proxy is believed, and nobody else.
fn place() -> Place {
    Place::new()
        .with_default_trust()
        .set("ARK__SERVER__TRUSTED_PROXIES", "127.0.0.1")
        .set("ARK__LOG__LEVEL", "warn,ark_lattice=debug")
}

/// Everything that a peer does, over TLS.
async fn check_traffic(proxy: &Proxy, place: &Place) {
    let client = proxy.client();
    let post = |path: &str, body: String| {
        client.post(proxy.url(path)).header(CONTENT_TYPE, "application/json").body(body).send()
    };
    let registered = json_of(post("/manifest", signed(&key(1), &manifest("ark-remote", 1))).await.unwrap()).await;
    assert_eq!(registered["status"], "registered");
    let peers = json_of(client.get(proxy.url("/discover")).send().await.unwrap()).await;
    assert_eq!((&peers["count"], &peers["peers"][0]["node_id"]), (&json!(1), &json!("ark-remote")));

    let node = json!({"id": "from-outside", "value": "Grüß Gott"});
    let written = client.put(proxy.url("/nodes/from-outside")).bearer_auth(TOKEN).json(&node).send().await.unwrap();
    assert_eq!(written.status(), StatusCode::CREATED);
    assert!(place.lattice().join("from-outside.json").exists());
    let refused = post("/manifest", "{".to_owned()).await.unwrap();
    assert_eq!(problem(refused).await, (400, "json_syntax".to_owned()));

    // A page for people is at the other port only to send them here.
    let plain = client.get(format!("http://localhost:{}/docs/?a=b", proxy.http)).send().await.unwrap();
    assert_eq!(plain.status(), StatusCode::PERMANENT_REDIRECT);
    let target = plain.headers()["location"].to_str().unwrap();
    assert!(target.starts_with("https://localhost") && target.ends_with("/docs/?a=b"), "{target}");
    // Not under a name of somebody else's.
    let foreign = client.get(proxy.url("/health")).header("host", "evil.example").send().await.unwrap();
    assert!(!foreign.text().await.unwrap().contains("node_id"));
    let secure = client.get(proxy.url("/health")).send().await.unwrap();
    assert!(secure.headers()["strict-transport-security"].to_str().unwrap().starts_with("max-age="));
}

/// The whole delta, streamed and compressed once.
async fn check_stream(proxy: &Proxy, nodes: &BTreeMap<String, Value>) {
    let client = proxy.client();
    let request = client.post(proxy.url("/sync")).header(CONTENT_TYPE, "application/json");
    // The client unpacks gzip, once: packed twice, the lines would be no JSON.
    let mut answer = request.header("accept", "application/x-ndjson").body(r#"{"nodes": []}"#).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let mut text = Vec::new();
    let mut pieces = 0;
    while let Some(piece) = answer.chunk().await.unwrap() {
        text.extend_from_slice(&piece);
        pieces += 1;
    }
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let received: BTreeMap<String, Value> = lines
        .map(|line| serde_json::from_slice::<Value>(line).unwrap())
        .map(|node| (service::text(&node["id"]), node))
        .collect();
    assert_eq!(received.len(), nodes.len());
    assert!(received == *nodes, "the nodes are not those of the directory");
    assert!(pieces > 10, "{} bytes in {pieces} pieces", text.len());
}

/// The body that is just small enough passes, the one that is just too large gets the service's own answer, and one that is far too
/// large gets one that reads the same.
async fn check_bounds(proxy: &Proxy) {
    let client = proxy.client();
    let sync = async |bytes: usize| {
        let body = format!("{{\"nodes\": []{}}}", " ".repeat(bytes - 13));
        assert_eq!(body.len(), bytes);
        client
            .post(proxy.url("/sync?limit=1"))
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .send()
            .await
            .unwrap()
    };
    assert_eq!(sync(SYNC_BYTES).await.status(), StatusCode::OK);
    let ours = sync(SYNC_BYTES + 1).await;
    assert!(ours.headers().contains_key("x-request-id"), "the service's own answer");
    let far_beyond = sync(2 * SYNC_BYTES).await;
    assert_eq!(far_beyond.headers()[CONTENT_TYPE], ours.headers()[CONTENT_TYPE]);
    let (ours, far_beyond) = (ours.text().await.unwrap(), far_beyond.text().await.unwrap());
    let [ours, far_beyond] = [ours, far_beyond].map(|text| serde_json::from_str::<Value>(&text).unwrap());
    assert_eq!((&ours["status"], &ours["code"]), (&json!(413), &json!("body_too_large")));
    for member in ["type", "title", "status", "code"] {
        assert_eq!(far_beyond[member], ours[member], "{far_beyond}");
    }
}

/// Swagger UI with everything that it loads, under `prefix`.
async fn check_pages(proxy: &Proxy, prefix: &str) {
    let client = proxy.client();
    let get = async |path: &str| {
        let answer = client.get(proxy.url(&format!("{prefix}{path}"))).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    };
    let (status, page) = get("/docs/").await;
    assert!(status == StatusCode::OK && page.contains("swagger-ui-bundle.js"), "{status}: {page}");
    for file in ["swagger-ui.css", "swagger-ui-bundle.js", "swagger-initializer.js"] {
        let (status, text) = get(&format!("/docs/{file}")).await;
        assert!(status == StatusCode::OK && text.len() > 100, "{prefix}/docs/{file}: {status}");
        // Where the page finds the document: relative, so that it is right under any prefix.
        assert!(file != "swagger-initializer.js" || text.contains("../openapi.json"), "{text}");
    }
    let (status, document) = get("/openapi.json").await;
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(status, StatusCode::OK);
    // No server of its own: then it is the one that the document came from, or one that is relative to it.
    let server = document["servers"][0]["url"].as_str().unwrap_or("/");
    let base = reqwest::Url::parse(&proxy.url(&format!("{prefix}/openapi.json"))).unwrap();
    let resolved = base.join(server).unwrap();
    assert_eq!((resolved.host_str(), resolved.port()), (Some("localhost"), Some(proxy.https)), "{server}");
    assert!(prefix.is_empty() || resolved.path().trim_end_matches('/') == prefix, "{server} under {prefix}");
    let index: Value = serde_json::from_str(&get("/").await.1).unwrap();
    let routes = index["routes"].as_array().unwrap();
    assert!(routes.iter().any(|route| route["path"] == format!("{prefix}/discover")), "{index}");
}

/// Who the client is does not depend on what it says.
async fn check_origin(proxy: &Proxy, place: &Place) {
    let client = proxy.client();
    let spoofed = client
        .get(proxy.url("/"))
        .header("x-forwarded-for", "203.0.113.9")
        .header("x-forwarded-host", "evil.example")
        .header("x-forwarded-prefix", "/evil")
        .header("x-forwarded-proto", "http")
        .header("forwarded", "for=203.0.113.9;host=evil.example")
        .header("x-real-ip", "203.0.113.9");
    let index = json_of(spoofed.send().await.unwrap()).await;
    assert!(!index.to_string().contains("evil"), "{index}");
    let logged = || place.log().lines().filter(|line| line.contains(" request")).map(str::to_owned).collect::<Vec<_>>();
    let from_client = format!("client.address={CLIENT}");
    until("the request is in the log", Duration::from_secs(10), async || {
        logged().iter().any(|line| line.contains(&from_client) && line.contains("http.route=\"/\""))
    })
    .await;
    assert!(!place.log().contains("203.0.113.9"), "{}", place.log());
}

/// However the path is written.
async fn check_metrics(proxy: &Proxy, prefix: &str) {
    let mut paths = vec!["/metrics".to_owned(), "/metrics?x=1".to_owned()];
    for path in ["/metrics", "/metrics/", "/%6Detrics", "/metrics%2F", "//metrics", "/./metrics", "/x/../metrics"] {
        paths.push(format!("{prefix}{path}"));
    }
    for path in paths {
        // Not with our own client, which tidies a path up.
        let mut curl = std::process::Command::new("curl");
        curl.args(["--silent", "--include", "--insecure", "--http1.1", "--path-as-is", "--noproxy", "*"]);
        curl.args(["--max-time", "30", "--resolve", &format!("localhost:{}:127.0.0.1", proxy.https)]);
        curl.arg(proxy.url(&path));
        let answer = tokio::task::spawn_blocking(move || curl.output().unwrap()).await.unwrap();
        let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
        assert!(answer.starts_with("HTTP/1.1 404") && !answer.contains("http_requests"), "{path}: {answer}");
    }
}

/// Passes connections on to the service and counts them.
async fn counting_relay(service: u16) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, count) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut inward, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut outward = TcpStream::connect(("127.0.0.1", service)).await.unwrap();
                let _closed_by_either = tokio::io::copy_bidirectional(&mut inward, &mut outward).await;
            });
        }
    });
    (port, count)
}

/// Twenty requests in a row, each on a connection of its own to the proxy, need one connection to the service.
async fn check_keep_alive(proxy: &Proxy, connections: &AtomicUsize) {
    let client = proxy.forgetful_client();
    let before = connections.load(Ordering::SeqCst);
    for _ in 0..20 {
        let answer = client.get(proxy.url("/nodes?limit=1")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.bytes().await.unwrap();
    }
    let opened = connections.load(Ordering::SeqCst) - before;
    assert!(opened <= 2, "{opened} connections for 20 requests");
}

/// While the service is away the proxy says so as the service says things; when it is back, so is everything.
async fn check_restart(proxy: &Proxy, place: &Place, service: service::Service) {
    let client = proxy.client();
    let port = service.port;
    service.kill();
    let answer = client.get(proxy.url("/discover")).send().await.unwrap();
    assert_eq!(answer.headers()[CONTENT_TYPE], "application/problem+json");
    assert!(answer.headers().contains_key("retry-after"));
    assert_eq!(problem(answer).await, (502, "bad_gateway".to_owned()));
    let _service = place.serve_on(port).await;
    until("the proxy finds the service again", Duration::from_secs(15), async || {
        client.get(proxy.url("/discover")).send().await.unwrap().status() == StatusCode::OK
    })
    .await;
}

fn many_nodes(place: &Place) -> BTreeMap<String, Value> {
    (0..1500)
        .map(|number| {
            let id = format!("node-{number}");
            let node = json!({"id": id, "filler": format!("{number} äöü ").repeat(500)});
            place.write_node(&id, &node);
            (id, node)
        })
        .collect()
}

#[tokio::test]
async fn behind_nginx_everything_works_as_without_it() {
    let place = place();
    let service = place.serve().await;
    let (port, connections) = counting_relay(service.port).await;
    let proxy = Proxy::nginx(port).await;
    check_traffic(&proxy, &place).await;
    let challenge = format!("http://localhost:{}/.well-known/acme-challenge/token", proxy.http);
    assert_eq!(proxy.client().get(challenge).send().await.unwrap().text().await.unwrap(), "for the authority");
    check_pages(&proxy, "").await;
    check_pages(&proxy, "/ark").await;
    check_origin(&proxy, &place).await;
    check_metrics(&proxy, "").await;
    check_metrics(&proxy, "/ark").await;
    check_keep_alive(&proxy, &connections).await;
}

#[tokio::test]
async fn behind_caddy_everything_works_as_without_it() {
    let place = place();
    let service = place.serve().await;
    let (port, connections) = counting_relay(service.port).await;
    let proxy = Proxy::caddy(port, &[]).await;
    check_traffic(&proxy, &place).await;
    check_pages(&proxy, "").await;
    check_origin(&proxy, &place).await;
    check_metrics(&proxy, "").await;
    check_keep_alive(&proxy, &connections).await;
}

#[tokio::test]
async fn behind_caddy_a_prefix_that_the_service_knows_works() {
    let place = place().set("ARK__SERVER__BASE_PATH", "/tools/ark");
    let service = place.serve().await;
    let proxy = Proxy::caddy(service.port, &[("ARK_BASE_PATH", "/tools/ark")]).await;
    check_pages(&proxy, "/tools/ark").await;
    check_metrics(&proxy, "/tools/ark").await;
}

#[tokio::test]
async fn behind_nginx_large_bodies_and_streams_go_through() {
    let place = place();
    let nodes = many_nodes(&place);
    let service = place.serve().await;
    let proxy = Proxy::nginx(service.port).await;
    check_stream(&proxy, &nodes).await;
    check_bounds(&proxy).await;
    check_restart(&proxy, &place, service).await;
}

/// nginx with the limit that it has where nothing is set. What fits goes; what does not is named, with the line for nginx.
#[tokio::test]
async fn a_proxy_that_passes_little_gets_smaller_requests_and_what_never_fits_is_named() {
    let (hub, spoke) = (Place::new(), Place::new().set("ARK_NODE_ID", "ark-spoke"));
    for number in 0..40 {
        spoke.write_node(&format!("n{number}"), &json!({"id": format!("n{number}"), "filler": "x".repeat(40_000)}));
    }
    spoke.write_node("large", &json!({"id": "large", "filler": "x".repeat(1_200_000)}));
    let there = hub.serve().await;
    let proxy = Proxy::nginx_that_passes(there.port, "1m").await;
    let certificate = proxy.certificate();
    let spoke = spoke
        .set("FEDERATION_TRUSTED_PEERS", &proxy.url(""))
        .set("ARK__FEDERATION__TLS_CA", certificate.to_str().unwrap());
    let here = spoke.serve().await;
    let answer = here.request(reqwest::Method::POST, "/api/federation/sync").bearer_auth(TOKEN).json(&json!({})).send();
    let answer = json_of(answer.await.unwrap()).await;
    assert_eq!(there.nodes().await.len(), 40, "{answer}");
    let log = spoke.log();
    let named: Vec<_> = log.lines().filter(|line| line.contains("too large")).collect();
    assert_eq!(named.len(), 1, "{log}");
    assert!(named[0].contains("node.id=\"large\"") && named[0].contains("client_max_body_size 33m;"), "{}", named[0]);
    assert!(!log.contains("<html") && !answer.to_string().contains("<html"), "{log}");
}

#[tokio::test]
async fn behind_caddy_large_bodies_and_streams_go_through() {
    let place = place();
    let nodes = many_nodes(&place);
    let service = place.serve().await;
    let proxy = Proxy::caddy(service.port, &[]).await;
    check_stream(&proxy, &nodes).await;
    check_bounds(&proxy).await;
    check_restart(&proxy, &place, service).await;
}
