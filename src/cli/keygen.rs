//! `keygen`

use super::{exit::Failure, key::new_passphrase, output::Output};
use crate::{
    ops,
    settings::{Overrides, Settings},
    startup,
};
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ark-lattice keygen
  ark-lattice keygen --out other.key
  ark-lattice keygen --encrypt

With --json:
  {\"file\": \"other.key\", \"public_key\": \"…\"}")]
pub(super) struct Args {
    /// The key file; otherwise identity.key in the state directory. An existing file is never overwritten.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Put the file under a passphrase: asked for on a terminal, otherwise from --passphrase-file or ARK_KEY_PASSPHRASE.
    #[arg(long)]
    encrypt: bool,
    /// File with the passphrase.
    #[arg(long, value_name = "FILE", requires = "encrypt")]
    passphrase_file: Option<PathBuf>,
}

pub(super) fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let is_own = args.out.is_none();
    let settings = if is_own || args.encrypt { Some(Settings::load(Overrides::new())?) } else { None };
    let default = || settings.as_ref().map(|settings| settings.state.path.join("identity.key")).unwrap_or_default();
    if let Some(settings) = settings.as_ref().filter(|_| is_own) {
        startup::check_file(settings, "identity.key")?;
    }
    let path = args.out.unwrap_or_else(default);
    let passphrase = match settings.as_ref().filter(|_| args.encrypt) {
        Some(settings) => Some(new_passphrase(settings, args.passphrase_file.as_deref())?),
        None => None,
    };
    if let Some(settings) = settings.as_ref().filter(|_| is_own) {
        // Before the key, which would be the state of an earlier version.
        startup::own_id(settings)?;
    }
    let public_key = ops::generate_key(&path, passphrase.as_ref())?.public_key();
    if output.json() {
        return Ok(output.line(json!({"file": path, "public_key": public_key}))?);
    }
    output.remark(format!(
        "The private key is in {} (mode 0600): keep it secret, back it up. Its public key:",
        path.display()
    ));
    Ok(output.line(public_key)?)
}
