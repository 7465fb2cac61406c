//! Statements about keys that do not count.

use super::{Row, row};
use crate::{
    app::{NOW, key},
    raw_http::Raw,
};
use ark_lattice::{
    identity::{KeyLog, KeyPair, SignedStatement, Statement, StatementKind},
    types::{PeerId, Timestamp},
};
use base64::{Engine, engine::general_purpose::STANDARD};

pub fn post(body: impl AsRef<[u8]>) -> Raw {
    Raw::new("POST", "/v1/trust/rotate").json(body)
}

/// The first statement about the key of `peer`.
pub fn enrolment(peer: &str, key: &KeyPair) -> Statement {
    Statement {
        kind: StatementKind::Enroll,
        node_id: PeerId::parse(peer).unwrap(),
        epoch: 0,
        seq: 0,
        previous: None,
        old_key: None,
        public_key: key.public_key(),
        recovery_key: None,
        issued_at: Timestamp::from_seconds(NOW),
        reason: None,
    }
}

/// As a list with this one alone.
pub fn alone(statement: Statement, signers: &[&KeyPair]) -> String {
    let mut log = KeyLog::default();
    log.append(SignedStatement::sign(statement, signers)).unwrap();
    log.to_json()
}

/// The envelope of any text as a statement, with a signature that nobody gets to see.
fn enveloped(payload: &str, kind: &str) -> String {
    let (payload, sig) = (STANDARD.encode(payload), STANDARD.encode([0; 64]));
    let keyid = key(1).public_key();
    format!(
        "{{\"statements\":[{{\"payload\":\"{payload}\",\"payloadType\":\"{kind}\",\
         \"signatures\":[{{\"keyid\":\"{keyid}\",\"sig\":\"{sig}\"}}]}}]}}"
    )
}

pub fn rows() -> Vec<Row> {
    const KIND: &str = "application/vnd.ark-lattice.key+json";
    let (owner, stranger) = (key(1), key(2));
    let right = enrolment("ark-known", &owner);
    let public = owner.public_key();
    let text = |members: &str| {
        enveloped(&format!("{{\"node_id\":\"ark-known\",\"public_key\":\"{public}\",{members}}}"), KIND)
    };
    let mut rows: Vec<Row> = [
        ("an empty object", "{}".to_owned()),
        ("a list", "[]".to_owned()),
        ("statements as text", "{\"statements\":\"a\"}".to_owned()),
        ("no statement", "{\"statements\":[]}".to_owned()),
        ("a statement that is a number", "{\"statements\":[1]}".to_owned()),
        ("129 statements", format!("{{\"statements\":[{}]}}", vec!["{}"; 129].join(","))),
        ("another payload type", enveloped("{}", "application/json")),
        ("a payload that is no JSON", enveloped("{", KIND)),
        ("a payload that is a list", enveloped("[]", KIND)),
        ("an unknown kind", text("\"kind\":\"sing\",\"epoch\":0,\"seq\":0,\"issued_at\":1")),
        ("a seq below zero", text("\"kind\":\"enroll\",\"epoch\":0,\"seq\":-1,\"issued_at\":1")),
        ("a seq beyond 2^53", text("\"kind\":\"recover\",\"epoch\":0,\"seq\":9007199254740992,\"issued_at\":1")),
        ("a time with a fraction", text("\"kind\":\"enroll\",\"epoch\":0,\"seq\":0,\"issued_at\":1.5")),
        ("a rotation without what it replaces", text("\"kind\":\"rotate\",\"epoch\":0,\"seq\":0,\"issued_at\":1")),
        (
            "a reason of 201",
            text(&format!(
                "\"kind\":\"enroll\",\"epoch\":0,\"seq\":0,\"issued_at\":1,\"reason\":\"{}\"",
                "é".repeat(201)
            )),
        ),
    ]
    .into_iter()
    .map(|(name, body)| row(format!("a key statement: {name}"), post(body), 400, "invalid_statement"))
    .collect();
    let later = Statement { issued_at: Timestamp::from_seconds(NOW + 3600), ..right.clone() };
    rows.extend([
        row(
            "a key statement of nobody here",
            post(alone(enrolment("ark-nobody", &owner), &[&owner])),
            404,
            "peer_not_found",
        ),
        row(
            "a key statement of another key",
            post(alone(enrolment("ark-known", &stranger), &[&stranger])),
            409,
            "key_mismatch",
        ),
        row("a key statement that another key signed", post(alone(right, &[&stranger])), 401, "bad_signature"),
        row("a key statement of tomorrow", post(alone(later, &[&owner])), 400, "clock_skew"),
        row("a key statement that is no JSON", post("{"), 400, "json_syntax"),
    ]);
    rows
}
