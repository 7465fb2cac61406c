//! `federation add-peer`, `remove-peer` and `list-peers`.

use super::{
    CONTROLS,
    model::{Inbound, Peer, PeerSet, Peers, ago, instant, number},
    print,
};
use crate::{
    cli::{
        exit::Failure,
        invite::fingerprint,
        output::{Output, count},
        service::{Service, ServiceArg},
    },
    ops::{Ask, peer_address, percent_encode},
    types::{ShellWord, SystemClock, Timestamp},
};
use clap::ValueEnum;
use serde_json::json;

/// Which ways changes go.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum Direction {
    /// To the peer and from it.
    Both,
    /// Only from the peer.
    Pull,
    /// Only to the peer.
    Push,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A peer that is there already is changed: options that are left out are the
usual ones again. With filters, what matches one entry of each kind goes.
The address is asked first, for three seconds at most. An instance that does not
answer yet is added all the same; this instance itself, and what is certainly no
instance (another program, the wrong one of http:// and https://), is refused with
exit code 3. An instance that is a peer at another address stays one peer: it keeps
that address while it answers there, and moves to the new one otherwise. An address
at which another key answers than before is refused; --replace takes that one.

Examples:
  ark-lattice federation add-peer http://192.168.1.100:9000
  ark-lattice federation add-peer https://hub.example --mirror
  ark-lattice federation add-peer http://pi:9000 --type note --id 'work-*' --priority
  ark-lattice federation add-peer http://old-ark:9000 --unsigned
  ark-lattice federation add-peer http://pi:9000 --replace

With --json; status is added, changed, unchanged, moved or replaced:
  {\"status\": \"added\", \"peerUrl\": \"http://192.168.1.100:9000\", \"totalPeers\": 1, \"autoSync\": false,
   \"probe\": {\"answers\": true, \"protocol\": \"ark-lattice\", \"nodeId\": \"pi\", \"publicKey\": \"…\", \"error\": null,
    \"errorCode\": null, \"next\": null}}")]
pub(in crate::cli) struct AddArgs {
    /// The peer's address, such as http://192.168.1.100:9000.
    #[arg(value_name = "URL")]
    peer: String,
    /// Which ways changes go.
    #[arg(long, value_enum, default_value = "both")]
    direction: Direction,
    /// Only take what the peer has, as --direction pull.
    #[arg(long, conflicts_with = "direction")]
    mirror: bool,
    /// Only nodes of this type; may be repeated.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only nodes whose id matches: * stands for any characters, ? for one; may be repeated.
    #[arg(long = "id", value_name = "PATTERN")]
    ids: Vec<String>,
    /// Only nodes with this tag; may be repeated.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Nodes with a greater number as their priority go first.
    #[arg(long)]
    priority: bool,
    /// Add the address without asking it first.
    #[arg(long)]
    no_probe: bool,
    /// It is an original ARK service (Node.js or Python), which signs nothing: whoever answers at the address is believed.
    #[arg(long, conflicts_with_all = ["types", "ids", "tags", "priority"])]
    unsigned: bool,
    /// Take whoever answers at the address from now on for the peer, also with another key; its options stay.
    #[arg(long, conflicts_with_all = ["types", "ids", "tags", "priority", "direction", "mirror", "unsigned"])]
    replace: bool,
    #[command(flatten)]
    service: ServiceArg,
}

const UNSIGNED: &str = "This peer signs nothing: whoever answers at its address may change every node here, and none of that can be proved. \
                        Use it only over a network where nobody else can answer. It deletes nothing; a node that is deleted here stays there.";

pub(super) fn add(args: AddArgs, output: &Output) -> Result<(), Failure> {
    let service = args.service.open(output)?;
    let direction = match args.direction {
        _ if args.mirror => "pull",
        Direction::Both => "both",
        Direction::Pull => "pull",
        Direction::Push => "push",
    };
    let mut body = json!({
        "peerUrl": args.peer, "direction": direction, "priority": args.priority,
        "filter": {"types": args.types, "ids": args.ids, "tags": args.tags}, "probe": !args.no_probe,
    });
    if let Some(members) = body.as_object_mut().filter(|_| args.unsigned) {
        // A service of the previous release refuses members that it does not know.
        members.insert("unsigned".to_owned(), true.into());
    }
    if let Some(members) = body.as_object_mut().filter(|_| args.replace) {
        members.insert("replace".to_owned(), true.into());
    }
    let answer = service.ask(Ask::Post, &format!("{CONTROLS}/peers/add"), Some(body.to_string()))?;
    if args.unsigned {
        output.remark(UNSIGNED);
    }
    said(&service, &answer, output)?;
    if !output.json() {
        added(&args, &service.read(&answer)?, output)?;
    }
    Ok(())
}

