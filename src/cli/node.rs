//! `node list|show|put|rm|hash|verify`: reads the files themselves, whether or not a service runs; edits go through the journal where no
//! service has it open. `node accept` needs the journal.

mod accept;

use super::{
    exit::Failure,
    input,
    job::{self, LatticeArg},
    output::{Output, count},
    progress::Progress,
    target,
};
use crate::ops::{self, Entry, Listing, Written};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Hex digits of a hash in the short table.
const SHORT_HASH: usize = 12;
/// What is wrong with a file whose time cannot be read.
const UNREADABLE_TIME: &str = "updated_at cannot be read as a time: when the file was changed counts";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List the nodes
    #[command(after_help = "\
Examples:
  ark-lattice node list --type framework_node
  ark-lattice node list --json | jq -r '.nodes[].id'

With --json; type is null where the document has none:
  {\"nodes\": [{\"id\": \"a\", \"type\": \"note\", \"hash\": \"sha256:…\",
   \"updated_at\": \"2026-01-01T00:00:00Z\", \"size\": 80}], \"count\": 1,
   \"broken\": [{\"file\": \"b.json\", \"reason\": \"…\"}]}")]
    List {
        /// Only nodes of this type.
        #[arg(long = "type", value_name = "TYPE")]
        node_type: Option<String>,
        /// Whole hashes, and sizes.
        #[arg(long)]
        long: bool,
        #[command(flatten)]
        lattice: LatticeArg,
    },
    /// Print a node as it stands in its file
    #[command(after_help = "\
Examples:
  ark-lattice node show python_flask_basic | jq .

Prints the node, which is JSON, with --json and without.")]
    Show {
        /// The node's id.
        id: String,
        #[command(flatten)]
        lattice: LatticeArg,
    },
    /// Write a node, as it is
    #[command(after_help = "\
What was there under the id is replaced; a broken file is kept aside. It counts
as edited now, or when its updated_at says that it was. Where a service runs on
the data directory, it sees the file; otherwise its journal is opened for a
moment. A directory that no service was ever started on has no journal.

Examples:
  ark-lattice node put note.json
  echo '{\"id\": \"hello\", \"type\": \"note\"}' | ark-lattice node put -

With --json; status is created, replaced or unchanged:
  {\"status\": \"created\", \"id\": \"hello\", \"hash\": \"sha256:…\"}")]
    Put {
        /// The node's JSON; - for standard input.
        file: PathBuf,
        /// The id that the node must have.
        #[arg(long)]
        id: Option<String>,
        #[command(flatten)]
        lattice: LatticeArg,
    },
    /// Delete a node
    #[command(after_help = "\
A broken file under its name is removed too. Where a service runs on the data
directory, it sees that; otherwise its journal is opened for a moment.

Examples:
  ark-lattice node rm hello

With --json:
  {\"status\": \"deleted\", \"id\": \"hello\"}")]
    Rm {
        /// The node's id.
        id: String,
        #[command(flatten)]
        lattice: LatticeArg,
    },
    /// Print the content hash of a file, of standard input (-), or of a node of the data directory
    #[command(after_help = "\
Examples:
  ark-lattice node hash python_flask_basic
  ark-lattice node hash - < note.json

With --json:
  {\"hash\": \"sha256:…\"}")]
    Hash {
        /// A file, -, or a node's id.
        what: String,
        #[command(flatten)]
        lattice: LatticeArg,
    },
    /// Date versions now: after files were restored from a backup on purpose
    Accept(accept::Args),
    /// Check every file of the data directory
    #[command(after_help = "\
Exits with 5 if a file is broken, or states an updated_at that cannot be read
as a time. Epoch seconds, epoch milliseconds (from 10^11 on), RFC 3339 and
ISO 8601 without an offset (UTC) are read.

Examples:
  ark-lattice node verify

With --json:
  {\"nodes\": 2, \"broken\": [{\"file\": \"b.json\", \"reason\": \"…\"}],
   \"unreadable_times\": [{\"file\": \"c.json\", \"reason\": \"…\"}]}")]
    Verify {
        #[command(flatten)]
        lattice: LatticeArg,
    },
}

pub(super) fn run(command: Command, output: &Output) -> Result<(), Failure> {
    match command {
        Command::List { node_type, long, lattice } => list(node_type.as_deref(), long, &lattice, output),
        Command::Show { id, lattice } => show(&id, &lattice, output),
        Command::Put { file, id, lattice } => put(&file, id.as_deref(), &lattice, output),
        Command::Rm { id, lattice } => remove(&id, &lattice, output),
        Command::Hash { what, lattice } => hash(&what, &lattice, output),
        Command::Accept(args) => accept::run(&args, output),
        Command::Verify { lattice } => verify(&lattice, output),
    }
}

fn list(node_type: Option<&str>, long: bool, lattice: &LatticeArg, output: &Output) -> Result<(), Failure> {
    let listing = lattice.open()?.1.list()?;
    let entries = listing.nodes.values().map(|node| node.entry.as_ref());
    let entries = entries.filter(|entry| node_type.is_none_or(|wanted| entry.node_type.as_deref() == Some(wanted)));
    if output.json() {
        let nodes: Vec<Value> = entries.map(entry_json).collect();
        return Ok(output.line(json!({"nodes": nodes, "count": nodes.len(), "broken": broken_json(&listing)}))?);
    }
    if long {
        output.table(&["id", "type", "updated", "bytes", "hash"], entries.map(|entry| row(entry, true)))?;
    } else {
        output.table(&["id", "type", "updated", "hash"], entries.map(|entry| row(entry, false)))?;
    }
    if !listing.broken.is_empty() {
        output.remark(format!("{} left out; see: ark-lattice node verify", count(listing.broken.len(), "broken file")));
    }
    Ok(())
}

