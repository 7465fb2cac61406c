//! `/nodes/{id}` and `/manifest/{node_id}`: documents, paths, the operator's proof, preconditions.

use super::{Row, as_operator, put_node, row};
use crate::{app::TOKEN, raw_http::Raw};

/// Paths of no id, behind `/nodes/` or `/manifest/`.
fn bad_ids() -> Vec<(&'static str, String)> {
    [
        ("nothing", ""),
        ("%00", "%00"),
        ("%zz", "a%zz"),
        ("a percent sign alone", "100%"),
        ("half an escape", "a%4"),
        ("%FF", "%FF"),
        ("an overlong slash", "..%C0%AFetc"),
        ("a surrogate", "%ED%A0%80"),
        ("half a character", "%E2%98"),
        ("a line feed", "a%0Ab"),
        ("a carriage return and a header", "a%0D%0Ax-evil:%201"),
        ("a delete", "%7F"),
        ("a C1 control", "%C2%85"),
    ]
    .into_iter()
    .map(|(name, id)| (name, id.to_owned()))
    .chain([
        ("257 characters", "x".repeat(257)),
        ("257 snowmen", "%E2%98%83".repeat(257)),
        ("60000", "x".repeat(60_000)),
    ])
    .collect()
}

fn paths(rows: &mut Vec<Row>) {
    for (name, id) in bad_ids() {
        let path = format!("/nodes/{id}");
        rows.push(row(format!("GET a node: {name}"), Raw::new("GET", &path), 400, "invalid_path"));
        rows.push(row(format!("HEAD a node: {name}"), Raw::new("HEAD", &path), 400, "invalid_path"));
        rows.push(row(format!("PUT a node: {name}"), put_node(&id, b"{\"id\":\"a\"}"), 400, "invalid_path"));
        rows.push(row(format!("DELETE a node: {name}"), as_operator("DELETE", &path), 400, "invalid_path"));
        let peer = Raw::new("GET", &format!("/manifest/{id}"));
        rows.push(row(format!("GET an envelope: {name}"), peer, 400, "invalid_path"));
    }
    for id in ["nobody", "known%20", "Known", "../known", "..%2F..%2Fetc%2Fpasswd", "known/", "/known", "."] {
        rows.push(row(format!("GET no node {id}"), Raw::new("GET", &format!("/nodes/{id}")), 404, "node_not_found"));
        rows.push(row(
            format!("DELETE no node {id}"),
            as_operator("DELETE", &format!("/nodes/{id}")),
            404,
            "node_not_found",
        ));
        rows.push(row(format!("GET no peer {id}"), Raw::new("GET", &format!("/manifest/{id}")), 404, "peer_not_found"));
    }
}

