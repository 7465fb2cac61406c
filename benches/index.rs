//! The index: building it, what one change costs, deltas, and opening a directory.
//!
//! `ARK_BENCH_FILES` sets how many files the directory has that is opened (default 10,000).
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a benchmark stops at the first surprise"
)]

use ark_lattice::{
    lattice::{
        Entry, Lattice,
        delta::Delta,
        directory::{CaseSensitivity, DirectoryLattice, DirectoryOptions, GATHER_INTERVAL},
        index::Snapshot,
    },
    ops::SyncRequest,
    types::{ContentHash, Limits, NodeId, SystemClock, Timestamp},
};
use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::{hint::black_box, io::Write as _, path::Path, sync::Arc, time::Duration};

const SIZES: [usize; 2] = [10_000, 100_000];

fn entry(number: usize, version: usize) -> Arc<Entry> {
    let id = format!("node-{number:08}");
    Arc::new(Entry {
        id: NodeId::parse(&id).unwrap(),
        content_hash: ContentHash::of(format!("{id} {version}").as_bytes()),
        file_hash: [0; 32],
        node_type: ark_lattice::lattice::NodeType::parse("note"),
        updated_at: Timestamp::from_seconds(1_763_696_494),
        size_bytes: 300,
        seq: 1,
    })
}

fn set(c: &mut Criterion) {
    let mut group = c.benchmark_group("set");
    group.sample_size(20);
    for size in SIZES {
        let entries: Vec<_> = (0..size).map(|number| entry(number, 0)).collect();
        group.bench_with_input(BenchmarkId::new("build", size), &entries, |b, entries| {
            b.iter(|| black_box(Snapshot::of(entries.iter().cloned()).len()));
        });
        let snapshot = Snapshot::of(entries);
        group.bench_function(BenchmarkId::new("first set hash", size), |b| {
            let fresh = || Snapshot::of(snapshot.iter_after(None).cloned());
            b.iter_batched(fresh, |fresh| black_box(fresh.set_hash()), BatchSize::LargeInput);
        });
        let _ = snapshot.set_hash();
        let mut version = 0;
        group.bench_function(BenchmarkId::new("set hash after one change", size), |b| {
            b.iter(|| {
                version += 1;
                black_box(snapshot.with(entry(size / 2, version)).set_hash())
            });
        });
    }
    group.finish();
}

fn delta(c: &mut Criterion) {
    let mut group = c.benchmark_group("delta");
    group.sample_size(20);
    for size in SIZES {
        let snapshot = Snapshot::of((0..size).map(|number| entry(number, 0)));
        for (name, every) in [("in sync", usize::MAX), ("1 % differs", 100)] {
            let held = |number: usize| entry(number, usize::from(number % every == every - 1)).content_hash.to_hex();
            let nodes: Vec<_> =
                (0..size).map(|number| format!(r#"{{"id":"node-{number:08}","hash":"{}"}}"#, held(number))).collect();
            let body = Bytes::from(format!(r#"{{"nodes":[{}]}}"#, nodes.join(",")));
            let read = |body: &Bytes| SyncRequest::parse(body.clone(), &Limits::default(), None, |_| None).unwrap();
            group.throughput(Throughput::Bytes(u64::try_from(body.len()).unwrap()));
            group
                .bench_function(BenchmarkId::new(format!("{name}, read"), size), |b| b.iter(|| black_box(read(&body))));
            group.bench_function(BenchmarkId::new(format!("{name}, read through the gate"), size), |b| {
                b.iter(|| {
                    black_box(
                        SyncRequest::parse_through_the_gate(body.clone(), &Limits::default(), None, |_| None).unwrap(),
                    )
                });
            });
            let request = read(&body);
            group.bench_function(BenchmarkId::new(format!("{name}, compare"), size), |b| {
                b.iter(|| {
                    let delta = Delta::new(Arc::clone(&snapshot), request.held());
                    black_box((delta.entries(None).count(), delta.wanted().len()))
                });
            });
        }
    }
    group.finish();
}

fn open_until_ready(root: &Path) -> Arc<DirectoryLattice> {
    let lattice = DirectoryLattice::open(DirectoryOptions {
        directory: root.join("data"),
        journal: root.join("lattice.redb"),
        limits: Limits::default(),
        clock: SystemClock::shared(),
        gather_interval: GATHER_INTERVAL,
        vanish_grace: std::time::Duration::ZERO,
        rescan_interval: Duration::from_secs(3600),
        case: CaseSensitivity::Probe,
        manifest: None,
    })
    .unwrap();
    while !lattice.status().ready {
        std::thread::sleep(Duration::from_millis(1));
    }
    lattice
}

fn open(c: &mut Criterion) {
    let files: usize = std::env::var("ARK_BENCH_FILES").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000);
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("data")).unwrap();
    let past = std::time::SystemTime::now() - Duration::from_secs(60);
    for number in 0..files {
        let path = root.path().join(format!("data/node-{number:08}.json"));
        let mut file = std::fs::File::create(path).unwrap();
        let filler = "x".repeat(200);
        write!(file, r#"{{"id":"node-{number:08}","type":"note","updated_at":1763696494,"text":"{filler}"}}"#).unwrap();
        file.set_times(std::fs::FileTimes::new().set_modified(past)).unwrap();
    }
    let mut group = c.benchmark_group("open");
    group.sample_size(10);
    let forget = || drop(std::fs::remove_file(root.path().join("lattice.redb")));
    group.bench_function(BenchmarkId::new("cold", files), |b| {
        b.iter_batched(forget, |()| open_until_ready(root.path()), BatchSize::PerIteration);
    });
    drop(open_until_ready(root.path()));
    group.bench_function(BenchmarkId::new("warm", files), |b| {
        b.iter_batched(|| (), |()| open_until_ready(root.path()), BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, set, delta, open);
criterion_main!(benches);
