//! Webhooks of the real service, taken by the receiver that the README shows: Python's own HMAC says whether they are signed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it stands"
)]

#[path = "support/python.rs"]
mod python;
#[path = "support/service.rs"]
mod service;

use python::{REPOSITORY, python};
use reqwest::Method;
use serde_json::{Value, json};
use service::{Place, Service, TOKEN, until};
use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwN3J2ZHVj";
const DEADLINE: Duration = Duration::from_secs(60);

/// The README's receiver on a port of its own; it does not outlive this.
struct Receiver {
    process: Child,
    port: u16,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _already_gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

impl Receiver {
    async fn start(place: &Place, port: u16) -> Self {
        let readme = fs::read_to_string(Path::new(REPOSITORY).join("README.md")).unwrap();
        let blocks = readme.split("```python\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let program = blocks.into_iter().find(|block| block.contains("webhook-signature")).unwrap();
        fs::write(place.path("receiver.py"), program).unwrap();
        let mut command = python();
        command.arg(place.path("receiver.py")).env("WEBHOOK_SECRET", SECRET).env("PORT", port.to_string());
        let process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let receiver = Self { process, port };
        let listens = async || tokio::net::TcpStream::connect(("127.0.0.1", receiver.port)).await.is_ok();
        until("the receiver listens", DEADLINE, listens).await;
        receiver
    }

    /// Ends it; what it took.
    fn taken(mut self) -> Vec<(String, Value)> {
        self.process.kill().unwrap();
        let lines = BufReader::new(self.process.stdout.take().unwrap()).lines();
        let read = |line: String| {
            let (message, body) = line.split_once(' ').unwrap();
            (message.to_owned(), serde_json::from_str(body).unwrap())
        };
        lines.map(|line| read(line.unwrap())).collect()
    }
}

async fn add_peer(service: &Service, port: u16) {
    let peer = json!({"peerUrl": format!("http://127.0.0.1:{port}")});
    let request = service.request(Method::POST, "/api/federation/peers/add").bearer_auth(TOKEN).json(&peer);
    assert_eq!(request.send().await.unwrap().status(), 200);
}

async fn counted(service: &Service, port: u16, outcome: &str) -> u64 {
    let name = format!("ark_webhook_deliveries_total{{webhook=\"127.0.0.1:{port}\",outcome=\"{outcome}\"}} ");
    let metrics = service.get("/metrics").await.text().await.unwrap();
    metrics.lines().find_map(|line| line.strip_prefix(&name)).expect(&metrics).parse().unwrap()
}

#[tokio::test]
async fn the_readmes_receiver_takes_what_this_service_signed_and_nothing_else() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let place = Place::new().set("ARK_ENV", "hooks");
    fs::create_dir(place.path("config")).unwrap();
    let address = format!("http://127.0.0.1:{free}/hooks/hidden-path");
    let hook = |secret: &str| format!("{{ url = {address:?}, {secret}, types = [\"peer-added\"] }}");
    let settings = format!("[events]\nwebhooks = [{}]\n", hook("secret_file = \"hook-secret\""));
    fs::write(place.path("config/hooks.toml"), settings).unwrap();
    fs::write(place.path("hook-secret"), format!("{SECRET}\n")).unwrap();
    let service = place.serve().await;
    // Nobody is there yet: the first one is tried again.
    add_peer(&service, 1).await;
    let receiver = Receiver::start(&place, free).await;
    add_peer(&service, 2).await;
    until("both are delivered", DEADLINE, async || counted(&service, free, "delivered").await == 2).await;
    let taken = receiver.taken();
    let peers: Vec<&Value> = taken.iter().map(|(_, body)| &body["data"]["peer"]).collect();
    assert_eq!(peers, ["http://127.0.0.1:1", "http://127.0.0.1:2"]);
    assert!(taken.iter().all(|(_, body)| body["type"] == "peer-added" && body["instance"] == "ark-under-test"));
    assert!(taken[0].0 != taken[1].0, "{taken:?}");
    drop(service);

    // With another secret the same receiver takes nothing; one event is given up at once.
    let other = format!("secret = \"whsec_{}\"", "A".repeat(32));
    let settings = format!("[events]\nwebhook_patience = \"0s\"\nwebhooks = [{}]\n", hook(&other));
    fs::write(place.path("config/hooks.toml"), settings).unwrap();
    let receiver = Receiver::start(&place, free).await;
    let service = place.serve().await;
    add_peer(&service, 3).await;
    until("it is given up", DEADLINE, async || counted(&service, free, "failed").await == 1).await;
    assert!(receiver.taken().is_empty());
    let log = place.log();
    assert!(log.contains("it answers 401") && !log.contains("hidden-path") && !log.contains("whsec_"), "{log}");
}
