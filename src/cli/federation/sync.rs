//! `federation sync`: rounds now, each told of as it ends.

use super::{
    CONTROLS,
    model::{Lattice, LeftOut, Peers, Status, Synced, SyncedPeer},
};
use crate::{
    cli::{
        exit::{Exit, Failure},
        job,
        output::{Output, count, size},
        progress::Progress,
        service::{Service, ServiceArg},
    },
    ops::{Ask, FailureKind},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::time::Duration;

/// A first round may move everything. While it goes on, the service says nothing.
pub(in crate::cli) const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);
/// Rounds that are asked for at the same time: as many as a service makes by itself.
const TOGETHER: usize = 8;
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Deletions of more than ten nodes and more than a quarter of them wait, everything
else is exchanged; --confirm-deletions carries them out. Exits with 4 if a peer
cannot be reached or fails, with 3 if it refuses, with 5 if it is not who it was,
deletions wait, it leaves something out, or changes go one way only and nodes that
both sides knew differ (they are counted), and with 1 if the data directory here
cannot be used. Nodes whose files are broken here or there, and nodes that are
larger than limits.node_bytes of the side that would take them, are left out and
counted; everything else is exchanged.

Examples:
  ark-lattice federation sync
  ark-lattice federation sync --peer http://192.168.1.100:9000

With --json:
  {\"status\": \"synced\", \"result\": [{\"peer\": \"http://192.168.1.100:9000\", \"success\": true,
   \"nodesSent\": 15, \"nodesReceived\": 23, \"conflictsResolved\": 0, \"bytes\": 5120, \"requests\": 3,
   \"outcome\": \"in_step\", \"error\": null, \"errorCode\": null, \"next\": null, \"deletionsWaiting\": {\"here\": 0, \"there\": 0}}],
   \"lattice\": {\"status\": \"ok\", \"brokenFiles\": 0}}
status is partial where some peers failed, failed where all did or the data directory
here cannot be used, and differs where none did but sets differ or deletions wait:
see outcome. It is synced only where the exit code is 0.
Where broken nodes are left out: \"outcome\": \"unavailable\", \"unavailable\": {\"here\": 1, \"there\": 0}
Where nodes are too large: \"outcome\": \"unavailable\", \"tooLarge\": {\"here\": 1, \"there\": 0}
Where changes go one way and nodes differ (within the filter, if any): \"outcome\": \"diverged\", \"differences\":
  {\"newerThere\": 5, \"newerHere\": 0, \"deletedThere\": 0, \"deletedHere\": 0, \"onlyThere\": 0, \"onlyHere\": 0}")]
pub(in crate::cli) struct Args {
    /// Only with this peer.
    #[arg(long, value_name = "URL")]
    peer: Option<String>,
    /// What the peers delete here is right, however much: what waits is carried out, and what this round brings.
    #[arg(long)]
    confirm_deletions: bool,
    #[command(flatten)]
    service: ServiceArg,
}

/// How a peer's round went.
struct Told {
    result: SyncedPeer,
    /// As the service says it.
    raw: Value,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let service = args.service.open_for(output, Some(PATIENCE))?;
    let told = job::wait(sync(args, &service, output))?;
    let status = service.ask(Ask::Get, &format!("{CONTROLS}/status"), None)?;
    let lattice = service.read::<Status>(&status)?.lattice;
    if output.json() {
        let status = in_a_word(&told, &lattice, output);
        let result: Vec<&Value> = told.iter().map(|told| &told.raw).collect();
        let mut own = json!({"status": lattice.status, "brokenFiles": lattice.broken_files});
        if let (Some(detail), Some(own)) = (&lattice.detail, own.as_object_mut()) {
            own.insert("detail".to_owned(), detail.as_str().into());
        }
        output.line(json!({"status": status, "result": result, "lattice": own}))?;
    } else {
        if told.is_empty() {
            output.remark("There are no peers; add one with: ark-lattice federation add-peer URL");
        }
        if lattice.broken_files > 0 {
            let broken = count(lattice.broken_files, "broken file");
            let text = format!("{broken} in the data directory here: what is in it now goes to nobody");
            output.finding("warn", "this instance", &text, Some("correct what this names: ark-lattice doctor"))?;
        }
    }
    degraded(&lattice)?;
    verdict(&told, output)
}

/// What all rounds together come to, as the exit code does: `synced` only where that is 0.
fn in_a_word(told: &[Told], lattice: &Lattice, output: &Output) -> &'static str {
    let failed = told.iter().filter(|told| !told.result.success).count();
    match failed {
        _ if degraded(lattice).is_err() => "failed",
        0 if verdict(told, output).is_err() => "differs",
        0 => "synced",
        failed if failed < told.len() => "partial",
        _ => "failed",
    }
}

/// Fails where the lattice of this instance cannot be used: what its rounds say is not true then.
pub(super) fn degraded(lattice: &Lattice) -> Result<(), Failure> {
    match &lattice.detail {
        Some(detail) if lattice.status == "failing" => Err(Failure::local(format!(
            "the lattice of this instance is degraded: {detail}; see also: ark-lattice doctor"
        ))),
        _ => Ok(()),
    }
}

