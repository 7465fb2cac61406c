//! Two services behind haproxy, with the file of deploy/, are restarted one after the other while clients ask without a pause.
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

use reqwest::Client;
use serde_json::json;
use service::{Place, Service, until};
use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

const CLIENTS: usize = 8;
/// As many as without draining some are lost of.
const REQUESTS: u64 = 25_000;
const SOON: Duration = Duration::from_secs(60);

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

struct Haproxy(Child);

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn haproxy(folder: &Path, port: u16, services: [u16; 2]) -> Haproxy {
    let mut file = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/haproxy/haproxy.cfg")).unwrap();
    for (old, new) in [
        ("bind :80", format!("bind 127.0.0.1:{port}")),
        ("127.0.0.1:9001\n", format!("127.0.0.1:{}\n", services[0])),
        ("127.0.0.1:9002\n", format!("127.0.0.1:{}\n", services[1])),
    ] {
        assert!(file.contains(old), "there is no {old:?}");
        file = file.replace(old, &new);
    }
    fs::write(folder.join("haproxy.cfg"), file).unwrap();
    let log = fs::File::create(folder.join("haproxy.log")).unwrap();
    // Debian keeps it out of the path of plain users.
    let installed = Path::new("/usr/sbin/haproxy");
    let mut command = Command::new(if installed.exists() { installed } else { Path::new("haproxy") });
    command.args(["-db", "-f"]).arg(folder.join("haproxy.cfg"));
    let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
    Haproxy(child.expect("haproxy runs; `make test` installs it"))
}

#[derive(Default)]
struct Tally {
    answered: AtomicU64,
    lost: AtomicU64,
    ended: AtomicBool,
}

/// Reads, and sends what no proxy may send twice, until the end.
async fn ask(url: String, client: Client, tally: Arc<Tally>) {
    while !tally.ended.load(Ordering::Acquire) {
        let read = client.get(format!("{url}/nodes?limit=1"));
        let sent = client.post(format!("{url}/sync")).json(&json!({"nodes": []}));
        for request in [read, sent] {
            let outcome = async {
                let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
                let status = answer.status();
                let body = answer.text().await.map_err(|error| format!("{status}: {error:?}"))?;
                if status.is_success() { Ok(()) } else { Err(format!("{status}: {body}")) }
            };
            match outcome.await {
                Ok(()) => tally.answered.fetch_add(1, Ordering::AcqRel),
                Err(error) => {
                    eprintln!("lost: {error}");
                    tally.lost.fetch_add(1, Ordering::AcqRel)
                }
            };
        }
    }
}

fn place(port: u16) -> Place {
    let place = Place::new().set("ARK__SERVER__DRAIN_DELAY", "2s").set("FEDERATION_PORT", &port.to_string());
    place.write_node("here", &json!({"id": "here", "type": "sample"}));
    place.set("ARK__SERVER__TRUSTED_PROXIES", "127.0.0.1").set("ARK__LIMITS__COUNT_LOOPBACK", "false")
}

/// Both services get requests.
async fn both_serve(url: &str, services: &[Option<Service>; 2]) {
    let client = Client::new();
    until("both services get requests", SOON, async || {
        let counts = async || {
            let mut counts = Vec::new();
            for service in services.iter().flatten() {
                let text = service.get("/metrics").await.text().await.unwrap();
                let lines = text.lines().filter(|line| line.contains("route=\"/nodes\"") && line.contains("_total"));
                counts.push(lines.map(str::to_owned).collect::<Vec<_>>());
            }
            counts
        };
        let before = counts().await;
        for _ in 0..8 {
            drop(client.get(format!("{url}/nodes?limit=1")).send().await);
        }
        let after = counts().await;
        before.iter().zip(&after).all(|(before, after)| before != after)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_behind_haproxy_loses_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let (front, ports) = (free_port(), [free_port(), free_port()]);
    let places = ports.map(place);
    let mut services = [Some(places[0].serve_on(ports[0]).await), Some(places[1].serve_on(ports[1]).await)];
    let _proxy = haproxy(folder.path(), front, ports);
    let url = format!("http://127.0.0.1:{front}");
    both_serve(&url, &services).await;

    let tally = Arc::new(Tally::default());
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
    let asking: Vec<_> =
        (0..CLIENTS).map(|_| tokio::spawn(ask(url.clone(), client.clone(), Arc::clone(&tally)))).collect();
    while tally.answered.load(Ordering::Acquire) < REQUESTS && tally.lost.load(Ordering::Acquire) == 0 {
        for at in [0, 1] {
            assert!(services[at].take().unwrap().terminate().await.success());
            services[at] = Some(places[at].serve_on(ports[at]).await);
            both_serve(&url, &services).await;
        }
    }
    tally.ended.store(true, Ordering::Release);
    for client in asking {
        client.await.unwrap();
    }
    let (answered, lost) = (tally.answered.load(Ordering::Acquire), tally.lost.load(Ordering::Acquire));
    eprintln!("{answered} requests answered, {lost} lost");
    assert_eq!(lost, 0, "of {answered}");
    assert!(answered >= REQUESTS, "{answered}");
}