fn row(entry: &Entry, long: bool) -> Vec<String> {
    let mut row =
        vec![entry.id.to_string(), entry.node_type.as_deref().unwrap_or("-").to_owned(), entry.updated_at.to_rfc3339()];
    if long {
        row.extend([entry.size_bytes.to_string(), entry.content_hash.to_string()]);
    } else {
        row.push(entry.content_hash.to_hex().chars().take(SHORT_HASH).collect());
    }
    row
}

fn entry_json(entry: &Entry) -> Value {
    json!({
        "id": entry.id, "type": entry.node_type, "updated_at": entry.updated_at.to_rfc3339(),
        "hash": entry.content_hash, "size": entry.size_bytes,
    })
}

fn broken_json(listing: &Listing) -> Vec<Value> {
    listing.broken.iter().map(|broken| json!({"file": broken.file, "reason": broken.reason})).collect()
}

fn missing(id: &str, lattice: &std::path::Path) -> Failure {
    Failure::local(format!("there is no node {id:?} in {}; see: ark-lattice node list", lattice.display()))
}

fn show(id: &str, lattice: &LatticeArg, output: &Output) -> Result<(), Failure> {
    let (_, directory) = lattice.open()?;
    let node = directory.read(&job::node_id(id)?)?;
    let node = node.ok_or_else(|| missing(id, directory.path()))?;
    Ok(output.bytes(&node.bytes)?)
}

fn put(file: &std::path::Path, id: Option<&str>, lattice: &LatticeArg, output: &Output) -> Result<(), Failure> {
    let (settings, directory) = lattice.open()?;
    let limits = settings.limits();
    let named = id.map(job::node_id).transpose()?;
    let text = input::read(file, limits.node_bytes)?;
    let about_file = |failure: Failure| failure.about(input::name(file));
    let node = ops::parse_node(text, named.as_ref(), &limits).map_err(|error| about_file(error.into()))?;
    let written = job::wait(async {
        let target = target::find_for_edits(&settings, &directory, output).await?;
        let written = target.put(node).await;
        target.close().await;
        written.map_err(|error| about_file(error.into()))
    })?;
    let (what, entry) = match &written {
        Written::Created(entry) => ("created", entry),
        Written::Replaced(entry) => ("replaced", entry),
        Written::Unchanged(entry) => ("unchanged", entry),
    };
    let answer = || json!({"status": what, "id": entry.id, "hash": entry.content_hash});
    Ok(output.answer(answer, || format!("{what} {} {}", entry.id, entry.content_hash))?)
}

fn remove(id: &str, lattice: &LatticeArg, output: &Output) -> Result<(), Failure> {
    let (settings, directory) = lattice.open()?;
    let node_id = job::node_id(id)?;
    let is_removed = job::wait(async {
        let target = target::find_for_edits(&settings, &directory, output).await?;
        let removed = target.remove(&node_id).await;
        target.close().await;
        removed.map_err(Failure::from)
    })?;
    if !is_removed {
        return Err(missing(id, directory.path()));
    }
    Ok(output.answer(|| json!({"status": "deleted", "id": id}), || format!("deleted {id}"))?)
}

fn hash(what: &str, lattice: &LatticeArg, output: &Output) -> Result<(), Failure> {
    let path = PathBuf::from(what);
    let settings = lattice.settings()?;
    let limits = settings.limits();
    let hash = if input::is_stdin(&path) || path.is_file() {
        let text = input::read(&path, limits.node_bytes)?;
        ops::hash_node(text, &limits).map_err(|error| Failure::local(error).about(input::name(&path)))?
    } else {
        let (_, directory) = lattice.open()?;
        let node = directory.read(&job::node_id(what)?)?;
        node.ok_or_else(|| missing(what, directory.path()))?.entry.content_hash
    };
    if output.json() {
        return Ok(output.line(json!({"hash": hash}))?);
    }
    Ok(output.line(hash)?)
}

fn verify(lattice: &LatticeArg, output: &Output) -> Result<(), Failure> {
    let (_, directory) = lattice.open()?;
    let listing = {
        let progress = Progress::new("checking", output);
        directory.list_with(|done, total| progress.at(done, Some(total)))?
    };
    let times = |file: &String| (file.clone(), UNREADABLE_TIME.to_owned());
    let times: Vec<(String, String)> = listing.unreadable_times.iter().map(times).collect();
    if output.json() {
        let unreadable: Vec<Value> =
            times.iter().map(|(file, reason)| json!({"file": file, "reason": reason})).collect();
        let broken = broken_json(&listing);
        output.line(json!({"nodes": listing.nodes.len(), "broken": broken, "unreadable_times": unreadable}))?;
    } else if !listing.broken.is_empty() || !times.is_empty() {
        let broken = listing.broken.iter().map(|broken| (broken.file.clone(), broken.reason.clone()));
        output.table(&["file", "reason"], broken.chain(times).map(|(file, reason)| vec![file, reason]))?;
    }
    let place = directory.path().display();
    if !listing.broken.is_empty() {
        let broken = count(listing.broken.len(), "broken file");
        return Err(Failure::differs(format!("{broken} in {place}: correct or remove them")));
    }
    if !listing.unreadable_times.is_empty() {
        let files = count(listing.unreadable_times.len(), "file");
        return Err(Failure::differs(format!(
            "{files} in {place} with a time that cannot be read: correct updated_at"
        )));
    }
    if !output.json() {
        output.answer(|| Value::Null, || format!("{}, every file sound", count(listing.nodes.len(), "node")))?;
    }
    Ok(())
}
