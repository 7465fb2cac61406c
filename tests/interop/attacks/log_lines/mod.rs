//! Text of others that would pass for lines of our own in the log, or would work a terminal.

use crate::{
    attacks::bed::{Attacker, Victim},
    server::{Hostile, Reply},
    service::Place,
};
use serde_json::json;
use std::fs;

const FORGED: &str = "2026-01-01T00:00:00Z  INFO the operator signed in";

#[tokio::test]
async fn nobody_writes_a_line_of_his_own_into_the_log() {
    let detail = format!("x\\n{FORGED}\\r\\u001b[2J\\u0007\\u009b31m\\u2028{FORGED}");
    let body = format!("{{\"status\":400,\"code\":\"bad\\n{FORGED}\",\"detail\":\"{detail}\"}}");
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nconnection: \
         close\r\n\r\n{body}",
        body.len()
    );
    let liar = Hostile::start("liar", move |_, _| Some(Reply::Bytes(answer.clone().into_bytes()))).await;
    for format in ["text", "json"] {
        let place = Place::new().set("ARK__LOG__LEVEL", "trace").set("ARK__LOG__FORMAT", format);
        let victim = Victim::start_in(place.set("FEDERATION_TRUSTED_PEERS", &liar.url)).await;
        let error = victim.round().await;
        assert!(!error.chars().any(char::is_control), "{error:?}");
        let odd = victim.service.request(reqwest::Method::GET, "/nodes/a%0A2026-01-01%20INFO%20forged%1B%5B2J");
        assert!(odd.send().await.unwrap().status().is_client_error());
        // What he is refused for is told of him, and what he says is not.
        let forged = format!("{{\"manifest\":{{\"node_id\":\"{detail}\"}},\"signature\":\"\",\"pubkey\":\"\"}}");
        assert!(victim.service.post("/manifest", forged).await.status().is_client_error());
        let stranger = Attacker::new("stranger");
        let unsigned = stranger.manifest(1).replace("\"stranger\"", "\"another\"");
        victim.refuses_manifest(unsigned, (401, "bad_signature"), "-").await;
        assert!(!json!(victim.audit()).to_string().contains("signed in"));
        let log = fs::read(victim.place.path("log")).unwrap();
        let log = String::from_utf8(log).unwrap();
        assert!(log.contains("signed in"), "what it said is in the log");
        for line in log.lines() {
            assert!(!line.starts_with("2026-01-01") && !line.starts_with(FORGED), "{line}");
            assert!(!line.chars().any(|it| it.is_control() && it != '\t'), "{line:?}");
        }
    }
}
