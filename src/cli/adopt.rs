//! `adopt`: keeps the journal for a data directory that it does not recognise.

use super::{
    exit::Failure,
    job::LatticeArg,
    output::{Output, count},
};
use crate::startup;
use serde_json::json;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The data directory is known by its marker, the file .ark-lattice. serve refuses
to start where the marker is missing or names another lattice: the files that
are missing in an empty or wrong directory would count as deleted nodes. Run this
after you have checked that the directory is the right one: it was copied or
restored without its hidden files, say, or replaced on purpose.

Deleted nodes stay deleted, and conflicts and peers are kept. A node that has no
file in the directory counts as lost: it comes back from peers, and is deleted
nowhere. The service must not run.

Examples:
  ark-lattice adopt
  ark-lattice adopt --lattice /srv/nodes

With --json:
  {\"status\": \"adopted\", \"lattice\": \"/srv/nodes\",
   \"lattice_id\": \"0123456789abcdef0123456789abcdef\", \"known_nodes\": 2,
   \"missing_nodes\": 1}")]
pub(super) struct Args {
    #[command(flatten)]
    lattice: LatticeArg,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let settings = args.lattice.settings()?;
    let adopted = startup::adopt(&settings)?;
    let path = settings.lattice.path.display();
    let (known, missing) = (adopted.known_nodes, adopted.missing_nodes);
    let answer = || {
        json!({
            "status": "adopted", "lattice": path.to_string(), "lattice_id": adopted.lattice_id,
            "known_nodes": known, "missing_nodes": missing,
        })
    };
    output.answer(answer, || {
        let nodes = count(known, "known node");
        format!("adopted {path} as lattice {}: {nodes}, {missing} of them without a file here", adopted.lattice_id)
    })?;
    if missing > 0 {
        output.remark("Nodes without a file count as lost, not as deleted: they come back from peers.");
    }
    output.remark("Next: ark-lattice serve");
    Ok(())
}
