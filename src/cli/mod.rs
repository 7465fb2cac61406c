//! The command line: one file per subcommand. Arguments become a checked job before any work starts.

mod adopt;
mod audit;
mod completions;
mod config;
mod conflicts;
mod demo;
mod discover;
mod doctor;
mod exit;
mod export;
mod federation;
mod healthcheck;
mod import;
mod init;
mod input;
mod invite;
mod job;
mod join;
mod key;
mod keygen;
mod man;
mod manifest;
mod node;
mod output;
mod progress;
mod pull;
mod serve;
mod service;
mod state;
mod stop;
mod target;
mod version;

pub use exit::Exit;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use exit::Failure;
use output::Output;
use std::{ffi::OsString, process::ExitCode};

/// Keeps directories of JSON documents in step between machines.
#[derive(Debug, Parser)]
#[command(name = "ark-lattice", version, long_version = version::long(), after_help = after_help(), max_term_width = 110)]
struct Cli {
    /// Print JSON: for programs. Errors too, as one line on standard error.
    #[arg(long, global = true, help_heading = "Options of every command")]
    json: bool,
    /// Print only what was asked for, and errors.
    #[arg(long, short, global = true, help_heading = "Options of every command")]
    quiet: bool,
    /// Say on standard error what was found where: which state directory names the service, for example.
    #[arg(long, short, global = true, conflicts_with = "quiet", help_heading = "Options of every command")]
    verbose: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Set up an instance: directories, key and settings; asks on a terminal
    Init(init::Args),
    /// Serve the data directory over HTTP
    Serve(serve::Args),
    /// Make this instance's key
    Keygen(keygen::Args),
    /// Show, rotate, revoke, recover and encrypt this instance's key
    #[command(subcommand)]
    Key(key::Command),
    /// Build, sign, check and publish manifests
    #[command(subcommand)]
    Manifest(manifest::Command),
    /// Look at and change nodes in the data directory
    #[command(subcommand)]
    Node(node::Command),
    /// Bring nodes from a file into the data directory
    Import(import::Args),
    /// Write the nodes of the data directory, or of a running service, into one file
    Export(export::Args),
    /// List the live peers that an instance knows
    Discover(discover::Args),
    /// Fetch what differs from an instance
    Pull(pull::Args),
    /// Print a line with which one other machine joins this one
    Invite(invite::Args),
    /// Join the instance that made an invite, and exchange with it
    Join(join::Args),
    /// See and change how the running service exchanges with others
    #[command(subcommand)]
    Federation(federation::Command),
    /// Show who this instance is, how far it is from its peers, and what was exchanged: short for `federation status`
    Status(federation::StatusArgs),
    /// List the peers: short for `federation list-peers`
    Peers(federation::PeersArgs),
    /// Exchange now, with all peers or one: short for `federation sync`
    Sync(federation::SyncArgs),
    /// See and settle edits made here that lost against another instance's
    #[command(subcommand)]
    Conflicts(conflicts::Command),
    /// Keep the journal for a data directory whose marker is missing or another one
    Adopt(adopt::Args),
    /// See what the state directory holds, and go on without a file that was lost
    #[command(subcommand)]
    State(state::Command),
    /// Say what is wrong with this installation, and what to type next
    Doctor(doctor::Args),
    /// Watch three instances find each other and come in step, on this machine and in one minute
    Demo(demo::Args),
    /// Ask the running service whether it is ready: for container engines and scripts
    Healthcheck(healthcheck::Args),
    /// Look at and check the log of trust and refusals
    #[command(subcommand)]
    Audit(audit::Command),
    /// Show and check the settings
    #[command(subcommand)]
    Config(config::Command),
    /// Print the version, as `--version` does
    #[command(after_help = version::HELP)]
    Version,
    /// Print what makes a shell complete this command
    Completions(completions::Args),
    /// Print the manual, or write a page for every command
    Man(man::Args),
}

/// What stands below the main page of `--help` and of the manual.
fn after_help() -> String {
    format!(
        "{}\n\nExamples:\n  \
         ark-lattice serve                                       # lattice_data/ on http://127.0.0.1:9001\n  \
         ark-lattice pull --from http://127.0.0.1:9001 --dry-run # what differs\n  \
         ark-lattice export --out backup.ndjson && ark-lattice import --exact backup.ndjson\n\n\
         Errors with --json:\n  \
         {{\"error\": \"…\", \"exit_code\": 3, \"code\": \"rollback\"}}",
        exit::table()
    )
}

