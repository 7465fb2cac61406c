//! `pull`

use super::{
    exit::Failure,
    job::{self, CaFileArg, LatticeArg},
    output::{Output, count, size},
    progress::Progress,
    stop, target,
};
use crate::{
    ops::{self, PullOptions, PullReport, Standing},
    types::SystemClock,
};
use serde_json::{Value, json};

/// Kept nodes and refusals that are named one by one.
const NAMED: usize = 20;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Of two versions of a node the later one wins, on either side, as it does
between services. A deletion is a version too: a node that was deleted here later
than the other version was made stays deleted. Where a service runs on the data
directory, it takes the versions; otherwise its journal is opened for a moment. A
version here that loses is kept: ark-lattice conflicts list --all. A directory
that no service was ever started on has no journal: there updated_at counts, else
when the file was last changed, and what loses is kept in .ark-overruled in it.
Nodes that are only here stay. The first request lists all nodes that
are here: with more than about 300000 the other side's limits.sync_bytes may
be too small. A file that cannot be written is named, and so is a node that is
larger than limits.node_bytes here; the rest is taken.
Exits with 5 if something was refused.

Examples:
  ark-lattice pull --from https://ark.example --dry-run
  ark-lattice pull --from https://ark.example --lattice copy

With --json:
  {\"added\": 1, \"replaced\": 0, \"kept\": 0, \"kept_ids\": [],
   \"kept_deleted\": 0, \"kept_deleted_ids\": [], \"unchanged\": 0,
   \"refused\": 1, \"refusals\": [{\"node\": \"a\", \"reason\": \"…\"}],
   \"kept_as\": [\".ark-overruled/b.json~1a2b3c4d\"], \"overruled\": [12], \"bytes\": 80,
   \"dry_run\": false, \"in_step\": false, \"only_here\": 0,
   \"manifest_hash\": \"sha256:…\", \"original\": false}

An original ARK service (Node.js or Python) signs nothing and states no hash of
its set: manifest_hash is null, and original true.")]
pub(super) struct Args {
    /// The instance to fetch from, such as http://127.0.0.1:9001.
    #[arg(long, value_name = "URL")]
    from: String,
    #[command(flatten)]
    authorities: CaFileArg,
    /// Fetch and judge, but write nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    lattice: LatticeArg,
}

pub(super) fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let (settings, directory) = args.lattice.open()?;
    let client = args.authorities.client(&settings, &args.from)?;
    let clock = SystemClock::shared();
    let options = PullOptions { dry: args.dry_run, interrupt: stop::on_signal(output)? };
    let report = {
        let progress = Progress::new("pulling", output);
        let advance = |came: usize, announced: usize| progress.at(came, Some(announced));
        job::wait(async {
            let target = target::find(&settings, &directory, output).await?;
            let places = ((&directory, target.clone()), (&client, args.from.as_str()));
            let pulled = ops::pull(places.0, places.1, settings.limits(), clock, options, advance).await;
            target::release(&target).await;
            pulled.map_err(|error| explained(error.into()))
        })?
    };
    if report.is_original {
        output.remark(format!(
            "{} is an original ARK service, which signs nothing: whoever answers there is believed.",
            args.from
        ));
    }
    output.answer(|| as_json(&report), || as_text(&report, &args.from))?;
    if report.refused > 0 {
        let all =
            if report.standing == Standing::DryRun { "" } else { "; the others were taken: correct it and pull again" };
        return Err(Failure::differs(format!(
            "{} refused; the first: {}{all}",
            count(report.refused, "node"),
            report.refusals.first().map(|(what, reason)| format!("{what}: {reason}")).unwrap_or_default()
        )));
    }
    if let Standing::OwnBroken { count: broken, first } = &report.standing {
        return Err(Failure::differs(format!(
            "not in step with {}: {} here cannot be read, the first is {first}; correct it and pull again; see: ark-lattice node verify",
            args.from,
            count(*broken, "file"),
        )));
    }
    if report.standing == Standing::Unexplained {
        return Err(Failure::differs(format!(
            "all that came was taken, but the sets differ: {} changed meanwhile or left something out; pull again",
            args.from
        )));
    }
    Ok(())
}

/// The request lists all that is here: a limit of the other side's that it exceeds is not the user's fault.
fn explained(failure: Failure) -> Failure {
    if failure.code() == Some("body_too_large") {
        return failure.because(
            "there are more nodes here than the other side takes in one request: raise its limits.sync_bytes",
        );
    }
    failure
}

fn as_json(report: &PullReport) -> Value {
    let (in_step, only_here) = match report.standing {
        Standing::DryRun => (Value::Null, Value::Null),
        Standing::InStep => (Value::Bool(true), Value::from(0)),
        Standing::Differs { only_here, .. } => (Value::Bool(false), Value::from(only_here)),
        Standing::Unexplained | Standing::OwnBroken { .. } => (Value::Bool(false), Value::Null),
    };
    let refusals: Vec<Value> =
        report.refusals.iter().map(|(what, reason)| json!({"node": what, "reason": reason})).collect();
    json!({
        "added": report.added, "replaced": report.replaced, "kept": report.kept.len(), "kept_ids": report.kept,
        "kept_deleted": report.kept_deleted.len(), "kept_deleted_ids": report.kept_deleted,
        "unchanged": report.unchanged, "refused": report.refused, "refusals": refusals, "kept_as": report.kept_as, "overruled": report.overruled,
        "bytes": report.bytes,
        "dry_run": report.standing == Standing::DryRun, "in_step": in_step, "only_here": only_here,
        "manifest_hash": report.their_hash, "original": report.is_original,
    })
}

fn as_text(report: &PullReport, from: &str) -> String {
    let mut lines = vec![format!(
        "{}{} added, {} replaced, {} kept, {} refused; {} received",
        if report.standing == Standing::DryRun { "Dry run: " } else { "" },
        report.added,
        report.replaced,
        report.kept.len(),
        report.refused,
        size(report.bytes)
    )];
    lines.extend(report.kept.iter().take(NAMED).map(|id| format!("  kept {id}: the version here wins")));
    if !report.kept_deleted.is_empty() {
        lines.push(format!(
            "  {} kept deleted here: deleted later than the other version was made",
            report.kept_deleted.len()
        ));
        lines.extend(report.kept_deleted.iter().take(NAMED).map(|id| format!("    {id}")));
    }
    if !report.overruled.is_empty() {
        let replaced = count(report.overruled.len(), "replaced version");
        lines.push(format!("  {replaced} kept in the history: ark-lattice conflicts list --all"));
    }
    let overruled = report.kept_as.iter().take(NAMED);
    lines.extend(overruled.map(|file| format!("  the replaced version is kept as {file}")));
    if let Some(more) = report.kept_as.len().checked_sub(NAMED).filter(|more| *more > 0) {
        lines.push(format!("  and {more} more; --json lists all"));
    }
    lines.extend(report.refusals.iter().take(NAMED).map(|(what, reason)| format!("  refused {what}: {reason}")));
    lines.extend(match report.standing {
        Standing::DryRun => Some("Nothing was written.".to_owned()),
        Standing::InStep => Some(format!("In step with {from}.")),
        Standing::Differs { only_here, not_taken } => {
            Some(format!("Not in step with {from}: {} only here, {not_taken} not taken.", count(only_here, "node")))
        }
        Standing::Unexplained | Standing::OwnBroken { .. } => None,
    });
    lines.join("\n")
}
