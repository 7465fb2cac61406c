//! Brings spans to a collector, by OTLP over HTTP. A collector that is away or slow costs nobody anything but its own spans.

use super::{
    otlp::{self, Resource},
    trace::{Ended, SpanMetrics, Spans},
};
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER},
    redirect::Policy,
};
use std::time::Duration;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// Spans of one request.
const BATCH: usize = 512;
/// How long the first span of a batch waits for others.
const GATHER: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long one batch is tried; then the next one is.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a stop waits for what is left.
const FLUSH: Duration = Duration::from_secs(2);
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Where spans go.
#[derive(Debug)]
pub struct ExportOptions {
    /// The collector's address for traces.
    pub url: Url,
    /// What is sent along, such as a token.
    pub headers: HeaderMap,
    /// The service's name in traces.
    pub service: String,
    /// This instance's id.
    pub instance: String,
    /// What becomes of spans.
    pub metrics: SpanMetrics,
}

/// The exporter cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("the client for traces: {0}")]
pub struct ExportError(#[from] reqwest::Error);

/// Exports spans; see [`Self::run`].
#[derive(Debug)]
pub struct Exporter {
    spans: mpsc::Receiver<Ended>,
    http: Client,
    url: Url,
    headers: HeaderMap,
    resource: Resource,
    metrics: SpanMetrics,
    is_away: bool,
}

enum Sent {
    /// The collector took them, or never will.
    Done,
    /// It may take them later.
    Later(Option<Duration>),
}

impl Exporter {
    /// Exports what comes out of `spans`.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn new(spans: Spans, options: ExportOptions) -> Result<Self, ExportError> {
        let ExportOptions { url, headers, service, instance, metrics } = options;
        let http = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            // What is sent along is meant for that host.
            .redirect(Policy::none())
            // Only settings read the environment.
            .no_proxy()
            .user_agent(concat!("ark-lattice/", env!("CARGO_PKG_VERSION")))
            .build()?;
        let resource = Resource { service, instance };
        Ok(Self { spans: spans.0, http, url, headers, resource, metrics, is_away: false })
    }

    /// Exports until `stop`, and then what is left, for two seconds at most.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        while !stop.is_cancelled() {
            tokio::select! {
                count = self.gather(&mut batch) => if count == 0 { break },
                () = stop.cancelled() => break,
            }
            tokio::select! {
                () = self.deliver(&mut batch) => {}
                () = stop.cancelled() => {}
            }
        }
        if timeout(FLUSH, self.flush(&mut batch)).await.is_err() {
            self.metrics.failed(batch.len());
        }
    }

    /// Fills the batch; answers how many spans are in it: none, where there will be no more. Nothing is lost where this is dropped.
    async fn gather(&mut self, batch: &mut Vec<Ended>) -> usize {
        if batch.is_empty() && self.spans.recv_many(batch, BATCH).await == 0 {
            return 0;
        }
        let until = Instant::now() + GATHER;
        while batch.len() < BATCH {
            let room = BATCH.saturating_sub(batch.len());
            if !matches!(timeout_at(until, self.spans.recv_many(batch, room)).await, Ok(more) if more > 0) {
                break;
            }
        }
        batch.len()
    }

    /// Sends a batch, again and again for a while. Dropped, it leaves the batch as it was.
    async fn deliver(&mut self, batch: &mut Vec<Ended>) {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        while let Sent::Later(asked) = self.send(batch).await {
            if begun.elapsed() >= PATIENCE {
                self.metrics.failed(batch.len());
                break;
            }
            sleep(asked.unwrap_or(pause).min(LONGEST_PAUSE)).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
        batch.clear();
    }

    /// What is left, each batch once.
    async fn flush(&mut self, batch: &mut Vec<Ended>) {
        loop {
            while batch.len() < BATCH
                && let Ok(span) = self.spans.try_recv()
            {
                batch.push(span);
            }
            if batch.is_empty() {
                return;
            }
            if matches!(self.send(batch).await, Sent::Later(_)) {
                let left = self.spans.len().saturating_add(batch.len());
                batch.clear();
                return self.metrics.failed(left);
            }
            batch.clear();
        }
    }

    async fn send(&mut self, batch: &[Ended]) -> Sent {
        let body = otlp::request(&self.resource, batch);
        let request = self.http.post(self.url.clone()).headers(self.headers.clone());
        let answer = request.header(CONTENT_TYPE, "application/x-protobuf").body(body).send().await;
        let (problem, asked) = match answer {
            Ok(answer) if answer.status() == StatusCode::OK => {
                self.taken(batch.len(), answer).await;
                return Sent::Done;
            }
            // OTLP: these say that it may be tried again, every other answer that it would be no use.
            Ok(answer) if matches!(answer.status().as_u16(), 429 | 502 | 503 | 504) => {
                let seconds = answer.headers().get(RETRY_AFTER).and_then(|text| text.to_str().ok()?.parse().ok());
                (answer.status().to_string(), Some(seconds.map(Duration::from_secs)))
            }
            Ok(answer) => (answer.status().to_string(), None),
            Err(error) => (without_url(error), Some(None)),
        };
        if !self.is_away {
            self.is_away = true;
            // Once, not for each batch; a token may stand in the address.
            tracing::warn!(collector = self.url.host_str(), problem, "traces cannot be exported");
        }
        let Some(asked) = asked else {
            self.metrics.failed(batch.len());
            return Sent::Done;
        };
        Sent::Later(asked)
    }

    async fn taken(&mut self, many: usize, answer: Response) {
        if self.is_away {
            self.is_away = false;
            tracing::info!(collector = self.url.host_str(), "traces are exported again");
        }
        let rejected = usize::try_from(otlp::rejected(&beginning(answer).await)).unwrap_or(usize::MAX).min(many);
        self.metrics.exported(many.saturating_sub(rejected));
        if rejected > 0 {
            self.metrics.failed(rejected);
            tracing::warn!(collector = self.url.host_str(), rejected, "the collector did not take all spans");
        }
    }
}

fn without_url(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut innermost: &dyn std::error::Error = &error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// An answer, or as much of it as came and is read.
async fn beginning(mut answer: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        if body.len().saturating_add(chunk.len()) > MAX_ANSWER_BYTES {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    body
}
