//! The figures: as a table for people, as JSON for programs, with what they were measured on.

use crate::{cases::Bench, engine::Run};
use comfy_table::{CellAlignment, Table, presets::NOTHING};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The shape of the JSON; grows when a field changes its meaning.
const SCHEMA: u32 = 2;

/// One kind of request against one kind of service.
pub(crate) struct Row {
    /// `group/registry/what`, stable: later runs are compared by it.
    pub(crate) id: String,
    pub(crate) connections: usize,
    pub(crate) request_bytes: usize,
    pub(crate) answer_bytes: usize,
    pub(crate) limit: Option<Measured>,
    /// As fast as it goes.
    pub(crate) closed: Run,
    pub(crate) service_cpu: Option<Duration>,
    pub(crate) redis_cpu: Option<Duration>,
    /// At a fixed rate.
    pub(crate) open_rate: f64,
    pub(crate) open: Run,
    pub(crate) rss_kb: u64,
}

/// What the row could be at best.
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) per_cpu_second: f64,
}

/// Many clients that came and went.
pub(crate) struct Crowd {
    pub(crate) id: String,
    pub(crate) connections: usize,
    /// Heartbeats of 100 nodes.
    pub(crate) per_cpu_second: f64,
    pub(crate) rss_kb_before: u64,
    /// At most.
    pub(crate) rss_kb_with: u64,
    pub(crate) rss_kb_after: u64,
}

/// One kind of request at several loads.
pub(crate) struct Sweep {
    pub(crate) id: String,
    pub(crate) points: Vec<(f64, Run)>,
}

/// One way to start.
pub(crate) struct Start {
    pub(crate) nodes: usize,
    pub(crate) state: &'static str,
    pub(crate) ready: Duration,
    pub(crate) rss_kb: u64,
}

impl Row {
    fn per_cpu_second(&self) -> Option<f64> {
        self.service_cpu.map(|cpu| self.closed.answered as f64 / cpu.as_secs_f64().max(0.01))
    }

    /// Of the limit.
    fn ratio(&self) -> Option<f64> {
        self.per_cpu_second().zip(self.limit.as_ref()).map(|(rate, limit)| rate / limit.per_cpu_second)
    }

    fn cpu_share(&self) -> Option<f64> {
        self.service_cpu.map(|cpu| cpu.as_secs_f64() / self.closed.took.as_secs_f64())
    }

    pub(crate) fn wrong(&self) -> impl Iterator<Item = &String> {
        self.closed.wrong.iter().chain(&self.open.wrong)
    }
}

/// A quantile in µs; `None` where too few answers stand behind it.
fn quantile_us(run: &Run, quantile: f64) -> Option<f64> {
    let beyond = run.latencies_ns.len() as f64 * (1.0 - quantile);
    (beyond >= 1.0).then(|| run.latencies_ns.value_at_quantile(quantile) as f64 / 1000.0)
}

fn time_text(us: Option<f64>) -> String {
    match us {
        None => "-".to_owned(),
        Some(us) if us < 1000.0 => format!("{us:.0} µs"),
        Some(us) if us < 100_000.0 => format!("{:.1} ms", us / 1000.0),
        Some(us) => format!("{:.0} ms", us / 1000.0),
    }
}

fn or_dash<T>(value: Option<T>, text: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), text)
}

