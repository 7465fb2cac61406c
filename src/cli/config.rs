//! `config show|check`

use super::{exit::Failure, output::Output};
use crate::{
    ops::OfflineDirectory,
    settings::{Overrides, Settings, id_prefix},
    startup,
};
use serde_json::json;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print the settings that hold; of secrets only that they are set
    #[command(after_help = "\
Examples:
  ark-lattice config show
  ARK_ENV=local ark-lattice config show --json | jq .server.port

With --json: an object of sections, each an object of keys.")]
    Show,
    /// Say whether a service could start with them: what `serve` refuses is refused here
    #[command(after_help = "\
Examples:
  ark-lattice config check

With --json:
  {\"ok\": true, \"node_id\": \"ark-1\", \"public_key\": \"…\", \"files\": [\"config/local.toml\"],
   \"warnings\": []}

node_id is null where the service makes the id at its first start.")]
    Check,
}

pub(super) fn run(command: &Command, output: &Output) -> Result<(), Failure> {
    let settings = Settings::load(Overrides::new())?;
    match command {
        Command::Show => show(&settings, output),
        Command::Check => check(&settings, output),
    }
}

fn show(settings: &Settings, output: &Output) -> Result<(), Failure> {
    let mut settings = settings.clone();
    if !settings.has_no_id_yet()? {
        settings.instance.node_id = Some(settings.node_id()?.to_string());
    }
    let text = settings.show();
    if !output.json() {
        return Ok(output.line(text)?);
    }
    let table: toml::Table = text.parse().map_err(Failure::local)?;
    Ok(output.line(serde_json::to_string(&table).map_err(Failure::local)?)?)
}

fn check(settings: &Settings, output: &Output) -> Result<(), Failure> {
    let key = startup::load_key(settings)?;
    startup::check(settings, key.as_ref())?;
    let node_id = if settings.has_no_id_yet()? { None } else { Some(settings.node_id()?) };
    OfflineDirectory::open(&settings.lattice.path, settings.limits())?;
    let public_key = key.map(|key| key.public_key());
    let signs = match public_key {
        Some(key) => format!("signs with {key}"),
        None if settings.instance.public_key.is_some() => format!("signs nothing. {}", startup::REGISTRY_ONLY),
        None => "has no key yet (the service makes one; or: ark-lattice keygen)".to_owned(),
    };
    output.answer(
        || json!({"ok": true, "node_id": node_id, "public_key": public_key, "files": settings.files, "warnings": settings.warnings}),
        || {
            let warnings: String = settings.warnings.iter().map(|warning| format!("\nwarning: {warning}")).collect();
            let files = settings.files_text();
            let unnamed = || format!("an instance without an id yet (the service makes one: {}…)", id_prefix());
            let node_id = node_id.as_ref().map_or_else(unnamed, ToString::to_string);
            format!("The settings are usable: {node_id} {signs}. Files: {files}.{warnings}")
        },
    )?;
    Ok(())
}
