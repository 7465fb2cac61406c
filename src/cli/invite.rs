//! `invite`: lines with which other machines join this one, made and revoked by the running service.

use super::{
    exit::{Exit, Failure},
    federation::model::{ago, instant},
    job,
    output::{Output, count},
    service::{Service, ServiceArg},
};
use crate::{
    ops::{Ask, percent_encode},
    types::{PublicKey, SystemClock},
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Number, json};
use std::time::Duration;

/// What invites are under.
const INVITES: &str = "api/federation/invites";
/// How often it is looked whether an invite was used.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Prints one line. On the other machine: ark-lattice join LINE. Then each instance is
verified to the other and both exchange automatically. The line is for one machine,
once, and holds a secret: send it as you would send a password. The secret never
travels between the instances: both prove that they know it.

The line names the addresses of this instance: those given with --address, else
federation.address, else those of its interfaces.

Examples:
  ark-lattice invite
  ark-lattice invite --expires 1h --address https://ark.example.org
  ark-lattice invite --wait                    # until the other machine has joined
  ark-lattice invite --quiet | ssh pi ark-lattice join -

With --json:
  {\"status\": \"invited\", \"line\": \"ark-invite:v1:…\", \"id\": \"0123456789abcdef\", \"nodeId\": \"ark-1\",
   \"publicKey\": \"…\", \"addresses\": [\"http://192.168.1.100:9001\"], \"loopbackOnly\": false, \"expiresAt\": 1767225600}"
)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// How long the line can be used, such as 30min or 24h: one minute to 30 days.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = humantime::parse_duration)]
    expires: Duration,
    /// Where the other machine reaches this instance; may be given several times.
    #[arg(long = "address", value_name = "URL")]
    addresses: Vec<String>,
    /// Wait until the other machine has joined, and print its id and key.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    service: ServiceArg,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List invites: open ones, and those that ended within a week
    #[command(after_help = "\
Examples:
  ark-lattice invite list

With --json; state is open, used, revoked or expired:
  {\"invites\": [{\"id\": \"0123456789abcdef\", \"state\": \"used\", \"addresses\": [\"http://192.168.1.100:9001\"],
   \"createdAt\": 1767225600, \"expiresAt\": 1767312000,
   \"usedBy\": {\"nodeId\": \"ark-2\", \"publicKey\": \"…\", \"at\": 1767225700}}], \"count\": 1}")]
    List {
        #[command(flatten)]
        service: ServiceArg,
    },
    /// Revoke an invite that was not used: nothing joins with it any more
    #[command(after_help = "\
Where it was used already, revoke the key of the instance that used it:
ark-lattice federation trust revoke ID

Examples:
  ark-lattice invite revoke 0123456789abcdef

