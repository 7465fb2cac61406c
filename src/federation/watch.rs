//! What is seen of the requests to a peer: how long it takes to answer them, and which trace they belong to.

use crate::{
    identity::{Held, trace_proof},
    telemetry::{FederationMetrics, Kind, Span, TraceContext, Tracer},
    types::{PeerId, SharedClock},
};
use reqwest::{Method, Request, Response, Url, header::HeaderValue};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::time::Instant;

/// The requests of a federation, and how metrics call them.
const REQUESTS: &[(Method, &str, &str)] = &[
    (Method::GET, "/lattice/head", "head"),
    (Method::GET, "/lattice/changes", "changes"),
    (Method::GET, "/lattice/notify", "notify"),
    (Method::POST, "/lattice/nodes", "nodes"),
    (Method::POST, "/lattice/reconcile", "reconcile"),
    (Method::POST, "/lattice/round", "round"),
    (Method::POST, "/lattice/offer", "offer"),
    (Method::POST, "/lattice/changes", "push"),
    (Method::POST, "/manifest", "manifest"),
];

/// Watches the requests of a client. A clone watches for the same.
#[derive(Debug, Clone)]
pub struct Watch {
    metrics: FederationMetrics,
    round: Option<Arc<Round>>,
}

#[derive(Debug)]
struct Round {
    tracer: Tracer,
    context: Option<TraceContext>,
    key: Arc<Held>,
    node_id: PeerId,
    clock: SharedClock,
    /// The other side, as soon as it is known.
    audience: OnceLock<PeerId>,
    /// How long the first answer took.
    latency: OnceLock<Duration>,
}

/// Who traces a round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tracing<'a> {
    pub(super) tracer: &'a Tracer,
    pub(super) key: &'a Arc<Held>,
    pub(super) node_id: &'a PeerId,
    pub(super) clock: &'a SharedClock,
}

/// A request that waits for its answer.
pub(super) struct Asked {
    watch: Watch,
    name: &'static str,
    begun: Instant,
    span: Span,
}

impl Watch {
    /// Counts into `metrics`.
    #[must_use]
    pub fn new(metrics: FederationMetrics) -> Self {
        Self { metrics, round: None }
    }

    /// For one round with `audience`, where it is known, below the span `context`.
    pub(super) fn of_round(
        &self,
        tracing: Tracing<'_>,
        context: Option<TraceContext>,
        audience: Option<PeerId>,
    ) -> Self {
        let Tracing { tracer, key, node_id, clock } = tracing;
        let round = Round {
            tracer: tracer.clone(),
            context,
            key: Arc::clone(key),
            node_id: node_id.clone(),
            clock: Arc::clone(clock),
            audience: audience.map(OnceLock::from).unwrap_or_default(),
            latency: OnceLock::new(),
        };
        Self { metrics: self.metrics.clone(), round: Some(Arc::new(round)) }
    }

    /// The other side said who it is.
    pub(super) fn met(&self, peer: &PeerId) {
        if let Some(round) = &self.round {
            round.audience.get_or_init(|| peer.clone());
        }
    }

    /// How long the round's first answer took.
    pub(super) fn latency(&self) -> Option<Duration> {
        self.round.as_ref()?.latency.get().copied()
    }

    /// A request goes out; it is told which trace it belongs to.
    pub(super) fn begin(&self, request: &mut Request) -> Asked {
        let (method, path) = (request.method(), request.url().path());
        let known = REQUESTS.iter().find(|(known, end, _)| known == method && path.ends_with(end));
        let (end, name) = known.map_or(("", "other"), |(_, end, name)| (*end, *name));
        let span = self.round.as_ref().map(|round| round.span(method, end, request.url())).unwrap_or_default();
        if let (Some(round), Some(context)) = (&self.round, span.context()) {
            round.tell(request, &context);
        }
        Asked { watch: self.clone(), name, begun: Instant::now(), span }
    }
}

impl Round {
    fn span(&self, method: &Method, route: &str, url: &Url) -> Span {
        let Some(context) = &self.context else { return Span::default() };
        let mut span = self.tracer.child(context, &format!("{method} {route}"), Kind::Client);
        span.set("http.request.method", method.as_str());
        span.set("url.template", route);
        span.set("server.address", url.host_str().unwrap_or_default());
        span.set("server.port", u64::from(url.port_or_known_default().unwrap_or_default()));
        span
    }

    /// The proof goes along as soon as it is known whom it is for: for anybody it would be good everywhere.
    fn tell(&self, request: &mut Request, context: &TraceContext) {
        let headers = request.headers_mut();
        if let Ok(value) = HeaderValue::from_str(&context.header()) {
            headers.insert("traceparent", value);
        }
        let Some(audience) = self.audience.get() else { return };
        let ids = (self.node_id.as_str(), audience.as_str());
        let proof = trace_proof::prove(&context.trace_id(), ids, &self.key.key, self.clock.now());
        if let Some(value) = proof.ok().and_then(|proof| HeaderValue::from_str(&proof).ok()) {
            headers.insert("ark-trace", value);
        }
    }
}

impl Asked {
    /// The answer begins, or does not come.
    pub(super) fn end(mut self, answer: Result<&Response, &dyn std::fmt::Display>) {
        match answer {
            Ok(response) => {
                let took = self.begun.elapsed();
                self.watch.metrics.answered(self.name, took);
                if let Some(round) = &self.watch.round {
                    round.latency.get_or_init(|| took);
                }
                let status = response.status();
                self.span.set("http.response.status_code", u64::from(status.as_u16()));
                if !status.is_success() {
                    self.span.set("error.type", status.as_str());
                    self.span.fail(status.as_str());
                }
            }
            Err(error) => {
                self.span.set("error.type", "unreachable");
                self.span.fail(&error.to_string());
            }
        }
    }
}
