//! Spans of traces: what one round did here, and what a peer's round asked of us. Nothing waits for them: a span that finds no room is
//! counted and left out.

use crate::types::{SharedClock, Timestamp, decode_hex, encode_hex};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc;

/// Spans that wait to be exported.
const QUEUE: usize = 2048;
/// Longest text of a span; what peers say is cut there.
const MAX_TEXT_CHARS: usize = 256;
/// What one second may cost us of what others send: proofs that are checked, spans of peers that proved themselves, and spans of
/// whoever else claims to be traced.
const CHECKS_A_SECOND: u32 = 200;
const PROVEN_A_SECOND: u32 = 200;
const CLAIMED_A_SECOND: u32 = 5;

/// A place in a trace, as it is sent along (W3C Trace Context).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace: [u8; 16],
    span: [u8; 8],
    sampled: bool,
}

/// Lower case only, as the recommendation has it.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    decode_hex(text).filter(|_| !text.bytes().any(|digit| digit.is_ascii_uppercase()))
}

impl TraceContext {
    /// Reads a `traceparent` header; `None`: it is not one.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let [version] = unhex::<1>(parts.next()?)?;
        let (trace, span) = (unhex::<16>(parts.next()?)?, unhex::<8>(parts.next()?)?);
        let [flags] = unhex::<1>(parts.next()?)?;
        // Of later versions the first four parts are read, whatever follows; 255 is no version.
        let wrong = version == 0xff || (version == 0 && parts.next().is_some());
        let empty = trace == [0; 16] || span == [0; 8];
        (!wrong && !empty).then_some(Self { trace, span, sampled: flags & 1 == 1 })
    }

    /// The header's text.
    #[must_use]
    pub fn header(&self) -> String {
        format!("00-{}-{}-{:02x}", encode_hex(&self.trace), encode_hex(&self.span), u8::from(self.sampled))
    }

    /// Which trace.
    #[must_use]
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace
    }

    /// Does whoever sends this keep its spans of this trace?
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }
}

/// Whose work a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Our own.
    Internal,
    /// Ours, for somebody who asked.
    Server,
    /// Somebody's whom we asked.
    Client,
}

/// A value of a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.chars().take(MAX_TEXT_CHARS).collect())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// A span that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) trace: [u8; 16],
    pub(super) span: [u8; 8],
    pub(super) parent: Option<[u8; 8]>,
    /// The parent is another process's.
    pub(super) from_remote: bool,
    pub(super) link: Option<TraceContext>,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) begun_nanos: u64,
    pub(super) ended_nanos: u64,
    pub(super) attributes: Vec<(&'static str, Value)>,
    pub(super) failure: Option<String>,
}

impl TraceContext {
    pub(super) fn ids(&self) -> (&[u8; 16], &[u8; 8]) {
        (&self.trace, &self.span)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// What becomes of spans. A clone counts the same.
#[derive(Debug, Clone, Default)]
pub struct SpanMetrics(Family<OutcomeLabels, Counter>);

impl SpanMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("trace_spans", "Spans of traces: exported, dropped (no room), failed", self.0.clone());
    }

    fn count(&self, outcome: &'static str, many: usize) {
        let many = u64::try_from(many).unwrap_or(u64::MAX);
        self.0.get_or_create(&OutcomeLabels { outcome }).inc_by(many);
    }

    /// Makes the lines appear.
    fn begin(&self) {
        ["exported", "dropped", "failed"].into_iter().for_each(|outcome| self.count(outcome, 0));
    }

    pub(super) fn exported(&self, many: usize) {
        self.count("exported", many);
    }

    pub(super) fn dropped(&self, many: usize) {
        self.count("dropped", many);
    }

    pub(super) fn failed(&self, many: usize) {
        self.count("failed", many);
    }
}

/// So many a second, by the process's own clock.
#[derive(Debug, Default)]
struct Budget(Mutex<(u64, u32)>);

impl Budget {
    fn take(&self, now: Duration, most: u32) -> bool {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.0 != now.as_secs() {
            *spent = (now.as_secs(), 0);
        }
        let within = spent.1 < most;
        spent.1 = spent.1.saturating_add(u32::from(within));
        within
    }
}

/// Makes spans. A clone makes the same; the default makes none.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Shared>>);

struct Shared {
    queue: mpsc::Sender<Ended>,
    clock: SharedClock,
    sample_percent: u64,
    metrics: SpanMetrics,
    checks: Budget,
    proven: Budget,
    claimed: Budget,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tracer").field(&self.0.is_some()).finish()
    }
}

/// What waits to be exported.
#[derive(Debug)]
pub struct Spans(pub(super) mpsc::Receiver<Ended>);

/// A tracer that keeps so many of a hundred rounds, and what it made.
#[must_use]
pub fn tracer(clock: SharedClock, sample_percent: u16, metrics: SpanMetrics) -> (Tracer, Spans) {
    metrics.begin();
    let (queue, spans) = mpsc::channel(QUEUE);
    let (checks, proven, claimed) = (Budget::default(), Budget::default(), Budget::default());
    let sample_percent = u64::from(sample_percent);
    (Tracer(Some(Arc::new(Shared { queue, clock, sample_percent, metrics, checks, proven, claimed }))), Spans(spans))
}

