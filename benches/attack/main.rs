//! What honest peers notice of a flood: the release binary in a process of its own, over the loopback address.
//!
//! Honest clients from addresses of their own read and renew their manifests at a steady rate, first alone and then while others send
//! thousands of hostile requests a second from sixteen addresses: signatures that do not fit, junk, new ids, empty signed pushes (each of
//! which is remembered), pushed junk, changes of keys, guesses of invites, vouchers, and pushes of ever new instances, which ask to write;
//! every eighth of them is verified. Beside them each address holds uploads that stop before their last byte, and answers that it does not
//! read. Meanwhile the admin verifies and revokes a peer again and again. Printed are the honest ones' latencies in both phases, how long
//! it took until the admin's decisions counted at the door, what was answered, and the memory of the service's process.
//!
//! Requests of this machine's own programs are not counted by default; here they are (`limits.count_loopback`), with all other limits as
//! they are by default. An address of 127.0.0.0/8 stands for one of the internet.
//!
//! `make attack-load`; `cargo bench --bench attack -- --help` lists the options.

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

mod decisions;
#[path = "../../tests/support/http1.rs"]
mod http1;
mod misdeeds;
#[path = "../load/process.rs"]
mod process;
#[path = "../../tests/support/service.rs"]
mod service;
#[path = "../../tests/support/signing.rs"]
mod signing;

use clap::Parser;
use hdrhistogram::Histogram;
use http1::{Connection, request};
use misdeeds::Hostile;
use serde_json::json;
use service::Place;
use signing::{key, manifest, signed};
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

#[derive(Debug, Parser)]
#[command(about = "Measures what honest peers notice of a flood")]
struct Options {
    /// How long the flood lasts; the quiet phase before it takes as long, a minute at most
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Hostile requests a second
    #[arg(long, default_value_t = 5_000)]
    rate: u64,
    /// Connections of the hostile ones
    #[arg(long, default_value_t = 64)]
    connections: u64,
    /// Requests a second of all honest ones together
    #[arg(long, default_value_t = 100)]
    honest_rate: u64,
    /// Ends with an error where the 99th percentile of the honest ones is not under twice its quiet value, or a decision of the admin
    /// counts later than after a second
    #[arg(long)]
    check: bool,
    /// Where the figures go as JSON
    #[arg(long, value_name = "FILE", default_value = "benches/results/attack.json")]
    json: PathBuf,
    /// `cargo bench` adds it
    #[arg(long, hide = true)]
    bench: bool,
}

const HONEST: u8 = 8;
const HOSTILE_ADDRESSES: u64 = 16;

fn main() {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure(&options));
}

/// Microseconds, up to a minute.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("usable bounds")
}

fn ms(latencies_us: &Histogram<u64>, quantile: f64) -> f64 {
    latencies_us.value_at_quantile(quantile) as f64 / 1000.0
}

/// The manifest of each honest peer, which it sends again and again.
fn own_manifests() -> Vec<String> {
    (0..HONEST).map(|nth| signed(&key(u64::from(nth)), &manifest(&format!("honest-{nth}"), 1))).collect()
}

/// What the honest ones ask for, in turn: the names of the table's rows.
const KINDS: [&str; 4] = ["GET /nodes", "GET /nodes/{id}", "GET /discover", "POST /manifest"];

/// What honest clients saw.
struct Phase {
    /// Of each of [`KINDS`].
    latencies_us: [Histogram<u64>; KINDS.len()],
    refused: u64,
}

impl Phase {
    fn new() -> Self {
        Self { latencies_us: std::array::from_fn(|_| histogram()), refused: 0 }
    }

    fn add(&mut self, other: &Self) {
        for (all, more) in self.latencies_us.iter_mut().zip(&other.latencies_us) {
            all.add(more).expect("the same bounds");
        }
        self.refused += other.refused;
    }

    fn of_all_kinds(&self) -> Histogram<u64> {
        let mut all = histogram();
        for kind in &self.latencies_us {
            all.add(kind).expect("the same bounds");
        }
        all
    }
}

