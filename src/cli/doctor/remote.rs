//! What others say: Redis, the service on its port, and the way through the proxy.

use super::{finding::Findings, service};
use crate::{
    cli::{exit::Failure, job},
    ops::{Client, StoreFault, StoreState},
    settings::Settings,
    startup,
    types::SystemClock,
};
use serde_json::Value;
use std::time::{Duration, Instant, SystemTime};

/// A clock that is this far off makes versions win or lose wrongly.
const SKEW_WANTED: Duration = Duration::from_secs(5);
/// Beyond this manifests are refused (`clock_skew`).
pub(super) const SKEW_ALLOWED: Duration = Duration::from_secs(300);
/// A Redis that is slower than this is felt.
const SLOW: Duration = Duration::from_millis(50);
/// A body that a proxy with its own small limit refuses: nginx takes 1 MiB unless it is told.
const LARGE_BODY: usize = 2 << 20;

pub(super) async fn look(settings: &Settings, url: Option<&str>, findings: &mut Findings) -> Result<(), Failure> {
    registry(settings, findings).await;
    service::look(settings, findings).await;
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
        Err(error) => {
            return findings.fail(("registry", "registry_unavailable"), error, StoreState::NoAnswer.remedy(None));
        }
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
            ("registry", "registry_slow"),
            format!("Redis answers, but only after {} ms", took.as_millis()),
            "run Redis near this service: every registration waits for it",
        ),
        Ok(faults) if faults.is_empty() => {
            findings.ok("registry", format!("Redis answers, after {} ms", took.as_millis()));
        }
        Ok(faults) => faults.iter().for_each(|fault| store_fault(fault, findings)),
        Err(error) => match error.fault() {
            Some(fault) => store_fault(fault, findings),
            None => findings.fail(("registry", "registry_unavailable"), &error, StoreState::NoAnswer.remedy(None)),
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

pub(super) fn finding_code(state: StoreState) -> String {
    format!("registry_{}", state.code())
}

/// The service as others see it.
async fn proxy(settings: &Settings, url: &str, findings: &mut Findings) {
    let client = match job::client(settings, url) {
        Ok(client) => client,
        Err(_) => {
            return findings.fail(
                ("proxy", "proxy_no_address"),
                format!("{url:?} is no address"),
                "give one such as https://ark.example",
            );
        }
    };
    let probe = match client.probe("health").await {
        Ok(probe) => probe,
        Err(error) => {
            return findings.fail(
                ("proxy", "proxy_unreachable"),
                error,
                "check the name, the certificate, the proxy and the firewall",
            );
        }
    };
    let Some(health) = service::health(&probe) else {
        let found = format!("{url}/health answers {}, and not as this service does", probe.status);
        let next = match probe.location {
            Some(location) => format!("it sends to {location}: name that address, if it is right"),
            None => "check where the proxy sends this path, and the prefix (server.base_path)".to_owned(),
        };
        return findings.fail(("proxy", "proxy_other_service"), found, next);
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
        findings.fail(("clock", "clock_differs"), format!("{found}: manifests are refused (clock_skew)"), next);
    } else if off > SKEW_WANTED {
        findings.warn(("clock", "clock_differs"), found, next);
    } else {
        findings.ok("clock", found);
    }
}

async fn encrypted(settings: &Settings, url: &str, findings: &mut Findings) {
    let Some(rest) = url.strip_prefix("https://") else {
        return findings.warn(
            ("tls", "tls_missing"),
            format!("{url} is not encrypted"),
            "let the proxy speak TLS; see deploy/",
        );
    };
    findings.ok("tls", "the certificate is trusted here");
    let Ok(plain) = job::client(settings, &format!("http://{rest}")) else { return };
    match plain.probe("health").await {
        Ok(probe) if probe.status < 300 => findings.warn(
            ("tls", "tls_not_enforced"),
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
            ("metrics", "metrics_public"),
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
            ("bodies", "bodies_refused"),
            format!("a body of 2 MiB is answered with {}", probe.status),
            "let the proxy pass 32 MiB (nginx: client_max_body_size 33m;)",
        ),
        Err(error) => findings.fail(
            ("bodies", "bodies_refused"),
            error,
            "let the proxy pass 32 MiB (nginx: client_max_body_size 33m;)",
        ),
    }
}
