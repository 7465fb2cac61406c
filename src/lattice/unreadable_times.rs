//! Files whose `updated_at` cannot be read as a time: collected by name, reported in few lines.

use super::store::Store;
use std::collections::BTreeSet;

/// The most names that are kept.
const MAX_NAMES: usize = 1000;
/// Names that one line of the log lists.
const LISTED: usize = 3;

/// The files, by name, and how many of them the log has.
#[derive(Debug, Default)]
pub(super) struct UnreadableTimes {
    names: BTreeSet<String>,
    reported: usize,
}

impl UnreadableTimes {
    fn set(&mut self, name: &str, is_unreadable: bool) {
        if !is_unreadable {
            self.names.remove(name);
        } else if self.names.len() < MAX_NAMES {
            self.names.insert(name.to_owned());
        }
    }

    /// What there is to report: nothing until there are twice as many as there were, so that a program that writes such files all the
    /// time does not fill the log.
    fn report(&mut self) -> Option<(usize, String)> {
        let files = self.names.len();
        if files <= self.reported.saturating_mul(2).saturating_sub(1) {
            return None;
        }
        self.reported = files;
        let names: Vec<&str> = self.names.iter().take(LISTED).map(String::as_str).collect();
        Some((files, names.join(", ")))
    }
}

impl Store {
    /// Notes whether the file states a time that cannot be read.
    pub(super) fn note_time(&self, name: &str, is_unreadable: bool) {
        self.shared.report().unreadable_times.set(name, is_unreadable);
    }

    /// Logs how many such files there are, once for many.
    pub(super) fn report_times(&self) {
        let Some((files, names)) = self.shared.report().unreadable_times.report() else { return };
        tracing::warn!(
            lattice.files = files,
            lattice.names = names,
            "files state an updated_at that cannot be read as a time: the time of their last change counts instead; \
             epoch seconds, epoch milliseconds and ISO 8601 are read; to list them: ark-lattice node verify"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_number_of_files_is_reported_in_few_lines() {
        let mut times = UnreadableTimes::default();
        assert_eq!(times.report(), None);
        let mut reports = Vec::new();
        for number in 0..100 {
            times.set(&format!("{number:02}.json"), true);
            reports.extend(times.report().map(|(files, _)| files));
        }
        assert_eq!(reports, [1, 2, 4, 8, 16, 32, 64]);
        (0..99).for_each(|number| times.set(&format!("{number:02}.json"), false));
        times.reported = 0;
        assert_eq!(times.report(), Some((1, "99.json".to_owned())));
    }
}