fn rate_text(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

pub(crate) fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The rows.
pub(crate) fn rows_table(rows: &[Row]) -> String {
    let header =
        ["", "requests/s", "per CPU s", "limit", "", "ratio", "CPU", "at a rate of", "p50", "p99", "p99.9", "RSS"];
    table(
        &header,
        rows.iter().map(|row| {
            vec![
                row.id.clone(),
                rate_text(row.closed.rate()),
                or_dash(row.per_cpu_second(), rate_text),
                or_dash(row.limit.as_ref(), |limit| rate_text(limit.per_cpu_second)),
                or_dash(row.limit.as_ref(), |limit| limit.name.to_owned()),
                or_dash(row.ratio(), |ratio| format!("{ratio:.2}")),
                or_dash(row.cpu_share(), |share| format!("{:.0} %", share * 100.0)),
                rate_text(row.open_rate),
                time_text(quantile_us(&row.open, 0.5)),
                time_text(quantile_us(&row.open, 0.99)),
                time_text(quantile_us(&row.open, 0.999)),
                format!("{} MB", row.rss_kb >> 10),
            ]
        }),
    )
}

pub(crate) fn starts_table(starts: &[Start]) -> String {
    let row = |start: &Start| {
        let name = format!("start/{}/{}", start.nodes, start.state);
        vec![name, format!("{} ms", start.ready.as_millis()), format!("{} MB", start.rss_kb >> 10)]
    };
    table(&["", "until ready", "RSS"], starts.iter().map(row))
}

pub(crate) fn crowds_table(crowds: &[Crowd]) -> String {
    let row = |crowd: &Crowd| {
        let memory = [crowd.rss_kb_before, crowd.rss_kb_with, crowd.rss_kb_after];
        let first = [crowd.id.clone(), rate_text(crowd.per_cpu_second)];
        first.into_iter().chain(memory.map(|kb| format!("{:.1} MB", kb as f64 / 1024.0))).collect()
    };
    table(&["", "heartbeats per CPU s", "RSS before", "at most", "after"], crowds.iter().map(row))
}

fn latency_json(run: &Run) -> Value {
    json!({"p50": quantile_us(run, 0.5), "p90": quantile_us(run, 0.9), "p99": quantile_us(run, 0.99),
        "p99_9": quantile_us(run, 0.999), "max": run.latencies_ns.max() as f64 / 1000.0})
}

fn row_json(row: &Row) -> Value {
    let seconds = |duration: Duration| duration.as_secs_f64();
    json!({
        "id": row.id, "connections": row.connections, "request_bytes": row.request_bytes, "answer_bytes": row.answer_bytes,
        "limit": row.limit.as_ref().map(|limit| json!({"of": limit.name, "requests_per_cpu_second": limit.per_cpu_second})),
        "ratio": row.ratio(),
        "closed": {"requests": row.closed.answered, "seconds": seconds(row.closed.took), "requests_per_second": row.closed.rate(),
            "service_cpu_seconds": row.service_cpu.map(seconds), "requests_per_cpu_second": row.per_cpu_second(),
            "redis_cpu_seconds": row.redis_cpu.map(seconds), "latency_us": latency_json(&row.closed)},
        "open": {"requests": row.open.answered, "intended_per_second": row.open_rate, "requests_per_second": row.open.rate(),
            "latency_us": latency_json(&row.open)},
        "rss_kb": row.rss_kb, "wrong_answers": row.wrong().count(),
    })
}

fn sweep_json(sweep: &Sweep) -> Value {
    let point = |(load, run): &(f64, Run)| json!({"load": load, "requests_per_second": run.rate(), "latency_us": latency_json(run), "wrong_answers": run.wrong.len()});
    json!({"id": sweep.id, "points": sweep.points.iter().map(point).collect::<Vec<_>>()})
}

fn first_line_of(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

/// What the figures depend on.
pub(crate) fn circumstances(directory: &Path) -> Value {
    let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let changed =
        Command::new("git").args(["diff", "--quiet", "HEAD"]).current_dir(env!("CARGO_MANIFEST_DIR")).status();
    json!({
        "cpu": field("/proc/cpuinfo", "model name"),
        "processors": std::thread::available_parallelism().map_or(1, usize::from),
        "memory": field("/proc/meminfo", "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease"),
        "load_average_before": read("/proc/loadavg"),
        "file_system": first_line_of("stat", &["-f", "-c", "%T", &directory.to_string_lossy()]),
        "rustc": first_line_of("rustc", &["--version"]),
        "redis": first_line_of("redis-server", &["--version"]),
        "version": env!("CARGO_PKG_VERSION"),
        "commit": first_line_of("git", &["rev-parse", "HEAD"]),
        "uncommitted_changes": changed.map(|status| !status.success()).ok(),
        "date": first_line_of("date", &["-u", "+%Y-%m-%d"]),
        "at": SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
    })
}

pub(crate) fn to_json(circumstances: &Value, options: &Value, bench: &Bench) -> Value {
    let starts = bench.starts.iter().map(|start| {
        json!({"id": format!("start/{}/{}", start.nodes, start.state), "nodes": start.nodes, "state": start.state,
            "ready_ms": start.ready.as_secs_f64() * 1000.0, "rss_kb": start.rss_kb})
    });
    let crowds = bench.crowds.iter().map(|crowd| {
        json!({"id": crowd.id, "connections": crowd.connections, "requests_per_cpu_second": crowd.per_cpu_second,
            "rss_kb": {"before": crowd.rss_kb_before, "at_most": crowd.rss_kb_with, "after": crowd.rss_kb_after}})
    });
    json!({"schema": SCHEMA, "kind": "load", "circumstances": circumstances, "options": options,
        "rows": bench.rows.iter().map(row_json).collect::<Vec<_>>(), "starts": starts.collect::<Vec<_>>(),
        "sweeps": bench.sweeps.iter().map(sweep_json).collect::<Vec<_>>(), "crowds": crowds.collect::<Vec<_>>()})
}
