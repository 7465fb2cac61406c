//! More connections than the process may have open: those that are served get an answer, and it is over when they go.
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

use serde_json::json;
use service::{Place, TOKEN, until};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// The start of the answer to a request on a connection that is open already.
async fn answer(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut buffer = vec![0; 16 << 10];
    let read = timeout(Duration::from_secs(5), stream.read(&mut buffer)).await.expect("an answer in time").unwrap();
    String::from_utf8_lossy(&buffer[..read]).into_owned()
}

#[tokio::test]
async fn a_process_without_free_files_answers_and_recovers() {
    let place = Place::new().set("ARK__SERVER__WORKERS", "2").with_most_open_files(100);
    place.write_node("a", &json!({"id": "a"}));
    let service = place.serve().await;
    assert_eq!(service.put("kept", &json!({"id": "kept", "version": 1})).await.status(), 201);
    let mut streams = Vec::new();
    for _ in 0..150 {
        streams.push(TcpStream::connect(("127.0.0.1", service.port)).await.unwrap());
    }
    until("no file is free", Duration::from_secs(5), async || place.log().contains("Too many open files")).await;

    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let post = |method: &str, path: &str, body: &str| {
        let length = body.len();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    // What needs no file is served.
    for (stream, path) in streams.iter_mut().zip(["/health", "/nodes", "/discover", "/metrics"]) {
        let answer = answer(stream, &get(path)).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    // What does is refused with an answer. A file that somebody gave back meanwhile is free until the next connection takes it.
    let reader = &mut streams[10];
    until("what needs a file is refused", Duration::from_secs(5), async || {
        let answer = answer(reader, &get("/nodes/kept")).await;
        answer.starts_with("HTTP/1.1 503") && answer.contains("lattice_unavailable")
    })
    .await;
    let requests = [
        post("POST", "/sync", r#"{"nodes":[]}"#),
        post("PUT", "/nodes/kept", r#"{"id":"kept","version":2}"#),
        post("PUT", "/nodes/new", r#"{"id":"new"}"#),
    ];
    for (stream, request) in streams.iter_mut().skip(11).zip(requests) {
        let answer = answer(stream, &request).await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("lattice_unavailable"), "{request}: {answer}");
    }

    drop(streams);
    let limit = Duration::from_secs(5);
    let recovery = until("it recovers", limit, async || {
        // On a connection of its own: none that was open before.
        let client = reqwest::Client::builder().no_proxy().timeout(limit).build().unwrap();
        let answer = client.get(format!("{}/nodes/kept", service.url)).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    });
    eprintln!("recovered after {:?}", recovery.await);
    assert_eq!(service.get_json("/nodes/kept").await["version"], 1);
    assert_eq!(service.put("new", &json!({"id": "new"})).await.status(), 201);
    assert_eq!(service.post_json("/sync", &json!({"nodes": []})).await["delta_count"], 3);
    assert_eq!(service.get_json("/health").await["status"], "healthy");
}
