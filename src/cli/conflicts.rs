//! `conflicts list|show|restore|dismiss`: edits made here that lost against another instance's.

use super::{
    exit::{Exit, Failure},
    output::{Output, added, bold, count, printable, removed, size},
    service::{Service, ServiceArg},
};
use crate::{
    ops::{Ask, conflict_lines},
    types::Timestamp,
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Number;
use similar::{Algorithm, ChangeTag, DiffOp, capture_diff_slices_deadline};
use std::time::{Duration, Instant};

/// The kind of what is not history.
const CONFLICT: &str = "conflict";
/// Lines around a change that are shown with it.
const AROUND: usize = 3;
/// How long the shortest difference is looked for; then any will do. Of two large nodes without a line in common it would take hours.
const LONGEST: Duration = Duration::from_secs(1);
/// Characters of a hash in the short table, its name aside.
const SHORT_HASH: usize = 12;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List what lost
    #[command(after_help = "\
A conflict is an edit made here that lost against a version of an instance that
had not been given it, as far as this instance knows. Conflicts are kept until
they are restored or dismissed. With --all also the history: versions that were
overruled by instances that had been given them. The newest 10,000 are kept,
64 MiB at most.

Examples:
  ark-lattice conflicts list
  ark-lattice conflicts list --all
  ark-lattice conflicts list --json | jq -r '.conflicts[].number'

With --json; next is there where there are more, for --after:
  {\"conflicts\": [{\"number\": 3, \"kind\": \"conflict\", \"id\": \"a\",
   \"noticed_at\": 1767225600, \"from\": \"ark-2\", \"lost\": {\"at\": 1767225590, \"hash\": \"sha256:…\"}, \"won\": {\"at\": 1767225595,
   \"hash\": \"sha256:…\"}, \"size\": 80}], \"count\": 1, \"total\": 1}")]
    List {
        /// The history too.
        #[arg(long)]
        all: bool,
        /// Most conflicts.
        #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u64).range(1..=1000))]
        limit: u64,
        /// Only conflicts with greater numbers.
        #[arg(long, value_name = "NUMBER", default_value = "0")]
        after: u64,
        #[command(flatten)]
        service: ServiceArg,
    },
    /// Show what lost beside what the node holds now, line by line
    #[command(after_help = "\
Lines with - are only in the version that lost, lines with + only in what the
node holds now.

Examples:
  ark-lattice conflicts show 3

With --json; current.node is not there where the node is deleted:
  {\"number\": 3, \"kind\": \"conflict\", \"id\": \"a\", \"noticed_at\": 1767225600,
   \"from\": \"ark-2\", \"lost\": {\"at\": 1767225590, \"hash\": \"sha256:…\"}, \"won\": {\"at\": 1767225595,
   \"hash\": \"sha256:…\"}, \"size\": 80, \"node\": {\"id\": \"a\"},
   \"current\": {\"at\": 1767225595, \"hash\": \"sha256:…\", \"node\": {\"id\": \"a\"}}}")]
    Show {
        /// The conflict's number.
        number: u64,
        #[command(flatten)]
        service: ServiceArg,
    },
    /// Restore the losing version as an edit made now; what it replaces goes to the history
    #[command(after_help = "\
The conflict is settled, here and at all peers. To take it back, restore what was
replaced from the history: its number is printed. With --all every conflict is
restored, in the order of their numbers; of several of one node the last one counts.

Examples:
  ark-lattice conflicts restore 3
  ark-lattice conflicts restore --all

With --json; status is restored, or unchanged where the node holds the same content;
with --all one line for each:
  {\"status\": \"restored\", \"number\": 3, \"id\": \"a\", \"hash\": \"sha256:…\",
   \"updated_at\": 1767225600, \"kept\": 4}")]
    Restore {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        service: ServiceArg,
    },
    /// Settle a conflict: the winning version stays, the losing one goes to the history
    #[command(after_help = "\
With --all every conflict of now is dismissed. A version of the history is forgotten,
with its content.

Examples:
  ark-lattice conflicts dismiss 3
  ark-lattice conflicts dismiss --all

With --json; status is dismissed, or forgotten of a version of the history; with --all
one line for each:
  {\"status\": \"dismissed\", \"number\": 3}")]
    Dismiss {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        service: ServiceArg,
    },
}

/// One conflict, or all.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// The conflict's number.
    number: Option<u64>,
    /// Every conflict; not the history.
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Deserialize)]
struct Settled {
    status: String,
    number: u64,
}

