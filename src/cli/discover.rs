//! `discover`

use super::{
    exit::Failure,
    job::{self, CaFileArg},
    output::{Output, count},
};
use crate::{
    ops::{self, PeerQuery, RemotePeer},
    settings::{Overrides, Settings},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ark-lattice discover --from https://ark.example
  ark-lattice discover --from https://ark.example --json | jq -r '.peers[].address'

With --json, each peer with all that it says of itself:
  {\"peers\": [{\"node_id\": \"ark-1\", \"expires_in\": 118}], \"count\": 1}")]
pub(super) struct Args {
    /// The instance to ask, such as http://127.0.0.1:9001.
    #[arg(long, value_name = "URL")]
    from: String,
    #[command(flatten)]
    authorities: CaFileArg,
    /// Only peers of this type: local, cloud or pi.
    #[arg(long)]
    instance_type: Option<String>,
    /// Only peers of this level: unknown, pending, verified or revoked.
    #[arg(long)]
    trust_level: Option<String>,
}

pub(super) fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let settings = Settings::load(Overrides::new())?;
    let client = args.authorities.client(&settings, &args.from)?;
    let query = PeerQuery { instance_type: args.instance_type, trust_level: args.trust_level };
    let limits = settings.limits();
    let mut peers = job::wait(ops::discover_remote(&client, &query, &limits))?;
    peers.sort_by(|a, b| a.node_id.cmp(&b.node_id));
    if output.json() {
        let texts: Vec<&str> = peers.iter().map(|peer| peer.text.as_str()).collect();
        return Ok(output.line(format!("{{\"peers\":[{}],\"count\":{}}}", texts.join(","), texts.len()))?);
    }
    if peers.is_empty() {
        output.remark("No live peers.");
        return Ok(());
    }
    output.table(&["id", "type", "trust", "nodes", "expires", "address"], peers.iter().map(row))?;
    output.remark(count(peers.len(), "live peer"));
    Ok(())
}

fn row(peer: &RemotePeer) -> Vec<String> {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    vec![
        peer.node_id.clone(),
        or_dash(&peer.instance_type),
        or_dash(&peer.trust_level),
        or_dash(&peer.node_count),
        peer.expires_in.as_ref().map_or_else(|| "-".to_owned(), |seconds| format!("{seconds} s")),
        or_dash(&peer.address),
    ]
}
