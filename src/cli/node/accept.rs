//! `node accept`: the versions of nodes are dated now, by the running service or, where none runs, here.

use crate::{
    cli::{
        exit::{Exit, Failure},
        job,
        output::{Output, count, printable},
        service::{Service, ServiceArg},
    },
    ops::OfflineDirectory,
    settings::{Overrides, Settings},
    startup, telemetry,
    types::NodeId,
};
use serde::Deserialize;
use serde_json::json;
use std::{collections::BTreeSet, path::Path};

/// Ids in one request: some 512 KiB at the longest.
const AT_A_TIME: usize = 500;
/// Missing nodes that are named one by one.
const NAMED: usize = 3;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A file that is restored from a backup is older than what the service and its
peers had: newer versions of peers replace it. Accepted, it counts as edited
now, goes to all peers, and wins there.

The running service is asked. Where none runs, the data directory and the state
directory of the settings are opened for a moment.

Examples:
  ark-lattice node accept python_flask_basic
  cp -a /backup/notes-*.json lattice_data/
  ark-lattice node accept lattice_data/notes-*.json

With --json; exits with 1 if any is missing:
  {\"accepted\": [\"notes-1\"], \"missing\": []}")]
pub(in crate::cli) struct Args {
    /// Ids of nodes, or their files in the data directory.
    #[arg(required = true, value_name = "ID|FILE")]
    nodes: Vec<String>,
    #[command(flatten)]
    service: ServiceArg,
}

#[derive(Debug, Default, Deserialize)]
struct Answer {
    accepted: Vec<String>,
    missing: Vec<String>,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let settings = Settings::load(Overrides::new())?;
    let ids: BTreeSet<NodeId> = resolve(&args.nodes, &settings, output)?;
    let ids: Vec<NodeId> = ids.into_iter().collect();
    let service = args.service.open()?;
    let answer = match ask(&service, &ids)? {
        Some(answer) => answer,
        None => here(&settings, ids, output)?,
    };
    let (accepted, missing) = (&answer.accepted, &answer.missing);
    output.answer(
        || json!({"accepted": accepted, "missing": missing}),
        || format!("{} edited now", counted_as(accepted.len())),
    )?;
    if missing.is_empty() {
        return Ok(());
    }
    let named: Vec<String> = missing.iter().take(NAMED).map(|id| printable(id)).collect();
    let more = if missing.len() > NAMED { ", …" } else { "" };
    Err(Failure::local(format!(
        "{} missing, or broken: {}{more}; see: ark-lattice node list, ark-lattice node verify",
        if missing.len() == 1 { "1 node is".to_owned() } else { format!("{} are", count(missing.len(), "node")) },
        named.join(", ")
    )))
}

fn counted_as(number: usize) -> String {
    format!("{} {} as", count(number, "node"), if number == 1 { "counts" } else { "count" })
}

/// The ids that the arguments stand for. A file is one by its name `….json`, as a path or in the data directory.
fn resolve(nodes: &[String], settings: &Settings, output: &Output) -> Result<BTreeSet<NodeId>, Failure> {
    let mut ids = BTreeSet::new();
    for text in nodes {
        let Some(name) = file_name(text, &settings.lattice.path)? else {
            ids.insert(job::node_id(text)?);
            continue;
        };
        let directory = OfflineDirectory::open(&settings.lattice.path, settings.limits())?;
        match directory.id_in(&name)? {
            Some(id) => drop(ids.insert(id)),
            // As `*.json` names it.
            None => output.remark(format!("{name} is left out: it holds no node")),
        }
    }
    Ok(ids)
}

/// The file's name in the data directory, where the argument means a file.
fn file_name(text: &str, lattice: &Path) -> Result<Option<String>, Failure> {
    let path = Path::new(text);
    if path.extension().is_none_or(|extension| extension != "json") {
        return Ok(None);
    }
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(None) };
    if path.is_file() {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let both = (parent.canonicalize().ok(), lattice.canonicalize().ok());
        if both.0 == both.1 {
            return Ok(Some(name.to_owned()));
        }
        if text.contains('/') {
            let lattice = lattice.display();
            return Err(Failure::local(format!("{text} is not in the data directory {lattice}: copy it there first")));
        }
    }
    Ok((text == name && lattice.join(name).is_file()).then(|| name.to_owned()))
}

/// Asks the service; `None`: the own one does not run.
fn ask(service: &Service, ids: &[NodeId]) -> Result<Option<Answer>, Failure> {
    let mut all = Answer::default();
    for some in ids.chunks(AT_A_TIME) {
        let body = json!({"ids": some}).to_string();
        let Some(answer) = service.post_if_running("nodes/accept", body)? else { return Ok(None) };
        let Answer { accepted, missing } = service.read(&answer)?;
        all.accepted.extend(accepted);
        all.missing.extend(missing);
    }
    Ok(Some(all))
}

/// Does the same without a service.
fn here(settings: &Settings, ids: Vec<NodeId>, output: &Output) -> Result<Answer, Failure> {
    if !output.json() {
        // What is found at such a start is reported once: other files that are older than the journal, say.
        telemetry::start_logging("warn", false).map_err(|error| Failure::new(Exit::Local, error))?;
    }
    let accepted = job::wait(startup::accept_nodes(settings, ids.clone()))?;
    // In the order of their ids, as they were asked for.
    let missing = ids.into_iter().filter(|id| accepted.binary_search(id).is_err());
    let missing = missing.map(|id| id.to_string()).collect();
    Ok(Answer { accepted: accepted.iter().map(ToString::to_string).collect(), missing })
}
