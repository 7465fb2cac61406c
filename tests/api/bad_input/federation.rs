//! The federation's controls, and the wire of the first instances.

use super::{
    Row, as_operator,
    feeds::{RIGHT, signed_json},
    row,
};
use crate::{app::key, raw_http::Raw};

fn control(path: &str, body: impl AsRef<[u8]>) -> Raw {
    as_operator("POST", &format!("/api/federation/{path}")).json(body)
}

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |path: &str, body: &str, status, code| {
        rows.push(row(format!("POST {path} {body:.60}"), control(path, body), status, code));
    };
    for path in [
        "start",
        "stop",
        "sync",
        "discover",
        "auto-sync/start",
        "auto-sync/stop",
        "peers/add",
        "deletions/confirm",
        "deletions/refuse",
    ] {
        for (body, code) in [
            ("[]", "invalid_federation_request"),
            ("[null]", "invalid_federation_request"),
            ("{\"unheard\":1}", "invalid_federation_request"),
            ("{", "json_syntax"),
            ("{\"a\":1,\"a\":2}", "json_duplicate_key"),
            ("{} {}", "json_trailing_data"),
        ] {
            add(path, body, 400, code);
        }
        add(path, &format!("{}{}", "[".repeat(100), "]".repeat(100)), 400, "json_too_deep");
    }
    for body in [
        "{}",
        "null",
        "{\"peerUrl\":7}",
        "{\"peerUrl\":null}",
        "{\"peerurl\":\"http://a\"}",
        "{\"peerUrl\":\"http://a\",\"direction\":\"up\"}",
        "{\"peerUrl\":\"http://a\",\"direction\":true}",
        "{\"peerUrl\":\"http://a\",\"priority\":\"yes\"}",
    ] {
        add("peers/add", body, 400, "invalid_federation_request");
    }
    for body in ["{}", "{\"from\":7}", "{\"from\":\"\"}"] {
        add("deletions/confirm", body, 400, "invalid_federation_request");
    }
    let many = format!("[{}\"x\"]", "\"x\",".repeat(64));
    for body in [
        "{\"peerUrl\":\"\"}".to_owned(),
        "{\"peerUrl\":\"a\"}".to_owned(),
        "{\"peerUrl\":\"ftp://a\"}".to_owned(),
        "{\"peerUrl\":\"file:///etc/passwd\"}".to_owned(),
        "{\"peerUrl\":\"http://\"}".to_owned(),
        "{\"peerUrl\":\"http://a:99999\"}".to_owned(),
        "{\"peerUrl\":\"http://a\",\"filter\":[]}".to_owned(),
        "{\"peerUrl\":\"http://a\",\"filter\":{\"type\":[]}}".to_owned(),
        "{\"peerUrl\":\"http://a\",\"filter\":{\"types\":\"note\"}}".to_owned(),
        "{\"peerUrl\":\"http://a\",\"filter\":{\"ids\":[\"\"]}}".to_owned(),
        "{\"peerUrl\":\"http://a\",\"filter\":{\"ids\":[7]}}".to_owned(),
        format!("{{\"peerUrl\":\"http://a\",\"filter\":{{\"tags\":{many}}}}}"),
    ] {
        add("peers/add", &body, 400, "invalid_peer");
    }
    add("peers/add", "{\"peerUrl\":\"http://203.0.113.1:9001\"}", 400, "plain_http");
    for body in ["{\"peerUrl\":[]}", "{\"confirmDeletions\":1}", "{\"confirmDeletion\":true}"] {
        add("sync", body, 400, "invalid_federation_request");
    }
    add("sync", "{\"peerUrl\":\"http://nobody\"}", 404, "peer_not_found");
    for value in ["0", "999", "604800001", "-1", "1e300", "1000.5", "\"60s\"", "true"] {
        add("auto-sync/start", &format!("{{\"intervalMs\":{value}}}"), 400, "invalid_federation_request");
    }
    for body in [
        "{\"timeoutSeconds\":0}",
        "{\"timeoutSeconds\":61}",
        "{\"accept\":\"all\"}",
        "{\"subnets\":\"10.0.0.0/24\"}",
        "{\"subnets\":[7]}",
        "{\"subnets\":[\"here\"]}",
        "{\"subnets\":[\"8.8.8.0/24\"]}",
        "{\"subnets\":[\"10.0.0.0/8\"]}",
        "{\"subnets\":[\"192.168.1.0/24\"]}",
    ] {
        add("discover", body, 400, "invalid_federation_request");
    }
    rows.extend(others());
    rows
}

