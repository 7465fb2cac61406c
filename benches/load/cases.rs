//! The rows: which service with what in it, and what it is asked.

use crate::{
    ceiling::{Ceiling, Cost, Limit, verified_per_cpu_second},
    engine::{Pace, Plan, run},
    http1::{Connection, request},
    inputs,
    process::{cpu_time, status},
    redis_server::RedisServer,
    report::{Crowd, Measured, Row, Start, Sweep},
    service::{Place, Service},
    signing::now,
};
use std::{
    rc::Rc,
    time::{Duration, Instant},
};

/// Peers whose statements come in turn.
const PEERS: usize = 1000;
/// No more callers than the service has connections to Redis: lists of this size take so long that more would wait for one in vain.
const CONNECTIONS_OF_LONG_LISTS: usize = 16;
/// A caller with a long list is rarely one of many.
const CONNECTIONS_OF_LARGE: usize = 4;
/// More at once than the service has memory for are told to come again.
const CONNECTIONS_OF_LARGEST: usize = 2;
/// Beyond, a list of all nodes is longer than the service takes.
const MOST_LISTED: usize = 100_000;
/// Rows whose latency is measured at several loads.
const SWEPT: [&str; 3] = ["manifest/embedded/heartbeat/10", "manifest/redis/heartbeat/10", "discover/embedded/100"];
/// Those loads, as shares of the most requests a second.
const LOADS: [f64; 7] = [0.05, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9];
/// As many clients as the service is made for.
const CROWD: usize = 1000;
/// Memory that statements made beforehand may take.
const INPUT_BYTES: usize = 800 << 20;

/// How the service is started.
#[derive(Clone)]
pub(crate) struct Setup {
    /// One, as a rule, so that a processor's share can be told.
    pub(crate) workers: usize,
    /// A library in front of the system's: another allocator, as a rule.
    pub(crate) preload: Option<String>,
}

impl Setup {
    fn place(&self) -> Place {
        let place = Place::new().set("ARK__SERVER__WORKERS", &self.workers.to_string()).set("ARK_PEER_TTL", "1h");
        match &self.preload {
            Some(library) => place.set("LD_PRELOAD", library),
            None => place,
        }
    }
}

pub(crate) struct Bench {
    pub(crate) only: Vec<String>,
    /// Nodes of the largest lattice.
    pub(crate) largest: usize,
    pub(crate) setup: Setup,
    pub(crate) repeat_starts: usize,
    pub(crate) run: Duration,
    pub(crate) connections: usize,
    pub(crate) load: f64,
    pub(crate) rows: Vec<Row>,
    pub(crate) starts: Vec<Start>,
    pub(crate) crowds: Vec<Crowd>,
    /// Whether latencies are measured at several loads.
    pub(crate) sweeping: bool,
    pub(crate) sweeps: Vec<Sweep>,
    pub(crate) ceiling: Ceiling,
    /// Rows that could not be measured, and why.
    pub(crate) failed: Vec<(String, String)>,
}

/// A service and, where it has one, its Redis.
struct Bed {
    service: Service,
    redis: Option<RedisServer>,
    _place: Place,
}

impl Bed {
    async fn new(kind: &'static str, setup: &Setup) -> Self {
        let redis = if kind == "redis" { Some(RedisServer::start().await) } else { None };
        let mut place = setup.place();
        if let Some(redis) = &redis {
            place = place.set("REDIS_URL", &redis.url());
        }
        let service = place.serve().await;
        Self { service, redis, _place: place }
    }

    fn both(&self) -> (&Service, Option<&RedisServer>) {
        (&self.service, self.redis.as_ref())
    }
}

/// Sends each of `requests` once; each must be taken.
async fn send_all(port: u16, requests: Vec<Vec<u8>>) {
    let plan = Rc::new(Plan::once(requests, ""));
    let outcome = run(port, &plan, Pace::Closed, 16, Duration::from_secs(600)).await;
    assert!(outcome.wrong.is_empty() && plan.left() == 0, "{:?}", outcome.wrong);
}

