//! More connections than the process has descriptors for: those beyond the bound are closed, the others are served, files included.
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
async fn connections_beyond_the_descriptors_are_closed_and_files_are_left() {
    let place = Place::new().set("ARK__SERVER__WORKERS", "2").with_most_open_files(100);
    place.write_node("a", &json!({"id": "a"}));
    let service = place.serve().await;
    assert_eq!(service.put("kept", &json!({"id": "kept", "version": 1})).await.status(), 201);
    let mut streams = Vec::new();
    for _ in 0..150 {
        streams.push(TcpStream::connect(("127.0.0.1", service.port)).await.unwrap());
    }
    // Those beyond the bound are closed; the others are served, and so is what needs files.
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let put = |id: &str, body: &str| {
        let length = body.len();
        format!(
            "PUT /nodes/{id} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    let requests = ["/health", "/nodes", "/discover", "/metrics", "/nodes/kept"].map(get);
    for (stream, request) in streams.iter_mut().zip(requests) {
        let answer = answer(stream, &request).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{request}: {answer}");
    }
    let written = answer(&mut streams[6], &put("beside", r#"{"id":"beside"}"#)).await;
    assert!(written.starts_with("HTTP/1.1 201"), "{written}");
    let mut closed = 0;
    for stream in &mut streams[7..] {
        let mut byte = [0];
        closed += usize::from(matches!(
            timeout(Duration::from_millis(200), stream.read(&mut byte)).await,
            Ok(Ok(0) | Err(_))
        ));
    }
    assert!((100..=143).contains(&closed), "{closed} were closed: 25 of 100 descriptors are for connections");
    assert!(!place.log().contains("Too many open files"), "{}", place.log());

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
    assert_eq!(service.post_json("/sync", &json!({"nodes": []})).await["delta_count"], 4);
    assert_eq!(service.get_json("/health").await["status"], "healthy");
}
