//! What a check found, and the list of all findings.

use serde_json::{Value, json};
use std::fmt::Display;

/// How grave it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grade {
    /// As it should be.
    Ok,
    /// It works, but may not be what is wanted.
    Warn,
    /// A service would not start, or would not do its work.
    Fail,
}

impl Grade {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One check's outcome.
#[derive(Debug)]
pub(super) struct Finding {
    /// What was looked at; stable, for programs.
    pub(super) check: &'static str,
    /// What was found, a stable code for programs; the check's name where the check can find one thing only.
    pub(super) code: String,
    pub(super) grade: Grade,
    /// What was found, one line.
    pub(super) found: String,
    /// What to type or change.
    pub(super) next: Option<String>,
}

impl Finding {
    pub(super) fn as_json(&self) -> Value {
        json!({"check": self.check, "code": self.code, "grade": self.grade.word(), "found": self.found, "next": self.next})
    }
}

/// All of them, in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    pub(super) fn ok(&mut self, check: &'static str, found: impl Display) {
        self.add(check, Grade::Ok, found, None);
    }

    pub(super) fn warn(&mut self, check: &'static str, found: impl Display, next: impl Display) {
        self.add(check, Grade::Warn, found, Some(next.to_string()));
    }

    pub(super) fn fail(&mut self, check: &'static str, found: impl Display, next: impl Display) {
        self.add(check, Grade::Fail, found, Some(next.to_string()));
    }

    fn add(&mut self, check: &'static str, grade: Grade, found: impl Display, next: Option<String>) {
        self.0.push(Finding { check, code: check.to_owned(), grade, found: found.to_string(), next });
    }

    /// Gives the last finding a code of its own.
    pub(super) fn with_code(&mut self, code: impl Into<String>) {
        if let Some(last) = self.0.last_mut() {
            last.code = code.into();
        }
    }

    /// Is there a finding with this code?
    pub(super) fn has_code(&self, code: &str) -> bool {
        self.0.iter().any(|finding| finding.code == code)
    }

    pub(super) fn graded(&self, grade: Grade) -> usize {
        self.0.iter().filter(|finding| finding.grade == grade).count()
    }
}
