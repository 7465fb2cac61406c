//! Trust: the operator's requests, and those of other instances.

use super::{
    Row, as_operator,
    feeds::{RIGHT, Speech, signed_json},
    post_manifest, row,
};
use crate::{
    app::{NOW, key, manifest, signed},
    raw_http::Raw,
};
use serde_json::json;

pub const KEY: &str = "3h5UkJuYA1FQsaG5HcLKSs6HgmZK63YF6C29LblJ7+8=";

pub fn operate(path: &str, body: impl AsRef<[u8]>) -> Raw {
    as_operator("POST", &format!("/v1/{path}")).json(body)
}

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |path: &str, body: &str, status, code| {
        rows.push(row(format!("POST /v1/{path} {body:.120}"), operate(path, body), status, code));
    };
    for path in ["trust/establish", "trust/verify", "trust/revoke", "trust/vouch", "nodes/discover"] {
        for (body, code) in [
            ("[]", "invalid_federation_request"),
            ("{\"unheard\":1}", "invalid_federation_request"),
            ("{", "json_syntax"),
            ("{\"a\":1,\"a\":2}", "json_duplicate_key"),
        ] {
            add(path, body, 400, code);
        }
    }
    let (long, control) = ("x".repeat(301), "a\\u0007b");
    for body in [
        "{}".to_owned(),
        "{\"peer_id\":7}".to_owned(),
        "{\"peer_id\":\"\"}".to_owned(),
        "{\"peer_id\":null}".to_owned(),
        format!("{{\"peer_id\":\"a\",\"public_key\":\"{KEY}\",\"reason\":\"{long}\"}}"),
        format!("{{\"peer_id\":\"a\",\"public_key\":\"{KEY}\",\"reason\":\"{control}\"}}"),
        "{\"peer_id\":\"a\",\"public_key\":\"short\"}".to_owned(),
    ] {
        add("trust/verify", &body, 400, "invalid_federation_request");
        add("trust/revoke", &body, 400, "invalid_federation_request");
    }
    add("trust/verify", "{\"peer_id\":\"b\"}", 400, "invalid_federation_request");
    let both = format!("{{\"peer_id\":\"a\",\"words\":\"w\",\"public_key\":\"{KEY}\"}}");
    add("trust/verify", &both, 400, "invalid_federation_request");
    add("trust/verify", "{\"peer_id\":\"a\",\"words\":\"w\"}", 404, "key_unknown");
    add("trust/verify", "{\"peer_id\":\"ark-known\",\"words\":\"w\"}", 409, "trust_not_established");
    add("trust/revoke", "{\"peer_id\":\"a\"}", 404, "key_unknown");
    add("trust/vouch", "{\"peer_id\":\"a\"}", 404, "key_unknown");
    for body in [
        "{}",
        "{\"peer_address\":7}",
        "{\"peer_address\":\"http://127.0.0.1:1\",\"verification_method\":\"faith\"}",
        "{\"peer_address\":\"http://127.0.0.1:1\",\"peer_id\":\"\"}",
        "{\"peer_address\":\"http://127.0.0.1:1\",\"peer_id\":\"ark-under-test\"}",
    ] {
        add("trust/establish", body, 400, "invalid_federation_request");
    }
    for address in ["", "a", "ftp://a", "http://", "http://u:p@a", "http://a/?q"] {
        add("trust/establish", &format!("{{\"peer_address\":\"{address}\"}}"), 400, "invalid_peer");
    }
    let nobody = "{\"peer_address\":\"http://127.0.0.1:1\",\"peer_id\":\"a\"}";
    add("trust/establish", nobody, 409, "trust_not_established");
    let certified = "{\"peer_address\":\"https://127.0.0.1:1\",\"verification_method\":\"certificate\"}";
    add("trust/establish", certified, 409, "trust_not_established");
    add("nodes/discover", "{\"discovery_method\":\"smell\"}", 400, "invalid_federation_request");
    add("nodes/discover", "{\"discovery_method\":\"dns\"}", 409, "discovery_off");
    add("nodes/discover", "{\"discovery_method\":\"broadcast\"}", 409, "discovery_off");
    for (method, path) in [
        ("GET", "/v1/nodes"),
        ("POST", "/v1/nodes/discover"),
        ("POST", "/v1/trust/establish"),
        ("GET", "/v1/trust/relationships"),
        ("GET", "/v1/trust/relationships/a"),
        ("POST", "/v1/trust/verify"),
        ("POST", "/v1/trust/revoke"),
        ("POST", "/v1/trust/vouch"),
    ] {
        rows.push(row(
            format!("{method} {path} by a stranger"),
            Raw::new(method, path),
            401,
            "operator_token_required",
        ));
    }
    for query in ["limit=0", "limit=1001", "limit=x", "unheard=1"] {
        let request = as_operator("GET", &format!("/v1/nodes?{query}"));
        rows.push(row(format!("the instances with {query}"), request, 400, "invalid_query"));
    }
    for (path, status, code) in [("a", 404, "key_unknown"), ("%zz", 400, "invalid_path"), ("", 400, "invalid_path")] {
        let request = as_operator("GET", &format!("/v1/trust/relationships/{path}"));
        rows.push(row(format!("the trust in {path:?}"), request, status, code));
    }
    rows.extend(of_others());
    rows.extend(of_pairing());
    rows
}

