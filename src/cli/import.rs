//! `import`

use super::{
    exit::Failure,
    input,
    job::LatticeArg,
    output::{Output, count},
    progress::Progress,
    stop,
};
use crate::{
    ops::{self, ImportError, ImportOptions, ImportReport},
    types::SystemClock,
};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Refusals that are named one by one.
const NAMED: usize = 20;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nodes are written as they are and count as edited now, or when their updated_at
says so and that is later than what they replace: they win over what is there.
With --exact they are the versions that they were: a later version that is there
stays (kept), also where the file does not say when a node was made; one that
loses is kept in .ark-overruled in the data directory. The manifest hash that is
printed is that of the nodes of the file, as they are in the directory then.

Examples:
  ark-lattice import nodes.json --dry-run
  ark-lattice import --exact backup.ndjson
  gunzip < backup.ndjson.gz | ark-lattice import --exact -

With --json:
  {\"added\": 2, \"changed\": 0, \"unchanged\": 0, \"refused\": 1,
   \"refusals\": [{\"place\": \"nodes[1]\", \"reason\": \"…\"}],
   \"kept\": 0, \"kept_ids\": [], \"kept_as\": [],
   \"manifest_hash\": \"sha256:…\", \"dry_run\": false}")]
pub(super) struct Args {
    /// A node, a list of nodes, any tree whose lists called "nodes" hold nodes, or one node a line (.ndjson); - for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Take the nodes as the versions that they were, not as edits: what is later here stays.
    #[arg(long)]
    exact: bool,
    /// Say what would happen, but write nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    lattice: LatticeArg,
}

pub(super) fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let (settings, directory) = args.lattice.open()?;
    let name = input::name(&args.file);
    let source = input::open(&args.file)?;
    let options = ImportOptions {
        now: SystemClock::shared().now(),
        exact: args.exact,
        dry: args.dry_run,
        lines: args.file.extension().is_some_and(|extension| extension == "ndjson" || extension == "jsonl"),
        interrupt: stop::on_signal(output)?,
    };
    let report = {
        let progress = Progress::new("importing", output);
        ops::import(&directory, source, &settings.limits(), &options, |done, total| progress.at(done, total))
    };
    let report = report.map_err(|error| match error {
        ImportError::Directory(error) => Failure::from(error),
        error => Failure::from(error).about(&name),
    })?;
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

fn as_json(report: &ImportReport, dry_run: bool) -> Value {
    let refused: Vec<Value> = report.refused.iter().map(|it| json!({"place": it.place, "reason": it.reason})).collect();
    json!({
        "added": report.added, "changed": report.changed, "unchanged": report.unchanged,
        "refused": refused.len(), "refusals": refused, "kept": report.kept.len(), "kept_ids": report.kept,
        "kept_as": report.kept_as, "manifest_hash": report.set_hash, "dry_run": dry_run,
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
    if !report.kept.is_empty() {
        let named: Vec<&str> = report.kept.iter().take(NAMED).map(|id| id.as_str()).collect();
        text.push_str(&format!(
            "\nkept {}: {} later here, or the file does not say when; without --exact the file wins: {}",
            report.kept.len(),
            if report.kept.len() == 1 { "it is" } else { "they are" },
            named.join(", ")
        ));
    }
    for file in report.kept_as.iter().take(NAMED) {
        text.push_str(&format!("\nthe replaced version is kept as {file}"));
    }
    for refusal in report.refused.iter().take(NAMED) {
        text.push_str(&format!("\n  refused {}: {}", refusal.place, refusal.reason));
    }
    if report.refused.len() > NAMED {
        text.push_str(&format!("\n  and {} more; --json lists all", report.refused.len() - NAMED));
    }
    text.push_str(&format!("\nmanifest hash {}", report.set_hash));
    text
}
