//! `federation deletions`, `confirm-deletions`, `refuse-deletions`: deletions of other instances that wait for the admin.

use super::{
    CONTROLS,
    model::{Deletions, Peer, Peers, Settled, WaitingSender, ago, instant},
    print,
};
use crate::{
    cli::{
        exit::{Exit, Failure},
        output::{Output, count},
        service::{Service, ServiceArg},
    },
    ops::{self, Ask, percent_encode},
    types::{SystemClock, Timestamp},
};
use serde_json::json;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
An instance that deletes more than ten nodes and more than a quarter of those here
does not delete them at once: they wait. confirm-deletions carries them out,
refuse-deletions keeps the nodes, which go back where changes go that way, and a
later edit of a node ends it too.

Examples:
  ark-lattice federation deletions
  ark-lattice federation deletions laptop --limit 1000 --json | jq -r '.deletions[].id'

With --json; next is --after of the next page:
  {\"deletions\": [{\"id\": \"a\", \"from\": \"laptop\", \"deletedAt\": 1767225600, \"since\": 1767225601}],
   \"count\": 1, \"total\": 1, \"senders\": [{\"from\": \"laptop\", \"deletions\": 1, \"since\": 1767225601}],
   \"next\": null}")]
pub(in crate::cli) struct ListArgs {
    /// Only deletions of this instance: its id, or its address where it is a peer.
    #[arg(value_name = "PEER")]
    from: Option<String>,
    /// Only nodes behind this one.
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// Most deletions.
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
    #[command(flatten)]
    service: ServiceArg,
}

pub(super) fn list(args: &ListArgs, output: &Output) -> Result<(), Failure> {
    let service = args.service.open(output)?;
    let mut path = format!("{CONTROLS}/deletions?limit={}", args.limit);
    if let Some(from) = &args.from {
        path.push_str(&format!("&from={}", percent_encode(&instance(from, &service)?)));
    }
    if let Some(after) = &args.after {
        path.push_str(&format!("&after={}", percent_encode(after)));
    }
    let answer = service.ask(Ask::Get, &path, None)?;
    if output.json() {
        return print(output, &answer, String::new);
    }
    let page: Deletions = service.read(&answer)?;
    if page.total == 0 {
        output.remark("No deletions wait.");
        return Ok(());
    }
    let now = SystemClock::shared().now();
    let time = |seconds: &serde_json::Number| instant(seconds).map_or_else(|| "-".to_owned(), |then| ago(then, now));
    let row = |it: &super::model::Deletion| vec![it.id.clone(), it.from.clone(), time(&it.deleted_at), time(&it.since)];
    output.table(&["node", "from", "deleted", "waits since"], page.deletions.iter().map(row))?;
    if let Some(next) = &page.next {
        output.remark(format!("There may be more: --after {next}"));
    }
    page.senders.iter().flat_map(|sender| lines(sender, now)).for_each(|line| output.remark(line));
    Ok(())
}

/// What waits of one instance, and what to do about it on this machine.
pub(super) fn lines(sender: &WaitingSender, now: Timestamp) -> [String; 3] {
    let since = instant(&sender.since).map_or_else(String::new, |then| format!(", since {}", ago(then, now)));
    let (from, deletions) = (&sender.from, sender.deletions);
    [
        format!("{} of {from} wait here{since}. On this machine:", count(deletions, "deletion")),
        format!("  ark-lattice federation confirm-deletions {from}   deletes the nodes here"),
        format!(
            "  ark-lattice federation refuse-deletions {from}    keeps them; where changes go that way, they go back"
        ),
    ]
}

/// The deletions of this instance that wait at a peer, and what to do about it on that machine.
pub(super) fn there(url: &str, deletions: u64, own_id: &str) -> [String; 3] {
    [
        format!("{} of this instance wait at {url}. On that machine:", count(deletions, "deletion")),
        format!("  ark-lattice federation confirm-deletions {own_id}   deletes the nodes there"),
        format!(
            "  ark-lattice federation refuse-deletions {own_id}    keeps them; where changes go that way, they come back here"
        ),
    ]
}

