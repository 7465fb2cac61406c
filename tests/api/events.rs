//! `GET /events` on the real service.

use crate::app::{TOKEN, TestApp, problem, spawn_app, spawn_in, spawn_with};
use ark_lattice::settings::Settings;
use futures_util::{Stream, StreamExt};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use std::{pin::Pin, time::Duration};

/// How long an event may take to come on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// A node's edit that is seen within a second is no matter here: nodes are written over HTTP.
async fn instance(name: &str) -> TestApp {
    spawn_with(|settings| named(settings, name)).await
}

fn named(settings: &mut Settings, name: &str) {
    settings.instance.node_id = Some(name.to_owned());
}

#[derive(Debug)]
struct Event {
    id: u64,
    name: String,
    data: Value,
}

/// An answer of `/events`, read by the rules of the HTML standard as far as we use them.
struct Events {
    chunks: Pin<Box<dyn Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>,
    text: String,
    last_id: Option<u64>,
}

impl Events {
    fn of(response: Response) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Self { chunks: Box::pin(response.bytes_stream()), text: String::new(), last_id: None }
    }

    async fn listen(app: &TestApp, query: &str) -> Self {
        let mut events = Self::of(get(app, query).send().await.unwrap());
        events.block().await.unwrap();
        assert!(events.last_id.is_some(), "the beginning says where it is");
        events
    }

    /// The next block's event; `None` where it has none. `Err`: the answer has ended.
    async fn block(&mut self) -> Result<Option<Event>, ()> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Ok(self.read(&block));
            }
            let chunk = tokio::time::timeout(DEADLINE, self.chunks.next()).await.expect("in time").ok_or(())?;
            self.text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        }
    }

    fn read(&mut self, block: &str) -> Option<Event> {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        self.last_id = field("id").map(|id| id.parse().unwrap()).or(self.last_id);
        let data = field("data")?;
        let name = field("event").unwrap().to_owned();
        Some(Event { id: self.last_id.unwrap(), name, data: serde_json::from_str(data).unwrap() })
    }

    async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.block().await.expect("the answer goes on") {
                return event;
            }
        }
    }

    /// The next event of this name, whatever comes before it.
    async fn next_of(&mut self, name: &str) -> Event {
        loop {
            let event = self.next().await;
            if event.name == name {
                return event;
            }
        }
    }

    async fn rest(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Ok(block) = self.block().await {
            events.extend(block);
        }
        events
    }
}

fn get(app: &TestApp, query: &str) -> reqwest::RequestBuilder {
    app.request(Method::GET, &format!("/events{query}")).bearer_auth(TOKEN)
}

async fn kept(app: &TestApp, query: &str) -> Vec<Event> {
    Events::of(get(app, query).send().await.unwrap()).rest().await
}

async fn ask(app: &TestApp, path: &str, body: &Value) -> Value {
    let request = app.request(Method::POST, path).bearer_auth(TOKEN).json(body);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    response.json().await.unwrap()
}

#[tokio::test]
async fn all_that_happens_between_two_instances_is_heard() {
    let (a, b) = (instance("ark-a").await, instance("ark-b").await);
    let mut heard = Events::listen(&a, "").await;
    a.put("both", &json!({"id": "both", "by": "a"})).await;
    let changed = heard.next().await;
    assert_eq!(changed.name, "node-changed");
    let node = json!({"id": "both", "seq": 1, "deleted": false});
    let expected = json!({"at": crate::app::NOW, "since": 0, "seq": 1, "nodes": [node], "more": 0});
    assert_eq!(changed.data, expected);

    // Made later, knowing nothing of the other.
    b.clock.advance(Duration::from_secs(1));
    b.put("both", &json!({"id": "both", "by": "b"})).await;
    a.clock.advance(Duration::from_secs(2));
    let peer = json!({"peerUrl": b.url});
    ask(&a, "/api/federation/peers/add", &peer).await;
    let added = heard.next().await;
    assert_eq!((added.name.as_str(), &added.data["peer"]), ("peer-added", &json!(b.url)));
    assert_eq!(added.id, changed.id + 1);
    assert_eq!(ask(&a, "/api/federation/sync", &peer).await["result"][0]["conflictsResolved"], 1);
    assert_eq!(heard.next_of("sync-started").await.data["peer"], b.url);
    // Whether the change is heard of before the round's end depends on who is faster.
    let mut rest = Vec::new();
    while rest.len() < 4 {
        rest.push(heard.next().await);
    }
    let one = |name: &str| &rest.iter().find(|event| event.name == name).expect(name).data;
    assert_eq!((&one("peer-online")["peer"], &one("peer-online")["nodeId"]), (&json!(b.url), &json!("ark-b")));
    let complete = one("sync-complete");
    let numbers = ["nodesReceived", "nodesSent", "conflictsResolved"].map(|name| complete[name].as_u64().unwrap());
    assert_eq!((numbers, &complete["error"]), ([1, 0, 1], &Value::Null), "{complete}");
    let conflict = one("conflict-resolved");
    assert_eq!((&conflict["nodeId"], &conflict["winner"]), (&json!("both"), &json!("ark-b")), "{conflict}");
    let listed = a.get_json("/conflicts").await;
    assert_eq!(conflict["number"], listed["conflicts"][0]["number"], "{listed}");
    assert_eq!(conflict["lost"]["updatedAt"], crate::app::NOW);
    assert_eq!(one("node-changed")["nodes"][0]["id"], "both");

    b.stop().await;
    ask(&a, "/api/federation/sync", &peer).await;
    let offline = heard.next_of("peer-offline").await;
    assert!(offline.data["error"].as_str().unwrap().contains("cannot be reached"), "{offline:?}");
    let path = format!("/api/federation/peers/{}", crate::app::percent_encode(peer["peerUrl"].as_str().unwrap()));
    a.request(Method::DELETE, &path).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(heard.next_of("peer-removed").await.data["peer"], peer["peerUrl"]);
    a.delete("both").await;
    assert_eq!(heard.next_of("node-changed").await.data["nodes"][0]["deleted"], true);
    a.stop().await;
}

