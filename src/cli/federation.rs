//! `federation …`: asks the running service about its exchange with others, and has it changed.

mod deletions;
mod discover;
mod history;
pub(super) mod model;
mod peers;
mod pending;
mod status;
pub(super) mod sync;
mod trust;

pub(super) use status::Args as StatusArgs;
pub(super) use sync::Args as SyncArgs;

use super::{
    exit::Failure,
    output::Output,
    service::{Service, ServiceArg},
};
use crate::ops::Ask;
use bytes::Bytes;
use serde_json::json;
use std::time::Duration;

/// What the controls are under.
const CONTROLS: &str = "api/federation";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ark-lattice federation list-peers
  ark-lattice federation list-peers --json | jq -r '.activePeers[]'

With --json:
  {\"peers\": [{\"url\": \"http://a:9000\", \"nodeId\": \"a\", \"publicKey\": \"…\", \"active\": true,
    \"direction\": \"both\", \"filter\": {\"types\": [], \"ids\": [], \"tags\": []}, \"priority\": false,
    \"addedAt\": 1767225600, \"lastSync\": 1767225600, \"lag\": {\"toSend\": 0, \"toReceive\": 0},
    \"deletionsWaiting\": {\"here\": 0, \"there\": 0}, \"error\": null, \"errorCode\": null, \"next\": null,
    \"failuresInARow\": 0, \"stats\": {\"rounds\": 42, \"failures\": 0, \"nodesSent\": 15,
     \"nodesReceived\": 23, \"conflictsResolved\": 0, \"bytes\": 5120}}],
   \"count\": 1, \"activePeers\": [\"http://a:9000\"], \"isRunning\": true,
   \"inbound\": [{\"nodeId\": \"laptop\", \"publicKey\": \"…\", \"trust\": \"verified\", \"active\": true,
    \"address\": \"192.0.2.7\", \"direction\": \"both\", \"filtered\": false, \"outcome\": \"in_step\",
    \"firstContact\": 1767225600, \"lastContact\": 1767225600, \"lag\": {\"toSend\": 0, \"toReceive\": 0}, \"nodesReceived\": 15}]}")]
pub(super) struct PeersArgs {
    #[command(flatten)]
    service: ServiceArg,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Let the service exchange with its peers, also after a restart
    #[command(after_help = "\
Starts what `federation stop` stopped. A new service need not be started.

Examples:
  ark-lattice federation start

With --json; status is started or running:
  {\"status\": \"started\", \"port\": 9001, \"instanceId\": \"ark-1\", \"instanceName\": \"ARK-local-ark-1\"}")]
    Start {
        #[command(flatten)]
        service: ServiceArg,
    },
    /// Stop the exchange with all peers, also after a restart; everything else goes on
    #[command(after_help = "\
Examples:
  ark-lattice federation stop

With --json:
  {\"status\": \"stopped\"}")]
    Stop {
        #[command(flatten)]
        service: ServiceArg,
    },
    /// Show who this instance is, how far it is from its peers, and what was exchanged
    Status(status::Args),
    /// Add a peer or change its options
    AddPeer(peers::AddArgs),
    /// Remove a peer; what was exchanged stays
    #[command(after_help = "\
Examples:
  ark-lattice federation remove-peer http://192.168.1.100:9000

With --json:
  {\"status\": \"removed\", \"peerUrl\": \"http://192.168.1.100:9000\", \"totalPeers\": 0}")]
    RemovePeer {
        /// The peer's address, as list-peers shows it.
        #[arg(value_name = "URL")]
        peer: String,
        #[command(flatten)]
        service: ServiceArg,
    },
    /// List the peers
    ListPeers(PeersArgs),
    /// Look for instances on the local network
    Discover(discover::Args),
    /// Exchange now, with all peers or one
    Sync(sync::Args),
    /// List unknown instances that ask to write here
    #[command(after_help = "\
