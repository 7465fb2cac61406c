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
    /// What was found, a stable code for programs: the check's name where all is as it should be.
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

/// A check, and the code of what it found; without a code of its own that is the name of the check.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check(&'static str, &'static str);

impl From<&'static str> for Check {
    fn from(check: &'static str) -> Self {
        Self(check, check)
    }
}

impl From<(&'static str, &'static str)> for Check {
    fn from((check, code): (&'static str, &'static str)) -> Self {
        Self(check, code)
    }
}

/// All of them, in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    pub(super) fn ok(&mut self, check: impl Into<Check>, found: impl Display) {
        self.add(check, Grade::Ok, found, None);
    }

    pub(super) fn warn(&mut self, check: impl Into<Check>, found: impl Display, next: impl Display) {
        self.add(check, Grade::Warn, found, Some(next.to_string()));
    }

    pub(super) fn fail(&mut self, check: impl Into<Check>, found: impl Display, next: impl Display) {
        self.add(check, Grade::Fail, found, Some(next.to_string()));
    }

    fn add(&mut self, check: impl Into<Check>, grade: Grade, found: impl Display, next: Option<String>) {
        let Check(check, code) = check.into();
        self.0.push(Finding { check, code: code.to_owned(), grade, found: found.to_string(), next });
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
