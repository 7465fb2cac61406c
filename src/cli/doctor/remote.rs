//! What others say: Redis, the service on its port, and the way through the proxy.

use super::finding::Findings;
use crate::{
    cli::{exit::Failure, healthcheck::own_service, job},
    ops::{Client, Probe, StoreFault, StoreState},
    settings::Settings,
    startup::{self, StartupError},
    types::SystemClock,
};
use serde_json::Value;
use std::{
    io,
    net::IpAddr,
    time::{Duration, Instant, SystemTime},
};

/// A clock that is this far off makes versions win or lose wrongly.
const SKEW_WANTED: Duration = Duration::from_secs(5);
/// Beyond this manifests are refused (`clock_skew`).
const SKEW_ALLOWED: Duration = Duration::from_secs(300);
/// A Redis that is slower than this is felt.
const SLOW: Duration = Duration::from_millis(50);
/// A body that a proxy with its own small limit refuses: nginx takes 1 MiB unless it is told.
const LARGE_BODY: usize = 2 << 20;

pub(super) async fn look(settings: &Settings, url: Option<&str>, findings: &mut Findings) -> Result<(), Failure> {
    registry(settings, findings).await;
    service(settings, findings).await;
    if let Some(url) = url {
        proxy(settings, url, findings).await;
    }
    Ok(())
}

async fn registry(settings: &Settings, findings: &mut Findings) {
    if !settings.registry.uses_redis() {
        return findings.ok("registry", "embedded: this service only; set REDIS_URL to share one among several");
    }
    let registry = match startup::open_registry(settings, &SystemClock::shared(), None).await {
        Ok(registry) => registry,
        Err(error) => return findings.fail("registry", error, StoreState::NoAnswer.remedy(None)),
    };
    let asked = Instant::now();
    let answered = registry.ping().await;
    let took = asked.elapsed();
    let examined = match answered {
        Ok(()) => registry.examine().await,
        Err(error) => Err(error),
    };
    registry.close().await;
    match examined {
        Ok(faults) if faults.is_empty() && took > SLOW => findings.warn(
            "registry",
            format!("Redis answers, but only after {} ms", took.as_millis()),
            "run Redis near this service: every registration waits for it",
        ),
        Ok(faults) if faults.is_empty() => {
            findings.ok("registry", format!("Redis answers, after {} ms", took.as_millis()));
        }
        Ok(faults) => faults.iter().for_each(|fault| store_fault(fault, findings)),
        Err(error) => match error.fault() {
            Some(fault) => store_fault(fault, findings),
            None => findings.fail("registry", &error, StoreState::NoAnswer.remedy(None)),
        },
    }
}

/// A state of Redis: what it is, what Redis answered, and the command that ends it.
fn store_fault(fault: &StoreFault, findings: &mut Findings) {
    let found = format!("{}: {}", fault.public_text(), fault.answer);
    if fault.state.refuses() {
        findings.fail("registry", found, &fault.advice);
    } else {
        findings.warn("registry", found, &fault.advice);
    }
    findings.with_code(finding_code(fault.state));
}

fn finding_code(state: StoreState) -> String {
    format!("registry_{}", state.code())
}

/// The port: free, or a service of ours on it.
async fn service(settings: &Settings, findings: &mut Findings) {
    let port = settings.server.port;
    match startup::listen(settings) {
        Ok(_) => findings.ok("port", format!("{port} is free; nothing runs there: ark-lattice serve")),
        Err(StartupError::Listen { error, .. }) if error.kind() == io::ErrorKind::AddrInUse => {
            running(settings, findings).await;
        }
        Err(error) => findings.fail("port", error, "choose another address: ARK__SERVER__HOST, FEDERATION_PORT"),
    }
    let anyone = settings.server.host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified());
    if anyone && settings.server.tls_certificate.is_none() {
        findings.warn(
            "address",
            format!("{} takes requests from other machines, without TLS", settings.server.host),
            "put a TLS proxy in front and let only that reach the port, or set ARK__SERVER__HOST=127.0.0.1",
        );
    }
}

async fn running(settings: &Settings, findings: &mut Findings) {
    let port = settings.server.port;
    let foreign = "stop that program, or choose another port: FEDERATION_PORT";
    let Ok((_, client)) = own_service(settings) else { return };
    match client.probe("health").await {
        Ok(probe) => match health(&probe) {
            Some(health) => {
                judge(&health, port, findings);
                dates(&client, findings).await;
            }
            None => findings.fail("port", format!("{port} is in use by something that is no ark-lattice"), foreign),
        },
        Err(error) => findings.fail("port", format!("{port} is in use, and does not answer: {error}"), foreign),
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
        findings.warn("dates", found, next);
    }
}

/// The answer of `/health`, if it is one of ours.
fn health(probe: &Probe) -> Option<Value> {
    let value: Value = serde_json::from_slice(&probe.body).ok()?;
    let ours = ["status", "node_id", "version"].iter().all(|key| value.get(key).is_some_and(Value::is_string));
    ours.then_some(value)
}