They sent changes that were not taken, for want of trust. The list is in memory: after
a restart of the service it fills again as they ask. known: it is a peer of this
instance, by its key, or its id is listed or verified under another key.

Examples:
  ark-lattice federation pending

With --json:
  {\"pending\": [{\"nodeId\": \"pi\", \"publicKey\": \"…\", \"address\": \"192.168.1.101\", \"known\": false,
   \"firstSeen\": 1767225600, \"lastSeen\": 1767225700, \"count\": 3}], \"count\": 1}")]
    Pending {
        #[command(flatten)]
        service: ServiceArg,
    },
    /// Accept an instance that asks to write: its key is verified from then on
    #[command(after_help = "\
Compare the key first: anybody can ask under any id. Where several keys asked under
one id, --key says which one is right.

Examples:
  ark-lattice federation accept pi
  ark-lattice federation accept pi --key KEY --reason 'compared on its screen'

With --json, as `federation trust verify`:
  {\"peer_id\": \"pi\", \"public_key\": \"…\", \"trust_level\": \"verified\", \"established_at\": \"2026-01-01T00:00:00Z\",
   \"by\": \"operator\", \"reason\": \"\", \"quarantined\": false, \"successor\": null, \"signature\": null, \"words\": \"…\"}")]
    Accept {
        /// The instance's id, as pending shows it.
        #[arg(value_name = "ID")]
        peer: String,
        /// The key, base64.
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// Why, for the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        service: ServiceArg,
    },
    /// Refuse an instance that asks to write: it is not listed again for a week
    #[command(after_help = "\
Or until the service starts again. Its key is not revoked: to take nothing from it in
any mode, ark-lattice federation trust revoke ID

Examples:
  ark-lattice federation refuse pi

With --json:
  {\"status\": \"refused\", \"nodeId\": \"pi\", \"keys\": 1}")]
    Refuse {
        /// The instance's id, as pending shows it.
        #[arg(value_name = "ID")]
        peer: String,
        /// Only this key of it, base64.
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        #[command(flatten)]
        service: ServiceArg,
    },
    /// List deletions of other instances that wait
    Deletions(deletions::ListArgs),
    /// Carry out the deletions of an instance that wait
    #[command(after_help = "\
More than ten nodes and more than a quarter of them are not deleted without this,
neither when the instance sends its deletions nor when they are fetched from it.
What waits is carried out, and as many again within ten minutes: a wave may come
in several batches. Where nothing of PEER waits, nothing is changed (exit code 3).
PEER may be left out where deletions of one instance alone wait.

Examples:
  ark-lattice federation confirm-deletions laptop
  ark-lattice federation confirm-deletions

With --json:
  {\"status\": \"confirmed\", \"from\": \"laptop\", \"deleted\": 40}")]
    ConfirmDeletions {
        /// The instance's id, as status and log name it, or its address where it is a peer.
        #[arg(value_name = "PEER")]
        from: Option<String>,
        #[command(flatten)]
        service: ServiceArg,
    },
    /// Refuse the deletions of an instance that wait: the nodes stay, and go back to it where changes go that way
    #[command(after_help = "\
Each node gets a later time, so that it counts wherever it was deleted. PEER may be
left out where deletions of one instance alone wait.

Examples:
  ark-lattice federation refuse-deletions laptop

With --json:
  {\"status\": \"refused\", \"from\": \"laptop\", \"kept\": 40}")]
    RefuseDeletions {
        /// The instance's id, as status and log name it, or its address where it is a peer.
        #[arg(value_name = "PEER")]
        from: Option<String>,
        #[command(flatten)]
        service: ServiceArg,
    },
    /// Enable or disable auto-sync, also after a restart
    #[command(after_help = "\
With auto-sync rounds are made at once when something changes on either side, and
at every interval.

Examples:
  ark-lattice federation auto-sync --start --interval 30s
  ark-lattice federation auto-sync --stop

