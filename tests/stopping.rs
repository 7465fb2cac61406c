//! SIGTERM while clients are being served: what was begun is finished, within a bound, and nothing acknowledged is lost.
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
#[path = "support/slow_client.rs"]
mod slow_client;

use serde_json::json;
use service::{Place, Service, TOKEN, until};
use slow_client::{ask, read_slowly};
use std::{
    io::{BufRead, BufReader, Read, Write},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Enough that no buffer on the way takes it all.
fn large_place() -> Place {
    let place = Place::new();
    for number in 0..3000 {
        let id = format!("node-{number}");
        place.write_node(&id, &json!({"id": id, "filler": "x".repeat(6000)}));
    }
    place
}

async fn refuses_connections(port: u16) {
    let limit = Duration::from_secs(2);
    until("no more connections are taken", limit, async || TcpStream::connect(("127.0.0.1", port)).await.is_err())
        .await;
}

/// The answer has begun.
async fn begun(reader: &mut TcpStream) {
    let mut first = [0; 12];
    reader.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_delta_that_is_being_read_is_sent_to_its_end() {
    let place = large_place();
    let service = place.serve().await;
    let (port, mut reader) = (service.port, ask(service.port, "").await);
    begun(&mut reader).await;
    let (ended, (bytes, end)) = tokio::join!(service.terminate(), async {
        refuses_connections(port).await;
        read_slowly(reader).await
    });
    assert!(bytes > 17 << 20 && end.ends_with("\r\n0\r\n\r\n"), "{bytes} bytes, cut off");
    assert!(ended.success(), "{ended}");
    assert_eq!(place.log(), "");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_waited_for_within_the_bound() {
    let place = large_place().set("ARK__SERVER__SHUTDOWN_TIMEOUT", "1s");
    let service = place.serve().await;
    let mut reader = ask(service.port, "").await;
    begun(&mut reader).await;
    let asked = Instant::now();
    let ended = service.terminate().await;
    let took = asked.elapsed();
    eprintln!("stopped after {took:?} with a client that does not read");
    assert!(ended.success(), "{ended}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    drop(reader);
}

/// The connections that the process behind `port` holds: not its other sockets, of which its threads make some at their start.
#[cfg(target_os = "linux")]
fn connections(port: u16) -> usize {
    let (table, local) = (std::fs::read_to_string("/proc/net/tcp").unwrap(), format!("0100007F:{port:04X}"));
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    // 0A is the listener's state; no inode: nobody holds it any more.
    rows.filter(|row| row[1] == local && row[3] != "0A" && row[9] != "0").count()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_does_not_hold_its_connection() {
    let place = large_place().set("ARK__SERVER__WRITE_TIMEOUT", "500ms").set("ARK__SERVER__KEEP_ALIVE", "1s");
    let service = place.serve().await;
    let (mut stalled, mut most) = (Vec::new(), 0);
    for _ in 0..5 {
        let mut reader = ask(service.port, "").await;
        begun(&mut reader).await;
        most = most.max(connections(service.port));
        stalled.push(reader);
    }
    assert!(most > 0, "they are counted");
    let took = until("they are given up", Duration::from_secs(30), async || connections(service.port) == 0).await;
    eprintln!("given up after {took:?}");
    // Not a word in the log: a client that goes away is no fault of ours.
    assert_eq!(place.log(), "");
    assert_eq!(service.get_json("/health").await["status"], "healthy");
}

#[tokio::test]
async fn a_write_that_is_being_sent_is_taken_and_kept() {
    let place = Place::new();
    let service = place.serve().await;
    let body = json!({"id": "late", "text": "x".repeat(10_000)}).to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", service.port)).await.unwrap();
    let head = format!(
        "PUT /nodes/late HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    let (first, rest) = body.split_at(5000);
    stream.write_all(head.as_bytes()).await.unwrap();
    // The request has begun once its body is asked for.
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(first.as_bytes()).await.unwrap();
    let port = service.port;
    let (ended, answer) = tokio::join!(service.terminate(), async {
        refuses_connections(port).await;
        stream.write_all(rest.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    });
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(ended.success(), "{ended}");
    let again = place.serve().await;
    assert_eq!(again.get_json("/nodes/late").await["text"].as_str().unwrap().len(), 10_000);
}

/// What the service answers on one connection, up to its end.
async fn exchange(port: u16, path: &str) -> String {
    try_exchange(port, path).await.unwrap()
}

async fn try_exchange(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    // A stream that began before the end keeps its connection unless its client asks for the contrary.
    let close = if path == "/events" { "Connection: close\r\n" } else { "" };
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n{close}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn a_service_that_stops_sends_its_clients_elsewhere_first() {
    // Longer than the test: the second signal ends it.
    let place = Place::new().set("ARK__SERVER__DRAIN_DELAY", "10m").set("ARK__LOG__LEVEL", "info");
    place.write_node("here", &json!({"id": "here"}));
    let service = place.serve().await;
    let port = service.port;
    let listening = tokio::spawn(exchange(port, "/events"));
    until("it is listened to", Duration::from_secs(10), async || {
        service.get("/metrics").await.text().await.unwrap().contains("event_listeners 1")
    })
    .await;

    service.process.signal("TERM");
    until("it drains", Duration::from_secs(10), async || service.get("/ready").await.status() == 503).await;
    let ready = exchange(port, "/ready").await.to_lowercase();
    assert!(ready.contains("\"code\":\"draining\"") && ready.contains("retry-after:"), "{ready}");
    // Each answer is the last one of its connection, whatever was asked.
    for (path, status) in [("/nodes/here", "200"), ("/nodes/gone", "404"), ("/health", "200"), ("/nowhere", "404")] {
        let answer = exchange(port, path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.to_lowercase().contains("\r\nconnection: close\r\n"), "{path}: {answer}");
    }
    let heard = listening.await.unwrap();
    assert!(heard.contains(": stopping\nretry: 2000\n\n") && heard.ends_with("\r\n0\r\n\r\n"), "{heard}");
    // Who comes now is told when to come back, too.
    assert!(exchange(port, "/events").await.contains(": stopping\nretry: 2000\n\n"));

    let asked = Instant::now();
    let ended = service.terminate().await;
    assert_eq!(ended.code(), Some(143));
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert!(place.log().contains("a second signal"), "{}", place.log());
    // Nothing is damaged by that.
    assert_eq!(place.serve().await.get_json("/nodes/here").await["id"], "here");
}

#[tokio::test]
async fn the_port_closes_after_the_delay() {
    let place = Place::new().set("ARK__SERVER__DRAIN_DELAY", "1500ms");
    let service = place.serve().await;
    let (port, asked) = (service.port, Instant::now());
    let (ended, answered) = tokio::join!(service.terminate(), async {
        let mut answered = 0;
        // One that comes while the port closes is refused or reset.
        while let Ok(answer) = try_exchange(port, "/health").await {
            answered += u32::from(answer.starts_with("HTTP/1.1 200"));
        }
        answered
    });
    assert!(ended.success(), "{ended}");
    assert!(asked.elapsed() >= Duration::from_millis(1500) && answered > 0, "{:?}, {answered}", asked.elapsed());
}

/// A pipe that nobody reads and that is full but for `room` bytes.
fn full_pipe(room: usize) -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let most = rustix::pipe::fcntl_getpipe_size(&writer).unwrap();
    writer.write_all(&vec![b'.'; most - room]).unwrap();
    (reader, writer)
}

async fn until_lines_are_dropped(service: &Service) {
    let path = format!("/nodes/{}", "x".repeat(200));
    until("lines are dropped", Duration::from_secs(60), async || {
        let asked: Vec<_> = (0..50).map(|_| service.get(&path)).collect();
        for answer in futures_util::future::join_all(asked).await {
            assert_eq!(answer.status(), 404);
        }
        let metrics = service.get("/metrics").await.text().await.unwrap();
        !metrics.contains("ark_log_lines_dropped_total 0\n")
    })
    .await;
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_neither_requests_nor_the_end() {
    for room in [0, 4096] {
        let place = Place::new().set("ARK__LOG__LEVEL", "trace").set("ARK__SERVER__DRAIN_DELAY", "10m");
        let (mut reader, writer) = full_pipe(room);
        let service = place.launch_saying(writer);
        service.until_loaded().await;
        until_lines_are_dropped(&service).await;
        assert_eq!(service.get_json("/health").await["status"], "healthy");
        assert!(service.put("here", &json!({"id": "here"})).await.status().is_success());
        service.process.signal("TERM");
        until("it drains", Duration::from_secs(10), async || service.get("/ready").await.status() == 503).await;
        // The second signal ends it, and what it would say of that finds no reader either.
        let ended = service.terminate().await;
        assert_eq!(ended.code(), Some(143), "{ended}");
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert!(said.len() > 60_000);
    }
}

#[tokio::test]
async fn a_log_that_is_read_again_tells_how_much_is_missing() {
    let place = Place::new().set("ARK__LOG__LEVEL", "trace");
    let (reader, writer) = full_pipe(0);
    let service = place.launch_saying(writer);
    service.until_loaded().await;
    until_lines_are_dropped(&service).await;
    let told = tokio::task::spawn_blocking(move || {
        let lines = BufReader::new(reader).lines().map(Result::unwrap);
        lines.into_iter().any(|line| line.contains("log lines were dropped"))
    });
    assert!(told.await.unwrap());
    assert!(service.terminate().await.success());
}
