//! A bar for long work, on a terminal only.

use super::output::Output;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

const WITH_END: &str = "{msg} {bar:40} {pos}/{len} nodes, {eta} left";
const WITHOUT_END: &str = "{msg} {spinner} {pos} nodes, {elapsed}";
const WAITING: &str = "{msg} {spinner} {elapsed}";
const REDRAW: Duration = Duration::from_millis(100);

/// What is drawn. Gone from the terminal when it is dropped.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn new(what: &'static str, output: &Output) -> Self {
        if !output.shows_progress() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::no_length().with_message(what);
        bar.set_style(style(WITHOUT_END));
        // Also while nothing comes: a person sees that it goes on.
        bar.enable_steady_tick(REDRAW);
        Self(bar)
    }

    /// For what says nothing until it is over.
    pub(super) fn waiting(what: &'static str, output: &Output) -> Self {
        let progress = Self::new(what, output);
        progress.0.set_style(style(WAITING));
        progress
    }

    /// What is being done has another name now.
    pub(super) fn say(&self, what: String) {
        self.0.set_message(what);
    }

    /// Prints above what is drawn.
    pub(super) fn above<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }

    /// So many are done, of `total` where that is known.
    pub(super) fn at(&self, done: usize, total: Option<usize>) {
        if let Some(total) = total.map(as_u64)
            && self.0.length() != Some(total)
        {
            self.0.set_style(style(WITH_END));
            self.0.set_length(total);
        }
        self.0.set_position(as_u64(done));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
