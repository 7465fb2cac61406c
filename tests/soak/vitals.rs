//! What the service takes of the machine, from `/proc` and its own `/metrics`.

use crate::{
    http1::{Connection, request},
    service::Service,
};
use serde_json::{Value, json};
use std::{
    fmt, fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{task::JoinHandle, time::sleep};

/// At one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vitals {
    pub(crate) rss_kb: u64,
    pub(crate) descriptors: usize,
    pub(crate) threads: u64,
    pub(crate) tasks: usize,
    pub(crate) clients: usize,
    pub(crate) redis_connections: usize,
}

impl Vitals {
    pub(crate) async fn of(service: &Service, redis_connections: usize) -> Self {
        // Uncompressed: compressing would keep a thread busy that is to end.
        let mut connection = Connection::open(service.port).await.unwrap();
        let asked = request("GET", "/metrics", "Connection: close\r\n", None);
        let metrics = connection.exchange(&asked).await.unwrap().text();
        let gauge = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {metrics}"))
        };
        let pid = service.process.id();
        Self {
            rss_kb: status(pid, "VmRSS"),
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(),
            threads: status(pid, "Threads"),
            tasks: gauge("ark_tasks"),
            clients: gauge("ark_http_connections"),
            redis_connections,
        }
    }

    /// Nothing is left of what came since `before`. The pool may hold more connections now: each is a descriptor and a task.
    pub(crate) fn is_as(&self, before: &Self) -> bool {
        let own = |vitals: &Self, all: usize| all.saturating_sub(vitals.redis_connections);
        own(self, self.descriptors - self.clients) <= own(before, before.descriptors - before.clients)
            && own(self, self.tasks) <= own(before, before.tasks)
            && self.threads <= before.threads
            && self.clients <= before.clients
    }

    pub(crate) fn json(&self) -> Value {
        json!({"rss_kb": self.rss_kb, "descriptors": self.descriptors, "threads": self.threads, "tasks": self.tasks,
            "client_connections": self.clients, "redis_connections": self.redis_connections})
    }
}

impl fmt::Display for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rss_kb, descriptors, threads, tasks, clients, redis_connections } = self;
        write!(
            f,
            "{rss_kb} kB, {descriptors} descriptors, {threads} threads, {tasks} tasks, {clients} client connections, \
             {redis_connections} connections to Redis"
        )
    }
}

fn status(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Looks at the memory while the crowd is there.
pub(crate) struct Watch {
    samples: Arc<Mutex<Vec<u64>>>,
    begun: Arc<AtomicBool>,
    task: JoinHandle<()>,
    most_redis_connections: usize,
}

/// What was seen.
#[derive(Debug)]
pub(crate) struct Memory {
    /// The median of the time after the warm-up, before failures show.
    pub(crate) plateau_kb: u64,
    pub(crate) peak_kb: u64,
    /// The last quarter's median, with all clients still there.
    pub(crate) end_kb: u64,
    pub(crate) most_redis_connections: usize,
}

impl Watch {
    pub(crate) fn start(pid: u32) -> Self {
        let (samples, begun) = (Arc::<Mutex<Vec<u64>>>::default(), Arc::<AtomicBool>::default());
        let task = tokio::spawn({
            let (samples, begun) = (Arc::clone(&samples), Arc::clone(&begun));
            async move {
                loop {
                    if begun.load(Ordering::Acquire) {
                        samples.lock().unwrap().push(status(pid, "VmRSS"));
                    }
                    sleep(Duration::from_millis(250)).await;
                }
            }
        });
        Self { samples, begun, task, most_redis_connections: 0 }
    }

    /// The crowd is complete and warm.
    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::Release);
    }

    pub(crate) fn connections_to_redis(&mut self, now: usize) {
        self.most_redis_connections = self.most_redis_connections.max(now);
    }

    pub(crate) fn end(self) -> Memory {
        self.task.abort();
        let samples = self.samples.lock().unwrap();
        let median = |part: &[u64]| {
            let mut part = part.to_vec();
            part.sort_unstable();
            part.get(part.len() / 2).copied().unwrap_or_default()
        };
        let quarter = samples.len() / 4;
        Memory {
            plateau_kb: median(&samples[..quarter.max(1)]),
            peak_kb: samples.iter().max().copied().unwrap_or_default(),
            end_kb: median(&samples[samples.len() - quarter.max(1)..]),
            most_redis_connections: self.most_redis_connections,
        }
    }
}

impl Memory {
    pub(crate) fn json(&self) -> Value {
        json!({"plateau_kb": self.plateau_kb, "peak_kb": self.peak_kb, "end_kb": self.end_kb,
            "most_redis_connections": self.most_redis_connections})
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plateau_kb, peak_kb, end_kb, most_redis_connections } = self;
        write!(
            f,
            "memory: {plateau_kb} kB in the first quarter, {peak_kb} kB at the peak, {end_kb} kB in the last quarter; \
             {most_redis_connections} connections to Redis at most"
        )
    }
}
