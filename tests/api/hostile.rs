//! Clients that are slow, gone, silent, greedy, or many.

use crate::{
    app::{NOW, TOKEN, TestApp, key, manifest, problem, signed, spawn_app, spawn_in, spawn_with},
    raw_http::{Body, Connection, Raw},
};
use ark_lattice::settings::Span;
use futures_util::{StreamExt, future::join_all, stream};
use reqwest::Method;
use serde_json::json;
use std::{
    io::Write,
    time::{Duration, Instant},
};

fn operator(method: &str, path: &str) -> Raw {
    Raw::new(method, path).header("authorization", format!("Bearer {TOKEN}"))
}

/// The value of the line of `/metrics` that starts with `line`.
async fn metric(app: &TestApp, line: &str) -> u64 {
    let text = app.get("/metrics").await.text().await.unwrap();
    let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn a_body_that_trickles_is_cut_off_in_time() {
    let app = spawn_with(|settings| settings.server.body_timeout = Span::seconds(1)).await;
    for request in [Raw::new("POST", "/manifest"), Raw::new("POST", "/sync"), operator("PUT", "/nodes/n")] {
        let started = Instant::now();
        let mut connection = Connection::open(app.port).await;
        connection.write(&request.body(Body::Declared(1000, b"{".to_vec())).to_bytes()).await;
        let (mut reader, mut writer) = connection.stream.split();
        let trickle = async {
            let mut beat = tokio::time::interval(Duration::from_millis(50));
            loop {
                beat.tick().await;
                if tokio::io::AsyncWriteExt::write_all(&mut writer, b" ").await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let mut head = [0; 12];
        tokio::select! {
            read = tokio::io::AsyncReadExt::read_exact(&mut reader, &mut head) => drop(read.unwrap()),
            () = trickle => {}
        }
        assert_eq!(&head, b"HTTP/1.1 408");
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(4), "{took:?}");
    }
    assert_eq!(app.get_json("/ready").await["status"], "ready");
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off_in_time() {
    let app = spawn_with(|settings| settings.server.header_timeout = Span::seconds(1)).await;
    let mut connection = Connection::open(app.port).await;
    connection.write(b"GET /health HTTP/1.1\r\nhost: a").await;
    assert_eq!(connection.answer(false).await.status, 408);
    assert!(connection.ends().await);
}

#[tokio::test]
async fn clients_that_hang_up_within_a_body_leave_nothing_behind() {
    let app = spawn_app().await;
    for number in 0..60 {
        let request = match number % 3 {
            0 => Raw::new("POST", "/manifest"),
            1 => Raw::new("POST", "/sync"),
            _ => operator("PUT", "/nodes/n"),
        };
        let mut connection = Connection::open(app.port).await;
        connection.write(&request.body(Body::Declared(5000, vec![b' '; 1000])).to_bytes()).await;
    }
    for (method, route) in [("POST", "/manifest"), ("POST", "/sync"), ("PUT", "/nodes/{id:.*}")] {
        let line = format!("ark_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"400\"}}");
        app.wait_until(&line, async |app| metric(app, &line).await == 20).await;
    }
    assert_eq!(app.get_json("/health").await["status"], "healthy");
    // A task that still waited for a body would hold this up until the bound on finishing requests.
    let started = Instant::now();
    app.stop().await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_client_that_stops_reading_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let lattice = folder.path().join("lattice");
    std::fs::create_dir(&lattice).unwrap();
    for number in 0..40 {
        let mut file = std::fs::File::create(lattice.join(format!("n-{number}.json"))).unwrap();
        write!(file, "{{\"id\":\"n-{number}\",\"updated_at\":{NOW},\"x\":\"{}\"}}", "x".repeat(1 << 20)).unwrap();
    }
    let app = spawn_in(folder, |settings| settings.server.workers = 1).await;
    assert_eq!(app.get_json("/nodes").await["total"], 40);
    let mut silent = Vec::new();
    for _ in 0..4 {
        let mut connection = Connection::open(app.port).await;
        connection.write(&Raw::new("POST", "/sync").json("{\"nodes\":[]}").to_bytes()).await;
        silent.push(connection);
    }
    let sent = "ark_sync_delta_nodes_total";
    app.wait_until("the answers have begun", async |app| metric(app, sent).await > 0).await;
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(app.get("/health").await.status(), 200);
        assert_eq!(app.get("/nodes/n-7").await.status(), 200);
    }
    assert_eq!(app.put("new", &json!({"id": "new"})).await.status(), 201);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    // What nobody reads is not made either.
    assert!(metric(&app, sent).await < 160, "the whole answers were made");
    // Whoever reads on after all gets everything.
    let answer = silent.pop().unwrap().answer(false).await;
    let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(answer["delta_count"], 40);
}

#[tokio::test]
async fn two_hundred_requests_at_once_are_all_answered() {
    let app = spawn_app().await;
    let send = async |number: usize| {
        let (app, id) = (&app, format!("n-{number}"));
        let response = match number % 8 {
            0 => app.put(&id, &json!({"id": id, "updated_at": NOW})).await,
            1 => app.post("/manifest", signed(&key(1), &manifest(&format!("ark-{number}")))).await,
            2 => app.post("/sync", "{\"nodes\":[]}").await,
            3 => app.get("/discover").await,
            4 => app.get("/nodes?limit=10").await,
            5 => return problem(app.post("/manifest", "{").await).await.0 == 400,
            6 => return problem(app.get(&format!("/nodes/none-{number}")).await).await.0 == 404,
            _ => return problem(app.request(Method::PATCH, "/sync").send().await.unwrap()).await.0 == 405,
        };
        let good = response.status().is_success();
        response.bytes().await.is_ok() && good
    };
    let answers = join_all((0..200).map(send)).await;
    assert!(answers.into_iter().all(|good| good));
    assert_eq!(app.get_json("/nodes").await["total"], 25);
    assert_eq!(app.get_json("/discover").await["total"], 25);
    assert_eq!(app.get_json("/health").await["status"], "healthy");
}

#[tokio::test]
async fn a_client_that_expects_to_be_told_to_continue_is_told() {
    let app = spawn_app().await;
    let body = b"{\"id\":\"n\"}";
    let request = operator("PUT", "/nodes/n").header("expect", "100-continue");
    let head = request.body(Body::Declared(u64::try_from(body.len()).unwrap(), Vec::new())).to_bytes();
    let mut connection = Connection::open(app.port).await;
    connection.write(&head).await;
    assert_eq!(connection.any_answer(false).await.status, 100);
    connection.write(body).await;
    assert_eq!(connection.answer(false).await.status, 201);

    // A refusal does not wait for a body that may never come.
    let refused =
        Raw::new("PUT", "/nodes/n").header("expect", "100-continue").body(Body::Declared(1 << 40, Vec::new()));
    let mut connection = Connection::open(app.port).await;
    connection.write(&refused.to_bytes()).await;
    let answer = connection.answer(false).await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "operator_token_required"));
}