impl Bench {
    pub(crate) async fn all(&mut self) {
        self.least().await;
        for kind in ["embedded", "redis"] {
            self.manifests(kind).await;
            self.discovery(kind).await;
            self.crowd(kind).await;
        }
        let mut nodes = 100;
        while nodes <= self.largest {
            self.lattice(nodes).await;
            nodes *= 10;
        }
    }

    fn wants(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|text| id.contains(text))
    }

    fn wants_any(&self, ids: impl IntoIterator<Item = String>) -> bool {
        ids.into_iter().any(|id| self.wants(&id))
    }

    async fn row(
        &mut self,
        id: String,
        (bed, redis): (&Service, Option<&RedisServer>),
        connections: usize,
        limit: Limit,
        plan: Plan,
    ) {
        self.row_beside(id, (bed, redis), connections, limit, plan, None).await;
    }

    /// A row while one more connection sends `beside` all the time.
    async fn row_beside(
        &mut self,
        id: String,
        (bed, redis): (&Service, Option<&RedisServer>),
        connections: usize,
        limit: Limit,
        plan: Plan,
        beside: Option<&Rc<Plan>>,
    ) {
        let (port, pid, lasts) = (bed.port, bed.process.id(), self.run);
        let plan = Rc::new(plan);
        let request_bytes = plan.requests.first().map_or(0, Vec::len);
        let warm = run(port, &plan, Pace::Closed, connections, lasts / 5).await;
        if let Some(what) = warm.wrong.into_iter().next() {
            self.failed.push((id, what));
            return;
        }
        let redis_cpu = || redis.map(|redis| cpu_time(redis.id()));
        let run_beside = async |pace| match beside {
            None => run(port, &plan, pace, connections, lasts).await,
            Some(beside) => {
                let neighbour = run(port, beside, Pace::Closed, 1, lasts);
                let (run, neighbour) = tokio::join!(run(port, &plan, pace, connections, lasts), neighbour);
                assert!(neighbour.wrong.is_empty() && neighbour.answered > 0, "{:?}", neighbour.wrong);
                run
            }
        };
        let sample = plan.requests.first().cloned().unwrap_or_default();
        let answer_bytes = warm.answer_bytes;
        // Half of it before and half after: the machine is then as busy for the limit as for the service.
        let mut least = Cost::default();
        if limit != Limit::None {
            least = self.ceiling.measure(limit, &sample, answer_bytes, connections, lasts / 2).await;
        }
        let before = (cpu_time(pid), redis_cpu());
        let closed = run_beside(Pace::Closed).await;
        let after = (cpu_time(pid), redis_cpu());
        let measured = (limit != Limit::None).then_some(limit.name());
        if measured.is_some() {
            least.add(&self.ceiling.measure(limit, &sample, answer_bytes, connections, lasts / 2).await);
        }
        let mut best = least.per_cpu_second();
        if limit == Limit::VerifiedEcho {
            best = 1.0 / (1.0 / verified_per_cpu_second(&sample) + 1.0 / best);
        }
        let open_rate = closed.rate() * self.load;
        let open = run_beside(Pace::Open { rate: open_rate }).await;
        eprintln!("{id}: {:.0} requests/s", closed.rate());
        if self.sweeping && SWEPT.contains(&id.as_str()) {
            let mut points = Vec::new();
            for load in LOADS {
                points.push((
                    load,
                    run(port, &plan, Pace::Open { rate: closed.rate() * load }, connections, lasts).await,
                ));
            }
            self.sweeps.push(Sweep { id: format!("latency/{id}"), points });
        }
        self.rows.push(Row {
            id,
            connections,
            request_bytes,
            answer_bytes,
            limit: measured.map(|name| Measured { name, per_cpu_second: best }),
            closed,
            // What the neighbour costs is no cost of these requests.
            service_cpu: beside.is_none().then(|| after.0.saturating_sub(before.0)),
            redis_cpu: after.1.zip(before.1).map(|(after, before)| after.saturating_sub(before)),
            open_rate,
            open,
            rss_kb: status(pid, "VmRSS"),
        });
    }

    /// What the server does with requests that ask next to nothing of the service: what HTTP itself costs.
    async fn least(&mut self) {
        let id = "ceiling/embedded/health".to_owned();
        if !self.wants(&id) {
            return;
        }
        let bed = Bed::new("embedded", &self.setup).await;
        let plan = Plan::again(request("GET", "/health", "", None), "\"status\":\"healthy\"");
        self.row(id, (&bed.service, None), self.connections, Limit::Hello, plan).await;
    }

    async fn manifests(&mut self, kind: &'static str) {
        for nodes in [0, 10, 100] {
            let (fresh, beat) =
                (format!("manifest/{kind}/fresh/{nodes}"), format!("manifest/{kind}/heartbeat/{nodes}"));
            if !self.wants_any([fresh.clone(), beat.clone()]) {
                continue;
            }
            let bed = Bed::new(kind, &self.setup).await;
            if self.wants(&fresh) {
                let size = inputs::publish(0, 1, nodes, now()).len();
                // Enough for runs at 30,000 a second, where they fit into the memory.
                let count = ((self.run.as_secs_f64() * 1.7 * 30_000.0) as usize).min(INPUT_BYTES / size);
                let plan = Plan::once(inputs::fresh(count, PEERS, nodes, now()), "\"status\":\"registered\"");
                self.row(fresh, bed.both(), self.connections, Limit::VerifiedEcho, plan).await;
            }
            if self.wants(&beat) {
                // Newer than whatever came before.
                let requests: Vec<_> = (0..PEERS).map(|peer| inputs::publish(peer, 1 << 30, nodes, now())).collect();
                send_all(bed.service.port, requests.clone()).await;
                let plan = Plan::cycling(requests, "\"status\":\"registered\"");
                self.row(beat, bed.both(), self.connections, Limit::Echo, plan).await;
            }
        }
    }

    async fn discovery(&mut self, kind: &'static str) {
        let id = |peers: usize| format!("discover/{kind}/{peers}");
        let sizes = [1, 10, 100, 1000, 10_000];
        if !self.wants_any(sizes.map(id)) {
            return;
        }
        let bed = Bed::new(kind, &self.setup).await;
        let mut known = 0;
        for peers in sizes {
            let new: Vec<_> = (known..peers).map(|peer| inputs::publish(peer, 1, 10, now())).collect();
            send_all(bed.service.port, new).await;
            known = peers;
            if self.wants(&id(peers)) {
                // One answer holds a thousand.
                let listed = format!("\"count\":{},\"total\":{peers}", peers.min(1000));
                let plan = Plan::again(request("GET", "/discover", "", None), &listed);
                let connections = if peers < 1000 { self.connections } else { CONNECTIONS_OF_LONG_LISTS };
                self.row(id(peers), bed.both(), connections, Limit::Static, plan).await;
            }
        }
    }

    /// Many clients at once: does each get its answer, and what is left in memory when they are gone?
    async fn crowd(&mut self, kind: &'static str) {
        let id = format!("crowd/{kind}/{CROWD}");
        if !self.wants(&id) {
            return;
        }
        let bed = Bed::new(kind, &self.setup).await;
        let pid = bed.service.process.id();
        let rss_kb_before = status(pid, "VmRSS");
        let requests: Vec<_> = (0..PEERS).map(|peer| inputs::publish(peer, 1, 100, now())).collect();
        send_all(bed.service.port, requests.clone()).await;
        let beats = Rc::new(Plan::cycling(requests, "\"status\":\"registered\""));
        let list = Rc::new(Plan::again(request("GET", "/discover?limit=100", "", None), "\"count\":100,"));
        let before = cpu_time(pid);
        let run = run(bed.service.port, &beats, Pace::Closed, CROWD, self.run).await;
        let cost = Cost::of(&run, cpu_time(pid).saturating_sub(before));
        let lists = crate::engine::run(bed.service.port, &list, Pace::Closed, CROWD, self.run).await;
        let rss_kb_with = status(pid, "VmHWM");
        // The service has heard that they are gone when it answers the next one.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let rss_kb_after = status(pid, "VmRSS");
        if let Some(what) = run.wrong.into_iter().chain(lists.wrong).next() {
            self.failed.push((id, what));
            return;
        }
        eprintln!("{id}: {:.0} requests/CPU s, {} MB after", cost.per_cpu_second(), rss_kb_after >> 10);
        let per_cpu_second = cost.per_cpu_second();
        self.crowds.push(Crowd { id, connections: CROWD, per_cpu_second, rss_kb_before, rss_kb_with, rss_kb_after });
    }

    /// Starts and exchanges over a lattice of `nodes` nodes.
    async fn lattice(&mut self, nodes: usize) {
        let start = |state: &str| format!("start/{nodes}/{state}");
        let sync = |what: &str| format!("sync/{nodes}/{what}");
        let differing = [("0", 0), ("1", 1), ("1%", nodes / 100), ("100%", nodes)];
        let mut ids = vec![start("cold"), start("warm"), sync("equal")];
        ids.extend(differing.iter().map(|(name, _)| sync(name)));
        let (beside, edit) = (format!("beside/sync/{nodes}/health"), format!("edit/{nodes}"));
        ids.extend([beside.clone(), edit.clone()]);
        if !self.wants_any(ids) {
            return;
        }
        let place = self.setup.place();
        inputs::write_nodes(&place.lattice(), nodes);
        // The figures say 100, 10,000 and 100,000; a start with 1,000 is one that nobody asks for.
        for state in ["cold", "warm"] {
            if self.wants(&start(state)) && nodes != 1000 {
                self.start(&place, nodes, state).await;
            }
        }
        let service = place.serve().await;
        if self.wants(&edit) {
            let plan = Plan::cycling(inputs::edits(nodes), "");
            self.row(edit, (&service, None), CONNECTIONS_OF_LARGE, Limit::None, plan).await;
        }
        if nodes > MOST_LISTED {
            return;
        }
        let held = service.nodes().await;
        assert_eq!(held.len(), nodes);
        let connections = match nodes {
            ..10_000 => self.connections,
            10_000..100_000 => CONNECTIONS_OF_LARGE,
            _ => CONNECTIONS_OF_LARGEST,
        };
        if self.wants(&sync("equal")) {
            let request = inputs::sync_equal(&held, &service.set_hash().await);
            let plan = Plan::again(request, "\"delta_count\":0");
            self.row(sync("equal"), (&service, None), connections, Limit::Echo, plan).await;
        }
        for (name, count) in differing {
            // One in a hundred of a hundred is one.
            if self.wants(&sync(name)) && (name != "1%" || count > 1) {
                let plan = Plan::again(inputs::sync(&held, count), &format!("\"delta_count\":{count},"));
                self.row(sync(name), (&service, None), connections, Limit::Trade, plan).await;
            }
        }
        // Does a caller with a long list keep the others waiting?
        if self.wants(&beside) && nodes >= 10_000 {
            let neighbour = Rc::new(Plan::again(inputs::sync(&held, 0), "\"delta_count\":0,"));
            let plan = Plan::again(request("GET", "/health", "", None), "\"status\":\"healthy\"");
            self.row_beside(beside, (&service, None), self.connections, Limit::None, plan, Some(&neighbour)).await;
        }
    }

    /// From the start of the process until it is ready, the median of some. The files are in the page cache.
    async fn start(&mut self, place: &Place, nodes: usize, state: &'static str) {
        let mut measured = Vec::new();
        if state == "warm" {
            assert!(place.serve().await.terminate().await.success());
        }
        for _ in 0..self.repeat_starts {
            if state == "cold" && place.path("state").exists() {
                std::fs::remove_dir_all(place.path("state")).expect("the state can be removed");
            }
            let started = Instant::now();
            let service = place.launch();
            let ready = request("GET", "/ready", "", None);
            loop {
                let mut connection = Connection::open(service.port).await.expect("the service takes connections");
                if connection.exchange(&ready).await.is_ok_and(|answer| answer.status == 200) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            measured.push((started.elapsed(), status(service.process.id(), "VmRSS")));
            assert!(service.terminate().await.success());
        }
        measured.sort_unstable();
        let (ready, rss_kb) = *measured.get(measured.len() / 2).expect("at least one start");
        eprintln!("start/{nodes}/{state}: {} ms", ready.as_millis());
        self.starts.push(Start { nodes, state, ready, rss_kb });
    }
}
