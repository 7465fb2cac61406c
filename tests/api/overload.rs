//! More at once than there is memory, connections and room for: what each address may take, and what is left for the others.

use crate::{
    app::{TOKEN, TestApp, problem, spawn_with},
    raw_http::{Answer, Body, Connection, Raw},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

fn large() -> Vec<u8> {
    format!("{{\"nodes\":[]{}}}", " ".repeat(600 << 10)).into_bytes()
}

fn sync_with(body: Vec<u8>) -> Raw {
    Raw::new("POST", "/sync").header("content-type", "application/json").body(Body::Sized(body))
}

/// The answer to a large body from 127.0.0.`last`.
async fn post_from(app: &TestApp, last: u8, request: &Raw) -> Answer {
    let mut connection = Connection::open_from(last, app.port).await;
    connection.write(&request.to_bytes()).await;
    connection.answer(false).await
}

#[tokio::test]
async fn an_address_that_fills_its_share_keeps_nobody_else_from_sending() {
    let app = spawn_with(|settings| settings.limits.inflight_bytes = 8 << 20).await;
    // All but their last bytes: more than a quarter of what bodies that arrive may take.
    let whole = sync_with(large()).to_bytes();
    let mut stalled = Connection::open(app.port).await;
    stalled.write(&whole[..whole.len() - 1]).await;
    app.wait_until("the share of that address is used up", async |app| {
        let answer = app.post("/sync", large()).await;
        if answer.status() == 503 {
            assert!(answer.headers().contains_key("retry-after"));
            assert_eq!(problem(answer).await, (503, "overloaded".to_owned()));
            return true;
        }
        false
    })
    .await;
    assert_eq!(post_from(&app, 2, &sync_with(large())).await.status, 200, "another address");
    let known = sync_with(large()).header("authorization", format!("Bearer {TOKEN}"));
    assert_eq!(post_from(&app, 1, &known).await.status, 200, "the admin, from the same address");
    assert_eq!(app.post("/sync", "{\"nodes\":[]}").await.status(), 200);
    assert_eq!(app.put("small", &json!({"id": "small"})).await.status(), 201);
    assert_eq!(app.get("/health").await.status(), 200);

    stalled.write(&whole[whole.len() - 1..]).await;
    assert_eq!(stalled.answer(false).await.status, 200, "whoever was first is served");
    assert_eq!(app.post("/sync", large()).await.status(), 200, "and then the next");
}

#[tokio::test]
async fn what_is_announced_and_not_sent_costs_nothing() {
    let app = spawn_with(|settings| settings.limits.inflight_bytes = 4 << 20).await;
    let mut all = Vec::new();
    for _ in 0..4 {
        let mut connection = Connection::open(app.port).await;
        let head =
            "POST /sync HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 33554432\r\n\r\n";
        connection.write(format!("{head}{}", " ".repeat(70_000)).as_bytes()).await;
        all.push(connection);
    }
    // What came of them is charged: a body that would fit into the share of that address otherwise does not.
    let half = format!("{{\"nodes\":[]{}}}", " ".repeat(400 << 10));
    app.wait_until("they have come", async |app| app.post("/sync", half.clone()).await.status() == 503).await;
    assert_eq!(post_from(&app, 2, &sync_with(large())).await.status, 200);
}

#[tokio::test]
async fn a_large_body_that_comes_too_slowly_is_ended() {
    // A third of it is the window over which the rate is taken.
    let app = spawn_with(|settings| settings.server.body_timeout = ark_lattice::settings::Span::seconds(9)).await;
    let whole = sync_with(large()).to_bytes();
    let mut slow = Connection::open(app.port).await;
    slow.write(&whole[..100 << 10]).await;
    // Twenty bytes a second, until it is answered.
    let mut trickle = tokio::time::interval(Duration::from_millis(50));
    let mut part = [0; 4096];
    let trickled = async {
        loop {
            tokio::select! {
                biased;
                read = tokio::io::AsyncReadExt::read(&mut slow.stream, &mut part) => return read.unwrap(),
                _ = trickle.tick() => slow.write(b" ").await,
            }
        }
    };
    let read = tokio::time::timeout(Duration::from_secs(30), trickled).await.expect("it is ended");
    let answer = String::from_utf8_lossy(&part[..read]);
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body_too_slow"), "{answer}");
}

#[tokio::test]
async fn a_client_that_goes_away_gives_its_share_back() {
    let app = spawn_with(|settings| settings.limits.inflight_bytes = 4 << 20).await;
    for _ in 0..5 {
        let whole = sync_with(large()).to_bytes();
        let mut gone = Connection::open(app.port).await;
        gone.write(&whole[..whole.len() - 1]).await;
    }
    app.wait_until("a large body passes", async |app| app.post("/sync", large()).await.status() == 200).await;
}

#[tokio::test]
async fn what_adds_beyond_the_lattice_bounds_is_refused_and_edits_and_deletions_go_on() {
    let app = spawn_with(|settings| {
        settings.limits.lattice_nodes = 2;
        settings.limits.lattice_bytes = 200;
        settings.trust.mode = ark_lattice::trust::TrustMode::Open;
    })
    .await;
    assert_eq!(app.put("a", &json!({"id": "a"})).await.status(), 201);
    assert_eq!(app.put("b", &json!({"id": "b"})).await.status(), 201);
    let refused = app.put("c", &json!({"id": "c"})).await;
    let text = refused.text().await.unwrap();
    assert!(text.contains("lattice_full") && text.contains("limits.lattice_nodes = 2"), "{text}");
    let pushed = json!({"nodes": [{"id": "c"}, {"id": "a", "n": 1, "updated_at": 1_699_564_800}]});
    assert_eq!(problem(app.post("/federation/sync", pushed.to_string()).await).await, (409, "lattice_full".to_owned()));
    assert_eq!(app.get_json("/nodes").await["total"], 2);
    assert_eq!(app.put("a", &json!({"id": "a", "n": 2})).await.status(), 200);
    let longer = app.put("a", &json!({"id": "a", "n": "x".repeat(200)})).await;
    let text = longer.text().await.unwrap();
    assert!(text.contains("lattice_full") && text.contains("limits.lattice_bytes = 200"), "{text}");
    assert_eq!(app.delete("b").await.status(), 200);
    assert_eq!(app.put("c", &json!({"id": "c"})).await.status(), 201, "there is room again");
}

#[tokio::test]
async fn a_type_beyond_the_bound_is_refused_over_http_and_no_type_in_a_file() {
    let app = spawn_with(|_| {}).await;
    let long = json!({"id": "long", "type": "x".repeat(257)});
    assert_eq!(problem(app.put("long", &long).await).await, (400, "type_too_long".to_owned()));
    assert_eq!(app.put("ok", &json!({"id": "ok", "type": "x".repeat(256)})).await.status(), 201);
    std::fs::write(app.lattice.join("file.json"), json!({"id": "file", "type": "y".repeat(2 << 20)}).to_string())
        .unwrap();
    app.wait_until("the file is seen", async |app| app.get("/nodes/file").await.status() == 200).await;
    let listed = app.get_json("/nodes").await;
    assert!(listed.to_string().len() < 4096, "its text is in no list");
    let file = listed["nodes"].as_array().unwrap().iter().find(|node| node["id"] == "file").unwrap();
    assert_eq!(file.get("type"), None);
    let feed = app.get("/lattice/changes?since=0").await.text().await.unwrap();
    assert!(feed.len() < 4096 && feed.contains("\"file\""), "{} bytes", feed.len());
    let whole: Value = app.get_json("/nodes/file").await;
    assert_eq!(whole["type"].as_str().map(str::len), Some(2 << 20), "nothing of it is lost");
}

#[tokio::test]
async fn a_page_of_nodes_is_bounded_in_bytes_and_goes_on() {
    let app = spawn_with(|settings| settings.trust.mode = ark_lattice::trust::TrustMode::Open).await;
    let all: u32 = 4500;
    let node = |number: u32| json!({"id": format!("{}{number:05}", "\u{1F600}".repeat(200)), "type": "t".repeat(200)});
    let nodes: Vec<Value> = (0..all).map(node).collect();
    assert_eq!(app.post("/federation/sync", json!({"nodes": nodes}).to_string()).await.status(), 200);
    assert_eq!(app.get_json("/nodes?limit=1").await["total"], all);
    let (mut seen, mut path, mut pages) = (0, "/nodes?limit=10000".to_owned(), 0);
    loop {
        let text = app.get(&path).await.text().await.unwrap();
        assert!(text.len() <= (4 << 20) + 4096, "{} bytes", text.len());
        let page: Value = serde_json::from_str(&text).unwrap();
        (seen, pages) = (seen + page["count"].as_u64().unwrap(), pages + 1);
        match page["cursor"].as_str() {
            Some(cursor) => path = format!("/nodes?limit=10000&cursor={cursor}"),
            None => break,
        }
    }
    assert!(seen == u64::from(all) && pages > 1, "{seen} nodes on {pages} pages");
}

#[tokio::test]
async fn clients_that_do_not_read_hold_no_more_than_their_share() {
    let app = spawn_with(|settings| settings.limits.answer_bytes = 16 << 20).await;
    assert_eq!(app.put("large", &json!({"id": "large", "n": "x".repeat(3 << 20)})).await.status(), 201);
    let ask = Raw::new("GET", "/nodes/large").to_bytes();
    let mut all = Vec::new();
    for _ in 0..24 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(([127, 0, 0, 1], app.port).into()).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, &ask).await.unwrap();
        all.push(stream);
    }
    app.wait_until("the memory for answers is used up", async |app| {
        let answer = app.get("/nodes/large").await;
        let is_full = answer.status() == 503;
        if is_full {
            assert_eq!(problem(answer).await, (503, "overloaded".to_owned()));
        }
        is_full
    })
    .await;
    assert_eq!(app.get("/nodes").await.status(), 200, "what is small passes");
    let known = app.request(Method::GET, "/nodes/large").bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(known.status(), 200, "and the admin has a reserve");
    drop(all);
    app.wait_until("it is given back", async |app| app.get("/nodes/large").await.status() == 200).await;
}

