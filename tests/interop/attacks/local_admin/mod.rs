//! Admin rights by an address: requests from loopback, through a TCP forwarder on the machine, and with headers that name a loopback
//! client. None of them shows a token.

use crate::{attacks::bed::Victim, service::problem};
use reqwest::Method;
use serde_json::json;
use std::fs;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Forwards every connection to a port of this machine, as `socat` and `ssh -R` do.
async fn forwarder(port: u16) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let task = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut service = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let _closed = copy_bidirectional(&mut client, &mut service).await;
            });
        }
    });
    (url, task)
}

#[tokio::test]
async fn no_address_and_no_header_gives_admin_rights() {
    let victim = Victim::start().await;
    let (forwarded, task) = forwarder(victim.service.port).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for base in [&victim.service.url, &forwarded] {
        for (name, value) in [
            ("host", "localhost"),
            ("host", "127.0.0.1"),
            ("x-forwarded-for", "127.0.0.1"),
            ("forwarded", "for=127.0.0.1;host=localhost"),
            ("x-real-ip", "::1"),
            ("fly-client-ip", "127.0.0.1"),
            ("authorization", "Bearer "),
        ] {
            let request = client.request(Method::POST, format!("{base}/api/federation/stop")).header(name, value);
            let answer = request.json(&json!({})).send().await.unwrap();
            assert_eq!(problem(answer).await, (401, "operator_token_required".to_owned()), "{base} {name}: {value}");
        }
    }
    victim.has_audited("operator_token_required", "/api/federation/stop", "-");
    // The token is what counts, whichever way it comes.
    let token = fs::read_to_string(victim.place.path("state/local.token")).unwrap();
    for base in [&victim.service.url, &forwarded] {
        let request = client.request(Method::GET, format!("{base}/api/federation/status")).bearer_auth(token.trim());
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    task.abort();
}
