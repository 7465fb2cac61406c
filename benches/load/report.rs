//! The figures: as a table for people, as JSON for programs, with what they were measured on.

use crate::engine::Run;
use comfy_table::{CellAlignment, Table, presets::NOTHING};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The shape of the JSON; grows when a field changes its meaning.
const SCHEMA: u32 = 1;

/// One kind of request against one kind of service.
pub(crate) struct Row {
    /// `group/registry/what`, stable: later runs are compared by it.
    pub(crate) id: String,
    pub(crate) connections: usize,
    pub(crate) request_bytes: usize,
    /// As fast as it goes.
    pub(crate) closed: Run,
    pub(crate) service_cpu: Option<Duration>,
    pub(crate) redis_cpu: Option<Duration>,
    /// At a fixed rate.
    pub(crate) open_rate: f64,
    pub(crate) open: Run,
    pub(crate) rss_kb: u64,
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

fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
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

/// The rows. `ceiling` is what the server does with an answer that costs nothing, requests a CPU second.
pub(crate) fn rows_table(rows: &[Row]) -> String {
    let ceiling = rows.iter().find(|row| row.id.starts_with("ceiling/")).and_then(Row::per_cpu_second);
    let header = ["", "requests/s", "per CPU s", "of ceiling", "CPU", "at a rate of", "p50", "p99", "p99.9", "RSS"];
    table(
        &header,
        rows.iter().map(|row| {
            vec![
                row.id.clone(),
                rate_text(row.closed.rate()),
                or_dash(row.per_cpu_second(), rate_text),
                or_dash(row.per_cpu_second().zip(ceiling), |(rate, ceiling)| {
                    format!("{:.1} %", rate / ceiling * 100.0)
                }),
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

fn latency_json(run: &Run) -> Value {
    json!({"p50": quantile_us(run, 0.5), "p90": quantile_us(run, 0.9), "p99": quantile_us(run, 0.99),
        "p99_9": quantile_us(run, 0.999), "max": run.latencies_ns.max() as f64 / 1000.0})
}

fn row_json(row: &Row) -> Value {
    let seconds = |duration: Duration| duration.as_secs_f64();
    json!({
        "id": row.id, "connections": row.connections, "request_bytes": row.request_bytes,
        "closed": {"requests": row.closed.answered, "seconds": seconds(row.closed.took), "requests_per_second": row.closed.rate(),
            "service_cpu_seconds": row.service_cpu.map(seconds), "requests_per_cpu_second": row.per_cpu_second(),
            "redis_cpu_seconds": row.redis_cpu.map(seconds), "latency_us": latency_json(&row.closed)},
        "open": {"requests": row.open.answered, "intended_per_second": row.open_rate, "requests_per_second": row.open.rate(),
            "latency_us": latency_json(&row.open)},
        "rss_kb": row.rss_kb, "wrong_answers": row.wrong().count(),
    })
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
        "at": SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
    })
}

pub(crate) fn to_json(circumstances: &Value, options: &Value, rows: &[Row], starts: &[Start]) -> Value {
    let starts = starts.iter().map(|start| {
        json!({"id": format!("start/{}/{}", start.nodes, start.state), "nodes": start.nodes, "state": start.state,
            "ready_ms": start.ready.as_secs_f64() * 1000.0, "rss_kb": start.rss_kb})
    });
    json!({"schema": SCHEMA, "kind": "load", "circumstances": circumstances, "options": options,
        "rows": rows.iter().map(row_json).collect::<Vec<_>>(), "starts": starts.collect::<Vec<_>>()})
}
