//! `federation status`, once or again and again.

use super::{
    CONTROLS, deletions,
    model::{Status, interval},
    peers, sync,
};
use crate::{
    cli::{
        exit::Failure,
        job,
        output::{Output, bold, count, printable, size, table_lines},
        service::{Service, ServiceArg},
    },
    ops::Ask,
    types::{PublicKey, SystemClock, Timestamp},
};
use bytes::Bytes;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// An hour and more between two looks is a job for cron.
const LONGEST_SECONDS: u64 = 3600;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A peer is online when the last round with it came to its end, offline when it does
not answer, failing when it answers and rounds fail, new before the first round, left out
where this instance exchanges with its hub only, and stopped while the federation of this instance is. Below the table stands what to do
about each that is offline or failing. What is to send and to receive is known since the last contact.
An instance that connects here is online while it comes as lately as it said;
\"to send\" is what it does not have yet of this one, \"to receive\" the reverse.
Exits with 1 if the lattice of this instance is degraded (not with --watch).
Elsewhere than on a terminal --watch prints one status after the other; Ctrl-C
ends it, with exit code 0.

Examples:
  ark-lattice federation status
  ark-lattice federation status --watch
  ark-lattice federation status --watch 10 --json | jq -c .stats

With --json, what GET /api/federation/status answers; with --watch too, one
line each time:
  {\"status\": \"ok\",
   \"info\": {\"instanceId\": \"ark-1\", \"instanceName\": \"ARK-local-ark-1\", \"instanceType\": \"local\",
    \"federationMode\": \"p2p\", \"listenPort\": 9001, \"autoSync\": true, \"syncInterval\": 60000,
    \"peers\": [\"http://a:9000\"], \"publicKey\": \"…\", \"address\": null},
   \"isRunning\": true, \"activePeers\": [\"http://a:9000\"],
   \"stats\": {\"totalSyncs\": 42, \"nodesSent\": 15, \"nodesReceived\": 23, \"conflictsResolved\": 0,
    \"bytes\": 5120, \"failures\": 0},
   \"peers\": [{\"url\": \"http://a:9000\", \"nodeId\": \"a\", \"publicKey\": \"…\", \"active\": true,
    \"direction\": \"both\", \"filter\": {\"types\": [], \"ids\": [], \"tags\": []}, \"priority\": false,
    \"addedAt\": 1767225600, \"lastSync\": 1767225600, \"lag\": {\"toSend\": 0, \"toReceive\": 0},
    \"deletionsWaiting\": {\"here\": 0, \"there\": 0}, \"error\": null, \"errorCode\": null, \"next\": null,
    \"failuresInARow\": 0, \"stats\": {\"rounds\": 42, \"failures\": 0, \"nodesSent\": 15,
     \"nodesReceived\": 23, \"conflictsResolved\": 0, \"bytes\": 5120}}],
   \"lattice\": {\"status\": \"ok\", \"brokenFiles\": 0, \"nodes\": 32, \"seq\": 40, \"manifestHash\": \"sha256:…\", \"conflicts\": 0},
   \"inbound\": [{\"nodeId\": \"laptop\", \"publicKey\": \"…\", \"trust\": \"verified\", \"active\": true,
    \"address\": \"192.0.2.7\", \"direction\": \"both\", \"filtered\": false, \"outcome\": \"in_step\",
    \"firstContact\": 1767225600, \"lastContact\": 1767225600, \"lag\": {\"toSend\": 0, \"toReceive\": 0}, \"nodesReceived\": 15}],
   \"deletionsWaiting\": [{\"from\": \"a\", \"deletions\": 40, \"since\": 1767225600}],
   \"sharedIds\": [{\"nodeId\": \"pi\", \"own\": false, \"sharing\": \"other_key\", \"otherKey\": \"…\", \"seenAt\": \"192.0.2.7\",
    \"firstSeen\": 1767225600, \"lastSeen\": 1767225600, \"text\": \"…\", \"next\": \"…\"}]}")]
pub(in crate::cli) struct Args {
    /// Look again every so many seconds.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=LONGEST_SECONDS))]
    watch: Option<u64>,
    #[command(flatten)]
    service: ServiceArg,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let service = args.service.open(output)?;
    match args.watch {
        None => {
            let answer = service.ask(Ask::Get, &path(), None)?;
            show(&service, &answer, output)?;
            verdict(&service, &answer)
        }
        Some(seconds) => job::wait(watch(args, service, Duration::from_secs(seconds), output)),
    }
}

fn path() -> String {
    format!("{CONTROLS}/status")
}

fn show(service: &Service, answer: &Bytes, output: &Output) -> Result<(), Failure> {
    if output.json() {
        return Ok(output.line(String::from_utf8_lossy(answer).trim())?);
    }
    let status: Status = service.read(answer)?;
    Ok(output.lines(&lines(&status, SystemClock::shared().now()))?)
}

/// Fails where the lattice is degraded, after all was shown.
fn verdict(service: &Service, answer: &Bytes) -> Result<(), Failure> {
    sync::degraded(&service.read::<Status>(answer)?.lattice)
}