pub(super) fn confirm(from: Option<&str>, service: &Service, output: &Output) -> Result<(), Failure> {
    settle(from, "confirm", service, output, |from, settled| {
        let deleted = count(settled.deleted, "node");
        format!(
            "{deleted} deleted; as many again are carried out at once if {from} sends more within ten minutes, and wait after that"
        )
    })
}

pub(super) fn refuse(from: Option<&str>, service: &Service, output: &Output) -> Result<(), Failure> {
    // Before it is done: what cannot be told is no reason to do it twice.
    let answer = service.ask(Ask::Get, &format!("{CONTROLS}/peers"), None)?;
    let peers = service.read::<Peers>(&answer)?.peers;
    settle(from, "refuse", service, output, |from, settled| {
        let kept = count(settled.kept, "node");
        let what_follows =
            if settled.kept == 0 { "no deletion of it waits".to_owned() } else { goes_back(from, &peers) };
        format!("{kept} kept; {what_follows}")
    })
}

/// Whether nodes go back to the instance that deleted them, and what makes them go back.
fn goes_back(from: &str, peers: &[Peer]) -> String {
    let mut known = peers.iter().filter(|peer| peer.node_id.as_deref() == Some(from)).peekable();
    let Some(first) = known.peek().map(|peer| peer.url.clone()) else {
        return format!(
            "{from} gets them back with its next round if it also takes changes from this instance. Where it only sends, they stay here \
             alone; on that machine: ark-lattice federation add-peer <address of this instance> --direction both"
        );
    };
    if known.any(|peer| peer.direction != "pull") {
        return format!("they go back to {from} with the next round");
    }
    format!(
        "they stay here alone: this instance only takes from {from}. To send them back: ark-lattice federation add-peer {first} \
         --direction both"
    )
}

fn settle(
    from: Option<&str>,
    verb: &str,
    service: &Service,
    output: &Output,
    text: impl FnOnce(&str, &Settled) -> String,
) -> Result<(), Failure> {
    let from = match from {
        Some(from) => instance(from, service)?,
        None => only_sender(verb, service)?,
    };
    let body = json!({ "from": from }).to_string();
    let answer = service.ask(Ask::Post, &format!("{CONTROLS}/deletions/{verb}"), Some(body))?;
    let settled: Settled = service.read(&answer)?;
    print(output, &answer, || text(&from, &settled))
}

/// The id of the instance that is named by its id, or by its address as a peer.
fn instance(named: &str, service: &Service) -> Result<String, Failure> {
    if !named.contains("://") {
        return Ok(named.to_owned());
    }
    let answer = service.ask(Ask::Get, &format!("{CONTROLS}/peers"), None)?;
    let peers = service.read::<Peers>(&answer)?.peers;
    let peer = peers.into_iter().find(|peer| peer.url == ops::peer_address(named));
    peer.and_then(|peer| peer.node_id).ok_or_else(|| {
        let text = format!("no peer with the address {named} has answered yet; name the instance by its id");
        Failure::new(Exit::Refused, text)
    })
}

fn only_sender(verb: &str, service: &Service) -> Result<String, Failure> {
    let answer = service.ask(Ask::Get, &format!("{CONTROLS}/deletions?limit=1"), None)?;
    let mut senders = service.read::<Deletions>(&answer)?.senders;
    match (senders.pop(), senders.is_empty()) {
        (None, _) => Err(Failure::new(Exit::Refused, "no deletions wait".to_owned())),
        (Some(only), true) => Ok(only.from),
        (Some(last), false) => {
            let ids: Vec<&str> = senders.iter().map(|it| it.from.as_str()).chain([last.from.as_str()]).collect();
            let text = format!("deletions of several instances wait: {}", ids.join(", "));
            let next = format!("name one: ark-lattice federation {verb}-deletions {}", last.from);
            Err(Failure::new(Exit::Refused, text).because(next))
        }
    }
}