With --json:
  {\"status\": \"started\", \"autoSync\": true, \"syncInterval\": 30000}")]
    AutoSync(AutoSyncArgs),
    /// List the last rounds
    History(history::Args),
    /// Manage trusted keys
    #[command(subcommand)]
    Trust(trust::Command),
}

#[derive(Debug, clap::Args)]
#[group(id = "switch", required = true, multiple = false, args = ["start", "stop"])]
pub(super) struct AutoSyncArgs {
    /// Exchange by itself.
    #[arg(long)]
    start: bool,
    /// Exchange only when asked to.
    #[arg(long)]
    stop: bool,
    /// How often at least, such as 30s or 5min; otherwise as before.
    #[arg(long, value_name = "TIME", conflicts_with = "stop", value_parser = humantime::parse_duration)]
    interval: Option<Duration>,
    #[command(flatten)]
    service: ServiceArg,
}

pub(super) fn run(command: Command, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Start { service } => start(&service.open(output)?, output),
        Command::Stop { service } => stop(&service.open(output)?, output),
        Command::Status(args) => status::run(&args, output),
        Command::AddPeer(args) => peers::add(args, output),
        Command::RemovePeer { peer, service } => peers::remove(&peer, &service.open(output)?, output),
        Command::ListPeers(args) => peers::list(&args.service.open(output)?, output),
        Command::Discover(args) => discover::run(&args, output),
        Command::Sync(args) => sync::run(&args, output),
        Command::Pending { service } => pending::list(&service.open(output)?, output),
        Command::Accept { peer, key, reason, service } => {
            pending::accept(&peer, key.as_deref(), reason.as_deref(), &service.open(output)?, output)
        }
        Command::Refuse { peer, key, service } => {
            pending::refuse(&peer, key.as_deref(), &service.open(output)?, output)
        }
        Command::Deletions(args) => deletions::list(&args, output),
        Command::ConfirmDeletions { from, service } => {
            deletions::confirm(from.as_deref(), &service.open(output)?, output)
        }
        Command::RefuseDeletions { from, service } => {
            deletions::refuse(from.as_deref(), &service.open(output)?, output)
        }
        Command::AutoSync(args) => auto_sync(&args, output),
        Command::History(args) => history::run(&args, output),
        Command::Trust(command) => trust::run(command, output),
    }
}

pub(super) use sync::with_one_peer;

fn start(service: &Service, output: &Output) -> Result<(), Failure> {
    let answer = service.ask(Ask::Post, &format!("{CONTROLS}/start"), None)?;
    let started: model::Started = service.read(&answer)?;
    print(output, &answer, || match started.status.as_str() {
        "running" => format!("Federation server runs on port {}; it was started before", started.port),
        _ => format!("Federation server started on port {}", started.port),
    })
}

fn stop(service: &Service, output: &Output) -> Result<(), Failure> {
    let answer = service.ask(Ask::Post, &format!("{CONTROLS}/stop"), None)?;
    print(output, &answer, || "Federation server stopped: no rounds, and peers are turned away".to_owned())
}

fn auto_sync(args: &AutoSyncArgs, output: &Output) -> Result<(), Failure> {
    let service = args.service.open(output)?;
    let body = args.interval.map(|interval| json!({"intervalMs": millis(interval)}).to_string());
    let path = format!("{CONTROLS}/auto-sync/{}", if args.start { "start" } else { "stop" });
    let answer = service.ask(Ask::Post, &path, body)?;
    let switched: model::AutoSync = service.read(&answer)?;
    print(output, &answer, || {
        if switched.auto_sync {
            format!("Auto-sync started: at every change, and every {}", model::interval(switched.sync_interval))
        } else {
            "Auto-sync stopped; exchange with: ark-lattice federation sync".to_owned()
        }
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The service's own answer with `--json`, otherwise `text`.
fn print(output: &Output, answer: &Bytes, text: impl FnOnce() -> String) -> Result<(), Failure> {
    if output.json() {
        return Ok(output.line(String::from_utf8_lossy(answer).trim())?);
    }
    Ok(output.answer_text(text)?)
}
