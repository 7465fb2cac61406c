//! Manifests that are signed but cannot be taken, in each of the three forms.

use super::{FIELD_BYTES, MANIFEST_NODES, Row, post_manifest, row};
use crate::app::{NOW, key, signed_as};
use ark_lattice::manifest::Canonicalization;

fn nodes(count: usize) -> String {
    (0..count).map(|number| format!("{{\"id\":\"n{number}\",\"hash\":\"h\"}}")).collect::<Vec<_>>().join(",")
}

/// Name, members beside `node_id`, and code.
fn members() -> Vec<(&'static str, String, u16, &'static str)> {
    let invalid = [
        ("nodes null", r#""nodes":null"#),
        ("nodes as text", r#""nodes":"a""#),
        ("nodes as a map", r#""nodes":{"a":"h"}"#),
        ("nodes as a number", r#""nodes":2"#),
        ("a node that is text", r#""nodes":["a"]"#),
        ("a node that is null", r#""nodes":[null]"#),
        ("a node that is a pair", r#""nodes":[["a","h"]]"#),
        ("a node without id", r#""nodes":[{"hash":"h"}]"#),
        ("a node without hash", r#""nodes":[{"id":"a"}]"#),
        ("a node's id as a number", r#""nodes":[{"id":1,"hash":"h"}]"#),
        ("a node's id null", r#""nodes":[{"id":null,"hash":"h"}]"#),
        ("a node's hash as a number", r#""nodes":[{"id":"a","hash":1}]"#),
        ("a node's hash null", r#""nodes":[{"id":"a","hash":null}]"#),
        ("a node's hash empty", r#""nodes":[{"id":"a","hash":""}]"#),
        ("a node's hash with a line feed", r#""nodes":[{"id":"a","hash":"h\nb\nh"}]"#),
        ("a node's id empty", r#""nodes":[{"id":"","hash":"h"}]"#),
        ("a node's id with a zero byte", r#""nodes":[{"id":"a\u0000","hash":"h"}]"#),
        ("a node's id with a line feed", r#""nodes":[{"id":"a\nb","hash":"h"}]"#),
        ("a node's id with a C1 control", r#""nodes":[{"id":"\u0085","hash":"h"}]"#),
        ("a node's type as a number", r#""nodes":[{"id":"a","hash":"h","type":1}]"#),
        ("a node's type as a list", r#""nodes":[{"id":"a","hash":"h","type":[]}]"#),
        ("a node's updated_at as a truth value", r#""nodes":[{"id":"a","hash":"h","updated_at":true}]"#),
        ("a node's updated_at as a list", r#""nodes":[{"id":"a","hash":"h","updated_at":[]}]"#),
        ("a node twice", r#""nodes":[{"id":"a","hash":"h"},{"id":"b","hash":"h"},{"id":"a","hash":"h"}]"#),
        ("a node twice, once escaped", r#""nodes":[{"id":"a","hash":"h"},{"id":"\u0061","hash":"i"}]"#),
        ("last_updated as text", r#""last_updated":"2024-01-01T00:00:00Z""#),
        ("last_updated null", r#""last_updated":null"#),
        ("last_updated as a truth value", r#""last_updated":true"#),
        ("last_updated of 1e300", r#""last_updated":1e300"#),
        ("last_updated beyond all years", r#""last_updated":9007199254740991"#),
        ("seq below zero", r#""seq":-1"#),
        ("seq with a fraction", r#""seq":1.5"#),
        ("seq with an exponent below the point", r#""seq":1e-3"#),
        ("seq as text", r#""seq":"5""#),
        ("seq null", r#""seq":null"#),
    ];
    let mut members: Vec<_> =
        invalid.into_iter().map(|(name, text)| (name, text.to_owned(), 400, "invalid_manifest")).collect();
    members.extend([
        (
            "a node's id of 257",
            format!("\"nodes\":[{{\"id\":\"{}\",\"hash\":\"h\"}}]", "é".repeat(257)),
            400,
            "invalid_manifest",
        ),
        (
            "a node's hash of 257",
            format!("\"nodes\":[{{\"id\":\"a\",\"hash\":\"{}\"}}]", "f".repeat(257)),
            400,
            "invalid_manifest",
        ),
        ("a node too many", format!("\"nodes\":[{}]", nodes(MANIFEST_NODES + 1)), 413, "manifest_too_large"),
        ("fields too large", format!("\"x\":\"{}\"", "x".repeat(FIELD_BYTES)), 413, "manifest_too_large"),
        ("a field name too large", format!("\"{}\":1", "x".repeat(FIELD_BYTES)), 413, "manifest_too_large"),
        ("last_updated 301 s ahead", format!("\"last_updated\":{}", NOW + 301), 400, "clock_skew"),
        ("issued_at 301 s ahead", format!("\"issued_at\":{}", NOW + 301), 400, "clock_skew"),
        ("issued_at a day and a second ago", format!("\"issued_at\":{}", NOW - 86_401), 409, "stale_statement"),
        ("last_updated in milliseconds", format!("\"last_updated\":{NOW}000"), 400, "clock_skew"),
    ]);
    members
}

fn whole() -> Vec<(&'static str, String, u16, &'static str)> {
    let mut whole: Vec<(&str, String, u16, &str)> = [
        ("no node_id", "{}"),
        ("node_id null", r#"{"node_id":null}"#),
        ("node_id as a number", r#"{"node_id":1}"#),
        ("node_id as a list", r#"{"node_id":["ark-9"]}"#),
        ("node_id empty", r#"{"node_id":""}"#),
        ("node_id with a zero byte", r#"{"node_id":"a\u0000"}"#),
        ("node_id with a line feed", r#"{"node_id":"a\nb"}"#),
        ("node_id with a delete", r#"{"node_id":"a\u007f"}"#),
        ("node_id with a C1 control", r#"{"node_id":"a\u009f"}"#),
    ]
    .into_iter()
    .map(|(name, text)| (name, text.to_owned(), 400, "invalid_manifest"))
    .collect();
    whole.push(("node_id of 257", format!("{{\"node_id\":\"{}\"}}", "x".repeat(257)), 400, "invalid_manifest"));
    for (name, text, status, code) in members() {
        whole.push((name, format!("{{\"node_id\":\"ark-9\",{text}}}"), status, code));
    }
    whole
}

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for form in [Canonicalization::Python, Canonicalization::Jcs, Canonicalization::Dsse] {
        let mut refused = |name: &str, signer: u8, text: &str, status: u16, code: &'static str| {
            let envelope = signed_as(&key(signer), text, form);
            rows.push(row(format!("{form:?}: {name}"), post_manifest(envelope), status, code));
        };
        for (name, text, status, code) in whole() {
            refused(name, 9, &text, status, code);
        }
        // `ark-known` is registered with seq 5 by key 1.
        let known = |seq: &str, at: i64| format!("{{\"node_id\":\"ark-known\",\"last_updated\":{at}{seq}}}");
        refused("another's id", 9, &known(",\"seq\":6", NOW), 409, "key_mismatch");
        refused("an older seq", 1, &known(",\"seq\":4", NOW), 409, "rollback");
        refused("an older last_updated", 1, &known(",\"seq\":6", NOW - 1), 409, "rollback");
        refused("no seq any more", 1, &known("", NOW), 409, "rollback");
        // Of another one: who contradicts himself is in quarantine from then on.
        let double = format!("{{\"node_id\":\"ark-double\",\"last_updated\":{NOW},\"seq\":5}}");
        refused("the same seq for another content", 10, &double, 409, "equivocation");
        if form != Canonicalization::Jcs {
            refused("seq of 2^53", 9, r#"{"node_id":"ark-9","seq":9007199254740992}"#, 400, "invalid_manifest");
            let far = r#"{"node_id":"ark-9","last_updated":99999999999999999999}"#;
            refused("last_updated of 20 digits", 9, far, 400, "invalid_manifest");
        }
    }
    for (name, payload) in [("null", "null"), ("a list", "[]"), ("text", "\"x\""), ("a number", "7")] {
        let envelope = super::envelopes::dsse(payload.as_bytes()).to_string();
        rows.push(row(format!("Dsse: a payload that is {name}"), post_manifest(envelope), 400, "invalid_manifest"));
    }
    rows
}
