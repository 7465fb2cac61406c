//! Somebody of another network, or of none, at every door: he finds nothing, and the same nothing as at a path that does not exist.

use crate::{
    attacks::bed::{Attacker, VICTIM, Victim},
    service::{Place, TOKEN, json_of},
};
use ark_lattice::{
    api::{PEER_ROUTES, ROUTES},
    guard::{Asked, NETWORK_HEADER, NetworkKey, is_open_path},
    types::{SystemClock, content_digest},
};
use reqwest::{Method, RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};

const OURS: &str = "the key of our network, long enough";
const THEIRS: &str = "the key of another network, long enough";

fn member(key: &str, place: Place) -> Place {
    place.set("FEDERATION_NETWORK_KEY", key)
}

/// A request as a member of the network with `key` sends it.
fn tagged(victim: &Victim, key: &str, (method, path): (&str, &str), body: &str) -> RequestBuilder {
    let digest = if method == "GET" { String::new() } else { content_digest(body.as_bytes()) };
    let (path_only, query) = path.split_once('?').unwrap_or((path, ""));
    let asked = Asked { method, path: path_only, query, digest: &digest };
    let tag = NetworkKey::derive(key).ask(asked, VICTIM, SystemClock::shared().now()).unwrap();
    let request = victim.service.request(method.parse().unwrap(), path).header(NETWORK_HEADER, tag);
    let request = if digest.is_empty() { request } else { request.header("content-digest", digest) };
    request.header("content-type", "application/json").body(body.to_owned())
}

/// Status, headers without what differs each time, and the problem without what it says of the path.
async fn seen(request: RequestBuilder, path: &str) -> (u16, Vec<(String, String)>, String) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let passing = ["date", "x-request-id", "content-length"];
    let text = |headers: &HeaderMap| {
        let shown = headers.iter().filter(|(name, _)| !passing.contains(&name.as_str()));
        let mut shown: Vec<_> =
            shown.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        shown.sort();
        shown
    };
    let headers = text(response.headers());
    let body = response.text().await.unwrap();
    let mut problem: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{path}: {body}"));
    problem["request_id"] = Value::Null;
    let path = path.split('?').next().unwrap();
    (status, headers, problem.to_string().replace(&format!("{path};"), "PATH;"))
}

#[tokio::test]
async fn whoever_does_not_belong_here_finds_nothing_behind_any_door() {
    let victim = Victim::start_in(member(OURS, Place::new())).await;
    let plain = |method: &str, path: &str| victim.service.request(method.parse().unwrap(), path);
    let nothing = seen(plain("GET", "/nowhere-at-all"), "/nowhere-at-all").await;
    assert_eq!(nothing.0, 404);
    let doors = ROUTES.iter().chain(PEER_ROUTES).map(|route| (route.method, route.path.replace(['{', '}'], "")));
    let mut closed = 0;
    for (method, path) in doors.filter(|(_, path)| !is_open_path(path) && !path.starts_with("/docs")) {
        closed += 1;
        let door = format!("{method} {path}");
        let body = if method == "GET" { "" } else { "{}" };
        assert_eq!(seen(plain(method, &path).body(body), &path).await, nothing, "{door}");
        let other = tagged(&victim, THEIRS, (method, &path), body);
        assert_eq!(seen(other, &path).await, nothing, "{door} of another network");
        let odd = plain(method, &path).header(NETWORK_HEADER, "1.2.3").body(body);
        assert_eq!(seen(odd, &path).await, nothing, "{door} with a tag that is none");
        // What is there for a member is not this nothing.
        let ours = tagged(&victim, OURS, (method, &path), body).send().await.unwrap();
        assert!(ours.headers().contains_key(NETWORK_HEADER), "{door}");
    }
    assert!(closed >= 20, "{closed} doors");
    let entry = victim.has_audited("not_found", "network", "-");
    assert_eq!(entry["detail"]["address"], "127.0.0.1");
    // Letters of a door's name that come encoded open nothing.
    assert_eq!(seen(plain("GET", "/%6cattice/head"), "/%6cattice/head").await, nothing);
}

#[tokio::test]
async fn what_a_member_sent_is_of_no_use_to_who_heard_it() {
    let victim = Victim::start_in(member(OURS, Place::new())).await;
    let script = Attacker::new("script");
    let (first, second) = (script.manifest(1), script.manifest(2));
    let door = ("POST", "/manifest");
    // With another body, at another door, of another instance.
    let heard = tagged(&victim, OURS, door, &first).build().unwrap();
    let tag = &heard.headers()[NETWORK_HEADER];
    let digest = &heard.headers()["content-digest"];
    let forged = |method: Method, path: &str, body: &str| {
        let request = victim.service.request(method, path).header(NETWORK_HEADER, tag.clone());
        request
            .header("content-digest", digest.clone())
            .header("content-type", "application/json")
            .body(body.to_owned())
    };
    assert_eq!(forged(Method::POST, "/manifest", &second).send().await.unwrap().status(), 404);
    assert_eq!(forged(Method::POST, "/sync", &first).send().await.unwrap().status(), 404);
    assert_eq!(forged(Method::GET, "/discover", "").send().await.unwrap().status(), 404);
    victim.has_audited("not_found", "network", "-");
    let other = victim.restarted_as("another").await;
    let request = other.service.request(Method::POST, "/manifest").header(NETWORK_HEADER, tag.clone());
    let request = request.header("content-digest", digest.clone()).header("content-type", "application/json");
    assert_eq!(request.body(first.clone()).send().await.unwrap().status(), 404);
    let back = other.restarted_as(VICTIM).await;
    let sent = tagged(&back, OURS, door, &first).send().await.unwrap();
    assert_eq!(sent.status(), 200, "{}", sent.text().await.unwrap());
}

#[tokio::test]
async fn rounds_go_within_a_network_and_across_to_nobody() {
    let source = Victim::start_in(member(OURS, Place::new())).await;
    source.service.put("shared", &json!({"id": "shared", "content": "ours"})).await;
    let asking = |key: Option<&str>| {
        let place = Place::new().set("ARK_NODE_ID", "asking").set("FEDERATION_TRUSTED_PEERS", &source.service.url);
        if let Some(key) = key { member(key, place) } else { place }
    };
    for (key, expected) in [(Some(OURS), 1), (Some(THEIRS), 0), (None, 0)] {
        let place = asking(key);
        let service = place.serve().await;
        let path = "/api/federation/sync";
        let round = service.request(Method::POST, path).bearer_auth(TOKEN).json(&json!({})).send().await.unwrap();
        let round = json_of(round).await;
        assert_eq!(round["result"][0]["success"], expected == 1, "{key:?}: {round}");
        let nodes = service.request(Method::GET, "/nodes").bearer_auth(TOKEN).send().await.unwrap();
        assert_eq!(json_of(nodes).await["total"], expected, "{key:?}");
    }
}
