//! Two results side by side.

use crate::report::table;
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};

/// Where a figure of a row stands in the JSON.
const PER_CPU_SECOND: &str = "/closed/requests_per_cpu_second";

pub(crate) fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn rows(results: &Value) -> BTreeMap<String, &Value> {
    let rows = results["rows"].as_array().into_iter().flatten();
    rows.filter_map(|row| Some((row["id"].as_str()?.to_owned(), row))).collect()
}

/// On what, and of which state of the source.
fn origin(results: &Value) -> String {
    let of = |name: &str| results["circumstances"][name].as_str().unwrap_or("-").to_owned();
    let changed = results["circumstances"]["uncommitted_changes"].as_bool() == Some(true);
    let commit: String = of("commit").chars().take(10).collect();
    format!("{commit}{}, {}, Linux {}", if changed { " with changes" } else { "" }, of("cpu"), of("kernel"))
}

fn figure(row: Option<&Value>, pointer: &str) -> Option<f64> {
    row?.pointer(pointer)?.as_f64()
}

fn text(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// Every row that one of them has, in order of name. Requests a CPU second: more is better.
pub(crate) fn side_by_side(before: &Path, after: &Path) -> String {
    let (before, after) = (read(before), read(after));
    let (old, new) = (rows(&before), rows(&after));
    let mut ids: Vec<&String> = old.keys().chain(new.keys()).collect();
    ids.sort();
    ids.dedup();
    let lines = ids.into_iter().map(|id| {
        let both = |pointer: &str| (figure(old.get(id).copied(), pointer), figure(new.get(id).copied(), pointer));
        let (rate_before, rate_after) = both(PER_CPU_SECOND);
        let (ratio_before, ratio_after) = both("/ratio");
        let (p99_before, p99_after) = both("/open/latency_us/p99");
        let change = rate_before.zip(rate_after).map(|(before, after)| after / before);
        vec![
            id.clone(),
            text(rate_before, 0),
            text(rate_after, 0),
            change.map_or_else(|| "-".to_owned(), |times| format!("x {times:.2}")),
            text(ratio_before, 2),
            text(ratio_after, 2),
            text(p99_before, 0),
            text(p99_after, 0),
        ]
    });
    let header = ["", "per CPU s", "then", "", "of limit", "then", "p99, µs", "then"];
    format!("before: {}\nthen:   {}\n\n{}", origin(&before), origin(&after), table(&header, lines))
}