fn judge(health: &Value, port: u16, findings: &mut Findings) {
    let text = |pointer: &str| health.pointer(pointer).and_then(Value::as_str).unwrap_or("-");
    let found = format!("{} {} runs on port {port} and is {}", text("/node_id"), text("/version"), text("/status"));
    let own = env!("CARGO_PKG_VERSION");
    if text("/version") != own {
        let next = format!("this program is {own}: restart the service with it");
        return findings.warn("service", found, next);
    }
    if text("/status") == "healthy" {
        return findings.ok("service", found);
    }
    let parts = format!("registry {}, lattice {}", text("/registry/status"), text("/lattice/status"));
    let number = |pointer: &str| health.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let detail = |pointer: &str| health.pointer(pointer).and_then(Value::as_str).map(|detail| format!(" ({detail})"));
    let details: String = ["/registry/detail", "/lattice/detail"].into_iter().filter_map(detail).collect();
    let (broken, unavailable) = (number("/lattice/broken_total"), number("/lattice/unavailable"));
    let state = StoreState::of_code(text("/registry/reason"));
    let key = health.pointer("/registry/key").and_then(Value::as_str);
    let next = match (state, broken, details.as_str()) {
        (Some(state), ..) => state.remedy(key),
        (None, 1.., "") => "ark-lattice node verify names the broken files; correct or remove them".to_owned(),
        _ => "its log says more".to_owned(),
    };
    let about = key.map(|key| format!(", key {key}")).unwrap_or_default();
    let found =
        format!("{found}: {parts}{about}{details}, {broken} broken files, {unavailable} nodes without their contents");
    findings.warn("service", found, next);
    // Once, where the look at Redis has not found it itself.
    if let Some(code) = state.map(finding_code).filter(|code| !findings.has_code(code)) {
        findings.with_code(code);
    }
}

/// The service as others see it.
async fn proxy(settings: &Settings, url: &str, findings: &mut Findings) {
    let client = match job::client(settings, url) {
        Ok(client) => client,
        Err(_) => {
            return findings.fail("proxy", format!("{url:?} is no address"), "give one such as https://ark.example");
        }
    };
    let probe = match client.probe("health").await {
        Ok(probe) => probe,
        Err(error) => {
            return findings.fail("proxy", error, "check the name, the certificate, the proxy and the firewall");
        }
    };
    let Some(health) = health(&probe) else {
        let found = format!("{url}/health answers {}, and not as this service does", probe.status);
        let next = match probe.location {
            Some(location) => format!("it sends to {location}: name that address, if it is right"),
            None => "check where the proxy sends this path, and the prefix (server.base_path)".to_owned(),
        };
        return findings.fail("proxy", found, next);
    };
    let node_id = health.get("node_id").and_then(Value::as_str).unwrap_or("-");
    findings.ok("proxy", format!("{url} reaches {node_id}"));
    if let Some(date) = probe.date {
        skew(SystemTime::now(), date, url, findings);
    }
    encrypted(settings, url, findings).await;
    hidden(&client, findings).await;
    large_bodies(&client, findings).await;
}

/// The two clocks; HTTP dates have whole seconds.
fn skew(here: SystemTime, there: SystemTime, url: &str, findings: &mut Findings) {
    let off = here.duration_since(there).unwrap_or_else(|error| error.duration());
    let found = format!("the clocks here and at {url} differ by {} s", off.as_secs());
    let next = "let both be set: timedatectl set-ntp true";
    if off > SKEW_ALLOWED {
        findings.fail("clock", format!("{found}: manifests are refused (clock_skew)"), next);
    } else if off > SKEW_WANTED {
        findings.warn("clock", found, next);
    } else {
        findings.ok("clock", found);
    }
}

async fn encrypted(settings: &Settings, url: &str, findings: &mut Findings) {
    let Some(rest) = url.strip_prefix("https://") else {
        return findings.warn("tls", format!("{url} is not encrypted"), "let the proxy speak TLS; see deploy/");
    };
    findings.ok("tls", "the certificate is trusted here");
    let Ok(plain) = job::client(settings, &format!("http://{rest}")) else { return };
    match plain.probe("health").await {
        Ok(probe) if probe.status < 300 => findings.warn(
            "tls",
            "the same is answered without TLS",
            "let the proxy redirect http:// to https:// (301 or 308)",
        ),
        // Redirected, refused, or closed: all are right.
        Ok(_) | Err(_) => findings.ok("tls", "nothing is answered without it"),
    }
}

async fn hidden(client: &Client, findings: &mut Findings) {
    if client.probe("metrics").await.is_ok_and(|probe| probe.status == 200) {
        findings.warn(
            "metrics",
            "/metrics is readable by everybody",
            "let the proxy refuse /metrics to strangers; see deploy/",
        );
    }
}

async fn large_bodies(client: &Client, findings: &mut Findings) {
    let body = format!("{{\"nodes\":[],\"limit\":1{}}}", " ".repeat(LARGE_BODY));
    match client.probe_with("sync", body).await {
        Ok(probe) if probe.status == 200 => findings.ok("bodies", "a body of 2 MiB passes the proxy"),
        Ok(probe) => findings.fail(
            "bodies",
            format!("a body of 2 MiB is answered with {}", probe.status),
            "let the proxy pass 32 MiB (nginx: client_max_body_size 33m;)",
        ),
        Err(error) => findings.fail("bodies", error, "let the proxy pass 32 MiB (nginx: client_max_body_size 33m;)"),
    }
}