/// When a span began.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    at: Timestamp,
    elapsed: Duration,
}

/// Who says that a request belongs to a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// A peer that may write here, and signed that this trace is its own: our span is part of it.
    Proven(TraceContext),
    /// Anybody: our span begins a trace of our own, and names the other one.
    Claimed(TraceContext),
}

fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).ok()?;
    (bytes != [0; N]).then_some(bytes)
}

impl Tracer {
    /// Now, where spans are made.
    #[must_use]
    pub fn moment(&self) -> Option<Moment> {
        self.0.as_ref().map(|shared| Moment { at: shared.clock.now(), elapsed: shared.clock.elapsed() })
    }

    /// The first span of a trace; none where this trace is not one of those that are kept.
    #[must_use]
    pub fn root(&self, name: &str) -> Span {
        let sampled = |shared: &Arc<Shared>| {
            let trace = random::<16>()?;
            let chance = u64::from_be_bytes(random::<8>()?);
            (chance % 100 < shared.sample_percent).then(|| self.open(trace, name, Kind::Internal))?
        };
        Span(self.0.as_ref().and_then(sampled))
    }

    /// A span below another one of ours.
    #[must_use]
    pub fn child(&self, parent: &TraceContext, name: &str, kind: Kind) -> Span {
        let mut open = self.open(parent.trace, name, kind);
        if let Some(open) = &mut open {
            open.span.parent = Some(parent.span);
        }
        Span(open)
    }

    /// May a proof be checked? It costs as much as any other signature.
    #[must_use]
    pub fn may_check(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.checks.take(shared.clock.elapsed(), CHECKS_A_SECOND))
    }

    /// The span of a request that was answered, which began at `began`. Nobody makes us keep more of them than we would, whatever
    /// he says.
    #[must_use]
    pub fn answered(&self, name: &str, began: Moment, caller: Caller) -> Span {
        let Some(shared) = &self.0 else { return Span(None) };
        let now = shared.clock.elapsed();
        let (trace, parent, link) = match caller {
            Caller::Proven(context) if shared.proven.take(now, PROVEN_A_SECOND) => {
                (Some(context.trace), Some(context.span), None)
            }
            Caller::Claimed(context) if shared.claimed.take(now, CLAIMED_A_SECOND) => (random(), None, Some(context)),
            _ => return Span(None),
        };
        let mut open = trace.and_then(|trace| self.open(trace, name, Kind::Server));
        if let Some(open) = &mut open {
            (open.began, open.span.parent, open.span.link) = (began, parent, link);
            open.span.from_remote = parent.is_some();
        }
        Span(open)
    }

    fn open(&self, trace: [u8; 16], name: &str, kind: Kind) -> Option<Box<Open>> {
        let shared = self.0.as_ref()?;
        let span = Ended {
            trace,
            span: random()?,
            parent: None,
            from_remote: false,
            link: None,
            name: name.chars().take(MAX_TEXT_CHARS).collect(),
            kind,
            begun_nanos: 0,
            ended_nanos: 0,
            attributes: Vec::new(),
            failure: None,
        };
        Some(Box::new(Open { shared: Arc::clone(shared), began: self.moment()?, ended: None, span }))
    }
}

struct Open {
    shared: Arc<Shared>,
    began: Moment,
    ended: Option<Moment>,
    span: Ended,
}

/// A piece of work, from when it is made until it is dropped. It may be one that nobody keeps.
#[derive(Default)]
pub struct Span(Option<Box<Open>>);

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(&self.0.as_ref().map(|open| &open.span)).finish()
    }
}

impl Span {
    /// Where it is, for what is done on its behalf.
    #[must_use]
    pub fn context(&self) -> Option<TraceContext> {
        let Ended { trace, span, .. } = &self.0.as_ref()?.span;
        Some(TraceContext { trace: *trace, span: *span, sampled: true })
    }

    /// Says more of it.
    pub fn set<'a>(&mut self, key: &'static str, value: impl Into<SpanValue<'a>>) {
        if let Some(open) = &mut self.0 {
            let value = match value.into() {
                SpanValue::Text(text) => text.into(),
                SpanValue::Number(number) => number.into(),
            };
            open.span.attributes.push((key, value));
        }
    }

    /// It ended then, and not when it is dropped.
    pub fn end_at(&mut self, moment: Option<Moment>) {
        if let Some(open) = &mut self.0 {
            open.ended = moment;
        }
    }

    /// It did not do what it was for.
    pub fn fail(&mut self, why: &str) {
        if let Some(open) = &mut self.0 {
            open.span.failure = Some(why.chars().take(MAX_TEXT_CHARS).collect());
        }
    }
}

/// What a span may be told.
#[derive(Debug, Clone, Copy)]
pub enum SpanValue<'a> {
    /// Text; only its beginning is kept.
    Text(&'a str),
    /// A count.
    Number(u64),
}

