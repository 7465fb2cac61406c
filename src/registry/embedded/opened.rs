//! The two files while they are open: the redb file, and the log of what was registered since.

use super::{
    failure::{OpenError, StoreError, failed, io_error, open_error},
    log::{Log, LogError, Mark, log_path, sync_directory_of},
    tables::{LINES, META, Tables},
};
use crate::registry::RegistryError;
use redb::{Builder, Database, ReadableDatabase, ReadableTableMetadata, Table};
use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

/// Rows of `meta`. `format` says which version of this layout the file has, `log` and `salt` which frames of the log count, and
/// `running` whether some may.
const FORMAT_KEY: &str = "format";
const GENERATION_KEY: &str = "log";
const SALT_KEY: &str = "salt";
const RUNNING_KEY: &str = "running";
/// The tables of before are the same; there was no log beside them.
const FORMAT_WITHOUT_LOG: u64 = 2;
const FORMAT: u64 = 3;
/// redb's own default is 1 GiB, which is a small machine's whole memory.
const CACHE_BYTES: usize = 32 << 20;

/// The open files.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) log: Log,
    salt: u64,
    /// Does the file say that the log may hold rows?
    running: AtomicBool,
    /// Is there any id whose key has statements? Most files have none.
    has_lines: AtomicBool,
}

impl Opened {
    /// Opens both; the redb file must be there. Writes nothing but an empty log where there is none.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let corrupt = |reason: &dyn std::fmt::Display| OpenError::corrupt(path, reason);
        let database = open_database(path)?;
        let transaction = database.begin_read().map_err(|error| open_error(path, error))?;
        let meta = transaction.open_table(META).map_err(|error| open_error(path, error))?;
        let of = |key: &str| match meta.get(key) {
            Ok(row) => Ok(row.map(|row| row.value())),
            Err(error) => Err(open_error(path, error)),
        };
        let (mark, running) = match of(FORMAT_KEY)? {
            Some(FORMAT) => match (of(GENERATION_KEY)?, of(SALT_KEY)?, of(RUNNING_KEY)?) {
                (Some(generation), Some(salt), Some(running)) => (Mark { generation, salt }, running != 0),
                _ => return Err(corrupt(&"it does not say which log is its own")),
            },
            Some(FORMAT_WITHOUT_LOG) => (first_mark().map_err(|error| io_error(path, &error))?, false),
            Some(other) => return Err(corrupt(&format!("its format is {other}, this version reads {FORMAT}"))),
            None => return Err(corrupt(&"it does not say its format")),
        };
        let lines = transaction.open_table(LINES).map_err(|error| open_error(path, error))?;
        let has_lines = !lines.is_empty().map_err(|error| open_error(path, error))?;
        drop((meta, lines, transaction));
        let log_path = log_path(path);
        let log = Log::open(&log_path, mark, running).map_err(|error| match error {
            LogError::Io(error) => io_error(&log_path, &error),
            LogError::Missing | LogError::Damaged(_) | LogError::Later => corrupt(&error),
        })?;
        let (running, has_lines) = (AtomicBool::new(running), AtomicBool::new(has_lines));
        Ok(Self { database, log, salt: mark.salt, running, has_lines })
    }

    /// Is there any id whose key has statements?
    pub(super) fn has_lines(&self) -> bool {
        self.has_lines.load(Ordering::Acquire)
    }

    /// Can the file do without its log?
    pub(super) fn is_settled(&self) -> bool {
        !self.running.load(Ordering::Acquire) && self.log.is_empty()
    }

    /// Makes the file say that the log may hold rows, where it does not yet: from then on it does not open without its log.
    pub(super) fn run(&self) -> Result<(), StoreError> {
        if self.running.load(Ordering::Acquire) {
            return Ok(());
        }
        let generation = self.log.generation();
        self.change(|_, meta| put_marks(meta, Mark { generation, salt: self.salt }, true))?;
        self.running.store(true, Ordering::Release);
        Ok(())
    }

    /// Does `work` in one transaction, after the rows of the log, and waits until all of it is durable. The log begins anew.
    pub(super) fn write<T>(
        &self,
        stays_open: bool,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let is_empty = self.log.is_empty();
        let was_running = self.running.load(Ordering::Acquire);
        let running = was_running && stays_open;
        let (done, has_lines) = self.change(|tables, meta| {
            self.log.each_newest(|peer, row| tables.put_encoded(peer, row))?;
            let done = work(tables)?;
            if !is_empty || running != was_running {
                put_marks(meta, Mark { generation: self.log.next_generation(), salt: self.salt }, running)?;
            }
            Ok((done, tables.has_lines()))
        })?;
        if !is_empty || running != was_running {
            self.log.restart();
        }
        self.running.store(running, Ordering::Release);
        self.has_lines.store(has_lines, Ordering::Release);
        Ok(done)
    }

    fn change<T>(
        &self,
        work: impl FnOnce(&mut Tables<'_>, &mut Table<'_, &'static str, u64>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let transaction = self.database.begin_write().map_err(failed)?;
        let mut tables = Tables::open(&transaction)?;
        let mut meta = transaction.open_table(META).map_err(failed)?;
        let done = work(&mut tables, &mut meta)?;
        drop((tables, meta));
        transaction.commit().map_err(failed)?;
        Ok(done)
    }
}

