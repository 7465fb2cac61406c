//! What keeping in step costs: the release binary, each instance in a process of its own, over the loopback address.
//!
//! * A round of two instances in step with N nodes, after 0, 1 and 100 edits on the one that is asked: requests, bytes on the wire
//!   with headers and all, time, CPU time of both.
//! * The first round of an empty instance with one that has N nodes; beside it rsync's daemon with the same files, where rsync is
//!   installed.
//! * How long an edit takes to a connected peer, and the CPU time of an idle instance with many peers in step: instances in processes of
//!   their own (`idle`), or many more that this process plays (`crowd`).
//!
//! `make bench-rounds`; `cargo bench --bench rounds -- --help` lists the options.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a benchmark that cannot run must stop, and it prints what it found"
)]

mod counter;
mod crowd;
#[path = "../load/process.rs"]
mod process;
#[path = "../../tests/support/service.rs"]
mod service;
#[path = "../../tests/support/signing.rs"]
mod signing;

use clap::Parser;
use counter::Counter;
use reqwest::Method;
use serde_json::{Value, json};
use service::{Place, Random, Service, TOKEN, json_of, until};
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const LONG: Duration = Duration::from_secs(900);

#[derive(Debug, Parser)]
#[command(about = "Measures rounds between instances: rounds, first, edit, idle, crowd")]
struct Options {
    /// Only these: rounds, first, edit, idle, crowd
    #[arg(value_name = "WHAT")]
    only: Vec<String>,
    /// The largest lattice
    #[arg(long, default_value_t = 100_000)]
    nodes: usize,
    /// Peers of the idle instance
    #[arg(long, default_value_t = 100)]
    peers: usize,
    /// Peers that are played
    #[arg(long, default_value_t = 1000)]
    crowd: u64,
    /// How long these keep an idle connection, seconds
    #[arg(long, default_value_t = 75)]
    keep_alive: u64,
    /// How long the idle instance is watched, seconds
    #[arg(long, default_value_t = 120)]
    idle: u64,
    /// Where directories are made; on the file system that is to be measured
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    /// `cargo bench` adds it
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    if let Some(directory) = &options.directory {
        // What makes temporary directories asks for it.
        make_directories_in(directory);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let wanted = |what: &str| options.only.is_empty() || options.only.iter().any(|it| it == what);
    runtime.block_on(async {
        if wanted("rounds") {
            println!("A round of two instances in step\n");
            println!(
                "{:>9} {:>7} {:>9} {:>12} {:>12} {:>9} {:>12}",
                "nodes", "edits", "requests", "bytes", "payload", "ms", "CPU ms"
            );
            for nodes in [1_000, 10_000, 100_000].into_iter().filter(|nodes| *nodes <= options.nodes) {
                rounds(nodes).await;
            }
        }
        if wanted("first") {
            println!("\nThe first round of an empty instance with {} nodes", options.nodes);
            first(options.nodes).await;
        }
        if wanted("edit") {
            println!("\nFrom an edit to its arrival at a connected peer");
            edit().await;
        }
        if wanted("idle") {
            println!("\nAn instance with {} peers in step, nothing changes", options.peers);
            idle(options.peers, Duration::from_secs(options.idle)).await;
        }
        if wanted("crowd") {
            println!("\nAn instance with {} played peers in step, nothing changes", options.crowd);
            let mut urls = Vec::new();
            for number in 0..options.crowd {
                urls.push(crowd::peer(number, Duration::from_secs(options.keep_alive)).await);
            }
            let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
            watch_idle(&urls, Duration::from_secs(options.idle)).await;
        }
    });
}

fn make_directories_in(directory: &Path) {
    tempfile::env::override_temp_dir(directory).expect("nothing made a temporary directory before");
}

fn place(name: &str) -> Place {
    Place::new().set("ARK_NODE_ID", name).set("ARK_TRUST_MODE", "open").set("ARK__LATTICE__WRITE_MANIFEST", "false")
}

/// About as large as nodes of the seed's lattices.
fn node(n: usize, random: &mut Random) -> Value {
    let words: Vec<String> = (0..60).map(|_| format!("{:x}", random.below(1 << 40))).collect();
    json!({ "id": format!("node_{n:06}"), "type": "code_node", "updated_at": 1_763_000_000 + n % 1000,
        "title": format!("Node {n}"), "content": words.join(" "), "tags": ["a", "b"] })
}

fn fill(directory: &Path, nodes: usize) {
    let mut random = Random::seeded(1);
    for n in 0..nodes {
        fs::write(directory.join(format!("node_{n:06}.json")), node(n, &mut random).to_string()).unwrap();
    }
}

async fn sync(service: &Service) -> Value {
    let request = service.request(Method::POST, "/api/federation/sync").bearer_auth(TOKEN).json(&json!({}));
    let answer = json_of(request.timeout(LONG).send().await.unwrap()).await;
    assert_eq!(answer["result"][0]["success"], true, "{answer}");
    answer["result"][0].clone()
}

async fn add_peer(service: &Service, url: &str) {
    let body = json!({ "peerUrl": url });
    let request = service.request(Method::POST, "/api/federation/peers/add").bearer_auth(TOKEN).json(&body);
    json_of(request.send().await.unwrap()).await;
}

fn cpu(services: &[&Service]) -> Duration {
    services.iter().map(|service| process::cpu_time(service.process.id())).sum()
}

async fn rounds(nodes: usize) {
    let (a, b) = (place("a"), place("b"));
    fill(&a.lattice(), nodes);
    let (a, b) = (a.serve().await, b.serve().await);
    let way = Counter::to(a.port);
    add_peer(&b, &way.url).await;
    sync(&b).await;
    let mut random = Random::seeded(2);
    for edits in [0, 1, 100] {
        for n in 0..edits {
            a.put(&format!("node_{n:06}"), &node(n, &mut random)).await;
        }
        way.take();
        let (before, begun) = (cpu(&[&a, &b]), Instant::now());
        let report = sync(&b).await;
        let (took, cpu) = (begun.elapsed(), cpu(&[&a, &b]).saturating_sub(before));
        println!(
            "{nodes:>9} {edits:>7} {:>9} {:>12} {:>12} {:>9.1} {:>12}",
            report["requests"],
            way.take(),
            report["bytes"],
            took.as_secs_f64() * 1000.0,
            cpu.as_millis()
        );
    }
    assert_eq!(a.set_hash().await, b.set_hash().await);
}

async fn first(nodes: usize) {
    let (from, to) = (place("a"), place("b"));
    fill(&from.lattice(), nodes);
    let (a, b) = (from.serve().await, to.serve().await);
    let way = Counter::to(a.port);
    add_peer(&b, &way.url).await;
    let (before, begun) = (cpu(&[&a, &b]), Instant::now());
    sync(&b).await;
    let (took, cpu) = (begun.elapsed(), cpu(&[&a, &b]).saturating_sub(before));
    assert_eq!(a.set_hash().await, b.set_hash().await);
    let rss = [&a, &b].map(|service| process::status(service.process.id(), "VmHWM") >> 10);
    println!(
        "  ark-lattice, durable     {:>7.1} s, {:>6.1} MB, CPU {:>6.1} s, peak memory {} and {} MB",
        took.as_secs_f64(),
        way.take() as f64 / 1e6,
        cpu.as_secs_f64(),
        rss[0],
        rss[1]
    );
    for what in ["nothing changed", "one node changed"] {
        let (before, begun) = (crate::cpu(&[&a, &b]), Instant::now());
        sync(&b).await;
        let cpu = crate::cpu(&[&a, &b]).saturating_sub(before);
        println!(
            "  ark-lattice, {what:<17} {:>5.0} ms, {:>6} bytes, CPU {} ms",
            begun.elapsed().as_secs_f64() * 1e3,
            way.take(),
            cpu.as_millis()
        );
        a.put("node_000001", &node(1, &mut Random::seeded(9))).await;
    }
    rsync(&from.lattice());
}

/// A daemon that does not outlive its owner.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _already_gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn rsync(source: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = format!(
        "port = {port}\naddress = 127.0.0.1\nuse chroot = no\n[lattice]\npath = {}\nread only = yes\n",
        source.display()
    );
    let file = folder.path().join("rsyncd.conf");
    fs::write(&file, settings).unwrap();
    let mut daemon = Command::new("rsync");
    daemon.arg("--daemon").arg("--no-detach").arg("--config").arg(&file).stderr(Stdio::null());
    let Ok(daemon) = daemon.spawn() else {
        println!("  rsync is not installed");
        return;
    };
    let _daemon = Daemon(daemon);
    thread::sleep(Duration::from_millis(500));
    let way = Counter::to(port);
    let target = folder.path().join("target");
    fs::create_dir(&target).unwrap();
    for what in ["first", "nothing changed"] {
        let begun = Instant::now();
        let status = Command::new("rsync")
            .args([
                "--archive",
                &format!("{}/lattice/", way.url.replace("http", "rsync")),
                &format!("{}/", target.display()),
            ])
            .status();
        assert!(status.unwrap().success());
        println!("  rsync, {what:<17} {:>13.1} s, {:>6.1} MB", begun.elapsed().as_secs_f64(), way.take() as f64 / 1e6);
    }
    let begun = Instant::now();
    assert!(Command::new("sync").arg("--file-system").arg(&target).status().unwrap().success());
    println!("  to make what it wrote durable {:>5.1} s more", begun.elapsed().as_secs_f64());
}