With --json:
  {\"status\": \"revoked\", \"id\": \"0123456789abcdef\"}")]
    Revoke {
        /// The invite's id, as list shows it.
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        service: ServiceArg,
    },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Invited {
    line: String,
    id: String,
    node_id: String,
    public_key: String,
    addresses: Vec<String>,
    loopback_only: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InviteUse {
    node_id: String,
    public_key: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Invite {
    id: String,
    state: String,
    addresses: Vec<String>,
    created_at: Number,
    expires_at: Number,
    used_by: Option<InviteUse>,
}

#[derive(Debug, Deserialize)]
struct Invites {
    invites: Vec<Invite>,
}

/// A key as people compare it.
pub(super) fn fingerprint(key: &str) -> String {
    PublicKey::parse(key).map_or_else(|_| key.to_owned(), |key| key.fingerprint())
}

pub(super) fn run(args: Args, output: &Output) -> Result<(), Failure> {
    match &args.command {
        None => invite(&args, output),
        Some(Command::List { service }) => list(&service.open(output)?, output),
        Some(Command::Revoke { id, service }) => revoke(id, &service.open(output)?, output),
    }
}

fn invite(args: &Args, output: &Output) -> Result<(), Failure> {
    let service = args.service.open(output)?;
    let body = json!({ "addresses": args.addresses, "expiresSeconds": args.expires.as_secs() });
    let answer = service.ask(Ask::Post, INVITES, Some(body.to_string()))?;
    let invited: Invited = service.read(&answer)?;
    if output.json() {
        output.line(String::from_utf8_lossy(&answer).trim())?;
    } else {
        output.line(&invited.line)?;
        remarks(&invited, args.expires, output);
    }
    if args.wait { wait(&invited.id, &service, output) } else { Ok(()) }
}

fn remarks(invited: &Invited, expires: Duration, output: &Output) {
    let Invited { id, node_id, public_key, addresses, loopback_only, .. } = invited;
    output.remark(format!("Invite {id} of {node_id}, key {}", fingerprint(public_key)));
    output.remark(format!(
        "  for one machine, once, within {}; {}",
        humantime::format_duration(expires),
        addresses.join(" ")
    ));
    output.remark("  on that machine: ark-lattice join LINE");
    if *loopback_only {
        output.remark(
            "  note: these addresses are reached from this machine only. For other machines set server.host (ARK__SERVER__HOST) to 0.0.0.0, or \
             name the address of a proxy with --address",
        );
    }
}

/// Waits until an invite is used, and prints by which instance.
fn wait(id: &str, service: &Service, output: &Output) -> Result<(), Failure> {
    let used = job::wait(async {
        loop {
            let answer = service.answer(Ask::Get, INVITES, None).await?;
            let invites: Invites = service.read(&answer)?;
            match invites.invites.into_iter().find(|invite| invite.id == *id) {
                Some(Invite { state, .. }) if state == "open" => {}
                Some(Invite { used_by: Some(used), .. }) => return Ok(used),
                Some(Invite { state, .. }) => {
                    return Err(Failure::new(Exit::Refused, format!("the invite was not used: it is {state}")));
                }
                None => return Err(Failure::new(Exit::Refused, "the invite is gone")),
            }
            tokio::time::sleep(LOOK).await;
        }
    })?;
    let value = || json!({"status": "joined", "nodeId": used.node_id, "publicKey": used.public_key});
    let text = || format!("{} joined, key {}", used.node_id, fingerprint(&used.public_key));
    Ok(output.answer(value, text)?)
}

fn list(service: &Service, output: &Output) -> Result<(), Failure> {
    let answer = service.ask(Ask::Get, INVITES, None)?;
    let invites = service.read::<Invites>(&answer)?.invites;
    if output.json() {
        return print(output, &answer, String::new);
    }
    if invites.is_empty() {
        output.remark("There are no invites; make one with: ark-lattice invite");
        return Ok(());
    }
    let now = SystemClock::shared().now();
    let made = |it: &Invite| instant(&it.created_at).map_or_else(|| "-".to_owned(), |then| ago(then, now));
    let until = |it: &Invite| instant(&it.expires_at).map_or_else(|| "-".to_owned(), |then| then.to_rfc3339());
    let by = |it: &Invite| {
        let used = it.used_by.as_ref();
        used.map_or_else(|| "-".to_owned(), |used| format!("{} {}", used.node_id, fingerprint(&used.public_key)))
    };
    let row = |it: &Invite| vec![it.id.clone(), it.state.clone(), made(it), until(it), by(it), it.addresses.join(" ")];
    output.table(&["id", "state", "made", "expires", "used by", "addresses"], invites.iter().map(row))?;
    output.remark(count(invites.len(), "invite"));
    Ok(())
}

fn revoke(id: &str, service: &Service, output: &Output) -> Result<(), Failure> {
    let answer = service.ask(Ask::Delete, &format!("{INVITES}/{}", percent_encode(id)), None)?;
    print(output, &answer, || format!("{id} is revoked: nothing joins with it any more"))
}

/// The service's own answer with `--json`, otherwise `text`.
fn print(output: &Output, answer: &Bytes, text: impl FnOnce() -> String) -> Result<(), Failure> {
    if output.json() {
        return Ok(output.line(String::from_utf8_lossy(answer).trim())?);
    }
    Ok(output.answer_text(text)?)
}
