//! Two recorded instances exchange again: the recorded positions are used, and only new changes are sent.

use crate::{
    pair::{Addresses, Pair, releases},
    service::{Place, Service, TOKEN, json_of},
};
use reqwest::Method;
use serde_json::{Value, json};

/// Most bytes of a round with few changes, the first one of a process, which asks more. A round from position 0 takes three times as many.
const FEW_BYTES: u64 = 2500;

async fn start(pair: &Pair, addresses: &Addresses) -> (Place, Service) {
    let place = pair.unpack(pair.taken_at() + 30.0, addresses);
    let service = place.serve().await;
    (place, service)
}

fn local(service: &Service) -> String {
    format!("127.0.0.1:{}", service.port)
}

async fn sync(service: &Service, with: &str) -> Value {
    let body = json!({"peerUrl": format!("http://{with}")});
    let request = service.request(Method::POST, "/api/federation/sync").bearer_auth(TOKEN).json(&body);
    json_of(request.send().await.unwrap()).await["result"][0].clone()
}

/// Nodes sent, nodes received and conflicts of a round that succeeded and did not begin at position 0.
fn counts(round: &Value) -> [u64; 3] {
    assert_eq!(round["success"], true, "{round}");
    let bytes = round["bytes"].as_u64().unwrap();
    assert!(bytes < FEW_BYTES, "{bytes} bytes: it began from the beginning: {round}");
    ["nodesSent", "nodesReceived", "conflictsResolved"].map(|name| round[name].as_u64().unwrap())
}

async fn edit(service: &Service, id: &str) {
    assert!(service.put(id, &json!({"id": id, "type": "bulk", "edited": true})).await.status().is_success());
}

async fn conflicts(service: &Service) -> Value {
    service.get_json("/conflicts").await["count"].clone()
}

#[tokio::test]
async fn a_round_between_recorded_instances_sends_only_new_edits() {
    for release in releases() {
        let [alpha, beta] = ["alpha", "beta"].map(|name| Pair::read(&release, name));
        let (_beta_place, beta) = start(&beta, &[]).await;
        let address = alpha.address_of("beta");
        let (_alpha_place, alpha) = start(&alpha, &[(address, local(&beta))]).await;
        let before = (conflicts(&alpha).await, conflicts(&beta).await);
        assert_eq!(counts(&sync(&alpha, &local(&beta)).await), [0, 0, 0], "they were in sync");

        edit(&alpha, "bulk-033").await;
        edit(&beta, "bulk-034").await;
        assert_eq!(alpha.delete("bulk-035").await.status(), 200);
        let round = sync(&alpha, &local(&beta)).await;
        assert_eq!((counts(&round), &round["outcome"]), ([2, 1, 0], &json!("in_step")));
        assert_eq!(alpha.nodes().await, beta.nodes().await);
        assert_eq!((conflicts(&alpha).await, conflicts(&beta).await), before);
    }
}

#[tokio::test]
async fn a_pending_edit_is_sent_and_a_filtered_peer_sends_nothing_again() {
    for release in releases() {
        let [phi, gamma, omega] = ["phi", "gamma", "omega-later"].map(|name| Pair::read(&release, name));
        // Without its Redis, gamma has an empty embedded registry; phi registers there again.
        let (_gamma_place, gamma) = start(&gamma, &[]).await;
        let (_omega_place, omega) = start(&omega, &[]).await;
        let addresses = [(phi.address_of("gamma"), local(&gamma)), (phi.address_of("omega"), local(&omega))];
        let (_phi_place, phi) = start(&phi, &addresses).await;
        let round = sync(&phi, &local(&gamma)).await;
        assert_eq!((counts(&round), &round["outcome"]), ([1, 0, 0], &json!("in_step")));
        assert_eq!(counts(&sync(&phi, &local(&omega)).await), [0, 0, 0]);
    }
}

#[tokio::test]
async fn a_push_only_instance_sends_only_new_edits() {
    for release in releases() {
        let [tau, upsilon] = ["tau", "upsilon"].map(|name| Pair::read(&release, name));
        let (_upsilon_place, upsilon) = start(&upsilon, &[]).await;
        let (_tau_place, tau) = start(&tau, &[(tau.address_of("upsilon"), local(&upsilon))]).await;
        let started = tau.request(Method::POST, "/api/federation/start").bearer_auth(TOKEN).send().await.unwrap();
        assert_eq!(started.status(), 200);
        edit(&tau, "bulk-002").await;
        assert_eq!(counts(&sync(&tau, &local(&upsilon)).await), [1, 0, 0]);
        assert_eq!(upsilon.get_json("/nodes/bulk-002").await["edited"], true);
    }
}

#[tokio::test]
async fn a_round_with_a_recorded_revoked_key_is_refused() {
    for release in releases() {
        let [mu, lambda] = ["mu", "lambda"].map(|name| Pair::read(&release, name));
        let (_lambda_place, lambda) = start(&lambda, &[]).await;
        let (_mu_place, mu) = start(&mu, &[(mu.address_of("lambda"), local(&lambda))]).await;
        let round = sync(&mu, &local(&lambda)).await;
        assert_eq!(round["success"], false, "{round}");
        assert!(round["error"].as_str().unwrap().contains("revoked"), "{round}");
    }
}
