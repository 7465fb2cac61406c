//! What the operator switched while the service ran: durable, one small file. What was never switched is as the settings say.

use crate::lattice::offline::{OfflineError, write_file};
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// Why the switches cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The file cannot be read.
    #[error("the switches in {} cannot be read: {error}; a newer version may have written them: run that one, correct the file, or move it away", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// The file cannot be written; nothing was switched.
    #[error("the switch cannot be kept: {0}")]
    Unwritable(#[from] OfflineError),
}

/// What was switched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Switched {
    stopped: bool,
    auto_sync: Option<bool>,
    sync_interval_ms: Option<u64>,
}

/// The switches.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    auto: bool,
    interval: Duration,
    switched: watch::Sender<Switched>,
    writing: Mutex<()>,
}

impl Control {
    /// Reads the file; no file: everything is as the settings say.
    ///
    /// # Errors
    /// [`ControlError::Unreadable`]: an instance that was stopped must not start for want of its file being readable.
    pub fn open(path: &Path, auto: bool, interval: Duration) -> Result<Self, ControlError> {
        let unreadable = |error: String| ControlError::Unreadable { path: path.to_owned(), error };
        let switched = match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Switched::default(),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        let switched = watch::Sender::new(switched);
        Ok(Self { path: path.to_owned(), auto, interval, switched, writing: Mutex::default() })
    }

    /// Did the operator stop the federation?
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.switched.borrow().stopped
    }

    /// Does the instance exchange by itself?
    #[must_use]
    pub fn is_auto(&self) -> bool {
        self.switched.borrow().auto_sync.unwrap_or(self.auto)
    }

    /// How often, where nothing else is a reason.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.switched.borrow().sync_interval_ms.map_or(self.interval, Duration::from_millis)
    }

    /// Stops the federation, or lets it go on.
    ///
    /// # Errors
    /// [`ControlError::Unwritable`].
    pub fn set_stopped(&self, stopped: bool) -> Result<(), ControlError> {
        self.switch(|switched| switched.stopped = stopped)
    }

    /// Lets the instance exchange by itself or not; and how often, where that is said.
    ///
    /// # Errors
    /// [`ControlError::Unwritable`].
    pub fn set_auto(&self, auto: bool, interval: Option<Duration>) -> Result<(), ControlError> {
        let millis = interval.map(|interval| u64::try_from(interval.as_millis()).unwrap_or(u64::MAX));
        self.switch(|switched| {
            switched.auto_sync = Some(auto);
            switched.sync_interval_ms = millis.or(switched.sync_interval_ms);
        })
    }

    fn switch(&self, change: impl FnOnce(&mut Switched)) -> Result<(), ControlError> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut switched = *self.switched.borrow();
        change(&mut switched);
        if switched == *self.switched.borrow() {
            return Ok(());
        }
        let text = serde_json::to_vec_pretty(&switched)
            .map_err(|error| ControlError::Unreadable { path: self.path.clone(), error: error.to_string() })?;
        write_file(&self.path, &text)?;
        self.switched.send_replace(switched);
        Ok(())
    }

    /// Waits until the federation is stopped.
    pub async fn stopped(&self) {
        self.until(|switched| switched.stopped).await;
    }

    /// Waits until the instance exchanges by itself.
    pub async fn automatic(&self) {
        self.until(|switched| switched.auto_sync.unwrap_or(self.auto)).await;
    }

    async fn until(&self, holds: impl Fn(&Switched) -> bool) {
        // An error says that the sender is gone, and we are it.
        let _ = self.switched.subscribe().wait_for(|switched| holds(switched)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn what_was_switched_outlives_the_process_and_the_rest_follows_the_settings() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.json");
        let control = Control::open(&path, true, MINUTE).unwrap();
        assert_eq!((control.is_stopped(), control.is_auto(), control.interval()), (false, true, MINUTE));
        control.set_stopped(true).unwrap();
        control.set_auto(false, None).unwrap();
        // The interval was not switched: a new setting counts.
        let control = Control::open(&path, true, 2 * MINUTE).unwrap();
        assert_eq!((control.is_stopped(), control.is_auto(), control.interval()), (true, false, 2 * MINUTE));
        control.set_auto(true, Some(Duration::from_millis(1500))).unwrap();
        control.set_auto(true, None).unwrap();
        let control = Control::open(&path, false, MINUTE).unwrap();
        assert_eq!((control.is_auto(), control.interval()), (true, Duration::from_millis(1500)));
    }

    #[test]
    fn a_file_that_cannot_be_read_or_written_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.json");
        write_file(&path, b"{\"stoped\":true}").unwrap();
        assert!(matches!(Control::open(&path, true, MINUTE), Err(ControlError::Unreadable { .. })));
        let nowhere = Control::open(&folder.path().join("no/control.json"), true, MINUTE).unwrap();
        assert!(matches!(nowhere.set_stopped(true), Err(ControlError::Unwritable(_))));
        assert!(!nowhere.is_stopped());
    }

    #[tokio::test]
    async fn who_waits_for_a_switch_hears_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let control = Control::open(&folder.path().join("control.json"), false, MINUTE).unwrap();
        assert!(control.stopped().now_or_never().is_none() && control.automatic().now_or_never().is_none());
        control.set_stopped(true).unwrap();
        control.set_auto(true, None).unwrap();
        control.stopped().await;
        control.automatic().await;
    }
}
