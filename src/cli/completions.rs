//! `completions`

use super::{exit::Failure, output::Output};
use clap_complete::Shell;
use serde_json::json;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ark-lattice completions bash > ~/.local/share/bash-completion/completions/ark-lattice
  ark-lattice completions zsh > ~/.zfunc/_ark-lattice
  ark-lattice completions fish > ~/.config/fish/completions/ark-lattice.fish
For zsh, ~/.zshrc says before compinit: fpath+=~/.zfunc

With --json:
  {\"shell\": \"bash\", \"script\": \"…\"}")]
pub(super) struct Args {
    /// The shell.
    shell: Shell,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), env!("CARGO_PKG_NAME"), &mut script);
    let script = String::from_utf8_lossy(&script);
    // clap_complete 4.6 gives the parts of a bash script two different names where the command's own has a hyphen; no other shell has
    // such names, and once that is repaired there is nothing to replace.
    let script = script.replace("ark__subcmd__lattice__subcmd__", "ark__lattice__subcmd__");
    if output.json() {
        return Ok(output.line(json!({"shell": args.shell.to_string(), "script": script}))?);
    }
    Ok(output.bytes(script.as_bytes())?)
}
