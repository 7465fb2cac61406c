//! `init`: everything that an instance needs, made once and never overwritten.

mod ask;
mod place;
mod wishes;

use super::{
    exit::{Exit, Failure},
    key::new_passphrase,
    output::Output,
};
use place::Place;
use serde_json::json;
use std::{
    io::{self, IsTerminal},
    path::PathBuf,
};
use wishes::Wishes;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Makes the data directory, the state directory (mode 0700) with the instance's
key, and config/ENV.toml with what differs from the defaults (mode 0600 if it
holds a password). What exists is left as it is and named; a second run changes
nothing. On a terminal it asks for what no option says; elsewhere it takes the
defaults, with --yes or beside other options. Paths are relative to DIR, from
where the service is started.

Examples:
  ark-lattice init
  ark-lattice init --dir /srv/ark --node-id ark-1 --instance-type cloud
  ark-lattice init --yes --admin-token --json
  ark-lattice init --yes --encrypt --passphrase-file passphrase.txt

With --json:
  {\"dir\": \".\", \"environment\": \"local\", \"config\": \"./config/local.toml\",
   \"node_id\": \"ark-1\", \"public_key\": \"…\", \"made\": [\"./lattice_data\"],
   \"found\": [\"./ark_state\"], \"next\": [\"ark-lattice doctor\", \"ark-lattice serve\"]}")]
pub(super) struct Args {
    /// Where it is set up; made where it does not exist.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// The name of the settings file: config/ENV.toml. Every command reads local.toml, one with ARK_ENV=ENV that file too.
    #[arg(long, value_name = "ENV", default_value = "local", value_parser = environment)]
    env: String,
    /// Put the key's file under a passphrase: asked for on a terminal, otherwise from --passphrase-file.
    #[arg(long)]
    encrypt: bool,
    /// File with the passphrase.
    #[arg(long, value_name = "FILE", requires = "encrypt")]
    passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    wishes: Wishes,
    /// Do not prompt: use the defaults for what no option names.
    #[arg(long, short)]
    yes: bool,
}

/// As `ARK_ENV` may be. `default` is taken by what holds for all.
fn environment(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    match text {
        "" => Err("it is empty".to_owned()),
        "default" => Err("config/default.toml holds for every environment; choose another name".to_owned()),
        _ if plain => Ok(text.to_owned()),
        _ => Err("letters, digits, - and _ only".to_owned()),
    }
}

pub(super) fn run(mut args: Args, output: &Output) -> Result<(), Failure> {
    let place = Place::new(args.dir, args.env);
    let defaults = place.defaults()?;
    if !place.is_configured() && !args.yes {
        let person = io::stdin().is_terminal() && io::stderr().is_terminal() && !output.json();
        if person {
            ask::for_the_rest(&mut args.wishes, &defaults)?;
        } else if args.wishes.are_none() {
            return Err(Failure::new(
                Exit::Usage,
                "there is no terminal to ask on: give --yes for the defaults, or what differs from them: --node-id, \
                 --instance-type, --host, --port, --redis-url, --lattice, --state, --admin-token",
            ));
        }
    }
    let passphrase = match args.encrypt {
        true => Some(new_passphrase(&defaults, args.passphrase_file.as_deref())?),
        false => None,
    };
    let made = place.set_up(&args.wishes, &defaults, passphrase.as_ref())?;
    let next = place.next();
    let answer = || {
        json!({
            "dir": place.dir(), "environment": place.environment(), "config": place.config(), "node_id": made.node_id,
            "public_key": made.public_key, "made": made.made, "found": made.found, "next": next,
        })
    };
    Ok(output.answer(answer, || text(&made, &next))?)
}

fn text(done: &place::Done, next: &[String]) -> String {
    let mut text = String::new();
    for (word, paths) in [("made  ", &done.made), ("exists", &done.found)] {
        paths.iter().for_each(|path| text.push_str(&format!("{word}  {}\n", path.display())));
    }
    text.push_str(&format!("{} signs with {}\n", done.node_id, done.public_key));
    if done.made.is_empty() {
        text.push_str("Nothing to do: it is set up already.\n");
    }
    text.push_str("Next:");
    next.iter().for_each(|line| text.push_str(&format!("\n  {line}")));
    text
}