#[derive(Debug, Deserialize)]
struct List {
    conflicts: Vec<Conflict>,
    total: usize,
    next: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Conflict {
    number: u64,
    /// A service of 0.1.0 does not tell: it lists conflicts only.
    kind: Option<String>,
    id: String,
    noticed_at: Number,
    from: String,
    lost: Version,
    won: Version,
    size: u64,
}

#[derive(Debug, Deserialize)]
struct Version {
    at: Option<Number>,
    hash: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Detail {
    #[serde(flatten)]
    conflict: Conflict,
    current: Current,
}

#[derive(Debug, Deserialize)]
struct Current {
    #[serde(flatten)]
    version: Version,
    /// Its file is broken.
    #[serde(default)]
    unavailable: bool,
}

#[derive(Debug, Deserialize)]
struct Restored {
    status: String,
    id: String,
    kept: Option<u64>,
}

pub(super) fn run(command: Command, output: &Output) -> Result<(), Failure> {
    match command {
        Command::List { all, limit, after, service } => list((all, limit, after), &service.open(output)?, output),
        Command::Show { number, service } => show(number, &service.open(output)?, output),
        Command::Restore { which, service } => each(&which, &service.open(output)?, output, restore),
        Command::Dismiss { which, service } => each(&which, &service.open(output)?, output, dismiss),
    }
}

fn list((all, limit, after): (bool, u64, u64), service: &Service, output: &Output) -> Result<(), Failure> {
    let history = if all { "&history=true" } else { "" };
    let answer = service.ask(Ask::Get, &format!("conflicts?limit={limit}&after={after}{history}"), None)?;
    if output.json() {
        return raw(&answer, output);
    }
    let list: List = service.read(&answer)?;
    if list.conflicts.is_empty() {
        output.remark(match (list.total, all) {
            (0, false) => {
                "There are no conflicts here: each instance lists those of the edits made on it. The history: ark-lattice conflicts list --all"
            }
            (0, true) => "There are no conflicts, and there is no history.",
            _ => "There are none with greater numbers.",
        });
        return Ok(());
    }
    if all {
        let header = ["number", "kind", "node", "when", "from", "lost", "won", "size"];
        output.table(&header, list.conflicts.iter().map(row_with_kind))?;
    } else {
        output.table(&["number", "node", "when", "from", "lost", "won", "size"], list.conflicts.iter().map(row))?;
    }
    let what = if all { "version" } else { "conflict" };
    match list.next {
        Some(next) => output.remark(format!("{} in all; more with --after {next}", count(list.total, what))),
        None => output.remark("To see one: ark-lattice conflicts show NUMBER"),
    }
    Ok(())
}

fn row_with_kind(conflict: &Conflict) -> Vec<String> {
    let mut row = row(conflict);
    row.insert(1, kind(conflict).to_owned());
    row
}

fn kind(conflict: &Conflict) -> &str {
    conflict.kind.as_deref().unwrap_or(CONFLICT)
}

fn row(conflict: &Conflict) -> Vec<String> {
    vec![
        conflict.number.to_string(),
        conflict.id.clone(),
        time(Some(&conflict.noticed_at)),
        conflict.from.clone(),
        short(&conflict.lost),
        short(&conflict.won),
        size(conflict.size),
    ]
}

fn time(seconds: Option<&Number>) -> String {
    let instant = seconds.and_then(|seconds| Timestamp::from_seconds_text(&seconds.to_string()));
    instant.map_or_else(|| "-".to_owned(), |instant| Timestamp::from_seconds(instant.seconds()).to_rfc3339())
}

fn short(version: &Version) -> String {
    let hash = version.hash.as_deref().map(|hash| hash.strip_prefix("sha256:").unwrap_or(hash));
    hash.map_or_else(|| "deleted".to_owned(), |hash| hash.chars().take(SHORT_HASH).collect())
}

fn show(number: u64, service: &Service, output: &Output) -> Result<(), Failure> {
    let answer = service.ask(Ask::Get, &format!("conflicts/{number}"), None)?;
    if output.json() {
        return raw(&answer, output);
    }
    let Detail { conflict, current } = service.read(&answer)?;
    let sides = conflict_lines(&answer, &service.limits);
    let sides = sides.ok_or_else(|| {
        let problem = "does not answer as an ark-lattice service does: a content is missing";
        Failure::new(Exit::Refused, format!("{} {problem}", service.address()))
    })?;
    let Current { version: current, unavailable } = current;
    let now = match (&current.hash, current.hash == conflict.won.hash) {
        (None, _) if unavailable => "its file is broken, and cannot be read",
        (None, _) => "deleted",
        (Some(_), true) => "the version that won",
        (Some(_), false) => "a later version",
    };
    let version = |what: &str, version: &Version, note: &str| {
        format!("  {what:4}  {}  {:SHORT_HASH$}  {}", time(version.at.as_ref()), short(version), printable(note))
    };
    let (title, note) =
        if kind(&conflict) == CONFLICT { ("Conflict", "made here") } else { ("Overruled version", "held here before") };
    let mut lines = vec![
        bold(&format!("{title} {number}: {}", printable(&conflict.id))),
        version("lost", &conflict.lost, note),
        version("won", &conflict.won, &format!("from {}", conflict.from)),
        match unavailable {
            true => format!("  now   {now}"),
            false => version("now", &current, now),
        },
        String::new(),
    ];
    lines.extend(difference(&sides.lost, &sides.current.unwrap_or_default()));
    output.lines(&lines)?;
    output.remark(format!(
        "To restore the losing version (-): ark-lattice conflicts restore {number}\n\
         To keep the current version (+):   ark-lattice conflicts dismiss {number}"
    ));
    Ok(())
}

/// Both, line by line, with what is the same far from any change left out.
fn difference(lost: &[String], current: &[String]) -> Vec<String> {
    let ops = capture_diff_slices_deadline(Algorithm::Myers, lost, current, Some(Instant::now() + LONGEST));
    if ops.iter().all(|op| matches!(op, DiffOp::Equal { .. })) {
        return vec!["  Both have the same content.".to_owned()];
    }
    let mut out = Vec::new();
    for (number, group) in similar::group_diff_ops(ops, AROUND).iter().enumerate() {
        if number > 0 {
            out.push("  …".to_owned());
        }
        for change in group.iter().flat_map(|op| op.iter_changes(lost, current)) {
            let line = printable(&change.value());
            out.push(match change.tag() {
                ChangeTag::Equal => format!("  {line}"),
                ChangeTag::Delete => removed(&format!("- {line}")),
                ChangeTag::Insert => added(&format!("+ {line}")),
            });
        }
    }
    out
}

/// The one, or every conflict of now.
fn each(
    which: &Which,
    service: &Service,
    output: &Output,
    settle: impl Fn(u64, &Service, &Output) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if let Some(number) = which.number {
        return settle(number, service, output);
    }
    let numbers = numbers(service)?;
    if numbers.is_empty() {
        output.remark("There are no conflicts.");
    }
    numbers.into_iter().try_for_each(|number| match settle(number, service, output) {
        // Another command settled it meanwhile.
        Err(failure) if failure.code() == Some("conflict_not_found") => Ok(()),
        settled => settled,
    })
}

/// The numbers of all conflicts.
fn numbers(service: &Service) -> Result<Vec<u64>, Failure> {
    let (mut numbers, mut after) = (Vec::new(), Some(0));
    while let Some(from) = after {
        let list: List =
            service.read(&service.ask(Ask::Get, &format!("conflicts?limit=1000&after={from}"), None)?)?;
        numbers.extend(list.conflicts.iter().map(|conflict| conflict.number));
        after = list.next;
    }
    Ok(numbers)
}

fn restore(number: u64, service: &Service, output: &Output) -> Result<(), Failure> {
    let answer = service.ask(Ask::Post, &format!("conflicts/{number}/restore"), None);
    let answer = answer.map_err(|failure| match failure.code() {
        Some("precondition_failed") => failure.because("try again"),
        _ => failure,
    })?;
    if output.json() {
        return raw(&answer, output);
    }
    let restored: Restored = service.read(&answer)?;
    Ok(output.answer_text(|| {
        let kept = restored.kept.map(|kept| format!("; to take it back: ark-lattice conflicts restore {kept}"));
        let kept = kept.unwrap_or_default();
        format!("{} {}{kept}", restored.status, printable(&restored.id))
    })?)
}

fn dismiss(number: u64, service: &Service, output: &Output) -> Result<(), Failure> {
    let answer = service.ask(Ask::Delete, &format!("conflicts/{number}"), None)?;
    if output.json() {
        return raw(&answer, output);
    }
    let Settled { status, number } = service.read(&answer)?;
    Ok(output.answer_text(|| match status.as_str() {
        "forgotten" => format!("forgot version {number} of the history"),
        _ => format!("dismissed conflict {number}; its version is in the history: ark-lattice conflicts show {number}"),
    })?)
}

fn raw(answer: &Bytes, output: &Output) -> Result<(), Failure> {
    Ok(output.line(String::from_utf8_lossy(answer).trim())?)
}

#[cfg(test)]
mod tests {
    use super::difference;

    fn lines(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn only_what_is_near_a_change_is_shown() {
        let plain = |lost: &str, current: &str| {
            let all = difference(&lines(lost), &lines(current)).join("|");
            anstream::adapter::strip_str(&all).to_string()
        };
        assert_eq!(plain("a b c", "a x c"), "  a|- b|+ x|  c");
        assert_eq!(
            plain("1 2 3 4 5 6 7 8 9 a b c", "0 2 3 4 5 6 7 8 9 a b d"),
            "- 1|+ 0|  2|  3|  4|  …|  9|  a|  b|- c|+ d"
        );
        assert_eq!(plain("a b", "a b"), "  Both have the same content.");
    }
}
