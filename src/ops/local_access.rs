//! Local admin access. The running service records its address and a fresh admin token in its state directory; commands on this machine
//! read both. Which accounts have local admin rights is thereby decided by the permissions of that directory, not by an address.

use super::{OfflineError, write_new_file};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;
use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// The file with the local admin token, mode 0600: one line.
pub const LOCAL_TOKEN_FILE: &str = "local.token";
/// The file with the service's address, mode 0600: one line, a URL.
pub const SERVICE_URL_FILE: &str = "service.url";

/// Random bytes of a token: 256 bits.
const TOKEN_BYTES: usize = 32;
/// More than an address or a token has.
const MAX_FILE_BYTES: u64 = 4096;

/// A random token as text that an Authorization header carries.
pub(super) fn random_token() -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice())))
}

/// The token of one run of the service. Dropped, both files are removed.
#[derive(Debug)]
pub struct LocalAccess {
    state: PathBuf,
    token: SecretString,
}

impl LocalAccess {
    /// Makes a token and writes both files into the state directory, which the caller has locked. Those of an earlier run are replaced.
    ///
    /// # Errors
    /// [`OfflineError::Io`]: a file cannot be written.
    pub fn issue(state: &Path, url: &str) -> Result<Self, OfflineError> {
        let failed = |error: io::Error| OfflineError::Io { path: state.join(LOCAL_TOKEN_FILE), error };
        let token = random_token().map_err(failed)?;
        replace(&state.join(LOCAL_TOKEN_FILE), &Zeroizing::new(format!("{}\n", token.as_str())))?;
        // After the token: a reader that finds an address finds the token that belongs to it.
        replace(&state.join(SERVICE_URL_FILE), &format!("{url}\n"))?;
        Ok(Self { state: state.to_owned(), token: SecretString::from(token.as_str()) })
    }

    /// The token.
    #[must_use]
    pub fn token(&self) -> &SecretString {
        &self.token
    }

    /// The file that holds it.
    #[must_use]
    pub fn token_file(&self) -> PathBuf {
        self.state.join(LOCAL_TOKEN_FILE)
    }
}

impl Drop for LocalAccess {
    fn drop(&mut self) {
        for name in [SERVICE_URL_FILE, LOCAL_TOKEN_FILE] {
            if let Err(error) = fs::remove_file(self.state.join(name)) {
                // The token ends with this process; the next start replaces both files.
                tracing::debug!(file = name, %error, "a file of the local admin access is not removed");
            }
        }
    }
}

/// Writes a file under another name and renames it: a reader sees the whole of the old or of the new one.
fn replace(path: &Path, text: &str) -> Result<(), OfflineError> {
    let failed = |error: io::Error| OfflineError::Io { path: path.to_owned(), error };
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    write_new_file(&new, text.as_bytes(), 0o600)?;
    fs::rename(&new, path).map_err(failed)
}

/// A service that recorded itself in a state directory. It need not run any more.
#[derive(Debug)]
pub struct LocalService {
    /// The state directory.
    pub state: PathBuf,
    /// The service's address, with its base path.
    pub url: String,
    /// The local admin token of that run.
    pub token: SecretString,
}

/// The first of these state directories in which a service recorded itself. One alone was named; of several, one below the working
/// directory counts only if it belongs to this account or to root: in a shared directory anybody can put one there.
///
/// # Errors
/// [`OfflineError::Io`]: no directory before it has a record, and this one's cannot be read, usually for want of permission.
pub fn local_service(states: &[PathBuf]) -> Result<Option<LocalService>, OfflineError> {
    let mut unreadable = None;
    for state in states {
        let is_found_there = states.len() > 1 && state.is_relative();
        let found = if is_found_there { belongs_to_us(state).and_then(|()| recorded(state)) } else { recorded(state) };
        match found {
            Ok(Some(service)) => return Ok(Some(service)),
            Ok(None) => {}
            Err(error) => unreadable = unreadable.or(Some(error)),
        }
    }
    unreadable.map_or(Ok(None), Err)
}

