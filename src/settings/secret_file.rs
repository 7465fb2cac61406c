//! Secrets that are handed over as files: Docker and Kubernetes secrets, systemd credentials.

use super::{SettingsError, load::bad};
use secrecy::SecretString;
use std::{fs::File, io::Read, path::Path};
use zeroize::Zeroizing;

/// More than any secret of ours.
const MAX_BYTES: u64 = 4096;

/// The text of the file without the space around it. Who else may read the file is up to whoever hands it over: container engines
/// make such files readable for all and keep them where nobody else gets.
///
/// # Errors
/// It cannot be read, holds nothing or too much, or is not UTF-8.
pub(super) fn read(key: &'static str, path: &Path) -> Result<SecretString, SettingsError> {
    let failed = |problem: &dyn std::fmt::Display| bad(key, format!("{}: {problem}", path.display()));
    let mut text = Zeroizing::new(String::new());
    let file = File::open(path).map_err(|error| failed(&error))?;
    // One byte more shows that there is more.
    file.take(MAX_BYTES.saturating_add(1)).read_to_string(&mut text).map_err(|error| failed(&error))?;
    if text.len() > usize::try_from(MAX_BYTES).unwrap_or(usize::MAX) {
        return Err(failed(&format_args!("holds more than {MAX_BYTES} bytes, so it is no secret of ours")));
    }
    match text.trim() {
        "" => Err(failed(&"is empty")),
        secret => Ok(SecretString::from(secret)),
    }
}
