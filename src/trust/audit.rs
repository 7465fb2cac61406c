//! What happened to trust, and who was refused: a chain of lines that only grows.

use super::{
    chain::{ChainError, Ledger, MAX_TEXT_BYTES},
    refusals::{Line, Refusal, Refusals},
};
use crate::types::{SharedClock, Timestamp};
use serde_json::{Map, Value, json};
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

/// The most characters of a subject.
const MAX_SUBJECT_CHARS: usize = 300;

/// One line of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its place, from 1.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// What: `level`, `rotation`, `quarantine`, `vouch`, `refused`, …
    pub kind: String,
    /// Whom it is about: an instance's id, or `-`.
    pub subject: String,
    /// Everything else: who did it, why, what changed.
    pub detail: Map<String, Value>,
}

impl Entry {
    /// As the log has it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "n": self.number, "at": self.at.to_rfc3339(), "kind": self.kind, "subject": self.subject, "detail": self.detail,
        })
    }

    /// Reads line `number`.
    ///
    /// # Errors
    /// [`ChainError::Text`].
    pub fn parse(number: u64, text: &str) -> Result<Self, ChainError> {
        let wrong = |problem: &str| ChainError::Text { number, problem: problem.to_owned() };
        let value: Value = serde_json::from_str(text).map_err(|error| wrong(&error.to_string()))?;
        let word = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        if value.get("n").and_then(Value::as_u64) != Some(number) {
            return Err(wrong("it has another number"));
        }
        Ok(Self {
            number,
            at: word("at").and_then(|text| Timestamp::from_rfc3339(&text)).ok_or_else(|| wrong("at"))?,
            kind: word("kind").ok_or_else(|| wrong("kind"))?,
            subject: word("subject").ok_or_else(|| wrong("subject"))?,
            detail: value.get("detail").and_then(Value::as_object).cloned().ok_or_else(|| wrong("detail"))?,
        })
    }

    /// Reads all lines.
    ///
    /// # Errors
    /// [`ChainError::Text`].
    pub fn parse_all(texts: &[String]) -> Result<Vec<Self>, ChainError> {
        (1..).zip(texts).map(|(number, text)| Self::parse(number, text)).collect()
    }
}

/// The log.
#[derive(Debug)]
pub struct Audit {
    ledger: Arc<dyn Ledger>,
    clock: SharedClock,
    next: Mutex<u64>,
    refusals: Refusals,
}

impl Audit {
    /// A log that goes on after `length` lines.
    #[must_use]
    pub fn new(ledger: Arc<dyn Ledger>, clock: SharedClock, length: usize) -> Self {
        let next = u64::try_from(length).unwrap_or(u64::MAX).saturating_add(1);
        Self { ledger, clock, next: Mutex::new(next), refusals: Refusals::default() }
    }

    /// Adds a line; it is durable when this returns. Blocks on the disk.
    ///
    /// # Errors
    /// It cannot be kept; the log is as before.
    pub fn append(&self, kind: &str, subject: &str, detail: Map<String, Value>) -> io::Result<Entry> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let subject = subject.chars().take(MAX_SUBJECT_CHARS).collect();
        let entry = Entry { number: *next, at: self.clock.now(), kind: kind.to_owned(), subject, detail };
        let text = entry.to_json().to_string();
        if text.len() > MAX_TEXT_BYTES {
            return Err(io::Error::other("the entry is too long"));
        }
        self.ledger.append(&text)?;
        *next = next.saturating_add(1);
        Ok(entry)
    }

    /// The process's own clock.
    pub(super) fn elapsed(&self) -> std::time::Duration {
        self.clock.elapsed()
    }

    /// Notes who was refused. Waits for nobody: the line is written by [`Self::write_refusals`].
    pub fn refused(&self, refusal: Refusal) {
        self.refusals.note(refusal, self.clock.elapsed());
    }

    /// Writes down who was refused, until [`Self::close`]. Blocks: it is for a thread of its own.
    pub fn write_refusals(&self) {
        while let Some(lines) = self.refusals.next(|| self.clock.elapsed()) {
            lines.into_iter().for_each(|line| self.write_refusal(line));
        }
    }

    /// Lets [`Self::write_refusals`] come to its end, with what was counted until now.
    pub fn close(&self) {
        self.refusals.close();
    }

    /// One that cannot be kept is in the log of the service only: who is refused stays refused.
    fn write_refusal(&self, Line { subject, detail }: Line) {
        let subject = subject.unwrap_or_else(|| "-".to_owned());
        let text = |name: &str| detail.get(name).and_then(Value::as_str).unwrap_or_default();
        let more = detail.get("more").and_then(Value::as_u64);
        tracing::warn!(code = text("code"), door = text("door"), subject, more, "refused");
        if let Err(error) = self.append("refused", &subject, detail) {
            tracing::warn!(%error, "the audit log cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::TestClock;

    #[derive(Debug, Default)]
    pub(in crate::trust) struct Memory(pub Mutex<Vec<String>>);

    impl Ledger for Memory {
        fn append(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push(text.to_owned());
            Ok(())
        }

        fn replace(&self, texts: &[String]) -> io::Result<()> {
            *self.0.lock().unwrap() = texts.to_vec();
            Ok(())
        }
    }

    #[test]
    fn entries_come_back_and_count_on_after_a_restart() {
        let clock = TestClock::at(Timestamp::from_seconds(1_767_225_600));
        let ledger = Arc::new(Memory::default());
        let audit = Audit::new(ledger.clone(), clock.clone(), 0);
        let first = audit.append("level", "ark\n1", Map::new()).unwrap();
        let audit = Audit::new(ledger.clone(), clock, 1);
        let second = audit.append("level", "ark-2", Map::from_iter([("by".to_owned(), "me".into())])).unwrap();
        assert_eq!(Entry::parse_all(&ledger.0.lock().unwrap()).unwrap(), [first, second]);
        let moved = [ledger.0.lock().unwrap()[1].clone()];
        assert!(matches!(Entry::parse_all(&moved), Err(ChainError::Text { number: 1, .. })));
    }

    #[test]
    fn refusals_are_written_beside_and_all_of_them_by_the_end() {
        let ledger = Arc::new(Memory::default());
        let audit = Audit::new(ledger.clone(), TestClock::at(Timestamp::EPOCH), 0);
        let refusal = |subject: &str| Refusal {
            code: "rollback",
            door: "/manifest",
            subject: Some(subject.to_owned()),
            account: None,
            detail: Map::new(),
        };
        std::thread::scope(|threads| {
            threads.spawn(|| audit.write_refusals());
            for _ in 0..10 {
                audit.refused(refusal("ark-1"));
            }
            audit.close();
        });
        let entries = Entry::parse_all(&ledger.0.lock().unwrap()).unwrap();
        let told: Vec<_> = entries.iter().map(|it| (it.subject.as_str(), it.detail.get("more"))).collect();
        assert_eq!(told, [("ark-1", None), ("-", Some(&json!(9)))]);
        assert_eq!((entries[0].kind.as_str(), &entries[0].detail["code"]), ("refused", &json!("rollback")));
    }
}