async fn sync(args: &Args, service: &Service, output: &Output) -> Result<Vec<Told>, Failure> {
    let peers = match &args.peer {
        Some(peer) => vec![peer.clone()],
        None => {
            let answer = service.answer(Ask::Get, &format!("{CONTROLS}/peers"), None).await?;
            service
                .read::<Peers>(&answer)?
                .peers
                .into_iter()
                .filter(|peer| !peer.is_left_out())
                .map(|peer| peer.url)
                .collect()
        }
    };
    let progress = Progress::waiting("exchanging", output);
    let work = async {
        let rounds =
            stream::iter(&peers).map(|peer| round(args.confirm_deletions, service, peer)).buffer_unordered(TOGETHER);
        let mut rounds = std::pin::pin!(rounds);
        let mut all = Vec::with_capacity(peers.len());
        while let Some(told) = rounds.next().await {
            let told = told?;
            if !output.json() {
                progress.above(|| say(&told.result, output))?;
            }
            all.push(told);
        }
        Ok(all)
    };
    tokio::select! {
        all = work => all,
        never = watch(service, &progress, output) => match never {},
    }
}

/// The most rounds with a peer that was just added, while changes go on.
const MOST_ROUNDS: usize = 5;

/// Rounds with one peer that was just added, until none goes on; reported as `sync` reports one. Answers the last round as the service
/// describes it, and what it comes to.
pub(in crate::cli) fn with_one_peer(
    service: &Service,
    peer: &str,
    output: &Output,
) -> Result<(Value, Result<(), Failure>), Failure> {
    let mut told = job::wait(round(false, service, peer))?;
    for _ in 1..MOST_ROUNDS {
        if told.result.outcome.as_deref() != Some("moving") {
            break;
        }
        told = job::wait(round(false, service, peer))?;
    }
    if !output.json() {
        say(&told.result, output)?;
    }
    let raw = told.raw.clone();
    Ok((raw, verdict(&[told], output)))
}

async fn round(confirm_deletions: bool, service: &Service, peer: &str) -> Result<Told, Failure> {
    let body = json!({"peerUrl": peer, "confirmDeletions": confirm_deletions});
    let answer = service.answer(Ask::Post, &format!("{CONTROLS}/sync"), Some(body.to_string())).await?;
    let (result, raw) = first(service, &answer)?;
    Ok(Told { result, raw })
}

fn first(service: &Service, answer: &Bytes) -> Result<(SyncedPeer, Value), Failure> {
    let nothing = || Failure::new(Exit::Refused, format!("{} tells of no round; try again", service.address()));
    let raw: Value = service.read(answer)?;
    let raw = raw.get("result").and_then(|result| result.get(0)).cloned().ok_or_else(nothing)?;
    let result = service.read::<Synced>(answer)?.result.into_iter().next().ok_or_else(nothing)?;
    Ok((result, raw))
}