/// Invites, and instances that wait.
fn of_pairing() -> Vec<Row> {
    let admin = |path: &str, body: &str| as_operator("POST", &format!("/api/federation/{path}")).json(body);
    let mut rows = Vec::new();
    for (path, body, status, code) in [
        ("invites", "[]", 400, "invalid_federation_request"),
        ("invites", "{\"unheard\":1}", 400, "invalid_federation_request"),
        ("invites", "{\"addresses\":7}", 400, "invalid_federation_request"),
        ("invites", "{\"addresses\":[7]}", 400, "invalid_federation_request"),
        ("invites", "{\"addresses\":[\"ftp://a\"]}", 400, "invalid_invite"),
        ("invites", "{\"addresses\":[\"http://u:p@a\"]}", 400, "invalid_peer"),
        ("invites", "{\"expiresSeconds\":\"x\"}", 400, "invalid_federation_request"),
        ("invites", "{\"expiresSeconds\":59}", 400, "invalid_invite"),
        ("invites", "{\"expiresSeconds\":2592001}", 400, "invalid_invite"),
        ("invites", "{\"expiresSeconds\":18446744073709551615}", 400, "invalid_invite"),
        ("join", "{}", 400, "invalid_federation_request"),
        ("join", "{\"line\":\"hello\"}", 400, "invalid_invite"),
        ("join", "{\"line\":\"ark-invite:v1:AAAAAAAA\"}", 400, "invalid_invite"),
        ("join", "{\"line\":\"ark-invite:v9:AAAAAAAA\"}", 400, "invalid_invite"),
        ("pending/a/accept", "{\"unheard\":1}", 400, "invalid_federation_request"),
        ("pending/a/accept", "{\"publicKey\":\"short\"}", 400, "invalid_federation_request"),
        ("pending/a/accept", "{}", 404, "key_unknown"),
        ("pending/a%2Fb/refuse", "{}", 404, "key_unknown"),
        ("pending/%zz/refuse", "{}", 400, "invalid_path"),
    ] {
        rows.push(row(format!("POST {path} {body}"), admin(path, body), status, code));
    }
    let revoke = |id: &str| as_operator("DELETE", &format!("/api/federation/invites/{id}"));
    rows.push(row("an invite that is not there", revoke("0123456789abcdef"), 404, "invite_not_found"));
    rows.push(row("an invite with no id", revoke("0123456789ABCDEF"), 400, "invalid_path"));
    for (method, path) in [
        ("GET", "invites"),
        ("POST", "invites"),
        ("DELETE", "invites/0123456789abcdef"),
        ("POST", "join"),
        ("GET", "pending"),
        ("POST", "pending/a/accept"),
        ("POST", "pending/a/refuse"),
    ] {
        let request = Raw::new(method, &format!("/api/federation/{path}"));
        rows.push(row(format!("{method} {path} by a stranger"), request, 401, "operator_token_required"));
    }
    let (join, known) = ("/lattice/trust/join", key(1));
    rows.push(row("a join of nobody", Raw::new("POST", join).json("{}"), 401, "request_signature"));
    rows.push(row("a join with nothing", signed_json(join, "{}", &known, &RIGHT), 400, "invalid_federation_request"));
    let (signature, proof) = (format!("{}==", "A".repeat(86)), format!("{}=", "A".repeat(43)));
    let body = json!({"invite": "0123456789abcdef", "signature": signature, "proof": proof, "addresses": []});
    let unasked = signed_json(join, &body.to_string(), &known, &RIGHT);
    rows.push(row("a join without a challenge", unasked, 401, "invite_refused"));
    rows
}

/// What other instances ask.
fn of_others() -> Vec<Row> {
    let known = key(1);
    let right = |route: &str, body: &str| signed_json(route, body, &known, &RIGHT);
    let (challenge, proof, vouch) = ("/lattice/trust/challenge", "/lattice/trust/proof", "/lattice/trust/vouch");
    let mut jumps = manifest("ark-known");
    jumps["seq"] = json!(6 + (1_u64 << 32));
    let elsewhere = Speech { audience: "ark-other", ..RIGHT };
    let late = Speech { at: NOW - 301, ..RIGHT };
    vec![
        row("a seq that jumps", post_manifest(signed(&known, &jumps)), 409, "fast_forward"),
        row("a challenge of nobody", Raw::new("POST", challenge).json("{}"), 401, "request_signature"),
        row("a challenge for another", signed_json(challenge, "{}", &known, &elsewhere), 401, "request_signature"),
        row("an old challenge", signed_json(challenge, "{}", &known, &late), 401, "request_signature"),
        row("a challenge without a nonce", right(challenge, "{}"), 400, "invalid_federation_request"),
        row(
            "a challenge with a short nonce",
            right(challenge, "{\"nonce\":\"AA==\"}"),
            400,
            "invalid_federation_request",
        ),
        row("a challenge that is no JSON", right(challenge, "{"), 400, "json_syntax"),
        row("a long challenge", right(challenge, &" ".repeat((16 << 10) + 1)), 413, "body_too_large"),
        row("a proof of nothing", right(proof, "{}"), 400, "invalid_federation_request"),
        row(
            "a proof that was not asked for",
            right(proof, &format!("{{\"signature\":\"{}==\"}}", "A".repeat(86))),
            400,
            "invalid_federation_request",
        ),
        row("a voucher of a stranger", right(vouch, "{\"peer_id\":\"a\"}"), 403, "not_trusted"),
    ]
}
