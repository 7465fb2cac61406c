//! Requests of other instances in traces: whose trace it is counts only with a proof.

use super::{error::RequestId, state::ApiState};
use crate::{
    ops,
    telemetry::{Caller, Moment, TraceContext},
};
use actix_web::{dev::ServiceRequest, http::header::HeaderMap, web};
use std::{borrow::Cow, net::IpAddr};

/// What one round asks of us. `/lattice/notify` has no end, and the others are for everybody.
const TRACED: &[&str] = &[
    "/lattice/head",
    "/lattice/changes",
    "/lattice/nodes",
    "/lattice/reconcile",
    "/lattice/offer",
    "/lattice/snapshot",
];

/// What a request said of its trace.
pub(super) struct Traced {
    context: TraceContext,
    proof: Option<String>,
    began: Moment,
}

/// How it was answered.
pub(super) struct Answered {
    pub(super) id: RequestId,
    pub(super) method: &'static str,
    pub(super) route: Cow<'static, str>,
    pub(super) status: u16,
    pub(super) client: Option<IpAddr>,
}

/// A header that is there twice is none.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name);
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

impl Traced {
    /// `None`: spans are not made here, or whoever asks keeps none of his own.
    pub(super) fn of(request: &ServiceRequest, state: &ApiState) -> Option<Self> {
        let began = state.tracer.moment()?;
        let context = TraceContext::parse(only(request.headers(), "traceparent")?)?;
        let proof = only(request.headers(), "ark-trace").map(str::to_owned);
        context.is_sampled().then_some(Self { context, proof, began })
    }

    /// Makes the span. The answer does not wait for it.
    pub(super) fn end(self, state: &web::Data<ApiState>, answered: Answered) {
        if TRACED.contains(&&*answered.route) {
            // Its end is now, not when the proof has been checked.
            let (state, ended) = (state.clone(), state.tracer.moment());
            drop(actix_web::rt::spawn(async move { self.record(&state, &answered, ended).await }));
        }
    }

    async fn record(self, state: &ApiState, answered: &Answered, ended: Option<Moment>) {
        let Self { context, proof, began } = self;
        let owner = match proof {
            Some(proof) if state.tracer.may_check() => {
                // Whom the network's door turned away shows nothing of it.
                let of_network = answered.status != 404;
                ops::trace_owner(&state.context, &proof, &context.trace_id(), of_network).await
            }
            _ => None,
        };
        let caller = if owner.is_some() { Caller::Proven(context) } else { Caller::Claimed(context) };
        let Answered { id, method, route, status, client } = answered;
        let mut span = state.tracer.answered(&format!("{method} {route}"), began, caller);
        span.end_at(ended);
        span.set("http.request.method", *method);
        span.set("http.route", &**route);
        span.set("http.response.status_code", u64::from(*status));
        span.set("ark.request.id", id.as_str());
        if let Some(peer) = &owner {
            span.set("ark.peer.id", peer.as_str());
        }
        if let Some(client) = client {
            span.set("client.address", client.to_string().as_str());
        }
        if *status >= 500 {
            span.fail("the request failed here");
        }
    }
}
