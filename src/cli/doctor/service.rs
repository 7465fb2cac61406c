//! The service of this state directory: whether it runs, what is on its port, and what it reports of itself and its peers.

use super::{
    finding::Findings,
    machine::in_use,
    remote::{SKEW_ALLOWED, finding_code},
};
use crate::{
    cli::{
        federation::model::{Peer, Status},
        healthcheck::{client_at, own_service},
        output::count,
        service::is_loopback,
    },
    ops::{self, Ask, Client, LocalService, OperatorClient, Probe, StoreState},
    settings::Settings,
    startup::{self, StartupError},
    types::SystemClock,
};
use serde_json::Value;
use std::{io, net::IpAddr};

const FOREIGN: &str = "stop that program, or choose another port: FEDERATION_PORT";

/// The service, or the port that it would take.
pub(super) async fn look(settings: &Settings, findings: &mut Findings) {
    match ops::local_service(std::slice::from_ref(&settings.state.path)) {
        Ok(Some(found)) => recorded(settings, found, findings).await,
        // A service of 0.1.0 records nothing, and one that starts has not yet.
        Ok(None) if in_use(&settings.state.path) => by_settings(settings, findings).await,
        Ok(None) => port(settings, findings).await,
        Err(error) => findings.warn(
            ("service", "service_unreadable"),
            error,
            "run doctor as the user of the service, with sudo for example",
        ),
    }
    let is_any = |host: &str| host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified());
    let further = settings.further_listeners().unwrap_or_default();
    let anyone = is_any(&settings.server.host) || further.iter().any(|(host, _)| is_any(host));
    if anyone && settings.server.tls_certificate.is_none() {
        findings.warn(
            ("address", "address_without_tls"),
            format!("{} takes requests from other machines, without TLS", settings.server.host),
            "put a TLS proxy in front and let only that reach the port, or set ARK__SERVER__HOST=127.0.0.1",
        );
    }
}

/// The service that recorded its address in the state directory.
async fn recorded(settings: &Settings, found: LocalService, findings: &mut Findings) {
    let Ok(client) = client_at(settings, &found.url, is_loopback(&found.url)) else { return };
    let health = match client.probe("health").await {
        Ok(probe) => health(&probe),
        Err(error) => {
            let next = "see its log; if it hangs, stop it and start it again: ark-lattice serve";
            return findings.fail(("service", "service_silent"), error, next);
        }
    };
    let Some(health) = health else {
        let found = format!("{} answers, and not as this service does", found.url);
        return findings.fail(("service", "service_silent"), found, "see the log of the service");
    };
    judge(&health, &found.url, findings);
    let port = found.url.rsplit(':').next().and_then(|rest| rest.split('/').next()?.parse::<u16>().ok());
    if settings.server.port != 0 && port.is_some_and(|port| port != settings.server.port) {
        let found =
            format!("the service listens at {}, and the settings name port {}", found.url, settings.server.port);
        findings.warn(("port", "port_changed"), found, "restart it; or set FEDERATION_PORT here as for the service");
    }
    dates(&client, findings).await;
    let pending = health.get("peers_pending").and_then(Value::as_u64).unwrap_or(0);
    if pending > 0 {
        let found = format!("{} that may not write here ask to", count(pending, "unknown instance"));
        findings.warn(("pending", "peers_pending"), found, "ark-lattice federation pending");
    }
    federation(&OperatorClient::new(client, Some(found.token)), findings).await;
}

/// A service that holds the state directory, at the address of the settings.
async fn by_settings(settings: &Settings, findings: &mut Findings) {
    let Ok((url, client)) = own_service(settings) else { return };
    match client.probe("health").await {
        Ok(probe) => match health(&probe) {
            Some(health) => judge(&health, &url, findings),
            None => findings.fail(("port", "port_taken"), format!("what answers at {url} is no ark-lattice"), FOREIGN),
        },
        Err(error) => {
            let next = "if it does not finish to start, see its log; or it has another port: set FEDERATION_PORT";
            findings.warn(("service", "service_silent"), error, next);
        }
    }
}

