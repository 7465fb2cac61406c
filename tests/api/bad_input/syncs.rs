//! The shape of `POST /sync`.

use super::{PAGE_ITEMS, Row, post_sync, row};

pub fn rows() -> Vec<Row> {
    let shapes = [
        ("a list", "[]"),
        ("text", "\"nodes\""),
        ("null", "null"),
        ("a number", "0"),
        ("empty", "{}"),
        ("no nodes", r#"{"manifest_hash":"abc123"}"#),
        ("nodes in another case", r#"{"Nodes":[]}"#),
        ("nodes null", r#"{"nodes":null}"#),
        ("nodes as a map", r#"{"nodes":{"a":"h"}}"#),
        ("nodes as text", r#"{"nodes":"a"}"#),
        ("a node that is text", r#"{"nodes":["a"]}"#),
        ("a node that is null", r#"{"nodes":[null]}"#),
        ("a node that is a pair", r#"{"nodes":[["a","h"]]}"#),
        ("a node without id", r#"{"nodes":[{"hash":"h"}]}"#),
        ("a node without hash", r#"{"nodes":[{"id":"a"}]}"#),
        ("an id as a number", r#"{"nodes":[{"id":1,"hash":"h"}]}"#),
        ("an id null", r#"{"nodes":[{"id":null,"hash":"h"}]}"#),
        ("a hash as a number", r#"{"nodes":[{"id":"a","hash":1}]}"#),
        ("a hash null", r#"{"nodes":[{"id":"a","hash":null}]}"#),
        ("an id empty", r#"{"nodes":[{"id":"","hash":"h"}]}"#),
        ("an id with a zero byte", r#"{"nodes":[{"id":"\u0000","hash":"h"}]}"#),
        ("an id twice", r#"{"nodes":[{"id":"a","hash":"h"},{"id":"a","hash":"h"}]}"#),
        ("an id twice, once escaped", r#"{"nodes":[{"id":"a","hash":"h"},{"id":"\u0061","hash":"i"}]}"#),
        ("the second node bad", r#"{"nodes":[{"id":"a","hash":"h"},7]}"#),
        ("manifest_hash as a number", r#"{"nodes":[],"manifest_hash":1}"#),
        ("manifest_hash as a list", r#"{"nodes":[],"manifest_hash":[]}"#),
        ("manifest_hash as a truth value", r#"{"nodes":[],"manifest_hash":false}"#),
        ("cursor as a number", r#"{"nodes":[],"cursor":1}"#),
        ("cursor that is no base64", r#"{"nodes":[],"cursor":"!!"}"#),
        ("cursor that is padded", r#"{"nodes":[],"cursor":"YQ=="}"#),
        ("cursor of no UTF-8", r#"{"nodes":[],"cursor":"_w"}"#),
        ("cursor of a control character", r#"{"nodes":[],"cursor":"AA"}"#),
        ("cursor empty", r#"{"nodes":[],"cursor":""}"#),
        ("limit 0", r#"{"nodes":[],"limit":0}"#),
        ("limit below zero", r#"{"nodes":[],"limit":-1}"#),
        ("limit with a fraction", r#"{"nodes":[],"limit":1.5}"#),
        ("limit with an exponent", r#"{"nodes":[],"limit":1e-2}"#),
        ("limit as text", r#"{"nodes":[],"limit":"10"}"#),
        ("limit as a truth value", r#"{"nodes":[],"limit":true}"#),
        ("limit of 30 digits", r#"{"nodes":[],"limit":123456789012345678901234567890}"#),
    ];
    let mut rows: Vec<Row> = shapes
        .iter()
        .map(|(name, body)| row(format!("sync: {name}"), post_sync(body), 400, "invalid_sync_request"))
        .collect();
    let long = format!("{{\"nodes\":[{{\"id\":\"{}\",\"hash\":\"h\"}}]}}", "é".repeat(257));
    rows.push(row("sync: an id of 257", post_sync(long), 400, "invalid_sync_request"));
    let over = format!("{{\"nodes\":[],\"limit\":{}}}", PAGE_ITEMS + 1);
    rows.push(row("sync: limit one above the most", post_sync(over), 400, "invalid_sync_request"));
    rows
}
