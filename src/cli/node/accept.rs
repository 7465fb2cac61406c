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
use serde::{Deserialize, Serialize};
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
now, goes to all peers, and wins there. Where a peer's version replaced the file
already, nothing is changed: the file's content is kept, and this names the
command that brings it back.

The running service is asked. Where none runs, the data directory and the state
directory of the settings are opened for a moment.

Examples:
  ark-lattice node accept python_flask_basic
  cp -a /backup/notes-*.json lattice_data/
  ark-lattice node accept lattice_data/notes-*.json

With --json; exits with 1 if any is missing or was replaced:
  {\"accepted\": [\"notes-1\"], \"missing\": [],
   \"replaced\": [{\"id\": \"notes-2\", \"number\": 7, \"from\": \"laptop\"}]}")]
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
    #[serde(default)]
    replaced: Vec<Replaced>,
}

/// A node whose file was replaced by a version of another instance.
#[derive(Debug, Serialize, Deserialize)]
struct Replaced {
    id: String,
    /// Under which its content is kept.
    number: u64,
    from: String,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let settings = Settings::load(Overrides::new())?;
    let ids: BTreeSet<NodeId> = resolve(&args.nodes, &settings, output)?;
    let ids: Vec<NodeId> = ids.into_iter().collect();
    let service = args.service.open(output)?;
    let answer = match ask(&service, &ids)? {
        Some(answer) => answer,
        None => here(&settings, ids, output)?,
    };
    let (accepted, missing, replaced) = (&answer.accepted, &answer.missing, &answer.replaced);
    output.answer(
        || json!({"accepted": accepted, "missing": missing, "replaced": replaced}),
        || format!("{} edited now", counted_as(accepted.len())),
    )?;
    if let Some(first) = replaced.first() {
        return Err(too_late(replaced, first));
    }
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

/// The files are not those any more that were restored.
fn too_late(replaced: &[Replaced], first: &Replaced) -> Failure {
    let named: Vec<String> = replaced.iter().take(NAMED).map(|it| format!("{} by {}", it.id, it.from)).collect();
    let more = if replaced.len() > NAMED { ", …" } else { "" };
    let was = if replaced.len() == 1 { "file was" } else { "files were" };
    let (number, named) = (first.number, printable(&named.join(", ")));
    Failure::local(format!(
        "{} {was} replaced already, and nothing was changed: {named}{more}; what they held is kept: ark-lattice conflicts list --all; it counts \
         again with: ark-lattice conflicts restore {number}",
        replaced.len()
    ))
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
        let Answer { accepted, missing, replaced } = service.read(&answer)?;
        all.replaced.extend(replaced);
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
    let done = job::wait(startup::accept_nodes(settings, ids))?;
    let texts = |ids: Vec<NodeId>| ids.iter().map(ToString::to_string).collect();
    let replaced = done.replaced.into_iter();
    let replaced = replaced.map(|it| Replaced { id: it.id.to_string(), number: it.number, from: it.from.into() });
    Ok(Answer { accepted: texts(done.accepted), missing: texts(done.missing), replaced: replaced.collect() })
}
