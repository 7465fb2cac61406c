//! The whole service under load: the release binary in a process of its own with one worker, over the loopback address.
//!
//! Each row is measured twice. In a **closed loop** every connection sends its next request when it has the answer: that gives
//! requests a second and, with the CPU time of the service's process, requests a CPU second, which hold also where the client or
//! another program takes a part of the machine. In an **open loop** requests are sent at a fixed rate, a share of the first
//! figure, and latencies count from the instant at which a request was to be sent.
//!
//! `make bench` runs all of it, `make bench-quick` a short version; `cargo bench --bench load -- --help` lists the options.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::as_conversions,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a benchmark that cannot run must stop, and it prints what it found"
)]

mod cases;
mod ceiling;
mod charts;
mod compare;
mod engine;
#[path = "../../tests/support/http1.rs"]
mod http1;
mod inputs;
mod process;
#[path = "../../tests/support/redis_server.rs"]
mod redis_server;
mod report;
#[path = "../../tests/support/service.rs"]
mod service;
#[path = "../../tests/support/signing.rs"]
mod signing;

use cases::{Bench, Setup};
use ceiling::Ceiling;
use clap::Parser;
use serde_json::json;
use std::{path::PathBuf, time::Duration};

// What the limits are measured with is what the service runs with.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(about = "Measures the whole service. Rows have names such as manifest/redis/fresh/100")]
struct Options {
    /// Only rows whose name holds one of these texts
    #[arg(value_name = "TEXT")]
    only: Vec<String>,
    /// Short runs, and no lattice beyond 10,000 nodes
    #[arg(long)]
    quick: bool,
    /// Nodes of the largest lattice; 100000, with --quick 10000
    #[arg(long, value_name = "NODES")]
    largest: Option<usize>,
    /// How long each of a row's two runs takes; 3 s, with --quick 0.6 s
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// Connections of small requests
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Rate of the open loop, as a share of what the closed one reached
    #[arg(long, default_value_t = 0.5)]
    load: f64,
    /// Worker threads of the service; the limits have one
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Start the service with this library in front of the system's, such as an allocator
    #[arg(long, value_name = "LIBRARY")]
    preload: Option<String>,
    /// Where the figures go as JSON
    #[arg(long, value_name = "FILE", default_value = "benches/results/load.json")]
    json: PathBuf,
    /// Measure nothing: show two results side by side
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"])]
    compare: Vec<PathBuf>,
    /// Measure nothing: draw a result's figures into docs/charts
    #[arg(long, value_name = "FILE")]
    charts: Option<PathBuf>,
    /// `cargo bench` adds it
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    if std::env::args().nth(1).is_some_and(|argument| argument == ceiling::ARGUMENT) {
        ceiling::serve();
        return;
    }
    let options = Options::parse();
    let from_root = |path: &PathBuf| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    if let [before, after] = options.compare.as_slice() {
        println!("{}", compare::side_by_side(&from_root(before), &from_root(after)));
        return;
    }
    if let Some(results) = &options.charts {
        for path in charts::draw(&from_root(results), &from_root(&PathBuf::from("docs/charts"))) {
            println!("{}", path.display());
        }
        return;
    }
    let seconds = options.seconds.unwrap_or(if options.quick { 0.6 } else { 3.0 });
    let circumstances = report::circumstances(&std::env::temp_dir());
    let settings = json!({"quick": options.quick, "only": options.only, "seconds": seconds,
        "connections": options.connections, "load": options.load, "workers": options.workers, "preload": options.preload});
    let mut bench = Bench {
        only: options.only,
        largest: options.largest.unwrap_or(if options.quick { 10_000 } else { 100_000 }),
        setup: Setup { workers: options.workers.max(1), preload: options.preload.clone() },
        repeat_starts: if options.quick { 1 } else { 3 },
        run: Duration::from_secs_f64(seconds),
        connections: options.connections.max(1),
        load: options.load,
        rows: Vec::new(),
        starts: Vec::new(),
        crowds: Vec::new(),
        sweeping: !options.quick,
        sweeps: Vec::new(),
        ceiling: Ceiling::start(),
        failed: Vec::new(),
    };
    // One thread: the client leaves the other processor to the service.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(bench.all());

    println!("\n{}", report::rows_table(&bench.rows));
    println!("{}", report::starts_table(&bench.starts));
    println!("{}", report::crowds_table(&bench.crowds));
    println!(
        "requests/s and per CPU s (of the service's process; CPU: how much of one processor it took): closed loop.\n\
         limit: what the same HTTP server makes of such requests and answers at best, in the same run.\n\
         Latencies: open loop at the rate beside them, from the instant at which a request was to be sent."
    );
    let json = report::to_json(&circumstances, &settings, &bench);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(&options.json);
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory for the figures");
    std::fs::write(&path, format!("{json:#}\n")).expect("room for the figures");
    println!("Figures: {}", path.display());

    let rows = bench.rows.iter().flat_map(|row| row.wrong().map(move |what| (&row.id, what)));
    let wrong: Vec<_> = rows.chain(bench.failed.iter().map(|(id, what)| (id, what))).collect();
    for (id, what) in wrong.iter().take(20) {
        eprintln!("{id}: {what}");
    }
    assert!(wrong.is_empty(), "{} wrong answers", wrong.len());
}