#[tokio::test]
async fn requests_in_one_packet_are_answered_in_order() {
    let app = spawn_app().await;
    let requests = [
        (operator("PUT", "/nodes/a").json("{\"id\":\"a\"}"), 201),
        (Raw::new("GET", "/nodes/a"), 200),
        (Raw::new("POST", "/manifest").json("{"), 400),
        (Raw::new("HEAD", "/nodes/a"), 200),
        (Raw::new("GET", "/nowhere"), 404),
        (Raw::new("POST", "/sync").body(Body::Chunked(b"{\"nodes\":[]}".to_vec())), 200),
        (Raw::new("POST", "/manifest").header("content-type", "text/plain").body(Body::Sized(vec![b'x'; 5000])), 415),
        (Raw::new("POST", "/sync").body(Body::None), 400),
        (Raw::new("PATCH", "/nodes"), 405),
        (operator("DELETE", "/nodes/a"), 200),
        (Raw::new("GET", "/nodes/a"), 404),
        (Raw::new("GET", "/health"), 200),
    ];
    let mut connection = Connection::open(app.port).await;
    let bytes: Vec<u8> = requests.iter().flat_map(|(request, _)| request.to_bytes()).collect();
    connection.write(&bytes).await;
    for (request, status) in &requests {
        let answer = connection.answer(request.method == "HEAD").await;
        assert_eq!(answer.status, *status, "{} {}: {}", request.method, request.path, answer.text());
    }
}

#[tokio::test]
async fn a_write_whose_client_hangs_up_is_carried_to_its_end() {
    let app = spawn_app().await;
    for number in 0..30 {
        let mut connection = Connection::open(app.port).await;
        let node = format!("{{\"id\":\"n-{number}\",\"x\":\"{}\"}}", "x".repeat(20_000));
        connection.write(&operator("PUT", &format!("/nodes/n-{number}")).json(node).to_bytes()).await;
    }
    app.wait_until("every node is there", async |app| app.get_json("/nodes").await["total"] == 30).await;
    // Durable: a service that starts anew on the same files has them too.
    let app = spawn_in(app.stop().await, |_| {}).await;
    assert_eq!(app.get_json("/nodes").await["total"], 30);
    assert_eq!(app.get_json("/health").await["status"], "healthy");
}

#[tokio::test]
async fn a_client_that_sends_everything_first_gets_its_answer() {
    let app = spawn_app().await;
    let body = vec![b'x'; 40 << 20];
    for (request, status) in [
        (Raw::new("POST", "/manifest").json(&body), 413),
        (Raw::new("POST", "/manifest").body(Body::Chunked(body.clone())), 413),
        (Raw::new("POST", "/sync").json(&body), 413),
        (Raw::new("POST", "/sync").header("content-type", "text/plain").body(Body::Sized(body.clone())), 415),
        (operator("PUT", "/nodes/n").body(Body::Chunked(body.clone())), 413),
        (Raw::new("PUT", "/nodes/n").body(Body::Sized(body.clone())), 401),
        (operator("PUT", "/nodes/%zz").body(Body::Sized(body.clone())), 400),
    ] {
        let answer = request.send(app.port).await;
        assert_eq!((answer.status, answer.code().is_empty()), (status, false), "{} {}", request.method, request.path);
    }
}

#[tokio::test]
async fn connections_that_say_nothing_keep_nobody_out() {
    let app = spawn_app().await;
    let idle: Vec<Connection> = stream::iter(0..300).then(|_| Connection::open(app.port)).collect().await;
    assert_eq!(app.get("/health").await.status(), 200);
    assert_eq!(app.put("n", &json!({"id": "n"})).await.status(), 201);
    drop(idle);
}