/// Shows how many changes came so far, for as long as somebody looks.
async fn watch(service: &Service, progress: &Progress, output: &Output) -> std::convert::Infallible {
    if !output.shows_progress() {
        return std::future::pending().await;
    }
    let mut before = None;
    loop {
        // Whatever fails here shows where it matters.
        if let Ok(answer) = service.answer(Ask::Get, &format!("{CONTROLS}/status"), None).await
            && let Ok(status) = service.read::<Status>(&answer)
        {
            let seq = status.lattice.seq;
            let came = usize::try_from(seq.saturating_sub(*before.get_or_insert(seq))).unwrap_or(usize::MAX);
            progress.say(format!("exchanging, {} here so far", count(came, "change")));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn say(result: &SyncedPeer, output: &Output) -> std::io::Result<()> {
    if let Some(error) = &result.error {
        return output.finding("fail", &result.peer, error, Some(&next(result)));
    }
    let state = match result.outcome.as_deref() {
        Some("in_step") => "; in step",
        Some("moving") => "; goes on, there are newer changes",
        Some("unexplained") => "; the sets differ, and nothing says why",
        Some("waiting") => "; in step but for deletions that wait",
        Some("unavailable") => "; in step but for nodes that are left out",
        _ => "",
    };
    let text = format!(
        "{} sent, {} received, {}, {}{state}",
        result.nodes_sent,
        result.nodes_received,
        count(result.conflicts_resolved, "conflict"),
        size(result.bytes)
    );
    let (here, there) = waiting(result);
    let mut text = match places(here, there, waiting_words) {
        Some(waiting) => format!("{text}; {waiting}"),
        None => text,
    };
    let mut next = (here > 0).then(|| confirm(result));
    for (nodes, correct) in left_out(result).into_iter().chain(too_large(result)) {
        text = format!("{text}; {nodes}");
        next = next.or(Some(correct));
    }
    let text = match result.differences.words() {
        Some(differences) => format!("{text}; {differences}"),
        None => text,
    };
    let next = next.or_else(|| diverged(result).then(|| exchange_both_ways(&result.peer)));
    let calm = result.outcome.as_deref() != Some("unexplained") && (here, there) == (0, 0) && next.is_none();
    output.finding(if calm { "ok" } else { "warn" }, &result.peer, &text, next.as_deref())
}

/// What was left out because of broken files, and what to do.
fn left_out(result: &SyncedPeer) -> Option<(String, String)> {
    let LeftOut { here, there } = result.unavailable;
    let nodes = places(here, there, |nodes| count(nodes, "unavailable node"))?;
    let correct = match (here, there) {
        (0, _) => "on that machine, correct the files that this names: ark-lattice doctor",
        (_, 0) => "correct the files that this names: ark-lattice doctor",
        _ => "correct the files that this names on both machines: ark-lattice doctor",
    };
    Some((nodes, correct.to_owned()))
}

/// What was left out for its size, and what to do.
fn too_large(result: &SyncedPeer) -> Option<(String, String)> {
    let LeftOut { here, there } = result.too_large;
    let nodes = places(here, there, |nodes| format!("{} too large", count(nodes, "node")))?;
    let raise = match (here, there) {
        (0, _) => {
            "to send them, on that machine raise limits.node_bytes, and limits.sync_bytes where that is smaller; the log names them"
        }
        (_, 0) => "to take them, raise limits.node_bytes here; the log names them",
        _ => "to exchange them, raise limits.node_bytes on both machines; the log names them",
    };
    Some((nodes, raise.to_owned()))
}

/// Do changes go one way only, and nodes differ that should be alike?
fn diverged(result: &SyncedPeer) -> bool {
    result.outcome.as_deref() == Some("diverged")
}

/// What makes sets equal between which changes go one way only.
pub(super) fn exchange_both_ways(peer: &str) -> String {
    format!(
        "this direction does not carry that; to exchange both ways (with the same filter, where the peer has one): ark-lattice federation \
         add-peer {peer} --direction both"
    )
}

/// Deletions that wait here and there.
fn waiting(result: &SyncedPeer) -> (u64, u64) {
    (result.deletions_waiting.here, result.deletions_waiting.there.unwrap_or_default())
}

/// How many there are here and there; `None`: none.
fn places(here: u64, there: u64, counted: impl Fn(u64) -> String) -> Option<String> {
    match (here, there) {
        (0, 0) => None,
        (0, there) => Some(format!("{} there", counted(there))),
        (here, 0) => Some(format!("{} here", counted(here))),
        (here, there) => Some(format!("{} here and {there} there", counted(here))),
    }
}

fn waiting_words(deletions: u64) -> String {
    let word = if deletions == 1 { "waits" } else { "wait" };
    format!("{} {word}", count(deletions, "deletion"))
}

fn confirm(result: &SyncedPeer) -> String {
    format!("if that is right: ark-lattice federation sync --peer {} --confirm-deletions", result.peer)
}

/// The exit code of a failure: of its code, which a service of 0.1.0 does not state.
fn exit(result: &SyncedPeer) -> Exit {
    let kind = result.error_code.as_deref().and_then(FailureKind::parse);
    kind.map_or(Exit::Unavailable, |kind| kind.class().into())
}

fn next(result: &SyncedPeer) -> String {
    result.next.clone().unwrap_or_else(|| "see the log of the service".to_owned())
}

fn verdict(told: &[Told], output: &Output) -> Result<(), Failure> {
    let failed: Vec<&SyncedPeer> = told.iter().map(|told| &told.result).filter(|result| !result.success).collect();
    if let Some(first) = failed.first() {
        let error = first.error.as_deref().unwrap_or("it failed");
        let text = format!("{} of {} failed", failed.len(), count(told.len(), "peer"));
        let failure = Failure::new(exit(first), text).with_code(first.error_code.as_deref());
        // On a terminal both stand with the peer, just above.
        return Err(match output.json() {
            true => failure.because(format!("{}: {error}", first.peer)).because(next(first)),
            false => failure.because("what to do stands with each"),
        });
    }
    let waits = told.iter().map(|told| &told.result).find(|result| waiting(result) != (0, 0));
    if let Some(result) = waits {
        let (here, there) = waiting(result);
        let (peer, here_first) = (&result.peer, here > 0);
        let place = if here_first { "here" } else { "there" };
        let text = format!("{peer}: {} {place}", waiting_words(if here_first { here } else { there }));
        let next = match here_first {
            true => confirm(result),
            false => "see: ark-lattice federation status".to_owned(),
        };
        return Err(Failure::differs(text).because(next));
    }
    if let Some(result) = told.iter().map(|told| &told.result).find(|result| diverged(result)) {
        let differences = result.differences.words().unwrap_or_else(|| "the sets differ".to_owned());
        return Err(
            Failure::differs(format!("{}: {differences}", result.peer)).because(exchange_both_ways(&result.peer))
        );
    }
    let unexplained = told.iter().find(|told| told.result.outcome.as_deref() == Some("unexplained"));
    unexplained.map_or(Ok(()), |told| {
        let peer = &told.result.peer;
        Err(Failure::differs(format!(
            "everything was exchanged with {peer}, but the sets differ; one side refuses a node: see both logs"
        )))
    })
}