async fn measure(options: &Options) {
    let place = Place::new().with_default_trust().set("ARK__LIMITS__COUNT_LOOPBACK", "true");
    for number in 0..200 {
        place.write_node(&format!("n{number}"), &json!({"id": format!("n{number}"), "content": "x".repeat(300)}));
    }
    let service = place.serve().await;
    let (port, pid) = (service.port, service.process.id());
    do_not_wait_for_a_processor();
    let own = own_manifests();
    // Keys and their histories are made before anything is measured.
    let instances: Vec<Hostile> = (0..options.connections.max(1)).map(Hostile::new).collect();
    for instance in instances.iter().step_by(8) {
        let (id, public_key) = instance.identity();
        decisions::decide(port, "verify", id, &public_key).await;
    }
    let quiet_for = Duration::from_secs(options.seconds.min(60));
    // Once through, so that nothing is measured that happens once.
    honest(port, &own, options.honest_rate, Duration::from_secs(2)).await;
    let quiet_rss = process::status(pid, "VmRSS");
    let (quiet, decided_quiet) =
        tokio::join!(honest(port, &own, options.honest_rate, quiet_for), decisions::measure(port, quiet_for));

    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let answered = Arc::new(Mutex::new(BTreeMap::new()));
    let (began, cpu_before) = (Instant::now(), process::cpu_time(pid));
    let flood = {
        let (stop, sent, answered) = (Arc::clone(&stop), Arc::clone(&sent), Arc::clone(&answered));
        let rate = options.rate;
        thread::spawn(move || flood(port, rate, instances, &stop, &sent, &answered))
    };
    let flooded_for = Duration::from_secs(options.seconds);
    let (hostile, decided) =
        tokio::join!(honest(port, &own, options.honest_rate, flooded_for), decisions::measure(port, flooded_for));
    stop.store(true, Ordering::Release);
    let (took, cpu) = (began.elapsed(), process::cpu_time(pid) - cpu_before);
    flood.join().expect("the flood ends");
    let (rss, peak) = (process::status(pid, "VmRSS"), process::status(pid, "VmHWM"));
    let (sent, answered) = (sent.load(Ordering::Acquire), answered.lock().unwrap().clone());

    println!(
        "\n| honest requests | answered | refused | median, ms | p99, ms | longest, ms |\n|---|---|---|---|---|---|"
    );
    for (name, phase) in [("quiet", &quiet), ("in the flood", &hostile)] {
        let row = |what: &str, refused: &str, all: &Histogram<u64>| {
            let (median, p99, longest) = (ms(all, 0.5), ms(all, 0.99), ms(all, 1.0));
            println!("| {name}{what} | {} | {refused} | {median:.2} | {p99:.2} | {longest:.2} |", all.len());
        };
        row("", &phase.refused.to_string(), &phase.of_all_kinds());
        for (kind, latencies_us) in KINDS.iter().zip(&phase.latencies_us) {
            row(&format!(", {kind}"), "", latencies_us);
        }
    }
    println!("\n| decisions of the admin | number | median, ms | longest until it counts, ms |\n|---|---|---|---|");
    for (name, decided) in [("quiet", &decided_quiet), ("in the flood", &decided)] {
        println!("| {name} | {} | {:.2} | {:.2} |", decided.len(), ms(decided, 0.5), ms(decided, 1.0));
    }
    let rate = sent as f64 / took.as_secs_f64();
    println!("\nHostile requests: {sent}, {rate:.0} a second; answered with {answered:?}");
    println!("CPU time of the service: {:.2} of one processor", cpu.as_secs_f64() / took.as_secs_f64());
    println!("Memory of the service: {quiet_rss} kB before, {rss} kB after, {peak} kB at most");
    let (p99_quiet, p99_flood) = (ms(&quiet.of_all_kinds(), 0.99), ms(&hostile.of_all_kinds(), 0.99));
    let ratio = p99_flood / p99_quiet;
    println!("p99 in the flood: {ratio:.2} times the quiet one");
    let figures = json!({"seconds": options.seconds, "hostile_per_second": rate, "answered": answered,
        "cpu": cpu.as_secs_f64() / took.as_secs_f64(), "p99_quiet_ms": p99_quiet, "p99_flood_ms": p99_flood, "ratio": ratio,
        "decision_quiet_ms": ms(&decided_quiet, 1.0), "decision_flood_ms": ms(&decided, 1.0), "honest_refused": hostile.refused, "rss_before_kb": quiet_rss, "rss_after_kb": rss, "rss_peak_kb": peak});
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(&options.json);
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory for the figures");
    std::fs::write(&path, format!("{figures:#}\n")).expect("room for the figures");
    assert_eq!(hostile.refused + quiet.refused, 0, "honest requests were refused");
    assert!(!options.check || ms(&decided, 1.0) < 1000.0, "a decision counted after {:.0} ms", ms(&decided, 1.0));
    assert!(!options.check || ratio < 2.0, "p99 in the flood is {ratio:.2} times the quiet one");
}