fn first_mark() -> io::Result<Mark> {
    let mut salt = [0; 8];
    getrandom::fill(&mut salt).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Mark { generation: 1, salt: u64::from_be_bytes(salt) })
}

fn put_marks(meta: &mut Table<'_, &'static str, u64>, mark: Mark, running: bool) -> Result<(), StoreError> {
    for (key, value) in [
        (FORMAT_KEY, FORMAT),
        (GENERATION_KEY, mark.generation),
        (SALT_KEY, mark.salt),
        (RUNNING_KEY, u64::from(running)),
    ] {
        meta.insert(key, value).map_err(failed)?;
    }
    Ok(())
}

/// Makes an empty registry under another name and renames it, so that an existing file is always a whole one: a process killed
/// while making it leaves nothing that could pass for a registry without bindings.
pub(super) fn create(path: &Path) -> Result<(), OpenError> {
    let draft = path.with_extension("new");
    let file = {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&draft).map_err(|error| io_error(&draft, &error))?
    };
    let database =
        Builder::new().set_cache_size(CACHE_BYTES).create_file(file).map_err(|error| open_error(&draft, error))?;
    let initialised = (|| {
        let mark = first_mark().map_err(|error| failed(redb::Error::Io(error)))?;
        let transaction = database.begin_write().map_err(failed)?;
        Tables::open(&transaction)?;
        put_marks(&mut transaction.open_table(META).map_err(failed)?, mark, false)?;
        transaction.commit().map_err(failed)
    })();
    drop(database);
    let reason = match initialised {
        Ok(()) => match rename_durably(&draft, path) {
            Ok(()) => return Ok(()),
            Err(error) => error.to_string(),
        },
        Err(error) => RegistryError::from(error).to_string(),
    };
    Err(OpenError::Io { path: path.to_owned(), reason })
}

fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    File::open(from)?.sync_all()?;
    std::fs::rename(from, to)?;
    sync_directory_of(to)
}

fn open_database(path: &Path) -> Result<Database, OpenError> {
    // An empty file would pass for a new database, but `create` never leaves one.
    if std::fs::metadata(path).map_err(|error| io_error(path, &error))?.len() == 0 {
        return Err(OpenError::corrupt(path, &"it is empty"));
    }
    Builder::new().set_cache_size(CACHE_BYTES).open(path).map_err(|error| open_error(path, error))
}

/// Runs `work` on a file that may be damaged: redb panics on some damage, and so does a process that then cannot say why.
pub(super) fn guarded<T>(path: &Path, work: impl FnOnce() -> T) -> Result<T, OpenError> {
    // Nothing that `work` may leave half-done is used after a panic.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .map_err(|_| OpenError::corrupt(path, &"its pages do not fit together"))
}

/// Closes the files. What was acknowledged is on the disk already; redb only notes that it was closed in order.
pub(super) fn shut(path: &Path, opened: Option<Opened>) {
    if guarded(path, || drop(opened)).is_err() {
        tracing::error!(registry.kind = "embedded", "the registry file was damaged when it was closed");
    }
}