fn others() -> Vec<Row> {
    let nobody = "/api/federation/peers/http%3A%2F%2Fnobody";
    let mut rows = vec![
        row("an unknown peer", as_operator("DELETE", nobody), 404, "peer_not_found"),
        row("no peer", as_operator("DELETE", "/api/federation/peers/"), 404, "peer_not_found"),
        row("a peer with bad escapes", as_operator("DELETE", "/api/federation/peers/%zz"), 400, "invalid_path"),
        row("a peer that is read", as_operator("GET", nobody), 405, "method_not_allowed"),
        row("controls by reading", as_operator("GET", "/api/federation/stop"), 405, "method_not_allowed"),
        row(
            "controls as text",
            control("stop", "{}").header("content-encoding", "gzip"),
            415,
            "unsupported_content_encoding",
        ),
        row("a long control", control("sync", vec![b' '; (1 << 20) + 1]), 413, "body_too_large"),
        row("no such control", as_operator("POST", "/api/federation/restart"), 404, "not_found"),
    ];
    for (method, path) in [
        ("GET", "/api/federation/status"),
        ("GET", "/api/federation/peers"),
        ("POST", "/api/federation/stop"),
        ("POST", "/api/federation/peers/add"),
        ("DELETE", nobody),
        ("GET", "/federation/history"),
    ] {
        let request = Raw::new(method, path);
        rows.push(row(format!("{method} {path} by a stranger"), request, 401, "operator_token_required"));
    }
    for query in ["limit=0", "limit=501", "limit=x", "peers=http://a", "peer=%zz"] {
        let request = as_operator("GET", &format!("/federation/history?{query}"));
        rows.push(row(format!("the history with {query}"), request, 400, "invalid_query"));
    }
    for path in ["/federation/nodes", "/federation/sync"] {
        for query in [
            "since=now",
            "since=-1",
            "since=",
            "since=1e15",
            "since=NaN",
            "since=.5",
            "since=+1",
            "since=0x10",
            "limit=0",
            "limit=1001",
            "cursor=!!",
            "unheard=1",
            "since=1&since=2",
        ] {
            rows.push(row(
                format!("GET {path}?{query}"),
                Raw::new("GET", &format!("{path}?{query}")),
                400,
                "invalid_query",
            ));
        }
    }
    for query in ["limit=0", "limit=1001", "cursor=AA", "since=1"] {
        let request = Raw::new("GET", &format!("/federation/discover?{query}"));
        rows.push(row(format!("GET /federation/discover?{query}"), request, 400, "invalid_query"));
    }
    for (body, code) in [
        ("[]", "invalid_federation_request"),
        ("{}", "invalid_federation_request"),
        ("{\"nodes\":{}}", "invalid_federation_request"),
        ("{\"\\u006eodes\":[]}", "invalid_federation_request"),
        ("{\"nodes\":[],\"instanceId\":7}", "invalid_federation_request"),
        ("{\"nodes\":[],\"instanceId\":\"\"}", "invalid_federation_request"),
        ("{\"nodes\":[],\"nodes\":[]}", "json_duplicate_key"),
        ("{\"nodes\":[]} x", "json_trailing_data"),
        ("{\"nodes\":[", "json_syntax"),
        ("{\"nodes\":[{\"id\":\"a\"}}", "json_syntax"),
    ] {
        let request = signed_json("/federation/sync", body, &key(1), &RIGHT);
        rows.push(row(format!("a push of {body}"), request, 400, code));
    }
    let unsigned = Raw::new("POST", "/federation/sync").json("{\"nodes\":[]}");
    rows.push(row("a push without a signature", unsigned, 401, "request_signature"));
    rows
}
