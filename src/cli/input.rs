//! Files that commands read; `-` is standard input.

use super::exit::Failure;
use bytes::Bytes;
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

/// Opens it for reading from beginning to end.
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if is_stdin(path) {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(path).and_then(|file| match file.metadata()?.is_dir() {
        true => Err(io::ErrorKind::IsADirectory.into()),
        false => Ok(file),
    });
    Ok(Box::new(BufReader::new(file.map_err(|error| Failure::local(error).about(name(path)))?)))
}

/// Reads at most `limit` bytes.
pub(super) fn read(path: &Path, limit: usize) -> Result<Bytes, Failure> {
    let failed = |error: io::Error| Failure::local(error).about(name(path));
    let source: Box<dyn Read> =
        if is_stdin(path) { Box::new(io::stdin()) } else { Box::new(File::open(path).map_err(failed)?) };
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    source.take(most).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > limit {
        return Err(Failure::local(format!("larger than {limit} bytes")).about(name(path)));
    }
    Ok(Bytes::from(bytes))
}

/// Is it `-`?
pub(super) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// What to call it in messages.
pub(super) fn name(path: &Path) -> String {
    if is_stdin(path) { "standard input".to_owned() } else { path.display().to_string() }
}
