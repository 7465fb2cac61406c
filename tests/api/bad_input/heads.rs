//! Headers of bodies, sizes, methods and paths that no route takes.

use super::{MANIFEST_BYTES, NODE_BYTES, Row, SYNC_BYTES, as_operator, row};
use crate::raw_http::{Body, Raw};

/// Name, request without a body, and the size limit of its body.
fn doors() -> [(&'static str, Raw, usize); 3] {
    [
        ("/manifest", Raw::new("POST", "/manifest"), MANIFEST_BYTES),
        ("/sync", Raw::new("POST", "/sync"), SYNC_BYTES),
        ("PUT", as_operator("PUT", "/nodes/n"), NODE_BYTES),
    ]
}

const BODY: &[u8] = br#"{"id":"n","nodes":[]}"#;

fn media_types(rows: &mut Vec<Row>) {
    let types = [
        "text/plain",
        "text/json",
        "application/xml",
        "application/jsonx",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/octet-stream",
        "application/x-ndjson",
        "application/",
        "json",
        "*/*",
        "",
        ";charset=utf-8",
        "application/json; charset=utf-16",
        "application/json;charset=\"iso-8859-1\"",
        "application/json; CHARSET = latin1",
        "application/problem+json; charset=us-ascii",
        "application/json, text/plain",
    ];
    let encodings = ["gzip", "br", "zstd", "deflate", "identity, gzip", "GZIP", "x-gzip", "", "utf-8"];
    for (door, request, _) in doors() {
        let request = request.body(Body::Sized(BODY.to_vec()));
        let json = request.clone().header("content-type", "application/json");
        for media_type in types {
            let request = request.clone().header("content-type", media_type);
            rows.push(row(format!("{door}: Content-Type {media_type:?}"), request, 415, "unsupported_media_type"));
        }
        for encoding in encodings {
            let request = json.clone().header("content-encoding", encoding);
            let name = format!("{door}: Content-Encoding {encoding:?}");
            rows.push(row(name, request, 415, "unsupported_content_encoding"));
        }
        for (name, request) in [
            ("Content-Type that is not text", request.clone().header("content-type", b"application/json\xff")),
            ("Content-Type twice", json.clone().header("content-type", "application/json")),
            ("Content-Encoding that is not text", json.clone().header("content-encoding", b"gzip\xff")),
            (
                "Content-Encoding twice",
                json.clone().header("content-encoding", "identity").header("content-encoding", "gzip"),
            ),
        ] {
            rows.push(row(format!("{door}: {name}"), request, 400, "invalid_header"));
        }
    }
}

fn sizes(rows: &mut Vec<Row>) {
    let large = "body_too_large";
    for (door, request, limit) in doors() {
        let json = request.header("content-type", "application/json");
        let over = [BODY.to_vec(), vec![b' '; limit + 1 - BODY.len()]].concat();
        let much = vec![b'x'; 3 << 20];
        let mut refused = |name: &str, body: Body, status: u16, code: &'static str| {
            rows.push(row(format!("{door}: {name}"), json.clone().body(body), status, code));
        };
        refused("one byte over the limit", Body::Sized(over.clone()), 413, large);
        refused("one byte over the limit, in chunks", Body::Chunked(over.clone()), 413, large);
        refused("3 MiB", Body::Sized(much.clone()), 413, large);
        refused("3 MiB in chunks", Body::Chunked(much), 413, large);
        refused("a declared length of 2^64 - 1", Body::Declared(u64::MAX, Vec::new()), 413, large);
        refused("a declared length of 1 TB", Body::Declared(1 << 40, BODY.to_vec()), 413, large);
        refused("a declared length over the limit, then silence", Body::Declared(1 << 20, BODY.to_vec()), 413, large);
        refused("cut short", Body::CutShort(1000, BODY.to_vec()), 400, "json_syntax");
        refused("cut short before its first byte", Body::CutShort(1000, Vec::new()), 400, "json_syntax");
        refused("chunks without an end", Body::ChunksCutShort(BODY.to_vec()), 400, "json_syntax");
        refused("no body", Body::None, 400, "json_empty");
        refused("no chunk but the last", Body::Chunked(Vec::new()), 400, "json_empty");
    }
}

fn methods(rows: &mut Vec<Row>) {
    for (path, allowed) in [
        ("/", "GET HEAD"),
        ("/manifest", "POST"),
        ("/manifest/ark-known", "GET HEAD"),
        ("/discover", "GET HEAD"),
        ("/sync", "POST"),
        ("/nodes", "GET HEAD"),
        ("/nodes/known", "GET HEAD PUT DELETE"),
        ("/health", "GET HEAD"),
        ("/ready", "GET HEAD"),
        ("/metrics", "GET HEAD"),
        ("/openapi.json", "GET HEAD"),
        ("/docs", "GET HEAD"),
        ("/docs/", "GET HEAD"),
        ("/docs/swagger-ui.css", "GET HEAD"),
    ] {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW", "get"] {
            if !allowed.split(' ').any(|allowed| allowed == method) {
                let request = Raw::new(method, path);
                rows.push(row(format!("{method} {path}"), request, 405, "method_not_allowed"));
            }
        }
    }
}

fn paths(rows: &mut Vec<Row>) {
    for path in [
        "/nowhere",
        "//",
        "//nodes",
        "/discover/",
        "/health/live",
        "/Discover",
        "/node",
        "/nodes%2Fknown",
        "/sync/",
        "/docs/nothing-here",
        "/docs/../openapi.json",
        "/docs/%2e%2e/openapi.json",
        "/..",
        "/../../etc/passwd",
        "/%00",
        "/%zz",
        "/%",
        "/%FF",
        "/.well-known/x",
        "/api/federation",
        "/favicon.ico",
        "/a;b=c",
    ] {
        for method in ["GET", "POST"] {
            if method == "POST" && path.starts_with("/docs/") {
                continue;
            }
            rows.push(row(format!("{method} {path}"), Raw::new(method, path), 404, "not_found"));
        }
    }
    let long = format!("/{}", "x".repeat(60_000));
    rows.push(row("a path of 60000", Raw::new("GET", &long), 404, "not_found"));
}

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    media_types(&mut rows);
    sizes(&mut rows);
    methods(&mut rows);
    paths(&mut rows);
    let nowhere = Raw::new("POST", "/nowhere").body(Body::Sized(vec![b'x'; 3 << 20]));
    rows.push(row("a large body for no route", nowhere, 404, "not_found"));
    let no_method = Raw::new("POST", "/nodes").body(Body::Chunked(vec![b'x'; 3 << 20]));
    rows.push(row("a large body for no method", no_method, 405, "method_not_allowed"));
    let no_proof = Raw::new("PUT", "/nodes/n").body(Body::Sized(vec![b'x'; 3 << 20]));
    rows.push(row("a large body without the operator's proof", no_proof, 401, "operator_token_required"));
    rows
}
