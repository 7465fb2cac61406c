//! Tells other programs of events, as the Standard Webhooks specification says: signed, again and again for a while, in order.

use super::{
    events::{Event, EventKind},
    pauses::jittered,
    resolver::Resolver,
};
use crate::{
    guard::Reach,
    telemetry::{Delivery, EventMetrics},
    types::{SharedClock, WebhookSecret, encode_hex},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{
    Client, StatusCode, Url,
    header::{CONTENT_TYPE, RETRY_AFTER},
    redirect::Policy,
};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

/// Events that wait for one webhook; those beyond are counted and left out.
const QUEUE: usize = 1000;
/// After the first failure; doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Tries of one message at most.
const MOST_TRIES: u32 = 20;

/// A program that is told of events.
#[derive(Debug)]
pub struct WebhookOptions {
    /// Where it takes them.
    pub url: Url,
    /// What they are signed with.
    pub secret: WebhookSecret,
    /// Of which events; none named: of all.
    pub kinds: Vec<EventKind>,
    /// How long it may take for one.
    pub timeout: Duration,
    /// How long one is tried.
    pub patience: Duration,
    /// Who tells: this instance's id.
    pub instance: String,
    /// The time.
    pub clock: SharedClock,
    /// Where it is counted.
    pub metrics: EventMetrics,
}

/// The end at which events go in.
#[derive(Debug)]
pub struct Webhook {
    name: String,
    kinds: Vec<EventKind>,
    sender: mpsc::Sender<Arc<Event>>,
    overflows: AtomicBool,
    metrics: EventMetrics,
}

/// The end at which they go out: [`Self::run`] it.
#[derive(Debug)]
pub struct Deliverer {
    options: WebhookOptions,
    name: String,
    receiver: mpsc::Receiver<Arc<Event>>,
    http: Client,
    /// In each message's id, which no other instance gives: the hash of ours.
    from: String,
    first_pause: Duration,
}

/// Why a try failed.
#[derive(Debug, thiserror::Error)]
enum TryError {
    #[error("{0}")]
    Unreachable(String),
    #[error("it answers {0}")]
    Refused(StatusCode, Option<Duration>),
}

/// Both ends of a webhook.
///
/// # Errors
/// The HTTP client cannot be made; one line.
pub fn webhook(options: WebhookOptions) -> Result<(Webhook, Deliverer), String> {
    let resolver = Resolver::new(Reach::of_operator());
    resolver.check(&options.url).map_err(|error| error.to_string())?;
    let http = Client::builder()
        .dns_resolver(resolver)
        .timeout(options.timeout)
        // Who is told was chosen by the operator, not by who is told.
        .redirect(Policy::none())
        // Only settings read the environment.
        .no_proxy()
        .user_agent(concat!("ark-lattice/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| cause(&error))?;
    let name = name(&options.url);
    options.metrics.webhook(&name);
    let (sender, receiver) = mpsc::channel(QUEUE);
    let (kinds, metrics) = (options.kinds.clone(), options.metrics.clone());
    let webhook = Webhook { name: name.clone(), kinds, sender, overflows: AtomicBool::new(false), metrics };
    let from = encode_hex(Sha256::digest(&options.instance).get(..4).unwrap_or_default());
    Ok((webhook, Deliverer { options, name, receiver, http, from, first_pause: FIRST_PAUSE }))
}

/// Host and port: path and query are often secrets.
fn name(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

impl Webhook {
    /// Lets an event wait for its delivery, if it is of a wanted kind. Waits for nobody.
    pub(super) fn queue(&self, event: &Arc<Event>) {
        if !self.kinds.is_empty() && !self.kinds.contains(&event.kind) {
            return;
        }
        match self.sender.try_send(Arc::clone(event)) {
            Ok(()) => {
                self.metrics.waiting(&self.name, 1);
                self.overflows.store(false, Ordering::Relaxed);
            }
            Err(_) => {
                self.metrics.deliveries(&self.name, Delivery::Overflowed, 1);
                if !self.overflows.swap(true, Ordering::Relaxed) {
                    tracing::warn!(webhook = self.name, waiting = QUEUE, "a webhook is too slow: events are left out");
                }
            }
        }
    }
}

impl Deliverer {
    /// Delivers what waits, one after the other, until nothing can come any more.
    pub async fn run(mut self) {
        while let Some(event) = self.receiver.recv().await {
            let outcome = self.deliver(&event).await;
            self.options.metrics.deliveries(&self.name, outcome, 1);
            self.options.metrics.waiting(&self.name, -1);
        }
    }

    async fn deliver(&self, event: &Event) -> Delivery {
        let (id, body) = (format!("evt_{}_{}", self.from, event.id), self.body(event));
        let begun = Instant::now();
        for tries in 1..=MOST_TRIES {
            let error = match self.attempt(&id, &body).await {
                Ok(()) => return Delivery::Delivered,
                Err(error) => error,
            };
            let asked = match &error {
                TryError::Refused(_, retry_after) => retry_after.unwrap_or_default(),
                TryError::Unreachable(_) => Duration::ZERO,
            };
            let pause = self.pause(tries).max(asked);
            // It asks never to be told again (Standard Webhooks): not of this one; of others the operator decides.
            let gone = matches!(error, TryError::Refused(StatusCode::GONE, _));
            if gone || tries == MOST_TRIES || begun.elapsed().saturating_add(pause) > self.options.patience {
                let (webhook, kind) = (self.name.as_str(), event.kind.as_str());
                tracing::warn!(webhook, event = kind, id, tries, %error, "an event was not delivered; it is left out");
                break;
            }
            tracing::debug!(webhook = self.name, id, tries, %error, "an event was not delivered; it is tried again");
            sleep(pause).await;
        }
        Delivery::Failed
    }

    fn pause(&self, tries: u32) -> Duration {
        let doubled = self.first_pause.saturating_mul(2_u32.saturating_pow(tries.saturating_sub(1).min(16)));
        jittered(doubled.min(LONGEST_PAUSE), 50)
    }

    fn body(&self, event: &Event) -> Bytes {
        let (kind, at, instance) = (json!(event.kind), json!(event.at.to_rfc3339()), json!(self.options.instance));
        let data = &event.data;
        Bytes::from(format!(r#"{{"type":{kind},"timestamp":{at},"instance":{instance},"data":{data}}}"#))
    }

    async fn attempt(&self, id: &str, body: &Bytes) -> Result<(), TryError> {
        // Of this try: the other side refuses old ones.
        let timestamp = self.options.clock.now().seconds();
        let request = self.http.post(self.options.url.clone()).body(body.clone());
        let request = request
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature(&self.options.secret, id, timestamp, body));
        let answer = request.send().await.map_err(|error| TryError::Unreachable(cause(&error)))?;
        if answer.status().is_success() {
            return Ok(());
        }
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Err(TryError::Refused(answer.status(), retry_after.map(Duration::from_secs)))
    }
}

impl Drop for Deliverer {
    fn drop(&mut self) {
        if !self.receiver.is_empty() {
            tracing::warn!(webhook = self.name, events = self.receiver.len(), "events that waited are not delivered");
        }
    }
}

/// `v1,` and base64 of HMAC-SHA256 over id, time and body.
fn signature(secret: &WebhookSecret, id: &str, timestamp: i64, body: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose()) else {
        // HMAC takes keys of every length.
        return String::new();
    };
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// The innermost reason, without the address: its path and query are often secrets.
fn cause(error: &reqwest::Error) -> String {
    let mut source = error.source();
    let mut text =
        if error.is_timeout() { "it does not answer in time".to_owned() } else { "it cannot be reached".to_owned() };
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text
}

#[cfg(test)]
#[path = "webhooks/tests.rs"]
mod tests;