/// The port of the settings, where no service holds the state directory.
async fn port(settings: &Settings, findings: &mut Findings) {
    let port = settings.server.port;
    match startup::listen(settings) {
        // Held while the further ones are tried: they must be free beside it.
        Ok(_held) => {
            findings.ok("port", format!("{port} is free; nothing runs there: ark-lattice serve"));
            if let Err(error) = startup::listen_further(settings) {
                let next = "correct server.also_listen (ARK__SERVER__ALSO_LISTEN), or stop what uses that port";
                findings.fail(("further ports", "further_port_unusable"), error, next);
            }
        }
        Err(StartupError::Listen { error, .. }) if error.kind() == io::ErrorKind::AddrInUse => {
            let Ok((_, client)) = own_service(settings) else { return };
            let found = match client.probe("health").await.ok().as_ref().and_then(health) {
                Some(health) => {
                    let id = health.get("node_id").and_then(Value::as_str).unwrap_or("-").to_owned();
                    let found = format!("{port} is taken by {id}, an instance with another state directory");
                    let next = "name its state directory to examine that one (ARK_STATE_PATH); or choose another port: FEDERATION_PORT";
                    return findings.fail(("port", "port_of_another_instance"), found, next);
                }
                None => format!("{port} is in use by something that is no ark-lattice"),
            };
            findings.fail(("port", "port_taken"), found, FOREIGN);
        }
        Err(error) => findings.fail(
            ("port", "port_unusable"),
            error,
            "choose another address: ARK__SERVER__HOST, FEDERATION_PORT",
        ),
    }
}

/// Versions that are dated too far ahead by the service's journal, whatever their files say.
async fn dates(client: &Client, findings: &mut Findings) {
    let latest = SystemClock::shared().now().plus(SKEW_ALLOWED);
    let query = format!("updated_since={}&limit=3", latest.to_seconds_text());
    let Ok(probe) = client.probe_query("nodes", &query).await else { return };
    let answer: Option<Value> = serde_json::from_slice(&probe.body).ok();
    let nodes = answer.as_ref().and_then(|answer| answer.get("nodes")?.as_array());
    let ids: Vec<&str> = nodes.into_iter().flatten().filter_map(|node| node.get("id")?.as_str()).collect();
    if !ids.is_empty() {
        let found = format!("nodes are dated more than 5 minutes ahead ({}): peers refuse them", ids.join(", "));
        let next = "set the clock, and date them now: ark-lattice node accept ID...";
        findings.warn(("dates", "dates_ahead"), found, next);
    }
}

/// The answer of `/health`, if it is one of ours.
pub(super) fn health(probe: &Probe) -> Option<Value> {
    let value: Value = serde_json::from_slice(&probe.body).ok()?;
    let ours = ["status", "node_id", "version"].iter().all(|key| value.get(key).is_some_and(Value::is_string));
    ours.then_some(value)
}

fn judge(health: &Value, url: &str, findings: &mut Findings) {
    let text = |pointer: &str| health.pointer(pointer).and_then(Value::as_str).unwrap_or("-");
    let found = format!("{} {} runs at {url} and is {}", text("/node_id"), text("/version"), text("/status"));
    let own = env!("CARGO_PKG_VERSION");
    if text("/version") != own {
        let next = format!("this program is {own}: restart the service with it");
        return findings.warn(("service", "service_other_version"), found, next);
    }
    let number = |pointer: &str| health.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let (broken, unavailable) = (number("/lattice/broken_total"), number("/lattice/unavailable"));
    let fine = text("/registry/status") == "ok" && text("/lattice/status") == "ok" && (broken, unavailable) == (0, 0);
    // Deletions that wait are a finding of their own.
    if text("/status") == "healthy" || (fine && number("/lattice/deletions_waiting") > 0) {
        return findings.ok("service", found);
    }
    let parts = format!("registry {}, lattice {}", text("/registry/status"), text("/lattice/status"));
    let detail = |pointer: &str| health.pointer(pointer).and_then(Value::as_str).map(|detail| format!(" ({detail})"));
    let details: String = ["/registry/detail", "/lattice/detail"].into_iter().filter_map(detail).collect();
    let state = StoreState::of_code(text("/registry/reason"));
    let key = health.pointer("/registry/key").and_then(Value::as_str);
    let next = match (state, broken, details.as_str()) {
        (Some(state), ..) => state.remedy(key),
        (None, 1.., "") => "ark-lattice node verify names the broken files; correct or remove them".to_owned(),
        _ => "see the log of the service".to_owned(),
    };
    let about = key.map(|key| format!(", key {key}")).unwrap_or_default();
    let found =
        format!("{found}: {parts}{about}{details}, {broken} broken files, {unavailable} nodes without their contents");
    findings.warn(("service", "service_degraded"), found, next);
    // Once, where the look at Redis has not found it itself.
    if let Some(code) = state.map(finding_code).filter(|code| !findings.has_code(code)) {
        findings.with_code(code);
    }
}

