//! `join`: pairs the running service with the instance that made an invite, and exchanges with it once.

use super::{
    exit::{Exit, Failure},
    federation::{sync, with_one_peer},
    input,
    invite::fingerprint,
    output::{Output, printable},
    service::ServiceArg,
};
use crate::ops::Ask;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;

/// The most bytes that are read from standard input.
const MOST_BYTES: usize = 64 << 10;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
LINE is what `ark-lattice invite` printed on the other machine; - reads it from
standard input. It may be broken into several words by a terminal. The running
service here connects to the first address of the line that answers with the key of
the line. Both prove their keys and the secret, are verified to each other, and
exchange automatically from then on. A first exchange is made at once.

Exits with 0 if both are paired and the exchange came to its end; with 3 if the line
cannot be used or the other side refuses; with 4 if it cannot be reached; else as
`ark-lattice federation sync` does.

Examples:
  ark-lattice join ark-invite:v1:eyJpIjoi…
  ssh hub ark-lattice invite --quiet | ark-lattice join -

With --json; reachedAt is null where the other side cannot connect to this one (NAT),
and round is as in `federation sync --json`:
  {\"status\": \"joined\", \"nodeId\": \"ark-1\", \"publicKey\": \"…\", \"peerUrl\": \"http://192.168.1.100:9001\",
   \"reachedAt\": \"http://192.168.1.101:9001\", \"ownId\": \"ark-2\", \"ownKey\": \"…\",
   \"round\": {\"peer\": \"http://192.168.1.100:9001\", \"success\": true, \"nodesSent\": 15, \"nodesReceived\": 23,
    \"conflictsResolved\": 0, \"bytes\": 5120, \"requests\": 3, \"outcome\": \"in_step\", \"error\": null, \"errorCode\": null, \"next\": null,
    \"deletionsWaiting\": {\"here\": 0, \"there\": 0}}}")]
pub(super) struct Args {
    /// The line of the invite, or - for standard input.
    #[arg(value_name = "LINE", required = true, num_args = 1..)]
    line: Vec<String>,
    /// Where the other machine reaches this instance; otherwise federation.address, else those of its interfaces.
    #[arg(long, value_name = "URL")]
    address: Option<String>,
    /// Do not exchange now.
    #[arg(long)]
    no_sync: bool,
    #[command(flatten)]
    service: ServiceArg,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Joined {
    node_id: String,
    public_key: String,
    peer_url: String,
    reached_at: Option<String>,
    own_id: String,
    own_key: Option<String>,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let line = match args.line.as_slice() {
        [only] if input::is_stdin(Path::new(only)) => {
            let bytes = input::read(Path::new(only), MOST_BYTES)?;
            let text = String::from_utf8(bytes.to_vec());
            text.map_err(|_| Failure::local("standard input: it is no text"))?
        }
        words => words.concat(),
    };
    let service = args.service.open_for(output, Some(sync::PATIENCE))?;
    let body = json!({ "line": line, "address": args.address }).to_string();
    let answer = service.ask(Ask::Post, "api/federation/join", Some(body))?;
    let joined: Joined = service.read(&answer)?;
    if !output.json() {
        output.answer_text(|| text(&joined))?;
    }
    if args.no_sync {
        return if output.json() { print(service.read(&answer)?, None, output) } else { Ok(()) };
    }
    let (round, verdict) = with_one_peer(&service, &joined.peer_url, output)?;
    if output.json() {
        print(service.read(&answer)?, Some(round.clone()), output)?;
    }
    verdict?;
    match round.get("outcome").and_then(Value::as_str) {
        Some("moving") => {
            let text = "both are paired; changes still go on, so that both are not in step yet";
            Err(Failure::new(Exit::Differs, text).because("see: ark-lattice federation sync"))
        }
        _ => Ok(()),
    }
}

fn print(mut joined: Value, round: Option<Value>, output: &Output) -> Result<(), Failure> {
    if let Some((members, round)) = joined.as_object_mut().zip(round) {
        members.insert("round".to_owned(), round);
    }
    Ok(output.line(joined)?)
}

fn text(joined: &Joined) -> String {
    let Joined { node_id, public_key, peer_url, reached_at, own_id, own_key } = joined;
    let own = own_key.as_deref().map(fingerprint).unwrap_or_default();
    let ways = match reached_at {
        Some(url) => format!("both connect: it reaches this instance at {}", printable(url)),
        None => format!("only this instance connects: {node_id} does not reach it at any address (NAT, or a firewall)"),
    };
    format!(
        "paired with {node_id} at {peer_url}, key {}\n  this is {own_id}, key {own}\n  each is verified to the other; {ways}",
        fingerprint(public_key)
    )
}