#[tokio::test]
async fn whoever_comes_back_misses_nothing_or_is_told() {
    let app = instance("ark-a").await;
    let before = Events::listen(&app, "").await.last_id.unwrap();
    for port in 1..=5 {
        ask(&app, "/api/federation/peers/add", &json!({"peerUrl": format!("http://127.0.0.1:{port}")})).await;
    }
    let ports = |events: &[Event]| -> Vec<u64> {
        let port = |event: &Event| event.data["peer"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
        events.iter().filter(|event| event.name == "peer-added").map(port).collect()
    };
    let all = kept(&app, &format!("?seconds=0&types=peer-added&last_event_id={before}")).await;
    assert_eq!(ports(&all), [1, 2, 3, 4, 5]);
    let third = all[2].id;
    // The header is what a browser says; the address stays the one that it was given at first.
    let request = get(&app, &format!("?seconds=0&last_event_id={before}")).header("last-event-id", third);
    let later = Events::of(request.send().await.unwrap()).rest().await;
    assert_eq!(ports(&later), [4, 5]);
    assert!(kept(&app, "?seconds=0").await.is_empty());
    assert!(
        kept(&app, &format!("?seconds=0&types=sync-complete,peer-removed&last_event_id={before}")).await.is_empty()
    );
    // It waits for what comes, and ends.
    let waiting = tokio::spawn(get(&app, "?seconds=1").send());
    assert!(Events::of(waiting.await.unwrap().unwrap()).rest().await.is_empty());

    let folder = app.stop().await;
    let app = spawn_in(folder, |settings| named(settings, "ark-a")).await;
    // The tests' clock stands still: a later start is one at a later time.
    let missed = kept(&app, &format!("?seconds=0&last_event_id={}", before - 1)).await;
    assert_eq!((missed[0].name.as_str(), &missed[0].data), ("missed", &json!({"count": null})));
    app.stop().await;
}

#[tokio::test]
async fn many_changes_at_once_are_few_small_events() {
    let app = instance("ark-a").await;
    let mut heard = Events::listen(&app, "?types=node-changed").await;
    let folder = app.lattice.clone();
    for n in 0..2000 {
        std::fs::write(folder.join(format!("node-{n}.json")), format!("{{\"id\":\"node-{n}\"}}")).unwrap();
    }
    let (mut told, mut events) = (0, 0);
    while told < 2000 {
        let data = heard.next().await.data;
        let named = data["nodes"].as_array().unwrap().len();
        assert!(named <= 100 && data.to_string().len() < 16 << 10, "{named}");
        told += u64::try_from(named).unwrap() + data["more"].as_u64().unwrap();
        events += 1;
    }
    assert_eq!(told, 2000);
    let metrics = app.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains(&format!("ark_events_total{{kind=\"node-changed\"}} {events}\n")), "{metrics}");
    app.stop().await;
}

#[tokio::test]
async fn only_the_operator_listens_and_only_so_many_at_once() {
    let app = spawn_with(|settings| settings.events.max_listeners = 1).await;
    assert_eq!(problem(app.get("/events").await).await, (401, "operator_token_required".to_owned()));
    let refused = async |query: &str| problem(get(&app, query).send().await.unwrap()).await;
    let cases = [
        "?types=",
        "?types=peer",
        "?types=peer-added,",
        "?seconds=-1",
        "?seconds=86401",
        "?last_event_id=x",
        "?since=1",
    ];
    for query in cases.into_iter().chain(["?last_event_id=9007199254740992"]) {
        assert_eq!(refused(query).await, (400, "invalid_query".to_owned()), "{query}");
    }
    for id in ["", "-1", "1.5", "99999999999999999999"] {
        let response = get(&app, "?seconds=0").header("last-event-id", id).send().await.unwrap();
        assert_eq!(problem(response).await, (400, "invalid_header".to_owned()), "{id}");
    }
    let first = Events::listen(&app, "?seconds=5").await;
    assert_eq!(refused("").await, (503, "too_many_listeners".to_owned()));
    let metrics = app.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("ark_event_listeners 1\n"), "{metrics}");
    let head = app.request(Method::HEAD, "/events").bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(head.status(), StatusCode::OK, "it takes nobody's place");
    assert!(first.rest().await.is_empty());
    let free = async |app: &TestApp| get(app, "?seconds=0").send().await.unwrap().status() == StatusCode::OK;
    app.wait_until("the place is free again", free).await;
    app.stop().await;
}

#[tokio::test]
async fn whoever_listens_hears_the_end_and_keeps_no_service_from_stopping() {
    let app = spawn_app().await;
    let heard = Events::listen(&app, "").await;
    let (_, events) = tokio::join!(app.stop(), heard.rest());
    assert!(events.is_empty(), "{events:?}");
}
