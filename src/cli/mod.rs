//! The command line: one file per subcommand. Arguments become a checked job before any work starts.

mod config;
mod demo;
mod discover;
mod doctor;
mod exit;
mod healthcheck;
mod import;
mod input;
mod job;
mod keygen;
mod manifest;
mod node;
mod output;
mod pull;
mod serve;

pub use exit::Exit;

use clap::{Parser, Subcommand};
use exit::Failure;
use output::Output;
use std::{ffi::OsString, process::ExitCode};

/// Keeps directories of JSON documents in step between machines.
#[derive(Debug, Parser)]
#[command(name = "ark-lattice", version, after_help = exit::TABLE, max_term_width = 110, propagate_version = true)]
struct Cli {
    /// Print JSON: for programs.
    #[arg(long, global = true)]
    json: bool,
    /// Print only what was asked for, and errors.
    #[arg(long, short, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the data directory over HTTP
    Serve(serve::Args),
    /// Make this instance's key
    Keygen(keygen::Args),
    /// Build, sign, check and publish manifests
    #[command(subcommand)]
    Manifest(manifest::Command),
    /// Look at and change nodes in the data directory
    #[command(subcommand)]
    Node(node::Command),
    /// Bring nodes from a file into the data directory
    Import(import::Args),
    /// List the live peers that an instance knows
    Discover(discover::Args),
    /// Fetch what differs from an instance
    Pull(pull::Args),
    /// Say what is wrong with this installation, and what to type next
    Doctor(doctor::Args),
    /// Watch three instances find each other and come in step, on this machine and in one minute
    Demo(demo::Args),
    /// Ask the running service whether it is ready: for container engines and scripts
    Healthcheck(healthcheck::Args),
    /// Show and check the settings
    #[command(subcommand)]
    Config(config::Command),
}

/// Runs the command that `args` name, the first being the program's own name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Refused where it was done before, which is as good.
    let _already_installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    let output = Output::new(cli.json, cli.quiet);
    let outcome = dispatch(cli.command, &output);
    let exit = match outcome {
        Ok(()) => Exit::Ok,
        Err(failure) => failure.report(&output),
    };
    exit.into()
}

fn dispatch(command: Command, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => serve::run(args, output),
        Command::Keygen(args) => keygen::run(args, output),
        Command::Manifest(command) => manifest::run(command, output),
        Command::Node(command) => node::run(command, output),
        Command::Import(args) => import::run(args, output),
        Command::Discover(args) => discover::run(args, output),
        Command::Pull(args) => pull::run(args, output),
        Command::Doctor(args) => doctor::run(&args, output),
        Command::Demo(args) => demo::run(&args, output),
        Command::Healthcheck(args) => healthcheck::run(&args, output),
        Command::Config(command) => config::run(&command, output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
