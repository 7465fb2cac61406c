//! The files of settings: which are read, in which order, and which are not.

use super::SettingsError;
use config::{ConfigBuilder, File, FileFormat, builder::DefaultState};
use std::path::{Path, PathBuf};

/// What `init` writes, and every command reads.
pub const LOCAL_ENVIRONMENT: &str = "local";

/// The files that are there.
pub(super) struct Files {
    /// Those that are read, the last one counts.
    pub(super) read: Vec<PathBuf>,
    /// What is said of the others.
    pub(super) warnings: Vec<String>,
}

impl Files {
    /// `default.toml`, `local.toml` and `{environment}.toml` in `folder`.
    ///
    /// # Errors
    /// [`SettingsError::NoSuchEnvironment`], [`SettingsError::NoFile`].
    pub(super) fn find(folder: &Path, environment: Option<&str>) -> Result<Self, SettingsError> {
        let file = |name: &str| folder.join(format!("{name}.toml"));
        let mut read: Vec<PathBuf> = ["default", LOCAL_ENVIRONMENT].map(file).into();
        read.retain(|path| path.symlink_metadata().is_ok());
        if let Some(path) = read.iter().find(|path| !path.is_file()) {
            return Err(SettingsError::NoFile { path: path.clone() });
        }
        let Some(environment) = environment else {
            let warnings = unread(folder, &read);
            return Ok(Self { read, warnings });
        };
        let path = file(environment);
        let plain = environment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !plain || !path.is_file() {
            return Err(SettingsError::NoSuchEnvironment { environment: environment.to_owned(), path });
        }
        read.retain(|known| *known != path);
        read.push(path);
        Ok(Self { read, warnings: Vec::new() })
    }

    pub(super) fn add_to(&self, builder: ConfigBuilder<DefaultState>) -> ConfigBuilder<DefaultState> {
        let file = |path: &PathBuf| File::from(path.clone()).format(FileFormat::Toml);
        self.read.iter().fold(builder, |builder, path| builder.add_source(file(path)))
    }
}

/// Without `ARK_ENV` nobody chose among them: a file that was meant to hold would go unnoticed.
fn unread(folder: &Path, read: &[PathBuf]) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let is_settings = |path: &PathBuf| path.extension().is_some_and(|end| end == "toml") && path.is_file();
    let mut unread: Vec<PathBuf> = paths.filter(|path| is_settings(path) && !read.contains(path)).collect();
    unread.sort();
    let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    unread.iter().map(|path| format!("{} is not read: to use it, set ARK_ENV={}", path.display(), name(path))).collect()
}
