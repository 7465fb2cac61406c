//! What another instance may get wrong.

use super::{Row, row};
use crate::{
    app::{NOW, key},
    raw_http::{Body, Raw},
};
use ark_lattice::{
    identity::{
        KeyPair,
        message::{self, Message},
    },
    types::Timestamp,
};

const LINES: &str = "application/x-ndjson";

/// Who speaks, to whom, and when.
pub struct Speech<'a> {
    pub node_id: &'a str,
    pub audience: &'a str,
    pub at: i64,
}

pub const RIGHT: Speech<'static> = Speech { node_id: "ark-known", audience: "ark-under-test", at: NOW };

/// A signed request with these lines.
pub fn signed_lines(route: &str, body: &str, key: &KeyPair, speech: &Speech<'_>) -> Raw {
    signed_as(LINES, route, body, key, speech)
}

/// A signed request with this document.
pub fn signed_json(route: &str, body: &str, key: &KeyPair, speech: &Speech<'_>) -> Raw {
    signed_as("application/json", route, body, key, speech)
}

fn signed_as(content_type: &str, route: &str, body: &str, key: &KeyPair, speech: &Speech<'_>) -> Raw {
    let Speech { node_id, audience, at } = *speech;
    let message = Message { method: "POST", route, query: "?", body: body.as_bytes(), node_id, audience };
    let headers = message::sign(&message, key, Timestamp::from_seconds(at)).unwrap();
    let raw = Raw::new("POST", route).header("content-type", content_type).body(Body::Sized(body.as_bytes().to_vec()));
    headers.into_iter().fold(raw, |raw, (name, value)| raw.header(name, value))
}

/// A message of a set reconciliation.
fn message(body: &[u8]) -> Raw {
    let raw = Raw::new("POST", "/lattice/reconcile").header("content-type", "application/octet-stream");
    raw.body(Body::Sized(body.to_vec()))
}

fn put_line(id: &str, hash: &str, node: &str) -> String {
    format!("{{\"seq\":1,\"id\":\"{id}\",\"at\":{NOW},\"hash\":\"{hash}\",\"size\":9,\"after\":[]{node}}}")
}

pub fn rows() -> Vec<Row> {
    let (known, other) = (key(1), key(2));
    let right = |body: &str| signed_lines("/lattice/changes", body, &known, &RIGHT);
    let zeros = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let mut rows = vec![
        row(
            "changes of another journal",
            Raw::new("GET", &format!("/lattice/changes?index_id={}&since=0", "0".repeat(32))),
            409,
            "other_index",
        ),
        row("changes since a word", Raw::new("GET", "/lattice/changes?since=now"), 400, "invalid_query"),
        row("changes up to a word of bytes", Raw::new("GET", "/lattice/changes?max_bytes=x"), 400, "invalid_query"),
        row("changes with an unknown parameter", Raw::new("GET", "/lattice/changes?sinc=1"), 400, "invalid_query"),
        row("nodes without ids", Raw::new("POST", "/lattice/nodes").json("{}"), 400, "invalid_change"),
        row("nodes by number", Raw::new("POST", "/lattice/nodes").json("{\"ids\":[1]}"), 400, "invalid_change"),
        row("nodes with a bad id", Raw::new("POST", "/lattice/nodes").json("{\"ids\":[\"\"]}"), 400, "invalid_change"),
        row(
            "versions and nodes at once",
            Raw::new("POST", "/lattice/nodes").json("{\"ids\":[],\"versions\":[]}"),
            400,
            "invalid_change",
        ),
        row(
            "versions by name",
            Raw::new("POST", "/lattice/nodes").json("{\"versions\":[\"a\"]}"),
            400,
            "invalid_change",
        ),
        row(
            "versions with half a wish",
            Raw::new("POST", "/lattice/nodes").json("{\"versions\":[],\"contents\":1}"),
            400,
            "invalid_change",
        ),
        row(
            "nodes up to a word of bytes",
            Raw::new("POST", "/lattice/nodes").json("{\"ids\":[],\"max_bytes\":\"x\"}"),
            400,
            "invalid_change",
        ),
        row("no message", message(b""), 400, "invalid_reconciliation"),
        row("a message of no version", message(b"{}"), 400, "invalid_reconciliation"),
        row("a message that is cut off", message(&[0x61, 0, 0, 1, 7]), 400, "invalid_reconciliation"),
        row(
            "a message that announces a terabyte",
            message(&[0x61, 0, 0, 2, 0xC0, 0x80, 0x80, 0x80, 0]),
            400,
            "invalid_reconciliation",
        ),
        row("a message with a number without end", message(&[0xFF; 2000]), 400, "invalid_reconciliation"),
        row("a message that is too long", message(&vec![0x61; (256 << 10) + 1]), 413, "body_too_large"),
        row("a message as JSON", Raw::new("POST", "/lattice/reconcile").json("{}"), 415, "unsupported_media_type"),
        row("a packed message", message(b"x").header("content-encoding", "gzip"), 415, "unsupported_content_encoding"),
        row("nodes that are no JSON", Raw::new("POST", "/lattice/nodes").json("{"), 400, "json_syntax"),
        row(
            "changes without a signature",
            Raw::new("POST", "/lattice/changes").header("content-type", LINES).body(Body::Sized(Vec::new())),
            401,
            "request_signature",
        ),
        row("changes as one document", Raw::new("POST", "/lattice/changes").json("[]"), 415, "unsupported_media_type"),
        row(
            "an offer without a signature",
            Raw::new("POST", "/lattice/offer").header("content-type", LINES).body(Body::Sized(Vec::new())),
            401,
            "request_signature",
        ),
    ];
    for (name, speech, key, status, code) in [
        ("changes for another instance", Speech { audience: "ark-other", ..RIGHT }, &known, 401, "request_signature"),
        ("changes of ten minutes ago", Speech { at: NOW - 600, ..RIGHT }, &known, 401, "request_signature"),
        ("changes of tomorrow", Speech { at: NOW + 86_400, ..RIGHT }, &known, 401, "request_signature"),
        ("changes under another key", RIGHT, &other, 403, "not_trusted"),
        ("changes of a stranger", Speech { node_id: "ark-stranger", ..RIGHT }, &known, 403, "not_trusted"),
    ] {
        rows.push(row(name, signed_lines("/lattice/changes", "", key, &speech), status, code));
    }
    rows.push(row(
        "changes signed for another route",
        Raw { path: "/lattice/changes".to_owned(), ..signed_lines("/lattice/offer", "", &known, &RIGHT) },
        401,
        "request_signature",
    ));
    let swapped = Raw { body: Body::Sized(b"\n".to_vec()), ..right("") };
    rows.push(row("a body that was changed after signing", swapped, 401, "request_signature"));
    for (name, line) in [
        ("a change that is no JSON", "{".to_owned()),
        ("a change that is a list", "[]".to_owned()),
        ("a change without a position", "{\"id\":\"a\"}".to_owned()),
        ("a change without its node", put_line("a", zeros, "")),
        ("a change with another hash", put_line("a", zeros, ",\"node\":{\"id\":\"a\"}")),
        ("a change with another node", put_line("a", zeros, ",\"node\":{\"id\":\"b\"}")),
        ("a change with a path for an id", put_line("\\u0000", zeros, "")),
        ("the end of a feed", "{\"end\":7}".to_owned()),
    ] {
        rows.push(row(name, right(&line), 400, "invalid_change"));
    }
    rows.push(row("too many changes", right(&"\n".repeat(super::SYNC_BYTES + 1)), 413, "body_too_large"));
    rows
}
