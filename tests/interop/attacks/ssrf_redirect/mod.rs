//! A peer that sends the service elsewhere: it goes nowhere.

use crate::{
    attacks::bed::Victim,
    server::{Hostile, Reply},
};

#[tokio::test]
async fn a_peer_leads_the_service_to_no_other_place() {
    let hidden = Hostile::start("hidden", |_, _| None).await;
    for to in [
        format!("{}/lattice/head", hidden.url),
        hidden.url.replace("127.0.0.1", "localhost"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
            let answer =
                format!("HTTP/1.1 {status}\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let guide = Hostile::start("guide", move |_, _| Some(Reply::Bytes(answer.clone().into_bytes()))).await;
            let victim = Victim::with_peer(&guide).await;
            let error = victim.round().await;
            assert!(!error.is_empty(), "{status} to {to}");
            assert!(guide.peer.asked("head") > 0);
            victim.has_audited("protocol", "round", "-");
        }
    }
    assert_eq!(hidden.peer.asked("head"), 0);
}
