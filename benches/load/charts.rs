//! Results as pictures: SVG, made of nothing but text.

use crate::compare::{read, rows};
use serde_json::Value;
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 290.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 56.0;
/// Told apart also by who does not see all colours (Okabe and Ito).
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];

/// Points of one line, and its name.
type Series = (String, Vec<(f64, f64)>);

struct Chart<'a> {
    title: &'a str,
    x: &'a str,
    y: &'a str,
    /// Which figures these are: date, commit, processor.
    note: &'a str,
    log_x: bool,
    series: Vec<Series>,
}

/// An axis from one number to another, as a place from 0 to 1.
#[derive(Clone, Copy)]
struct Axis {
    low: f64,
    high: f64,
    log: bool,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone, log: bool) -> Self {
        let (low, high) = values.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        if log {
            let (low, high) = (low.log10().floor(), high.log10().ceil());
            return Self { low: 10_f64.powf(low), high: 10_f64.powf(if high > low { high } else { low + 1.0 }), log };
        }
        Self { low: 0.0, high: high.max(1.0), log }
    }

    fn place(self, value: f64) -> f64 {
        if self.log {
            return (value / self.low).log10() / (self.high / self.low).log10();
        }
        (value - self.low) / (self.high - self.low)
    }

    fn marks(self) -> Vec<f64> {
        if self.log {
            let decades = (self.high / self.low).log10().round() as i32;
            return (0..=decades).map(|decade| self.low * 10_f64.powi(decade)).collect();
        }
        let step = 10_f64.powf((self.high / 5.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * step).into_iter().find(|step| self.high / step <= 6.0);
        let step = step.unwrap_or(self.high);
        (0..=6).map(|mark| f64::from(mark) * step).filter(|mark| *mark <= self.high).collect()
    }
}

fn number(value: f64) -> String {
    let whole = value.round();
    if value > 0.0 && value < 1.0 {
        return format!("{value}");
    }
    let digits = format!("{whole:.0}");
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

impl Chart<'_> {
    fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|(_, points)| points.iter().copied());
        let (x, y) = (Axis::over(points().map(|it| it.0), self.log_x), Axis::over(points().map(|it| it.1), true));
        let across = |value: f64| LEFT + x.place(value) * (WIDTH - LEFT - RIGHT);
        let down = |value: f64| HEIGHT - BOTTOM - y.place(value) * (HEIGHT - TOP - BOTTOM);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\" \
             role=\"img\" aria-label=\"{0}\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"24\" font-size=\"15\" font-weight=\"bold\">{0}</text>\n\
             <text x=\"{LEFT}\" y=\"40\" font-size=\"10\" fill=\"#666\">{1}</text>\n",
            escaped(self.title),
            escaped(self.note)
        );
        for mark in y.marks() {
            let at = down(mark);
            let _ = writeln!(
                out,
                "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                at + 4.0,
                number(mark)
            );
        }
        for mark in x.marks() {
            let (at, foot) = (across(mark), HEIGHT - BOTTOM);
            let _ = writeln!(
                out,
                "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{foot}\" stroke=\"#eee\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                foot + 18.0,
                number(mark)
            );
        }
        let (middle_x, middle_y) = ((LEFT + WIDTH - RIGHT) / 2.0, (TOP + HEIGHT - BOTTOM) / 2.0);
        let _ = writeln!(
            out,
            "<text x=\"{middle_x}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n\
             <text transform=\"translate(18 {middle_y}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 14.0,
            escaped(self.x),
            escaped(self.y)
        );
        for (at, (name, points)) in self.series.iter().enumerate() {
            let colour = COLOURS[at % COLOURS.len()];
            let path: Vec<String> = points.iter().map(|(a, b)| format!("{:.1},{:.1}", across(*a), down(*b))).collect();
            let _ = writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                path.join(" ")
            );
            for (a, b) in points {
                let _ = writeln!(
                    out,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                    across(*a),
                    down(*b)
                );
            }
            let (key_x, key_y) = (WIDTH - RIGHT + 16.0, TOP + 12.0 + 20.0 * at as f64);
            let _ = writeln!(
                out,
                "<rect x=\"{key_x}\" y=\"{}\" width=\"12\" height=\"4\" fill=\"{colour}\"/><text x=\"{}\" y=\"{}\">{}</text>",
                key_y - 6.0,
                key_x + 18.0,
                key_y,
                escaped(name)
            );
        }
        out.push_str("</svg>\n");
        out
    }
}