#[tokio::test]
async fn one_address_listens_to_so_many_streams_and_the_others_to_theirs() {
    let app = spawn_with(|settings| {
        settings.limits.listeners_per_address = 2;
        settings.server.trusted_proxies = vec!["127.0.0.1".to_owned()];
    })
    .await;
    let listen = async |from: &str| {
        app.request(Method::GET, "/lattice/notify").header("x-forwarded-for", from).send().await.unwrap()
    };
    let (one, two) = (listen("198.51.100.1").await, listen("198.51.100.1").await);
    assert_eq!((one.status(), two.status()), (reqwest::StatusCode::OK, reqwest::StatusCode::OK));
    assert_eq!(problem(listen("198.51.100.1").await).await, (503, "too_many_listeners".to_owned()));
    assert_eq!(listen("198.51.100.2").await.status(), 200);
    drop((one, two));
    let news = std::sync::atomic::AtomicU32::default();
    app.wait_until("the places are free", async |app| {
        // What there is to tell is written to nobody: that they are gone shows then.
        let number = news.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        app.put("news", &json!({"id": "news", "number": number})).await;
        listen("198.51.100.1").await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn bare_line_feeds_in_a_head_are_refused_and_bodies_may_hold_them() {
    let app = spawn_with(|_| {}).await;
    let body = "{\n\"nodes\":[]}\n";
    let post = format!(
        "POST /sync HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for head in [
        "GET /health HTTP/1.1\nHost: x\n\n",
        "GET /health HTTP/1.1\r\nHost: x\nX-Other: y\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: x\r\n\n",
        "\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        // Behind requests that are as they should be, on the same connection.
        let mut connection = Connection::open(app.port).await;
        connection.write(format!("{post}GET /ready HTTP/1.1\r\nHost: x\r\n\r\n{head}").as_bytes()).await;
        let statuses = [connection.answer(false).await.status, connection.answer(false).await.status];
        assert_eq!((statuses, connection.answer(false).await.status), ([200, 200], 400), "{head:?}");
    }
}
