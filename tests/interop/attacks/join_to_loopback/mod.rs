//! A machine that joins through a proxy names addresses of the inviting machine itself, written in many ways, and repeats its join so that
//! others are asked again and again.

use crate::attacks::bed::{Attacker, Victim, challenge_of, join_request_of};
use std::time::Duration;
use tokio::net::TcpListener;

/// Is this listener connected to within a second?
async fn is_asked(listener: &TcpListener) -> bool {
    tokio::time::timeout(Duration::from_secs(1), listener.accept()).await.is_ok()
}

#[tokio::test]
async fn no_spelling_of_this_machine_is_asked_by_the_wish_of_another() {
    let victim = Victim::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let hosts = [
        "127.0.0.1",
        "localhost",
        "0.0.0.0",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "localhost.",
        "LOCALHOST",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "%6c%6fcalhost",
        "x@127.0.0.1",
        "[::]",
    ];
    for (number, hosts) in hosts.chunks(7).enumerate() {
        let guest = Attacker::new(["guest-0", "guest-1"][number]);
        let line = victim.invite().await;
        let addresses: Vec<String> = hosts.iter().map(|host| format!("http://{host}:{port}/x")).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let (transcript, _) = challenge_of(&guest, &victim).await;
        let request = join_request_of(&guest, &victim, &line, &transcript, &addresses);
        let answer = request.header("x-forwarded-for", "203.0.113.9").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(!is_asked(&listener).await, "{hosts:?}");
    }
}

#[tokio::test]
async fn a_join_that_is_repeated_asks_nobody() {
    let victim = Victim::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (guest, line) = (Attacker::new("guest"), victim.invite().await);
    let asked = tokio::spawn(async move {
        drop(listener.accept().await.unwrap());
        listener
    });
    assert_eq!(guest.join(&victim, &line, &[&url]).await.status(), 200);
    let listener = asked.await.unwrap();
    while is_asked(&listener).await {}
    for _ in 0..3 {
        assert_eq!(guest.join(&victim, &line, &[&url]).await.status(), 200);
    }
    assert!(!is_asked(&listener).await);
}
