//! `federation discover`: who else is on the local network.

use super::{CONTROLS, millis, model::Discovered, print};
use crate::{
    cli::{
        exit::Failure,
        job,
        output::{Output, count},
        progress::Progress,
        service::ServiceArg,
    },
    ops::Ask,
};
use serde_json::{Map, Value};
use std::time::Duration;

/// Longer than a service that was told nothing looks around.
const LONGEST_LOOK: Duration = Duration::from_secs(600);
/// For the answer itself.
const SPARE: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Its settings say where the service looks: discovery.mdns, .interfaces and
.scan_subnets. It takes what it finds as peers only with --accept.

Examples:
  ark-lattice federation discover
  ark-lattice federation discover --subnet 192.168.1.0/24 --timeout 5s
  ark-lattice federation discover --accept

With --json; via is mdns, scan or registry:
  {\"status\": \"ok\", \"found\": [{\"url\": \"http://192.168.1.100:9000\", \"nodeId\": \"pi\", \"publicKey\": \"…\",
   \"instanceType\": \"pi\", \"via\": \"mdns\", \"known\": false, \"accepted\": false}], \"count\": 1}")]
pub(in crate::cli) struct Args {
    /// Make peers of all that are found.
    #[arg(long)]
    accept: bool,
    /// Of the networks in discovery.scan_subnets only this part, such as 192.168.1.0/24; may be repeated.
    #[arg(long = "subnet", value_name = "CIDR")]
    subnets: Vec<String>,
    /// How long to look, such as 5s; otherwise as long as the service does by itself.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    service: ServiceArg,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let service = args.service.open_for(output, Some(args.timeout.unwrap_or(LONGEST_LOOK).saturating_add(SPARE)))?;
    let mut body = Map::new();
    if args.accept {
        body.insert("accept".to_owned(), Value::Bool(true));
    }
    if !args.subnets.is_empty() {
        body.insert("subnets".to_owned(), args.subnets.clone().into());
    }
    if let Some(timeout) = args.timeout {
        // Whole seconds on the wire: rather longer than shorter.
        body.insert("timeoutSeconds".to_owned(), millis(timeout).div_ceil(1000).into());
    }
    let answer = {
        let _drawn = Progress::waiting("looking around", output);
        let body = Value::Object(body).to_string();
        job::wait(service.answer(Ask::Post, &format!("{CONTROLS}/discover"), Some(body)))?
    };
    if output.json() {
        return print(output, &answer, String::new);
    }
    let found = service.read::<Discovered>(&answer)?.found;
    if found.is_empty() {
        output.remark("Nobody was found; the settings say where to look: discovery.mdns, discovery.interfaces, discovery.scan_subnets");
        return Ok(());
    }
    let state = |accepted: bool, known: bool| match (accepted, known) {
        (true, _) => "accepted",
        (false, true) => "known",
        (false, false) => "new",
    };
    let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let row = |found: &super::model::Found| {
        let state = state(found.accepted, found.known).to_owned();
        vec![found.url.clone(), dash(&found.node_id), dash(&found.instance_type), found.via.clone(), state]
    };
    output.table(&["address", "id", "type", "via", "state"], found.iter().map(row))?;
    output.remark(format!("{} found", count(found.len(), "instance")));
    let new = found.iter().filter(|found| !found.known && !found.accepted);
    let commands: Vec<String> = new.map(|found| format!("  ark-lattice federation add-peer {}", found.url)).collect();
    if !commands.is_empty() {
        output.answer_text(|| format!("To take them as peers:\n{}", commands.join("\n")))?;
    }
    Ok(())
}
