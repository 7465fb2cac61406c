//! `keygen`

use super::{exit::Failure, output::Output};
use crate::{
    ops,
    settings::{Overrides, Settings},
};
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ark-lattice keygen
  ark-lattice keygen --out other.key

With --json:
  {\"file\": \"other.key\", \"public_key\": \"…\"}")]
pub(super) struct Args {
    /// The key file; otherwise identity.key in the state directory. An existing file is never overwritten.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let path = match args.out {
        Some(path) => path,
        None => Settings::load(Overrides::new())?.state.path.join("identity.key"),
    };
    let public_key = ops::generate_key(&path)?.public_key();
    if output.json() {
        return Ok(output.line(json!({"file": path, "public_key": public_key}))?);
    }
    output.remark(format!(
        "The private key is in {} (mode 0600): keep it secret, back it up. Its public key:",
        path.display()
    ));
    Ok(output.line(public_key)?)
}
