//! `import`

use super::{
    exit::Failure,
    input,
    job::LatticeArg,
    output::{Output, count},
};
use crate::{
    ops::{self, ImportReport},
    types::SystemClock,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::path::PathBuf;

/// The largest file that is read.
const MAX_BYTES: usize = 1 << 30;
/// Refusals that are named one by one.
const NAMED: usize = 20;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A node, a list of nodes, or any tree whose lists called "nodes" hold nodes; - for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Say what would happen, but write nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    lattice: LatticeArg,
}

pub(super) fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let (settings, directory) = args.lattice.open()?;
    let limits = settings.limits();
    let name = input::name(&args.file);
    let file = input::read(&args.file, MAX_BYTES)?;
    let nodes = ops::find_nodes(file, &limits).map_err(|error| Failure::from(error).about(&name))?;
    let bar = progress_bar(nodes.len(), output);
    let now = SystemClock::shared().now();
    let advance = |done: usize| bar.set_position(u64::try_from(done).unwrap_or(u64::MAX));
    let report = ops::import(&directory, nodes, &limits, now, args.dry_run, advance);
    bar.finish_and_clear();
    let report = report?;
    output.answer(|| as_json(&report, args.dry_run), || as_text(&report, args.dry_run))?;
    match report.refused.first() {
        None => Ok(()),
        Some(first) => Err(Failure::local(format!(
            "{name}: {} refused; the first: {}: {}",
            count(report.refused.len(), "node"),
            first.place,
            first.reason
        ))),
    }
}

fn progress_bar(length: usize, output: &Output) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(u64::try_from(length).unwrap_or(u64::MAX));
    match ProgressStyle::with_template("{bar:40} {pos}/{len} nodes, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn as_json(report: &ImportReport, dry_run: bool) -> Value {
    let refused: Vec<Value> = report.refused.iter().map(|it| json!({"place": it.place, "reason": it.reason})).collect();
    json!({
        "added": report.added, "changed": report.changed, "unchanged": report.unchanged,
        "refused": refused.len(), "refusals": refused, "dry_run": dry_run,
    })
}

fn as_text(report: &ImportReport, dry_run: bool) -> String {
    let mut text = format!(
        "{}{} added, {} changed, {} unchanged, {} refused",
        if dry_run { "Dry run: " } else { "" },
        report.added,
        report.changed,
        report.unchanged,
        report.refused.len()
    );
    for refusal in report.refused.iter().take(NAMED) {
        text.push_str(&format!("\n  refused {}: {}", refusal.place, refusal.reason));
    }
    if report.refused.len() > NAMED {
        text.push_str(&format!("\n  and {} more; --json lists all", report.refused.len() - NAMED));
    }
    text
}
