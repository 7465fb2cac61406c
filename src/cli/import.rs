//! `import`

use super::{
    exit::Failure,
    input,
    job::{self, LatticeArg},
    output::{Output, count},
    progress::Progress,
    stop, target,
};
use crate::{
    ops::{
        self, EditError, ImportError, ImportOptions, ImportReport, ImportTarget, NodeDocument, Offered,
        OfflineDirectory, TakeOptions, Written,
    },
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
stays (kept), also where the file does not say when a node was made, and a node
that was deleted here later stays deleted. One that loses is kept, as by
ark-lattice pull. Where no service runs on the data directory, its journal is
open until the import has ended. The manifest hash that is printed is that of
the nodes of the file, as they are in the directory then.

Examples:
  ark-lattice import nodes.json --dry-run
  ark-lattice import --exact backup.ndjson
  gunzip < backup.ndjson.gz | ark-lattice import --exact -

With --json:
  {\"added\": 2, \"changed\": 0, \"unchanged\": 0, \"refused\": 1,
   \"refusals\": [{\"place\": \"nodes[1]\", \"reason\": \"…\"}],
   \"kept\": 0, \"kept_ids\": [], \"kept_deleted\": 0, \"kept_deleted_ids\": [],
   \"kept_as\": [], \"overruled\": [],
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
    let name = input::name(&args.file);
    let report = import(&args, &name, output)?;
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

fn import(args: &Args, name: &str, output: &Output) -> Result<ImportReport, Failure> {
    let (settings, directory) = args.lattice.open()?;
    let source = input::open(&args.file)?;
    let options = ImportOptions {
        now: SystemClock::shared().now(),
        lines: args.file.extension().is_some_and(|extension| extension == "ndjson" || extension == "jsonl"),
        interrupt: stop::on_signal(output)?,
    };
    let limits = settings.limits();
    let progress = Progress::new("importing", output);
    let advance = |done: usize, total: Option<usize>| progress.at(done, total);
    let import = |target: ImportTarget<'_>| ops::import((&directory, target), source, &limits, &options, advance);
    let runtime = job::runtime()?;
    let report = if args.exact {
        let target = runtime.block_on(target::find(&settings, &directory, output))?;
        let take_options = TakeOptions { from: name, now: options.now, limits, dry: args.dry_run };
        let take = |offered: Vec<Offered>| runtime.block_on(target.take(offered, take_options));
        let report = import(ImportTarget::Exact(&take));
        runtime.block_on(target::release(&target));
        report
    } else if args.dry_run {
        // From the files: to open the journal would write down what changed in them.
        import(ImportTarget::Edits(&|nodes| would_put(&directory, nodes)))
    } else {
        let target = runtime.block_on(target::find_for_edits(&settings, &directory, output))?;
        let report = import(ImportTarget::Edits(&|nodes| runtime.block_on(target.put_many(nodes))));
        runtime.block_on(target.close());
        report
    };
    report.map_err(|error| match error {
        ImportError::Edit(error) => Failure::from(error),
        ImportError::Take(error) => Failure::from(error),
        error => Failure::from(error).about(name),
    })
}

/// What it would do to write these nodes.
fn would_put(
    directory: &OfflineDirectory,
    nodes: Vec<NodeDocument>,
) -> Result<Vec<Result<Written, EditError>>, EditError> {
    Ok(directory.put_many(nodes, true)?.into_iter().map(|written| Ok(written?)).collect())
}

fn as_json(report: &ImportReport, dry_run: bool) -> Value {
    let refused: Vec<Value> = report.refused.iter().map(|it| json!({"place": it.place, "reason": it.reason})).collect();
    json!({
        "added": report.added, "changed": report.changed, "unchanged": report.unchanged,
        "refused": refused.len(), "refusals": refused, "kept": report.kept.len(), "kept_ids": report.kept,
        "kept_deleted": report.kept_deleted.len(), "kept_deleted_ids": report.kept_deleted,
        "kept_as": report.kept_as, "overruled": report.overruled, "manifest_hash": report.set_hash, "dry_run": dry_run,
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
    if !report.kept_deleted.is_empty() {
        let named: Vec<&str> = report.kept_deleted.iter().take(NAMED).map(|id| id.as_str()).collect();
        let (number, named) = (report.kept_deleted.len(), named.join(", "));
        text.push_str(&format!("\n{number} kept deleted here: deleted later than the version was made: {named}"));
    }
    if !report.overruled.is_empty() {
        let replaced = count(report.overruled.len(), "replaced version");
        text.push_str(&format!("\n{replaced} kept in the history: ark-lattice conflicts list --all"));
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