async fn edit() {
    let a = place("a");
    fill(&a.lattice(), 300);
    let a = a.serve().await;
    let to = place("b").set("FEDERATION_AUTO_SYNC", "true").set("FEDERATION_TRUSTED_PEERS", &a.url);
    let b = to.serve().await;
    until("in step", LONG, async || a.set_hash().await == b.set_hash().await).await;
    let mut random = Random::seeded(3);
    let mut took = Vec::new();
    for n in 0..100 {
        let hash = json_of(a.put(&format!("node_{n:06}"), &node(n, &mut random)).await).await["hash"].clone();
        let begun = Instant::now();
        until("there", LONG, async || {
            b.get_json("/nodes?limit=1000").await["nodes"].as_array().unwrap().iter().any(|it| it["hash"] == hash)
        })
        .await;
        took.push(begun.elapsed());
    }
    took.sort();
    println!("  median {:?}, 95 % {:?}, longest {:?} (asked every 10 ms)", took[50], took[95], took[99]);
}

async fn idle(count: usize, watched: Duration) {
    let mut peers = Vec::new();
    for n in 0..count {
        let peer = place(&format!("peer-{n}"));
        fill(&peer.lattice(), 100);
        let service = peer.serve().await;
        peers.push((peer, service));
    }
    let urls: Vec<&str> = peers.iter().map(|(_, service)| service.url.as_str()).collect();
    watch_idle(&urls, watched).await;
}

/// Starts an instance with these peers, and sees what it costs once it is in step with all of them.
async fn watch_idle(urls: &[&str], watched: Duration) {
    let place = place("hub").set("FEDERATION_AUTO_SYNC", "true").set("FEDERATION_TRUSTED_PEERS", &urls.join(","));
    let hub = place.serve().await;
    let status = async || {
        json_of(hub.request(Method::GET, "/api/federation/status").bearer_auth(TOKEN).send().await.unwrap()).await
    };
    until("all in step", LONG, async || status().await["activePeers"].as_array().unwrap().len() == urls.len()).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let before = cpu(&[&hub]);
    tokio::time::sleep(watched).await;
    let used = cpu(&[&hub]).saturating_sub(before);
    println!(
        "  {:.2} % of one core over {} s (a round with each every minute), {} MB resident",
        used.as_secs_f64() / watched.as_secs_f64() * 100.0,
        watched.as_secs(),
        process::status(hub.process.id(), "VmRSS") >> 10
    );
}