/// Until Ctrl-C. The first answer must come; later the service may be away for a while, which is said.
async fn watch(args: &Args, mut service: Service, every: Duration, output: &Output) -> Result<(), Failure> {
    let mut interrupted = signal(SignalKind::interrupt()).map_err(Failure::local)?;
    let (path, mut seen) = (path(), false);
    loop {
        let answer = tokio::select! {
            answer = service.answer(Ask::Get, &path, None) => answer,
            _ = interrupted.recv() => return Ok(()),
        };
        match answer {
            Ok(answer) if output.redraws() => redraw(&service, &answer, every, output)?,
            Ok(answer) => {
                if seen && !output.json() {
                    output.line("")?;
                }
                show(&service, &answer, output)?;
            }
            Err(failure) if !seen => return Err(failure),
            Err(failure) => {
                if output.redraws() {
                    output.redraw(&[head(&service, every), failure.text()])?;
                } else {
                    let _code = failure.report(output);
                }
                // After a restart it has another token, and may have another address.
                service = args.service.open(output).unwrap_or(service);
            }
        }
        seen = true;
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = interrupted.recv() => return Ok(()),
        }
    }
}

fn head(service: &Service, every: Duration) -> String {
    let now = SystemClock::shared().now().seconds();
    let now = Timestamp::from_seconds(now).to_rfc3339();
    format!("{}  {now}  every {} s, Ctrl-C ends", service.address(), every.as_secs())
}

fn redraw(service: &Service, answer: &Bytes, every: Duration, output: &Output) -> Result<(), Failure> {
    let status: Status = service.read(answer)?;
    let mut frame = vec![head(service, every), String::new()];
    frame.extend(lines(&status, SystemClock::shared().now()));
    Ok(output.redraw(&frame)?)
}

/// The whole status, line by line.
fn lines(status: &Status, now: Timestamp) -> Vec<String> {
    let (info, stats) = (&status.info, &status.stats);
    let key = info.public_key.as_deref().map(|key| match PublicKey::parse(key) {
        Ok(key) => key.fingerprint(),
        Err(_) => key.to_owned(),
    });
    let often = format!("at every change, and every {}", interval(info.sync_interval));
    let auto_sync = match status.peers.iter().filter(|peer| peer.auto_sync).count() {
        _ if info.auto_sync => often,
        paired @ 1.. => {
            format!("{often}, with {}; with others: ark-lattice federation sync", count(paired, "paired peer"))
        }
        0 => "off; exchange with: ark-lattice federation sync".to_owned(),
    };
    let running = if status.is_running { "yes" } else { "no; start it with: ark-lattice federation start" };
    let conflicts = match status.lattice.conflicts {
        0 => "no conflicts".to_owned(),
        conflicts => format!("{}; see: ark-lattice conflicts list", count(conflicts, "conflict")),
    };
    let fact = |name: &str, text: String| format!("  {name:10}  {}", printable(&text));
    let mut lines = vec![
        bold(&printable(&info.instance_name)),
        fact("id", info.instance_id.clone()),
        fact("type", info.instance_type.clone()),
        fact("key", key.unwrap_or_else(|| "none; make one with: ark-lattice keygen".to_owned())),
        fact("mode", info.federation_mode.clone()),
        fact("address", info.address.clone().unwrap_or_else(|| format!("port {}", info.listen_port))),
        fact("running", running.to_owned()),
        fact("auto-sync", auto_sync),
        fact("lattice", format!("{}, {conflicts}", count(status.lattice.nodes, "node"))),
        fact(
            "exchanged",
            format!(
                "{} completed, {} failed; {} sent, {} received, {}, {}",
                count(stats.total_syncs, "round"),
                stats.failures,
                count(stats.nodes_sent, "node"),
                stats.nodes_received,
                count(stats.conflicts_resolved, "conflict"),
                size(stats.bytes)
            ),
        ),
        String::new(),
    ];
    let mut findings = Vec::new();
    if let Some(detail) = &status.lattice.detail {
        findings.push(fact("degraded", format!("{detail}; see also: ark-lattice doctor")));
    }
    if status.lattice.broken_files > 0 {
        let broken = count(status.lattice.broken_files, "broken file");
        findings.push(fact("broken", format!("{broken}; named by: ark-lattice doctor")));
    }
    for shared in &status.shared_ids {
        findings.push(fact("identity", format!("{}; {}", shared.text, shared.next)));
    }
    let end = lines.len().saturating_sub(1);
    lines.splice(end..end, findings);
    if status.lattice.foreign_manifest {
        let found = "another program's file is left as it is; none is written".to_owned();
        lines.insert(lines.len().saturating_sub(1), fact("manifest.json", found));
    }
    match (status.peers.is_empty(), status.inbound.is_empty()) {
        (true, true) => lines.push("No peers; add one with: ark-lattice federation add-peer URL".to_owned()),
        (true, false) => {}
        (false, _) => lines.extend(table_lines(
            peers::COLUMNS,
            status.peers.iter().map(|peer| peers::row(peer, status.is_running, now)),
        )),
    }
    lines.extend(peers::steps(&status.peers).iter().map(|step| printable(step)));
    if !status.inbound.is_empty() {
        let rows = status.inbound.iter().map(|inbound| peers::inbound_row(inbound, now));
        lines.extend((!status.peers.is_empty()).then(String::new));
        lines.extend(table_lines(peers::INBOUND_COLUMNS, rows));
    }
    lines.extend(status.deletions_waiting.iter().flat_map(|sender| deletions::lines(sender, now)));
    for peer in &status.peers {
        if let Some(differences) = peer.differences.words() {
            let url = printable(&peer.url);
            lines.push(format!("{url} takes or gives changes one way only; when last compared: {differences}"));
        }
        let there = peer.deletions_waiting.there.filter(|there| *there > 0);
        lines.extend(there.into_iter().flat_map(|there| deletions::there(&peer.url, there, &info.instance_id)));
    }
    lines
}
