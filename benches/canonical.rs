//! The gate and the canonical forms, on a manifest of 100 nodes, on one node, and on texts that are hard on one part each.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "criterion's macros write functions without docs; a bench stops at the first surprise"
)]

use ark_lattice::json::{
    Document,
    jcs::{self, Integers},
    python,
};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::{fmt::Write as _, hint::black_box};

fn manifest(nodes: usize) -> String {
    let mut text = String::from(
        r#"{"node_id": "ark-lattice-7", "instance_type": "primary", "version": "1.4.2", "last_updated": 1763700000.123456, "nodes": ["#,
    );
    for node in 0..nodes {
        let comma = if node == 0 { "" } else { ", " };
        let hash = format!("{node:08x}").repeat(8);
        write!(
            text,
            r#"{comma}{{"id": "knowledge:concept:{node:06}", "hash": "sha256:{hash}", "type": "concept", "updated_at": {}}}"#,
            1_763_600_000 + node
        )
        .expect("strings take everything");
    }
    text.push_str(
        r#"], "capabilities": ["sync", "discover"], "endpoints": {"http": "https://ark-7.example.org:8443/federation"}}"#,
    );
    text
}

const NODE: &str = r#"{
  "id": "knowledge:concept:000042",
  "type": "concept",
  "title": "Föderation ohne Mitte",
  "content": "A lattice of documents stays in step when every instance can say what it holds, sign it, and send only what differs.\nLate arrivals ask for what they lack; nobody has to be asked twice. \"Nothing acknowledged is lost\" is the rule that everything else serves.",
  "tags": ["sync", "federation", "предмет", "lattice"],
  "links": [
    {"to": "knowledge:concept:000041", "weight": 0.75, "kind": "extends"},
    {"to": "knowledge:concept:000007", "weight": 0.1234567890123, "kind": "cites"}
  ],
  "metrics": {"views": 18234, "score": 98.6, "ratio": 1e-7, "big": 9007199254740993},
  "archived": false,
  "parent": null,
  "updated_at": 1763600042
}
"#;

fn texts() -> Vec<(&'static str, String)> {
    let floats: Vec<_> = (1..2_000_u32).map(|number| format!("{}", 1.0 / f64::from(number))).collect();
    let integers: Vec<_> = (0..4_000).map(|number: u32| (number * 7919).to_string()).collect();
    vec![
        ("manifest_100", manifest(100)),
        ("node", NODE.to_owned()),
        ("floats", format!("[{}]", floats.join(","))),
        ("integers", format!("[{}]", integers.join(","))),
        // Each a hair from the middle of two doubles.
        (
            "ties",
            format!(
                "[{}]",
                vec!["9.88131291682493088353e-324,1.79769313486231570e308,9007199254740993.00000001"; 500].join(",")
            ),
        ),
        (
            "keys",
            format!("{{{}\"\":0}}", (0..4_000).rev().map(|key| format!("\"key-{key:06}\":0,")).collect::<String>()),
        ),
        ("cyrillic", format!("[\"{}\"]", "решётка документов ".repeat(500))),
        ("escapes", format!("[\"{}\"]", r"line\n\u0440\u0435\u0448 \ud83d\ude00".repeat(500))),
    ]
}

fn canonical(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("canonical");
    for (name, text) in texts() {
        let source = Bytes::from(text);
        let document = Document::parse(source.clone(), 64).expect("the gate accepts it");
        let mut out = Vec::with_capacity(source.len() * 4);
        group.throughput(Throughput::Bytes(u64::try_from(source.len()).expect("it fits")));
        group.bench_function(BenchmarkId::new("gate", name), |bencher| {
            bencher.iter(|| Document::parse(black_box(source.clone()), 64));
        });
        group.bench_function(BenchmarkId::new("python", name), |bencher| {
            bencher.iter(|| {
                out.clear();
                python::write(black_box(document.root()), &mut out);
                out.len()
            });
        });
        group.bench_function(BenchmarkId::new("jcs", name), |bencher| {
            bencher.iter(|| {
                out.clear();
                jcs::write(black_box(document.root()), Integers::Exact, &mut out).map(|()| out.len())
            });
        });
        group.bench_function(BenchmarkId::new("content_hash", name), |bencher| {
            bencher.iter(|| jcs::content_hash(black_box(document.root())));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = canonical
}
criterion_main!(benches);
