//! Clients that open connections and finish nothing on them.

use crate::{attacks::bed::Victim, service::Place};
use reqwest::Client;
use std::{net::Ipv4Addr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

async fn connect(from: Ipv4Addr, port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, port).into()).await.unwrap()
}

fn honest() -> Client {
    let from = Ipv4Addr::new(127, 0, 0, 2);
    Client::builder().no_proxy().local_address(Some(from.into())).timeout(Duration::from_secs(30)).build().unwrap()
}

#[tokio::test]
async fn one_address_holds_only_so_many_connections_and_none_of_them_for_ever() {
    let place = Place::new().set("ARK__LIMITS__COUNT_LOOPBACK", "true").set("ARK__SERVER__WORKERS", "1");
    let place = place.set("ARK__LIMITS__CONNECTIONS_PER_ADDRESS", "20").set("ARK__SERVER__MAX_CONNECTIONS", "60");
    let victim = Victim::start_in(place.set("ARK__SERVER__HEADER_TIMEOUT", "2s")).await;
    let from = Ipv4Addr::new(127, 0, 0, 3);
    let mut slow = Vec::new();
    for _ in 0..80 {
        let mut stream = connect(from, victim.service.port).await;
        let _it_may_be_closed = stream.write_all(b"GET /ready HTTP/1.1\r\nhost: a\r\nx-a: ").await;
        slow.push(stream);
    }
    let ready = format!("{}/ready", victim.service.url);
    assert_eq!(honest().get(&ready).send().await.unwrap().status(), 200, "there is room for others");
    // Those that were let in are told that they are too slow, the others are closed without a word.
    let (mut told, mut closed) = (0, 0);
    for mut stream in slow {
        // One byte more keeps no connection open.
        let _it_may_be_closed = stream.write_all(b"b").await;
        let mut answer = Vec::new();
        let _reset = stream.read_to_end(&mut answer).await;
        match answer.starts_with(b"HTTP/1.1 408") {
            true => told += 1,
            false if answer.is_empty() => closed += 1,
            false => panic!("{}", String::from_utf8_lossy(&answer)),
        }
    }
    assert_eq!((told, closed), (20, 60));
    let entry = victim.has_audited("rate_limited", "connections", "-");
    assert_eq!(entry["detail"]["address"], "127.0.0.3");
    let again = Client::builder().no_proxy().local_address(Some(from.into())).build().unwrap();
    assert_eq!(again.get(&ready).send().await.unwrap().status(), 200, "its places are free again");
}
