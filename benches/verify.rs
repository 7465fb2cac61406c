//! What a signed manifest costs before the registry sees it: gate, canonical bytes, signature, shape.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark that cannot go on should stop")]

use ark_lattice::{
    identity::KeyPair,
    manifest::{Canonicalization, sign, verify},
    types::Limits,
};
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

fn manifest(nodes: usize) -> String {
    let nodes: Vec<String> = (0..nodes)
        .map(|number| {
            format!(
                r#"{{"id":"node-{number}","type":"template_node","hash":"sha256:{number:064x}","updated_at":{}}}"#,
                1_699_564_700 + number
            )
        })
        .collect();
    format!(r#"{{"node_id":"ark-bench","last_updated":1699564800,"nodes":[{}]}}"#, nodes.join(","))
}

fn verification(criterion: &mut Criterion) {
    let key = KeyPair::generate().unwrap();
    let limits = Limits::default();
    for nodes in [0, 10, 100, 10_000] {
        let mut group = criterion.benchmark_group(format!("verify/{nodes}_nodes"));
        for (name, form) in
            [("python", Canonicalization::Python), ("jcs", Canonicalization::Jcs), ("dsse", Canonicalization::Dsse)]
        {
            let envelope = Bytes::from(
                sign(Bytes::from(manifest(nodes)), form, &limits, key.public_key(), |bytes| key.sign(bytes)).unwrap(),
            );
            group.throughput(Throughput::Bytes(u64::try_from(envelope.len()).unwrap()));
            group
                .bench_function(name, |bencher| bencher.iter(|| verify(black_box(envelope.clone()), &limits).unwrap()));
        }
        group.finish();
    }
}

criterion_group!(benches, verification);
criterion_main!(benches);