/// What answers at the address, and whether anything is exchanged automatically.
fn added(args: &AddArgs, set: &PeerSet, output: &Output) -> Result<(), Failure> {
    let url = &set.peer_url;
    if let Some(probe) = &set.probe {
        let (found, next) = match (&probe.node_id, &probe.error) {
            (Some(id), _) => {
                let key = probe.public_key.as_deref().map(fingerprint).unwrap_or_default();
                (format!("{id} answers, key {key}"), None)
            }
            (None, None) => ("an original ARK service answers, which signs nothing".to_owned(), None),
            (None, Some(error)) if probe.differs() => (error.clone(), probe.next.clone()),
            (None, Some(error)) => (format!("it does not answer yet: {error}"), probe.next.clone()),
        };
        let word = if probe.protocol.is_some() { "ok" } else { "warn" };
        output.finding(word, url, &found, next.as_deref())?;
    }
    if let Some(known) = Some(peer_address(&args.peer)).filter(|named| named != url) {
        output.remark(format!("{known} and {url} are one instance, which stays one peer."));
    }
    if set.auto_sync == Some(false) {
        output.remark(format!(
            "Nothing is exchanged automatically. Once: ark-lattice federation sync --peer {}\n\
             From now on, with all peers: ark-lattice federation auto-sync --start",
            ShellWord(url)
        ));
    }
    Ok(())
}

pub(super) fn remove(peer: &str, service: &Service, output: &Output) -> Result<(), Failure> {
    let answer = service.ask(Ask::Delete, &format!("{CONTROLS}/peers/{}", percent_encode(peer)), None)?;
    said(service, &answer, output)
}

fn said(service: &Service, answer: &bytes::Bytes, output: &Output) -> Result<(), Failure> {
    let set: PeerSet = service.read(answer)?;
    print(output, answer, || format!("{} {}; {}", set.status, set.peer_url, count(set.total_peers, "peer")))
}

pub(super) fn list(service: &Service, output: &Output) -> Result<(), Failure> {
    let answer = service.ask(Ask::Get, &format!("{CONTROLS}/peers"), None)?;
    if output.json() {
        return print(output, &answer, String::new);
    }
    let peers: Peers = service.read(&answer)?;
    if peers.peers.is_empty() && peers.inbound.is_empty() {
        output.remark("There are no peers; add one with: ark-lattice federation add-peer URL");
        return Ok(());
    }
    let now = SystemClock::shared().now();
    if !peers.peers.is_empty() {
        output.table(COLUMNS, peers.peers.iter().map(|peer| row(peer, peers.is_running, now)))?;
    }
    if !peers.inbound.is_empty() {
        output.table(INBOUND_COLUMNS, peers.inbound.iter().map(|inbound| inbound_row(inbound, now)))?;
    }
    steps(&peers.peers).iter().for_each(|step| output.remark(step));
    let waits = |peer: &&Peer| peer.deletions_waiting.here > 0 || peer.deletions_waiting.there.is_some_and(|it| it > 0);
    for peer in peers.peers.iter().filter(waits) {
        let (here, there) = (peer.deletions_waiting.here, peer.deletions_waiting.there.unwrap_or_default());
        output.remark(format!(
            "{}: {here} deletions wait here, {there} there; what to do: ark-lattice federation status",
            peer.url
        ));
    }
    let active = peers.peers.iter().filter(|peer| peer.active).count();
    output.remark(format!("{}, {active} online{}", count(peers.peers.len(), "peer"), inbound_summary(&peers.inbound)));
    Ok(())
}

/// Why the last round with each failed peer did, and what to do.
pub(super) fn steps(peers: &[Peer]) -> Vec<String> {
    let step = |peer: &Peer| {
        let error = peer.error.as_deref()?;
        let next = peer.next.iter().map(|next| format!("    → {next}"));
        Some(std::iter::once(format!("{}: {error}", peer.url)).chain(next).collect::<Vec<_>>())
    };
    peers.iter().filter(|peer| !peer.active).filter_map(step).flatten().collect()
}

/// `; 3 instances connect to this one, 2 online`.
fn inbound_summary(inbound: &[Inbound]) -> String {
    match inbound.len() {
        0 => String::new(),
        several => {
            let active = inbound.iter().filter(|inbound| inbound.active).count();
            let verb = if several == 1 { "connects" } else { "connect" };
            format!("; {} {verb} to this one, {active} online", count(several, "instance"))
        }
    }
}

pub(super) const COLUMNS: &[&str] =
    &["peer", "id", "state", "direction", "filter", "to send", "to receive", "last sync"];

/// Of instances that connect to this one.
pub(super) const INBOUND_COLUMNS: &[&str] =
    &["connects here", "state", "trust", "direction", "to send", "to receive", "last contact", "received", "address"];

pub(super) fn inbound_row(inbound: &Inbound, now: Timestamp) -> Vec<String> {
    let dash = || "-".to_owned();
    let filtered = if inbound.filtered { ", filtered" } else { "" };
    vec![
        inbound.node_id.clone(),
        if inbound.active { "online" } else { "offline" }.to_owned(),
        inbound.trust.clone(),
        inbound.direction.as_ref().map_or_else(dash, |direction| format!("{direction}{filtered}")),
        number(inbound.lag.to_send),
        number(inbound.lag.to_receive),
        instant(&inbound.last_contact).map_or_else(dash, |then| ago(then, now)),
        inbound.nodes_received.to_string(),
        inbound.address.clone().unwrap_or_else(dash),
    ]
}

pub(super) fn row(peer: &Peer, is_running: bool, now: Timestamp) -> Vec<String> {
    let dash = || "-".to_owned();
    vec![
        peer.url.clone(),
        peer.node_id.clone().unwrap_or_else(dash),
        peer.state(is_running).to_owned(),
        peer.direction.clone(),
        peer.filter.text(peer.priority),
        number(peer.lag.to_send),
        number(peer.lag.to_receive),
        peer.last_sync.as_ref().and_then(instant).map_or_else(|| "never".to_owned(), |then| ago(then, now)),
    ]
}
