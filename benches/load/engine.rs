//! Sends requests and times the answers: in a closed loop for what the service can do, in an open one for how long it takes.

use crate::http1::Connection;
use hdrhistogram::Histogram;
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::task::{JoinSet, LocalSet, yield_now};

/// Bodies are looked into for one answer in so many; the status for each.
const CHECK_EVERY: usize = 64;
/// Latencies up to a minute, three digits, in nanoseconds.
const LONGEST_NS: u64 = 60_000_000_000;

/// What to send, and what a right answer looks like.
pub(crate) struct Plan {
    pub(crate) requests: Vec<Vec<u8>>,
    /// Begin again at the end. Otherwise each request is sent once, and a run ends early when none is left.
    pub(crate) again: bool,
    /// A part of every right body, looked for from its end.
    pub(crate) answer_holds: String,
    next: Cell<usize>,
}

impl Plan {
    pub(crate) fn again(request: Vec<u8>, answer_holds: &str) -> Self {
        Self { requests: vec![request], again: true, answer_holds: answer_holds.to_owned(), next: Cell::new(0) }
    }

    pub(crate) fn cycling(requests: Vec<Vec<u8>>, answer_holds: &str) -> Self {
        Self { requests, again: true, answer_holds: answer_holds.to_owned(), next: Cell::new(0) }
    }

    pub(crate) fn once(requests: Vec<Vec<u8>>, answer_holds: &str) -> Self {
        Self { requests, again: false, answer_holds: answer_holds.to_owned(), next: Cell::new(0) }
    }

    pub(crate) fn left(&self) -> usize {
        self.requests.len().saturating_sub(self.next.get())
    }

    fn take(&self) -> Option<(usize, &[u8])> {
        let number = self.next.get();
        let at = if self.again { number % self.requests.len() } else { number };
        let request = self.requests.get(at)?;
        self.next.set(number + 1);
        Some((number, request))
    }

    fn is_right(&self, number: usize, status: u16, body: &[u8]) -> bool {
        let looked_into = number.is_multiple_of(CHECK_EVERY);
        status == 200 && (!looked_into || memchr::memmem::rfind(body, self.answer_holds.as_bytes()).is_some())
    }
}

/// When a request is sent.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// As soon as the connection has the answer before.
    Closed,
    /// At fixed instants, so many a second, whether earlier answers are there or not. A latency counts from that instant: what
    /// waits behind a slow answer is slow as well (no coordinated omission).
    Open { rate: f64 },
}

/// What came of a run.
pub(crate) struct Run {
    pub(crate) answered: u64,
    pub(crate) took: Duration,
    pub(crate) latencies_ns: Histogram<u64>,
    pub(crate) wrong: Vec<String>,
    /// Of the last answer's body.
    pub(crate) answer_bytes: usize,
}

impl Run {
    pub(crate) fn rate(&self) -> f64 {
        self.answered as f64 / self.took.as_secs_f64()
    }
}

struct Shared {
    plan: Rc<Plan>,
    pace: Pace,
    started: Instant,
    ends: Instant,
    slot: Cell<u64>,
    latencies_ns: RefCell<Histogram<u64>>,
    wrong: RefCell<Vec<String>>,
    answer_bytes: Cell<usize>,
}

/// Runs `plan` over `connections` for `duration`.
pub(crate) async fn run(port: u16, plan: &Rc<Plan>, pace: Pace, connections: usize, duration: Duration) -> Run {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Connection::open(port).await.expect("the service takes connections"));
    }
    let started = Instant::now();
    let shared = Rc::new(Shared {
        plan: Rc::clone(plan),
        pace,
        started,
        ends: started + duration,
        slot: Cell::new(0),
        latencies_ns: RefCell::new(Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("usable bounds")),
        wrong: RefCell::new(Vec::new()),
        answer_bytes: Cell::new(0),
    });
    let local = LocalSet::new();
    local
        .run_until(async {
            let mut tasks = JoinSet::new();
            for connection in open {
                tasks.spawn_local(drive(Rc::clone(&shared), connection));
            }
            while let Some(ended) = tasks.join_next().await {
                ended.expect("no connection's task fails");
            }
        })
        .await;
    let took = started.elapsed();
    drop(local);
    let Ok(shared) = Rc::try_unwrap(shared) else { panic!("a connection is still in use") };
    let latencies_ns = shared.latencies_ns.into_inner();
    let answer_bytes = shared.answer_bytes.get();
    Run { answered: latencies_ns.len(), took, latencies_ns, wrong: shared.wrong.into_inner(), answer_bytes }
}

impl Shared {
    /// Waits for the next request's turn; when it was to be sent, `None` at the end.
    async fn turn(&self) -> Option<Instant> {
        match self.pace {
            Pace::Closed => {
                let now = Instant::now();
                (now < self.ends).then_some(now)
            }
            Pace::Open { rate } => {
                let slot = self.slot.replace(self.slot.get() + 1);
                let due = self.started + Duration::from_secs_f64(slot as f64 / rate);
                if due >= self.ends {
                    return None;
                }
                // The runtime's timers tick once a millisecond, which is longer than most answers take.
                while Instant::now() < due {
                    yield_now().await;
                }
                Some(due)
            }
        }
    }
}

async fn drive(shared: Rc<Shared>, mut connection: Connection) {
    while let Some(due) = shared.turn().await {
        let Some((number, request)) = shared.plan.take() else { return };
        let outcome = connection.exchange(request).await;
        let latency = u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let problem = match outcome {
            Ok(answer) if shared.plan.is_right(number, answer.status, answer.body) => {
                shared.answer_bytes.set(answer.body.len());
                shared.latencies_ns.borrow_mut().saturating_record(latency);
                continue;
            }
            Ok(answer) => format!("{}: {}", answer.status, answer.text().chars().take(200).collect::<String>()),
            Err(error) => error.to_string(),
        };
        shared.wrong.borrow_mut().push(problem);
        // A service that answers wrongly is not measured: errors are fast.
        return;
    }
}
