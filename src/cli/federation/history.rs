//! `federation history`: rounds that were.

use super::{
    model::{History, Past, instant},
    print,
};
use crate::{
    cli::{
        exit::Failure,
        output::{Output, size},
        service::ServiceArg,
    },
    ops::{Ask, percent_encode},
    types::Timestamp,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The newest first. Rounds in which nothing moved are only counted: see status.
Of rounds that another instance made with this one, what came is listed, as
from its id.

Examples:
  ark-lattice federation history --limit 5
  ark-lattice federation history --peer http://192.168.1.100:9000

With --json; outcome is in_step, waiting (equal but for
deletions that wait), unavailable (equal but for nodes whose files are broken,
counted in unavailable, or that are too large, counted in tooLarge), exchanged,
diverged (one way, and nodes that should be alike differ), unexplained, moving or
failed:
  {\"rounds\": [{\"at\": 1767225600.25, \"peer\": \"http://a:9000\", \"inbound\": false, \"durationMs\": 12, \"outcome\": \"in_step\",
   \"error\": null, \"nodesReceived\": 1, \"nodesSent\": 0, \"conflictsResolved\": 0, \"bytes\": 310,
   \"deletionsWaiting\": {\"here\": 0, \"there\": 0}}], \"count\": 1}")]
pub(in crate::cli) struct Args {
    /// Only rounds with this peer.
    #[arg(long, value_name = "URL")]
    peer: Option<String>,
    /// Most rounds.
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u64).range(1..=500))]
    limit: u64,
    #[command(flatten)]
    service: ServiceArg,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let service = args.service.open(output)?;
    let peer = args.peer.as_ref().map(|peer| format!("&peer={}", percent_encode(peer))).unwrap_or_default();
    let answer = service.ask(Ask::Get, &format!("federation/history?limit={}{peer}", args.limit), None)?;
    if output.json() {
        return print(output, &answer, String::new);
    }
    let rounds = service.read::<History>(&answer)?.rounds;
    if rounds.is_empty() {
        output.remark("Nothing was exchanged yet.");
        return Ok(());
    }
    let columns = &["when", "peer", "took", "outcome", "received", "sent", "conflicts", "bytes", "error"];
    Ok(output.table(columns, rounds.iter().map(row))?)
}

fn row(past: &Past) -> Vec<String> {
    let when = instant(&past.at).map(|at| Timestamp::from_seconds(at.seconds()).to_rfc3339());
    vec![
        when.unwrap_or_else(|| past.at.to_string()),
        if past.inbound { format!("from {}", past.peer) } else { past.peer.clone() },
        format!("{} ms", past.duration_ms),
        past.outcome.clone(),
        past.nodes_received.to_string(),
        past.nodes_sent.to_string(),
        past.conflicts_resolved.to_string(),
        size(past.bytes),
        past.error.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}
