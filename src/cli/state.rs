//! `state list|forget`: what the state directory holds, and going on without a file that was lost.

use super::{
    exit::Failure,
    job::StateArg,
    output::{Output, size},
};
use crate::{
    settings::Settings,
    startup::{self, StateFile},
};
use serde_json::{Value, json};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List the files of the state directory that must not get lost
    #[command(after_help = "\
Exits with 1 where one is missing or empty that was there before.

Examples:
  ark-lattice state list

With --json; bytes is null where the file does not exist:
  {\"state\": \"ark_state\", \"missing\": 0, \"files\": [{\"name\": \"lattice.redb\", \"bytes\": 36864, \"missing\": false,
   \"holds\": \"conflicts and lost versions …\"}]}")]
    List(StateArg),
    /// Go on without a file of the state directory that is missing or empty
    #[command(after_help = "\
The service does not start where a file is gone that it needs to keep its word: what was in it is named there. Restore
the whole state directory from a backup if there is one. This command lets the next start begin without the file.

Examples:
  ark-lattice state forget peers.json

With --json:
  {\"status\": \"forgotten\", \"name\": \"peers.json\", \"lost\": \"the peers that commands added …\"}")]
    Forget {
        /// The file's name, as `state list` shows it.
        name: String,
        #[command(flatten)]
        place: StateArg,
    },
}

pub(super) fn run(command: Command, output: &Output) -> Result<(), Failure> {
    match command {
        Command::List(place) => list(&place.settings()?, output),
        Command::Forget { name, place } => forget(&place.settings()?, &name, output),
    }
}

fn list(settings: &Settings, output: &Output) -> Result<(), Failure> {
    let files = startup::state_files(settings)?;
    let missing = files.iter().filter(|file| file.is_missing).count();
    if output.json() {
        let rows: Vec<Value> = files.iter().map(as_json).collect();
        output.line(json!({"state": settings.state.path, "missing": missing, "files": rows}))?;
    } else {
        output.table(&["FILE", "SIZE", "LOST WITH IT"], files.iter().map(row))?;
    }
    match startup::missing_files(settings)?.first() {
        Some(first) => Err(Failure::local(format!("{}. {}", first.problem(), first.next()))),
        None => Ok(()),
    }
}

fn as_json(file: &StateFile) -> Value {
    json!({"name": file.name, "bytes": file.bytes, "missing": file.is_missing, "holds": file.holds})
}

fn row(file: &StateFile) -> Vec<String> {
    let bytes = match file.bytes {
        _ if file.is_missing => "missing".to_owned(),
        Some(bytes) => size(bytes),
        None => "-".to_owned(),
    };
    vec![file.name.to_owned(), bytes, file.holds.to_owned()]
}

fn forget(settings: &Settings, name: &str, output: &Output) -> Result<(), Failure> {
    let lost = startup::forget_file(settings, name)?;
    output.answer(
        || json!({"status": "forgotten", "name": name, "lost": lost}),
        || format!("the next start goes on without {name}; lost with it: {lost}"),
    )?;
    output.remark("Next: ark-lattice serve");
    Ok(())
}