/// What the admin has to do between this instance and others.
async fn federation(service: &OperatorClient, findings: &mut Findings) {
    let status = match service.ask(Ask::Get, "api/federation/status", None).await {
        Ok(answer) => serde_json::from_slice::<Status>(&answer).map_err(|error| error.to_string()),
        // Without a key there is no federation.
        Err(ops::ClientError::Server { code, .. }) if code == "no_key" => return,
        Err(error) => Err(error.to_string()),
    };
    let status = match status {
        Ok(status) => status,
        Err(error) => {
            let next = "restart the service with this program";
            return findings.warn(("federation", "federation_unknown"), error, next);
        }
    };
    if !status.is_running {
        let found = "the federation is stopped: no rounds are made, and peers are turned away";
        findings.warn(("federation", "federation_stopped"), found, "ark-lattice federation start");
    }
    for shared in &status.shared_ids {
        if shared.sharing == "copied_key" {
            findings.warn(("identity", "key_copied"), &shared.text, &shared.next);
        } else {
            findings.warn(("identity", "id_shared"), &shared.text, &shared.next);
        }
    }
    peers(&status, findings);
    for sender in &status.deletions_waiting {
        let found = format!("{} of {} wait for you", count(sender.deletions, "deletion"), sender.from);
        findings.warn(("deletions", "deletions_waiting"), found, "ark-lattice federation deletions");
    }
    for peer in status.peers.iter().filter(|peer| peer.deletions_waiting.there.is_some_and(|there| there > 0)) {
        let waiting = count(peer.deletions_waiting.there.unwrap_or_default(), "deletion");
        let found = format!("{waiting} of this instance wait at {}", peer.url);
        let next = "on that machine: ark-lattice federation deletions";
        findings.warn(("deletions", "deletions_waiting_there"), found, next);
    }
    if status.lattice.conflicts > 0 {
        let found = format!("{} to settle", count(status.lattice.conflicts, "conflict"));
        findings.warn(("conflicts", "conflicts_open"), found, "ark-lattice conflicts list");
    }
}

fn peers(status: &Status, findings: &mut Findings) {
    let failing = |peer: &&Peer| !peer.active && peer.error.is_some();
    for peer in status.peers.iter().filter(failing) {
        let error = peer.error.as_deref().unwrap_or_default();
        let next = peer.next.as_deref().unwrap_or("see the log of the service");
        findings.warn(("peers", "peer_failing"), format!("{}: {error}", peer.url), next);
        if let Some(code) = &peer.error_code {
            findings.with_code(format!("peer_{code}"));
        }
    }
    let (all, active) = (status.peers.len(), status.peers.iter().filter(|peer| peer.active).count());
    if all > 0 || !status.inbound.is_empty() {
        let inbound = count(status.inbound.len(), "instance");
        findings.ok("peers", format!("{}, {active} online; {inbound} connecting to this one", count(all, "peer")));
    }
    let manual = status.peers.iter().filter(|peer| !peer.auto_sync).count();
    if !status.info.auto_sync && manual > 0 {
        let found = format!("nothing is exchanged automatically with {}", count(manual, "peer"));
        findings.warn(("auto-sync", "auto_sync_off"), found, "ark-lattice federation auto-sync --start");
    }
}