impl<'a> From<&'a str> for SpanValue<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for SpanValue<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<usize> for SpanValue<'_> {
    fn from(number: usize) -> Self {
        Self::Number(u64::try_from(number).unwrap_or(u64::MAX))
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(open) = self.0.take() else { return };
        let Open { shared, began, ended, mut span } = *open;
        let began_micros = u64::try_from(began.at.micros()).unwrap_or_default();
        // A clock that is set meanwhile makes no span longer or shorter.
        let ended = ended.map_or_else(|| shared.clock.elapsed(), |ended| ended.elapsed);
        let took = ended.saturating_sub(began.elapsed);
        span.begun_nanos = began_micros.saturating_mul(1000);
        span.ended_nanos = span.begun_nanos.saturating_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        if shared.queue.try_send(span).is_err() {
            shared.metrics.dropped(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::TestClock;

    const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_as_the_recommendation_says() {
        let context = TraceContext::parse(HEADER).unwrap();
        assert!(context.is_sampled());
        assert_eq!(context.header(), HEADER);
        let unsampled = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00").unwrap();
        assert!(!unsampled.is_sampled());
        // Other flags than the first are not ours; a later version may say more.
        assert!(TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03").unwrap().is_sampled());
        assert!(TraceContext::parse("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more").is_some());
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47-00f067aa0ba902b7-01",
            "00-é4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }

    fn made(percent: u16) -> (Tracer, Spans, Arc<TestClock>, SpanMetrics) {
        let clock = TestClock::at(Timestamp::from_seconds(1_795_219_200));
        let metrics = SpanMetrics::default();
        let (tracer, spans) = tracer(clock.clone(), percent, metrics.clone());
        (tracer, spans, clock, metrics)
    }

    #[test]
    fn spans_of_a_trace_hang_together() {
        let (tracer, mut spans, clock, _) = made(100);
        let root = tracer.root("round");
        let mut child = tracer.child(&root.context().unwrap(), "GET /lattice/head", Kind::Client);
        child.set("http.response.status_code", 200_u64);
        child.set("long", "x".repeat(10_000).as_str());
        clock.advance(Duration::from_millis(3));
        drop(child);
        drop(root);
        let (child, root) = (spans.0.try_recv().unwrap(), spans.0.try_recv().unwrap());
        assert_eq!((child.trace, child.parent), (root.trace, Some(root.span)));
        assert_eq!((root.parent, root.begun_nanos), (None, 1_795_219_200_000_000_000));
        assert_eq!(child.ended_nanos - child.begun_nanos, 3_000_000);
        assert_eq!(child.attributes[0], ("http.response.status_code", Value::Number(200)));
        assert_eq!(child.attributes[1], ("long", Value::Text("x".repeat(MAX_TEXT_CHARS))));
    }

    #[test]
    fn as_many_rounds_are_traced_as_are_asked_for() {
        assert!(Tracer::default().root("round").context().is_none());
        assert!(made(0).0.root("round").context().is_none());
        let (tracer, _spans, ..) = made(50);
        let kept = (0..2000).filter(|_| tracer.root("round").context().is_some()).count();
        // 22 standard deviations on either side.
        assert!((500..1500).contains(&kept), "{kept}");
    }

    #[test]
    fn nobody_makes_us_keep_more_than_we_would() {
        let (tracer, mut spans, clock, metrics) = made(0);
        let (context, began) = (TraceContext::parse(HEADER).unwrap(), tracer.moment().unwrap());
        for _ in 0..1000 {
            drop(tracer.answered("GET /lattice/head", began, Caller::Claimed(context)));
        }
        let mut kept = 0;
        while let Ok(span) = spans.0.try_recv() {
            assert_ne!(span.trace, context.trace, "whoever proves nothing gets nothing into a trace");
            assert_eq!((span.parent, span.link), (None, Some(context)));
            kept += 1;
        }
        assert_eq!(kept, CLAIMED_A_SECOND);
        for _ in 0..1000 {
            drop(tracer.answered("GET /lattice/head", began, Caller::Proven(context)));
        }
        for _ in 0..PROVEN_A_SECOND {
            assert_eq!(spans.0.try_recv().unwrap().parent, Some(context.span));
        }
        assert!(spans.0.try_recv().is_err());
        let checked = (0..1000).filter(|_| tracer.may_check()).count();
        assert_eq!(u32::try_from(checked), Ok(CHECKS_A_SECOND));
        clock.advance(Duration::from_secs(1));
        assert!(tracer.answered("GET /lattice/head", began, Caller::Claimed(context)).context().is_some());
        // A queue that is full holds nobody up.
        let (full, _spans, ..) = (made(100), ());
        (0..QUEUE + 10).for_each(|_| drop(full.0.root("round")));
        assert_eq!(full.3.0.get_or_create(&OutcomeLabels { outcome: "dropped" }).get(), 10);
        assert_eq!(metrics.0.get_or_create(&OutcomeLabels { outcome: "dropped" }).get(), 0);
    }
}