fn documents(rows: &mut Vec<Row>) {
    let long = format!("{{\"id\":\"{}\"}}", "x".repeat(257));
    for (name, body) in [
        ("a list", "[]"),
        ("a list of a node", r#"[{"id":"n"}]"#),
        ("text", "\"n\""),
        ("null", "null"),
        ("a number", "1"),
        ("no id", "{}"),
        ("id null", r#"{"id":null}"#),
        ("id as a number", r#"{"id":1}"#),
        ("id as an object", r#"{"id":{"id":"n"}}"#),
        ("id in another case", r#"{"ID":"n"}"#),
        ("id empty", r#"{"id":""}"#),
        ("id with a zero byte", r#"{"id":"n\u0000"}"#),
        ("id with a tab", r#"{"id":"n\t"}"#),
        ("id of 257", &long),
    ] {
        rows.push(row(format!("a node: {name}"), put_node("n", body), 400, "invalid_node"));
    }
    for (name, id, body) in [
        ("another", "n", r#"{"id":"m"}"#),
        ("another case", "n", r#"{"id":"N"}"#),
        ("decoded twice", "%2541", r#"{"id":"A"}"#),
        ("a plus is no space", "a+b", r#"{"id":"a b"}"#),
        ("composed and decomposed", "%C3%A9", "{\"id\":\"e\u{301}\"}"),
        ("with the end of the file name", "n.json", r#"{"id":"n"}"#),
        ("a slash less", "n/", r#"{"id":"n"}"#),
    ] {
        rows.push(row(format!("another id: {name}"), put_node(id, body), 400, "node_id_mismatch"));
    }
}

fn proofs(rows: &mut Vec<Row>) {
    let lower = TOKEN.to_uppercase();
    let proofs: Vec<(&str, Option<Vec<u8>>)> = vec![
        ("none", None),
        ("empty", Some(Vec::new())),
        ("Bearer alone", Some(b"Bearer".to_vec())),
        ("Bearer and a space", Some(b"Bearer ".to_vec())),
        ("the token alone", Some(TOKEN.as_bytes().to_vec())),
        ("Basic", Some(format!("Basic {TOKEN}").into_bytes())),
        ("another token", Some(b"Bearer not-the-operators-token".to_vec())),
        ("a token cut short", Some(format!("Bearer {}", &TOKEN[1..]).into_bytes())),
        ("a token too long", Some(format!("Bearer {TOKEN}x").into_bytes())),
        ("another case", Some(format!("Bearer {lower}").into_bytes())),
        ("quoted", Some(format!("Bearer \"{TOKEN}\"").into_bytes())),
        ("two tokens", Some(format!("Bearer {TOKEN}, Bearer {TOKEN}").into_bytes())),
        ("bytes that are not text", Some(b"Bearer \xff\xfe".to_vec())),
        ("very long", Some([b"Bearer ".to_vec(), vec![b'x'; 50_000]].concat())),
    ];
    for (name, proof) in proofs {
        for method in ["PUT", "DELETE"] {
            let mut request = Raw::new(method, "/nodes/known");
            if let Some(proof) = &proof {
                request = request.header("authorization", proof);
            }
            if method == "PUT" {
                request = request.json(b"{\"id\":\"known\",\"x\":1}");
            }
            rows.push(row(format!("{method} with a proof: {name}"), request, 401, "operator_token_required"));
        }
    }
}

fn preconditions(rows: &mut Vec<Row>) {
    for (name, values) in [
        ("no quotes", &["abc"][..]),
        ("an open quote", &["\"abc"]),
        ("single quotes", &["'abc'"]),
        ("a weak tag in lower case", &["w/\"abc\""]),
        ("no comma", &["\"a\" \"b\""]),
        ("a star in a list", &["\"a\", *"]),
        ("a star and a tag", &["*", "\"a\""]),
        ("two stars", &["**"]),
        ("nothing", &[""]),
        ("commas alone", &[", ,"]),
        ("a quote within", &["\"a\"b\""]),
        ("a space within", &["\"a b\""]),
        ("bytes that are not text", &["\"caf\u{e9}\""]),
    ] {
        let with = |mut request: Raw, header: &str| {
            for value in values {
                request = request.header(header, value);
            }
            request
        };
        let node = b"{\"id\":\"known\",\"x\":1}";
        for (door, request) in [
            ("PUT If-Match", with(put_node("known", node), "if-match")),
            ("PUT If-None-Match", with(put_node("known", node), "if-none-match")),
            ("DELETE If-Match", with(as_operator("DELETE", "/nodes/known"), "if-match")),
            ("GET If-None-Match", with(Raw::new("GET", "/nodes/known"), "if-none-match")),
            ("discover If-None-Match", with(Raw::new("GET", "/discover"), "if-none-match")),
        ] {
            rows.push(row(format!("{door}: {name}"), request, 400, "invalid_header"));
        }
    }
    let change = |header: &str, value: &str| put_node("known", b"{\"id\":\"known\",\"x\":1}").header(header, value);
    let both = change("if-match", "*").header("if-none-match", "*");
    rows.push(row("both preconditions", both, 412, "precondition_failed"));
    rows.push(row("If-None-Match with a tag on a write", change("if-none-match", "\"abc\""), 400, "invalid_header"));
    let failed = "precondition_failed";
    rows.push(row(
        "a tag of another content",
        change("if-match", &format!("\"sha256:{}\"", "0".repeat(64))),
        412,
        failed,
    ));
    rows.push(row("a tag that is no hash", change("if-match", "\"abc\""), 412, failed));
    rows.push(row("an empty tag", change("if-match", "\"\""), 412, failed));
    rows.push(row("a node that exists", change("if-none-match", "*"), 412, failed));
    let absent = put_node("absent", b"{\"id\":\"absent\"}").header("if-match", "*");
    rows.push(row("a node that does not exist", absent, 412, failed));
    let delete = as_operator("DELETE", "/nodes/known");
    rows.push(row("a deletion of another content", delete.clone().header("if-match", "\"abc\""), 412, failed));
    rows.push(row("a deletion of what must not exist", delete.header("if-none-match", "*"), 412, failed));
}

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    paths(&mut rows);
    documents(&mut rows);
    proofs(&mut rows);
    preconditions(&mut rows);
    rows
}
