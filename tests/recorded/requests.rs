//! Sends the requests of a recorded client to this release: the answers are those of the recorded release.

use crate::{
    compare::assert_says,
    pair::{Pair, releases},
    service::{Service, TOKEN, json_of},
    session::{Exchange, Session},
};
use reqwest::{Method, Response};
use serde_json::Value;

/// Members that differ from run to run: times of writes, signatures, remaining seconds.
const VOLATILE: &[&str] = &[
    // A client that does not state what it holds of the journal makes conflicts: what it states of ancestry hides none any more.
    "conflicts",
    "at",
    "expires_in",
    "last_seen",
    "noticed_at",
    "updated_at",
    "instance",
    "request_id",
    "payload",
    "sig",
    "nonce",
    "signature",
    "listenPort",
    "version",
];
/// Headers of a connection, not of a request.
const OF_THE_CONNECTION: &[&str] = &["host", "connection", "accept-encoding", "transfer-encoding"];
/// Routes whose requests answer a nonce of the server.
const NOT_REPEATABLE: &[&str] = &["/lattice/trust/proof"];

async fn send(service: &Service, exchange: &Exchange) -> Response {
    let method: Method = exchange.request.method().parse().unwrap();
    let mut request = service.request(method, exchange.request.target()).header("accept-encoding", "identity");
    for (name, value) in &exchange.request.headers {
        if !OF_THE_CONNECTION.contains(&name.as_str()) {
            request = request.header(name, value);
        }
    }
    request.body(exchange.request.body.clone()).send().await.unwrap()
}

fn media_type(text: Option<&str>) -> String {
    text.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_owned()
}

async fn compare(exchange: &Exchange, mut now: Response) {
    let (name, then) = (&exchange.name, &exchange.answer);
    let header =
        |response: &Response, name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let found = media_type(header(&now, "content-type").as_deref());
    if now.status().as_u16() != then.status() {
        let status = now.status();
        panic!("{name}: {status} instead of {}: {}", then.status(), now.text().await.unwrap());
    }
    assert_eq!(found, media_type(then.header("content-type")), "{name}");
    for header_name in
        ["ark-index-id", "ark-position", "ark-answers", "ark-manifest-hash", "ark-delta-count", "ark-cursor"]
    {
        let recorded = then.header(header_name).map(str::to_owned);
        assert_eq!(header(&now, header_name), recorded, "{name}: {header_name}");
    }
    match found.as_str() {
        "application/json" | "application/problem+json" => {
            let [now, then] = [now.bytes().await.unwrap().to_vec(), then.body.clone()]
                .map(|body| serde_json::from_slice::<Value>(&body).unwrap());
            assert_says(name, &now, &then, VOLATILE);
        }
        "application/x-ndjson" => {
            let lines = |body: &[u8]| -> Value {
                let lines = std::str::from_utf8(body).unwrap().lines();
                lines.map(|line| serde_json::from_str::<Value>(line).unwrap()).collect()
            };
            assert_says(name, &lines(&now.bytes().await.unwrap()), &lines(&then.body), &[]);
        }
        "text/event-stream" => {
            let first = now.chunk().await.unwrap().unwrap();
            assert!(then.body.starts_with(&first), "{name}: {first:?}");
        }
        "application/octet-stream" => {
            assert_eq!(now.bytes().await.unwrap(), then.body, "{name}");
        }
        other => panic!("{name}: {other}"),
    }
}

#[tokio::test]
async fn requests_of_a_recorded_client_get_the_recorded_answers() {
    for release in releases() {
        for session in Session::all(&release) {
            let pair = Pair::read(&release, session.facts["server"].as_str().unwrap());
            let place = pair.unpack(session.at(), &[]);
            let service = place.serve().await;
            for exchange in &session.exchanges {
                if !NOT_REPEATABLE.contains(&exchange.request.path()) {
                    compare(exchange, send(&service, exchange).await).await;
                }
            }
            // Pushed changes are applied.
            let after = session.facts["server_after"]["set_hash"].as_str().unwrap();
            if session.facts["client"].is_string() {
                let status = service.request(Method::GET, "/api/federation/status").bearer_auth(TOKEN).send().await;
                let status = json_of(status.unwrap()).await;
                assert_eq!(status["lattice"]["manifestHash"], after, "{}", session.name);
            }
        }
    }
}