/// Eight honest peers, each from its own address: look-ups, and now and then their manifest again.
async fn honest(port: u16, own: &[String], rate: u64, duration: Duration) -> Phase {
    let ends = Instant::now() + duration;
    let clients = (0..HONEST).map(|nth| {
        let every = Duration::from_secs_f64(f64::from(HONEST) / rate.max(1) as f64);
        async move {
            let from = Ipv4Addr::new(127, 0, 1, nth + 1);
            let requests = [
                request("GET", "/nodes?limit=10", "", None),
                request("GET", "/nodes/n7", "", None),
                request("GET", "/discover?limit=10", "", None),
                request("POST", "/manifest", "", Some(own[usize::from(nth)].as_bytes())),
            ];
            let mut phase = Phase::new();
            let mut connection = Connection::open_from(from, port).await.expect("an honest connection");
            let mut due = Instant::now() + every.mul_f64(f64::from(nth) / f64::from(HONEST));
            let mut turn = usize::from(nth);
            while due < ends {
                // From when it was to be sent, where the answer before was late.
                let late = Instant::now() > due;
                tokio::time::sleep_until(due.into()).await;
                let started = if late { due } else { Instant::now() };
                let answer = connection.exchange(&requests[turn % requests.len()]).await.expect("an honest answer");
                let is_right = answer.status == 200;
                let kind = &mut phase.latencies_us[turn % KINDS.len()];
                kind.saturating_record(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
                phase.refused += u64::from(!is_right);
                if connection.closes() {
                    connection = Connection::open_from(from, port).await.expect("an honest connection");
                }
                due += every;
                turn += 1;
            }
            phase
        }
    });
    let phases = futures_util::future::join_all(clients).await;
    let mut all = Phase::new();
    for phase in phases {
        all.add(&phase);
    }
    all
}

fn flood(
    port: u16,
    rate: u64,
    instances: Vec<Hostile>,
    stop: &AtomicBool,
    sent: &AtomicU64,
    answered: &Mutex<BTreeMap<u16, u64>>,
) {
    leave_the_processors_to_the_others();
    let connections = instances.len() as u64;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let hostile = |(nth, mut instance): (u64, Hostile)| {
        async move {
            let from = hostile_address(nth);
            let every = Duration::from_secs_f64(connections as f64 / rate.max(1) as f64);
            let mut connection = None;
            let mut due = Instant::now() + every.mul_f64(nth as f64 / connections as f64);
            let mut counts = BTreeMap::new();
            while !stop.load(Ordering::Acquire) {
                // The runtime's timers tick once a millisecond: five requests would come at once, and then none.
                while Instant::now() < due {
                    tokio::task::yield_now().await;
                }
                due += every;
                let bytes = instance.misdeed();
                let open = match connection.take() {
                    Some(open) => Ok(open),
                    None => Connection::open_from(from, port).await,
                };
                sent.fetch_add(1, Ordering::AcqRel);
                let Ok(mut open) = open else { continue };
                let status = open.exchange(&bytes).await.map_or(0, |answer| answer.status);
                *counts.entry(status).or_insert(0_u64) += 1;
                if status != 0 && !open.closes() {
                    connection = Some(open);
                }
            }
            let mut all = answered.lock().unwrap();
            for (status, count) in counts {
                *all.entry(status).or_insert(0) += count;
            }
        }
    };
    let floods = futures_util::future::join_all((0..).zip(instances).map(hostile));
    let held = (0..HOSTILE_ADDRESSES).map(|nth| async move {
        let from = hostile_address(nth);
        tokio::join!(misdeeds::stall(from, port, stop), misdeeds::read_slowly(from, port, stop))
    });
    runtime.block_on(async { tokio::join!(floods, futures_util::future::join_all(held)) });
}

fn hostile_address(nth: u64) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 2, u8::try_from(nth % HOSTILE_ADDRESSES).unwrap() + 1)
}

/// The attackers have machines of their own: here this thread takes what processor time the others leave. The lowest priority alone is
/// not enough: a thread that runs may keep its processor for a slice of milliseconds, also from one of a higher priority that wakes.
/// Only the class of idle work gives it up at once.
fn leave_the_processors_to_the_others() {
    assert!(schedule(&["--idle", "--pid", "0"]), "chrt, of util-linux, cannot make the flood's thread idle work");
}

/// The honest ones have machines of their own as well: this thread does not wait until the service leaves it a processor, and so tells
/// when an answer was there, not when it came to reading it. Only root may do that.
fn do_not_wait_for_a_processor() {
    if !schedule(&["--rr", "--pid", "1"]) {
        eprintln!("not root: the honest ones' latencies hold what they wait for a processor of this machine");
    }
}

/// Sets how this thread is scheduled.
fn schedule(how: &[&str]) -> bool {
    let this = std::fs::read_link("/proc/thread-self").expect("Linux tells which thread this is");
    let this = this.file_name().expect("PID/task/TID");
    let set = std::process::Command::new("chrt").args(how).arg(this).stderr(std::process::Stdio::null()).status();
    set.is_ok_and(|status| status.success())
}
