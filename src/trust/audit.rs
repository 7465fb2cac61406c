//! What happened to trust, and who was refused: a chain of lines that only grows.

use super::chain::{ChainError, Ledger, MAX_TEXT_BYTES};
use crate::types::{SharedClock, Timestamp};
use serde_json::{Map, Value, json};
use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Refusals of one kind that are written down at once, and after how long one more is: whoever is refused a thousand times a second
/// must not fill the disk.
const AT_ONCE: u32 = 50;
const ONE_MORE_AFTER: Duration = Duration::from_secs(60);
/// The same refusal of the same subject is written down once in this time.
const SAME_AFTER: Duration = Duration::from_secs(600);
/// Refusals that are remembered for that.
const MAX_REMEMBERED: usize = 4096;
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

/// A request that was not let through, as the log tells of it.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The problem's code.
    pub code: &'static str,
    /// Where it came in, or what was asked: `/manifest`, `round`, …
    pub door: &'static str,
    /// Who it says it is; `None`: nobody.
    pub subject: Option<String>,
    /// What else is known.
    pub detail: Map<String, Value>,
}

/// The log.
#[derive(Debug)]
pub struct Audit {
    ledger: Arc<dyn Ledger>,
    clock: SharedClock,
    next: Mutex<u64>,
    refusals: Mutex<Refusals>,
}

#[derive(Debug, Default)]
struct Refusals {
    by_code: HashMap<&'static str, Budget>,
    seen: HashMap<(&'static str, String), Duration>,
}

#[derive(Debug, Default)]
struct Budget {
    /// When as many as may be written at once may be written again, by the process's own clock.
    full_at: Duration,
    /// Refusals that were not written since the last one that was.
    unwritten: u64,
}

impl Refusals {
    /// May this one be written? Then how many were not since the last one.
    fn admit(&mut self, refusal: &Refusal, now: Duration) -> Option<u64> {
        if self.seen.len() >= MAX_REMEMBERED {
            self.seen.retain(|_, at| now.saturating_sub(*at) < SAME_AFTER);
        }
        if self.seen.len() >= MAX_REMEMBERED {
            self.seen.clear();
        }
        let subject = (refusal.code, format!("{} {}", refusal.door, refusal.subject.as_deref().unwrap_or_default()));
        let is_same = self.seen.get(&subject).is_some_and(|at| now.saturating_sub(*at) < SAME_AFTER);
        let budget = self.by_code.entry(refusal.code).or_default();
        let full_at = budget.full_at.max(now).saturating_add(ONE_MORE_AFTER);
        if is_same || full_at.saturating_sub(now) > ONE_MORE_AFTER.saturating_mul(AT_ONCE) {
            budget.unwritten = budget.unwritten.saturating_add(1);
            return None;
        }
        budget.full_at = full_at;
        self.seen.insert(subject, now);
        Some(std::mem::take(&mut budget.unwritten))
    }
}

impl Audit {
    /// A log that goes on after `length` lines.
    #[must_use]
    pub fn new(ledger: Arc<dyn Ledger>, clock: SharedClock, length: usize) -> Self {
        let next = u64::try_from(length).unwrap_or(u64::MAX).saturating_add(1);
        Self { ledger, clock, next: Mutex::new(next), refusals: Mutex::default() }
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

    /// Whether a refusal is to be written down: the first of its kind and subject within a while, and few enough in all.
    /// Then [`Self::write_refusal`] does it, which blocks.
    #[must_use]
    pub fn admit_refusal(&self, refusal: &Refusal) -> Option<u64> {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.admit(refusal, self.clock.elapsed())
    }

    /// Writes down a refusal that [`Self::admit_refusal`] let through. One that cannot be kept is in the log of the service only:
    /// who is refused stays refused.
    pub fn write_refusal(&self, refusal: Refusal, unwritten: u64) {
        let Refusal { code, door, subject, mut detail } = refusal;
        let subject = subject.unwrap_or_else(|| "-".to_owned());
        tracing::warn!(code, door, subject, "refused");
        detail.insert("code".to_owned(), code.into());
        detail.insert("door".to_owned(), door.into());
        if unwritten > 0 {
            detail.insert("unwritten_before".to_owned(), unwritten.into());
        }
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

    fn refusal(code: &'static str, subject: &str) -> Refusal {
        Refusal { code, door: "/manifest", subject: Some(subject.to_owned()), detail: Map::new() }
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
    fn a_flood_of_refusals_leaves_few_lines_and_hides_no_other_kind() {
        let clock = TestClock::at(Timestamp::EPOCH);
        let audit = Audit::new(Arc::new(Memory::default()), clock.clone(), 0);
        let admitted = |code, from: u32, to: u32| {
            (from..to).filter_map(|n| audit.admit_refusal(&refusal(code, &n.to_string()))).collect::<Vec<_>>()
        };
        assert_eq!(admitted("rollback", 0, 1000).len(), 50);
        assert_eq!(admitted("equivocation", 0, 1).len(), 1, "another kind has its own place");
        assert!(admitted("equivocation", 0, 1).is_empty(), "the same again");
        clock.advance(ONE_MORE_AFTER);
        assert_eq!(admitted("rollback", 1000, 1010), [950], "one more, and it says how many were not written");
        clock.advance(SAME_AFTER);
        assert_eq!(admitted("equivocation", 0, 1), [1]);
    }
}