/// # Errors
/// [`OfflineError::Io`]: the directory is another account's, or every account can write into it.
fn belongs_to_us(state: &Path) -> Result<(), OfflineError> {
    const WRITABLE_BY_ALL: u32 = 0o002;
    let Ok(metadata) = fs::metadata(state) else { return Ok(()) };
    let is_ours = [rustix::process::geteuid().as_raw(), 0].contains(&metadata.uid());
    if is_ours && metadata.mode() & WRITABLE_BY_ALL == 0 {
        return Ok(());
    }
    let why = format!(
        "it belongs to the account with uid {}, or all accounts can write into it; if its service is meant, name it: --state {}",
        metadata.uid(),
        state.display()
    );
    Err(OfflineError::Io { path: state.to_owned(), error: io::Error::new(io::ErrorKind::PermissionDenied, why) })
}

fn recorded(state: &Path) -> Result<Option<LocalService>, OfflineError> {
    let (Some(url), Some(token)) = (line(&state.join(SERVICE_URL_FILE))?, line(&state.join(LOCAL_TOKEN_FILE))?) else {
        return Ok(None);
    };
    Ok(Some(LocalService { state: state.to_owned(), url: url.to_string(), token: SecretString::from(token.as_str()) }))
}

/// The one line of a file; `None` where there is no such file.
fn line(path: &Path) -> Result<Option<Zeroizing<String>>, OfflineError> {
    let failed = |error: io::Error| OfflineError::Io { path: path.to_owned(), error };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(failed)?;
    let line = text.trim();
    if line.is_empty() || !line.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, "it does not hold one line of visible ASCII")));
    }
    Ok(Some(Zeroizing::new(line.to_owned())))
}

impl LocalService {
    /// Is this the recorded address, with or without a slash at the end?
    #[must_use]
    pub fn is_at(&self, url: &str) -> bool {
        self.url.trim_end_matches('/') == url.trim_end_matches('/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_are_private_fresh_at_each_start_and_gone_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path();
        let read = |name: &str| fs::read_to_string(state.join(name)).unwrap();
        let first = LocalAccess::issue(state, "http://127.0.0.1:9001").unwrap();
        let token = read(LOCAL_TOKEN_FILE);
        assert_eq!(token.trim().len(), 43);
        for name in [LOCAL_TOKEN_FILE, SERVICE_URL_FILE] {
            assert_eq!(fs::metadata(state.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
        // A process that was killed leaves its files behind.
        std::mem::forget(first);
        let second = LocalAccess::issue(state, "http://127.0.0.1:9002/ark").unwrap();
        assert_ne!(read(LOCAL_TOKEN_FILE), token);
        let found = local_service(&[state.to_owned()]).unwrap().unwrap();
        assert_eq!(found.url, "http://127.0.0.1:9002/ark");
        assert_eq!(found.token.expose_secret(), second.token().expose_secret());
        drop(second);
        assert_eq!(fs::read_dir(state).unwrap().count(), 0);
    }

    #[test]
    fn first_directory_with_a_record_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let states: Vec<PathBuf> = ["a", "b", "c"].map(|name| folder.path().join(name)).to_vec();
        assert!(local_service(&states).unwrap().is_none());
        fs::create_dir(&states[1]).unwrap();
        fs::create_dir(&states[2]).unwrap();
        let _third = LocalAccess::issue(&states[2], "http://127.0.0.1:3").unwrap();
        assert_eq!(local_service(&states).unwrap().unwrap().state, states[2]);
        let _second = LocalAccess::issue(&states[1], "http://127.0.0.1:2").unwrap();
        assert_eq!(local_service(&states).unwrap().unwrap().url, "http://127.0.0.1:2");
    }

    #[test]
    fn damaged_record_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        for damage in ["", "two words", "a\nb", "\u{1b}[2J"] {
            for name in [LOCAL_TOKEN_FILE, SERVICE_URL_FILE] {
                let _access = LocalAccess::issue(folder.path(), "http://127.0.0.1:1").unwrap();
                let path = folder.path().join(name);
                fs::remove_file(&path).unwrap();
                write_new_file(&path, damage.as_bytes(), 0o600).unwrap();
                let error = local_service(&[folder.path().to_owned()]).unwrap_err().to_string();
                assert!(error.contains(name), "{error}");
            }
        }
    }
}
