//! Passphrases and recovery words: from files, variables and terminals, never from arguments, which everybody on the machine sees.

use crate::{
    cli::{exit::Failure, input},
    ops::{MIN_PASSPHRASE_CHARS, RecoveryWords},
    settings::Settings,
    startup,
};
use secrecy::{ExposeSecret, SecretString};
use std::{
    io::{self, IsTerminal},
    path::Path,
};

mod hidden;

/// More than any of them.
const MAX_BYTES: usize = 4096;

fn is_terminal() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks on the terminal, which does not show what is typed.
fn ask(question: &str) -> Result<SecretString, Failure> {
    hidden::ask(question, MAX_BYTES).map_err(Failure::local)
}

fn read(path: &Path) -> Result<SecretString, Failure> {
    let bytes = input::read(path, MAX_BYTES)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Failure::local("is not UTF-8").about(input::name(path)))?;
    Ok(SecretString::from(text.trim()))
}

/// Has the settings hold the key's passphrase: asks for it where it is needed, not given, and there is somebody to ask.
pub(in crate::cli) fn unlock(settings: &mut Settings) -> Result<(), Failure> {
    let Some(place) = startup::key_place(settings).filter(|_| settings.instance.key_passphrase.is_none()) else {
        return Ok(());
    };
    // What is wrong with the files is said by whoever reads the key.
    if is_terminal() && place.is_encrypted().unwrap_or(false) {
        settings.instance.key_passphrase = Some(ask(&format!("Passphrase of {}: ", place.path().display()))?);
    }
    Ok(())
}

/// A passphrase for a key's file that is to be written.
pub(in crate::cli) fn new_passphrase(settings: &Settings, file: Option<&Path>) -> Result<SecretString, Failure> {
    let passphrase = match (file, &settings.instance.key_passphrase) {
        (Some(file), _) => read(file)?,
        (None, _) if is_terminal() => {
            let first = ask("New passphrase: ")?;
            if ask("Again: ")?.expose_secret() != first.expose_secret() {
                return Err(Failure::local("the two passphrases differ; nothing was changed"));
            }
            first
        }
        (None, Some(passphrase)) => passphrase.clone(),
        (None, None) => {
            return Err(Failure::local(
                "there is no terminal to ask for a passphrase on: give --passphrase-file, or ARK_KEY_PASSPHRASE",
            ));
        }
    };
    if passphrase.expose_secret().chars().count() < MIN_PASSPHRASE_CHARS {
        return Err(Failure::local(format!("a passphrase has at least {MIN_PASSPHRASE_CHARS} characters")));
    }
    Ok(passphrase)
}

/// The 24 words.
pub(super) fn read_words(file: Option<&Path>) -> Result<RecoveryWords, Failure> {
    let text = match file {
        Some(file) => read(file)?,
        None if is_terminal() => ask("The 24 recovery words: ")?,
        None => return Err(Failure::local("there is no terminal to type the words on: give --words-file")),
    };
    Ok(RecoveryWords::parse(&text)?)
}