/// A line through the rows `before`N`after`: N, and CPU time a request.
fn cost_against(results: &Value, before: &str, after: &str) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = rows(results)
        .into_iter()
        .filter_map(|(id, row)| {
            let count: f64 = id.strip_prefix(before)?.strip_suffix(after)?.parse().ok()?;
            let rate = row.pointer("/closed/requests_per_cpu_second")?.as_f64()?;
            Some((count, 1e6 / rate))
        })
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

fn start_against(results: &Value, state: &str) -> Vec<(f64, f64)> {
    let starts = results["starts"].as_array().into_iter().flatten().filter(|start| start["state"] == state);
    starts.filter_map(|start| Some((start["nodes"].as_f64()?, start["ready_ms"].as_f64()?))).collect()
}

fn latency_against(sweep: &Value, quantile: &str) -> Vec<(f64, f64)> {
    let points = sweep["points"].as_array().into_iter().flatten();
    points
        .filter_map(|point| Some((point["load"].as_f64()? * 100.0, point["latency_us"][quantile].as_f64()?)))
        .collect()
}

fn named(series: Vec<(&str, Vec<(f64, f64)>)>) -> Vec<Series> {
    series.into_iter().filter(|(_, points)| points.len() > 1).map(|(name, points)| (name.to_owned(), points)).collect()
}

/// Draws what `results` holds into `directory`; the files that were written.
pub(crate) fn draw(results: &Path, directory: &Path) -> Vec<PathBuf> {
    let results = read(results);
    let of = |name: &str| results["circumstances"][name].as_str().unwrap_or("-").to_owned();
    let commit: String = of("commit").chars().take(10).collect();
    let note = format!(
        "{} of {}, {}, one worker, commit {commit}, on a machine that others use too",
        results["kind"].as_str().unwrap_or("-"),
        of("date"),
        of("cpu")
    );
    let sync = |what: &str| cost_against(&results, "sync/", &format!("/{what}"));
    let mut charts = vec![
        (
            "cost-sync",
            Chart {
                title: "CPU time of a POST /sync",
                x: "nodes of the lattice",
                y: "µs of one processor",
                note: &note,
                log_x: true,
                series: named(vec![
                    ("equal set hash", sync("equal")),
                    ("equal list", sync("0")),
                    ("one node differs", sync("1")),
                    ("1 % differs", sync("1%")),
                    ("everything is sent", sync("100%")),
                ]),
            },
        ),
        (
            "cost-discover",
            Chart {
                title: "CPU time of a GET /discover",
                x: "live peers",
                y: "µs of one processor",
                note: &note,
                log_x: true,
                series: named(vec![
                    ("embedded", cost_against(&results, "discover/embedded/", "")),
                    ("redis", cost_against(&results, "discover/redis/", "")),
                ]),
            },
        ),
        (
            "start",
            Chart {
                title: "From the start of the process until it is ready",
                x: "nodes of the lattice",
                y: "ms",
                note: &note,
                log_x: true,
                series: named(vec![
                    ("cold", start_against(&results, "cold")),
                    ("warm", start_against(&results, "warm")),
                ]),
            },
        ),
    ];
    let sweeps: Vec<&Value> = results["sweeps"].as_array().into_iter().flatten().collect();
    let mut latency: Vec<Series> = Vec::new();
    for sweep in sweeps {
        let id = sweep["id"].as_str().unwrap_or("-").trim_start_matches("latency/");
        for quantile in ["p50", "p99"] {
            latency.push((format!("{id} {quantile}"), latency_against(sweep, quantile)));
        }
    }
    charts.push((
        "latency",
        Chart {
            title: "Latency against load",
            x: "load, % of the most requests a second",
            y: "µs from when it was to be sent",
            note: &note,
            log_x: false,
            series: latency,
        },
    ));
    fs::create_dir_all(directory).expect("a directory for the charts");
    let mut written = Vec::new();
    for (name, chart) in charts.into_iter().filter(|(_, chart)| !chart.series.is_empty()) {
        let path = directory.join(format!("{name}.svg"));
        fs::write(&path, chart.svg()).expect("room for a chart");
        written.push(path);
    }
    written
}
