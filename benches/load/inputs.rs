//! What the requests carry.

use crate::{http1::request, service::TOKEN, signing::key};
use ark_lattice::{
    manifest::{Canonicalization, sign},
    types::Limits,
};
use serde_json::{Value, json};
use std::{fmt::Write as _, path::Path};

/// A hash that no document has.
const FOREIGN_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The request that publishes peer `peer`'s statement number `seq`, which lists `nodes` nodes; in the form of the scripts
/// (`python`), the dearest to check.
pub(crate) fn publish(peer: usize, seq: usize, nodes: usize, now: u64) -> Vec<u8> {
    let key = key(u64::try_from(peer).unwrap_or_default());
    let listed: Vec<Value> = (0..nodes)
        .map(|node| json!({"id": format!("node-{node:06}"), "type": "framework_node", "hash": format!("sha256:{node:064x}"), "updated_at": now}))
        .collect();
    let manifest = json!({"node_id": format!("peer-{peer:06}"), "instance_type": "local", "version": "1.0.0",
        "address": format!("https://peer-{peer:06}.example"), "last_updated": now, "seq": seq, "nodes": listed});
    let envelope =
        sign(manifest.to_string().into(), Canonicalization::Python, &Limits::default(), key.public_key(), |bytes| {
            key.sign(bytes)
        })
        .expect("a manifest");
    request("POST", "/manifest", "", Some(envelope.as_bytes()))
}

/// `count` statements of `peers` peers in turn, each newer than its peer's before; made on all processors.
pub(crate) fn fresh(count: usize, peers: usize, nodes: usize, now: u64) -> Vec<Vec<u8>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = count.div_ceil(threads);
    std::thread::scope(|scope| {
        let make = |part: usize| {
            let numbers = part * share..((part + 1) * share).min(count);
            move || numbers.map(|number| publish(number % peers, number / peers + 1, nodes, now)).collect::<Vec<_>>()
        };
        let parts: Vec<_> = (0..threads).map(|part| scope.spawn(make(part))).collect();
        parts.into_iter().flat_map(|part| part.join().expect("signing works")).collect()
    })
}

fn node(number: usize, title: &str) -> (String, String) {
    let id = format!("node-{number:06}");
    let node = json!({"id": id, "type": "framework_node", "updated_at": 1_699_564_800 + number, "title": title,
        "tags": ["python", "web", "sample"], "text": format!("{number:08} of a text as notes have it. ").repeat(5)});
    (id, node.to_string())
}

/// Edits of some of `nodes` nodes, spread evenly, each asked for in the signed head afterwards; all again with another content, so that
/// none of them says what is there already.
pub(crate) fn edits(nodes: usize) -> Vec<Vec<u8>> {
    let edited = nodes.min(1000);
    let put = move |number: usize, title: &str| -> [Vec<u8>; 2] {
        let (id, text) = node(number * (nodes / edited), title);
        let token = format!("Authorization: Bearer {TOKEN}\r\n");
        [
            request("PUT", &format!("/nodes/{id}"), &token, Some(text.as_bytes())),
            request("GET", "/lattice/head", "", None),
        ]
    };
    ["one", "another"].into_iter().flat_map(|title| (0..edited).flat_map(move |number| put(number, title))).collect()
}

/// Writes `count` nodes of some 300 bytes, as any program would.
pub(crate) fn write_nodes(directory: &Path, count: usize) {
    for number in 0..count {
        let (id, text) = node(number, &format!("Node {number}"));
        std::fs::write(directory.join(format!("{id}.json")), text).expect("room for the nodes");
    }
}

/// The request of a caller that holds all of `nodes`, `differing` of them (spread evenly) with another content.
pub(crate) fn sync(nodes: &[(String, String)], differing: usize) -> Vec<u8> {
    let mut body = String::from("{\"nodes\":[");
    for (at, (id, hash)) in nodes.iter().enumerate() {
        let differs = (at + 1) * differing / nodes.len() > at * differing / nodes.len();
        let hash = if differs { FOREIGN_HASH } else { hash };
        let comma = if at == 0 { "" } else { "," };
        write!(body, "{comma}{{\"id\":\"{id}\",\"hash\":\"{hash}\"}}").expect("a String takes all");
    }
    body.push_str("]}");
    request("POST", "/sync", "", Some(body.as_bytes()))
}

/// The request of a caller that says first that it holds the same.
pub(crate) fn sync_equal(nodes: &[(String, String)], set_hash: &str) -> Vec<u8> {
    let nodes: Vec<Value> = nodes.iter().map(|(id, hash)| json!({"id": id, "hash": hash})).collect();
    let body = json!({"manifest_hash": set_hash, "nodes": nodes});
    request("POST", "/sync", "", Some(body.to_string().as_bytes()))
}
