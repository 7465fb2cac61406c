//! Clients that open connections and finish nothing on them.

use crate::{
    attacks::bed::{Victim, client_from, connect_from, counted, last_words},
    service::Place,
};
use tokio::io::AsyncWriteExt;

/// As many connections of 127.0.0.`last` as it opens, each with half a head.
async fn open(last: u8, victim: &Victim, count: usize) -> Vec<tokio::net::TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = connect_from(last, victim.service.port).await;
        let _it_may_be_closed = stream.write_all(b"GET /ready HTTP/1.1\r\nhost: a\r\nx-a: ").await;
        streams.push(stream);
    }
    streams
}

/// How many of them were answered with 408, and how many closed without an answer.
async fn told_and_closed(streams: Vec<tokio::net::TcpStream>) -> (usize, usize) {
    let (mut told, mut closed) = (0, 0);
    for mut stream in streams {
        // One byte more keeps no connection open.
        let _it_may_be_closed = stream.write_all(b"b").await;
        let answer = last_words(stream).await;
        match answer.starts_with("HTTP/1.1 408") {
            true => told += 1,
            false if answer.is_empty() => closed += 1,
            false => panic!("{answer}"),
        }
    }
    (told, closed)
}

async fn is_served(last: u8, victim: &Victim) -> bool {
    let answer = client_from(last).get(format!("{}/ready", victim.service.url)).send().await;
    answer.is_ok_and(|answer| answer.status() == 200)
}

#[tokio::test]
async fn one_address_holds_only_so_many_connections_and_none_of_them_for_ever() {
    let place = counted().set("ARK__SERVER__WORKERS", "1").set("ARK__SERVER__HEADER_TIMEOUT", "2s");
    let place = place.set("ARK__LIMITS__CONNECTIONS_PER_ADDRESS", "20").set("ARK__SERVER__MAX_CONNECTIONS", "60");
    let victim = Victim::start_in(place).await;
    let slow = open(3, &victim, 80).await;
    assert!(is_served(2, &victim).await, "there is room for others");
    // Those that were let in are told that they are too slow, the others are closed without a word.
    assert_eq!(told_and_closed(slow).await, (20, 60));
    let entry = victim.has_audited("rate_limited", "connections", "-");
    assert_eq!(entry["detail"]["address"], "127.0.0.3");
    assert!(is_served(3, &victim).await, "its places are free again");
}

#[tokio::test]
async fn one_address_that_takes_all_connections_gets_half_of_them() {
    // Of 1000 descriptors 640 are the service's own, so there are 360 connections.
    let place: Place = counted().set("ARK__SERVER__WORKERS", "1").set("ARK__SERVER__HEADER_TIMEOUT", "3s");
    let place = place.set("ARK__LIMITS__CONNECTIONS_PER_ADDRESS", "0").with_most_open_files(1000);
    let victim = Victim::start_in(place).await;
    let slow = open(3, &victim, 400).await;
    assert!(is_served(2, &victim).await, "another address");
    assert_eq!(told_and_closed(slow).await, (180, 220));
    victim.has_audited("rate_limited", "connections", "-");
}