/// The command line's declaration.
fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command that `args` name, the first being the program's own name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Refused where it was done before, which is as good.
    let _already_installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let args: Vec<OsString> = args.into_iter().collect();
    let parsed = command().try_get_matches_from(&args).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        // What the rest of the line asks for is not known then, but in which form to say so is.
        Err(error) => {
            let json = args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json");
            return exit::usage(&error, &Output::new(json, false));
        }
    };
    let output = Output::new(cli.json, cli.quiet).verbose(cli.verbose);
    let outcome = dispatch(cli.command, &output);
    let exit = match outcome {
        Ok(()) => Exit::Ok,
        Err(failure) => failure.report(&output),
    };
    exit.into()
}

fn dispatch(command: Command, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Init(args) => init::run(args, output),
        Command::Serve(args) => serve::run(args, output),
        Command::Keygen(args) => keygen::run(args, output),
        Command::Key(command) => key::run(command, output),
        Command::Manifest(command) => manifest::run(command, output),
        Command::Node(command) => node::run(command, output),
        Command::Import(args) => import::run(args, output),
        Command::Export(args) => export::run(&args, output),
        Command::Discover(args) => discover::run(args, output),
        Command::Pull(args) => pull::run(args, output),
        Command::Invite(args) => invite::run(args, output),
        Command::Join(args) => join::run(&args, output),
        Command::Federation(command) => federation::run(command, output),
        Command::Status(args) => federation::run(federation::Command::Status(args), output),
        Command::Peers(args) => federation::run(federation::Command::ListPeers(args), output),
        Command::Sync(args) => federation::run(federation::Command::Sync(args), output),
        Command::Conflicts(command) => conflicts::run(command, output),
        Command::Adopt(args) => adopt::run(&args, output),
        Command::State(command) => state::run(command, output),
        Command::Doctor(args) => doctor::run(&args, output),
        Command::Demo(args) => demo::run(&args, output),
        Command::Healthcheck(args) => healthcheck::run(&args, output),
        Command::Audit(command) => audit::run(command, output),
        Command::Config(command) => config::run(&command, output),
        Command::Version => version::run(output),
        Command::Completions(args) => completions::run(&args, output),
        Command::Man(args) => man::run(&args, output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        command().debug_assert();
    }

    /// The commands of this program in a text, each from its name to the next mark that ends a sentence or a command.
    fn commands(text: &str) -> Vec<Vec<String>> {
        let parts = text.split("ark-lattice ").skip(1);
        let end = |part: &str| part.find([';', ',', '&', '(']).unwrap_or(part.len());
        let words = |part: &str| part[..end(part)].split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        parts.map(words).filter(|words| !words.is_empty()).collect()
    }

    #[test]
    fn each_command_in_a_next_step_is_one() {
        use crate::ops::{FailedAt, FailureContext, FailureKind};
        let refusal = "no; on this instance's machine: ark-lattice federation accept me --key KEY";
        let mut seen = 0;
        for kind in FailureKind::ALL {
            let at = FailedAt::Peer { url: "http://a:9001", setting: None };
            let next = kind.next(&FailureContext { at, own_id: Some("me"), text: refusal });
            for words in commands(&next) {
                let line = std::iter::once("ark-lattice".to_owned()).chain(words);
                let parsed = command().try_get_matches_from(line);
                let is_shown = |error: &clap::Error| error.kind() == clap::error::ErrorKind::DisplayVersion;
                assert!(parsed.as_ref().map_or_else(is_shown, |_| true), "{kind:?}: {next}: {parsed:?}");
                seen += 1;
            }
        }
        assert!(seen > 30, "{seen}");
    }

    /// What a document shows as code: spans in a line, and lines of blocks, without the prompt.
    fn code(text: &str) -> Vec<&str> {
        let (mut found, mut in_block) = (Vec::new(), false);
        for line in text.lines() {
            if line.trim_start().starts_with("```") {
                in_block = !in_block;
            } else if in_block {
                found.push(line.trim_start().trim_start_matches("$ "));
            } else {
                found.extend(line.split('`').skip(1).step_by(2));
            }
        }
        found
    }

    #[test]
    fn each_command_in_the_documents_exists() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        for name in ["README.md", "CHANGELOG.md", "docs/TROUBLESHOOTING.md", "deploy/README.md"] {
            let text = std::fs::read_to_string(root.join(name)).unwrap();
            for line in code(&text) {
                // That one is what signatures of a network are made for.
                let command_line = line.strip_prefix("ark-lattice ").filter(|rest| !rest.starts_with("network 1"));
                let Some(rest) = command_line else { continue };
                let is_word =
                    |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-');
                let mut words =
                    rest.split([' ', '|', ';', '[']).take_while(|word| !word.is_empty()).take_while(is_word);
                let Some(first) = words.next() else { continue };
                let root = command();
                let found =
                    root.find_subcommand(first).unwrap_or_else(|| panic!("{name}: ark-lattice {first}: {line}"));
                if let Some(second) = words.next().filter(|_| found.has_subcommands()) {
                    assert!(found.find_subcommand(second).is_some(), "{name}: ark-lattice {first} {second}");
                }
            }
        }
    }
}
