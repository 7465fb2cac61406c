//! `audit verify|list`: what happened to trust here, and who was refused. Reads the state directory, also beside a running service.

use super::{
    exit::Failure,
    job::StateArg,
    output::{Output, count},
};
use crate::{
    ops::{self, AuditEntry, FileError},
    startup::AUDIT_FILE,
};
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check the audit log from its first line to its last
    #[command(after_help = "\
Note the hash somewhere else to be sure that nobody replaces the whole log.

Examples:
  ark-lattice audit verify
  ark-lattice audit verify --state backup/ark_state

With --json:
  {\"file\": \"ark_state/audit.log\", \"entries\": 12, \"hash\": \"…\", \"being_written\": false}")]
    Verify(StateArg),
    /// List what happened, the newest last
    #[command(after_help = "\
Examples:
  ark-lattice audit list --limit 20
  ark-lattice audit list --kind refused --json | jq -r '.entries[].detail.code'

With --json:
  {\"entries\": [{\"n\": 1, \"at\": \"2026-01-01T00:00:00Z\", \"kind\": \"level\", \"subject\": \"ark-2\",
   \"detail\": {\"level\": \"verified\", \"by\": \"operator\"}}], \"count\": 1, \"total\": 12}")]
    List {
        /// Only entries of this kind: level, rotation, quarantine, release, vouch, refused.
        #[arg(long)]
        kind: Option<String>,
        /// Only entries about this instance.
        #[arg(long, value_name = "ID")]
        about: Option<String>,
        /// Most entries: the newest.
        #[arg(long, value_name = "N", default_value = "100")]
        limit: usize,
        #[command(flatten)]
        place: StateArg,
    },
}

fn file(place: &StateArg) -> Result<PathBuf, Failure> {
    Ok(place.settings()?.state.path.join(AUDIT_FILE))
}

pub(super) fn run(command: Command, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Verify(place) => verify(&place, output),
        Command::List { kind, about, limit, place } => {
            let (entries, ..) = ops::read_audit(&file(&place)?).map_err(failed)?;
            let total = entries.len();
            let fits = |entry: &AuditEntry| {
                kind.as_ref().is_none_or(|kind| *kind == entry.kind)
                    && about.as_ref().is_none_or(|about| *about == entry.subject)
            };
            let mut entries: Vec<AuditEntry> = entries.into_iter().filter(fits).collect();
            drop(entries.drain(..entries.len().saturating_sub(limit)));
            list(&entries, total, output)
        }
    }
}

fn failed(error: FileError) -> Failure {
    match error {
        FileError::Damaged { .. } | FileError::Guard { .. } => Failure::differs(error),
        FileError::Io { .. } => Failure::local(error),
    }
}

fn verify(place: &StateArg, output: &Output) -> Result<(), Failure> {
    let file = file(place)?;
    let (entries, hash, being_written) = ops::read_audit(&file).map_err(failed)?;
    let value = || json!({"file": file, "entries": entries.len(), "hash": hash, "being_written": being_written});
    let entries = entries.len();
    let text = || {
        let entries = if entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") };
        format!("{}: {entries}, each follows from those before it\nhash of the last: {hash}", file.display())
    };
    Ok(output.answer(value, text)?)
}

fn list(entries: &[AuditEntry], total: usize, output: &Output) -> Result<(), Failure> {
    if output.json() {
        let entries: Vec<Value> = entries.iter().map(AuditEntry::to_json).collect();
        return Ok(output.line(json!({"entries": entries, "count": entries.len(), "total": total}))?);
    }
    let row = |entry: &AuditEntry| {
        let detail = Value::Object(entry.detail.clone()).to_string();
        vec![entry.number.to_string(), entry.at.to_rfc3339(), entry.kind.clone(), entry.subject.clone(), detail]
    };
    output.table(&["n", "when", "what", "about", "detail"], entries.iter().map(row))?;
    output.remark(format!("{} shown of {total}", count(entries.len(), "line")));
    Ok(())
}
