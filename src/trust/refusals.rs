//! Who was refused, in few lines: the first of a kind is told at once, those that follow are counted and told of together. Whoever is
//! refused waits for no disk, and neither does whoever is not.

use serde_json::{Map, Value};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Refusals of one code that are told at once, and after how long one more is: whoever is refused a thousand times a second, each time
/// as somebody else, must not fill the disk.
const AT_ONCE: u32 = 50;
const ONE_MORE_AFTER: Duration = Duration::from_secs(300);
/// So long the same refusal of the same subject is only counted.
const WINDOW: Duration = Duration::from_secs(3600);
/// Subjects that are counted each by itself.
const MAX_SUBJECTS: usize = 4096;
/// Lines that wait for the disk.
const MAX_WAITING: usize = 256;
/// How often it is looked which windows are over.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The most characters of who it was, in memory.
const MAX_WHO_CHARS: usize = 300;

/// A request that was not let through, as the log tells of it.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The problem's code.
    pub code: &'static str,
    /// Where it came in, or what was asked: `/manifest`, `round`, …
    pub door: &'static str,
    /// Who it says it is; `None`: nobody.
    pub subject: Option<String>,
    /// On whose account it goes where nobody is named: an address, or the network of one.
    pub account: Option<String>,
    /// What else is known.
    pub detail: Map<String, Value>,
}

/// A line to be written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) subject: Option<String>,
    pub(super) detail: Map<String, Value>,
}

impl Line {
    fn of(code: &'static str, door: &'static str, subject: Option<String>, mut detail: Map<String, Value>) -> Self {
        detail.insert("code".to_owned(), code.into());
        detail.insert("door".to_owned(), door.into());
        Self { subject, detail }
    }

    /// Refusals that were not told one by one.
    fn counted(code: &'static str, door: &'static str, subject: Option<String>, count: u64) -> Self {
        Self::of(code, door, subject, Map::from_iter([("more".to_owned(), count.into())]))
    }
}

/// Of all doors.
const ANY_DOOR: &str = "any";

/// What happens beside each other: code, door, and who.
type Who = (&'static str, &'static str, String);

#[derive(Debug)]
struct Told {
    at: Duration,
    subject: Option<String>,
    more: u64,
}

#[derive(Debug, Default)]
struct Budget {
    /// When as many as may be told at once may be told again, by the process's own clock.
    full_at: Duration,
    /// Of no subject of its own, since when.
    others: u64,
    since: Duration,
}

#[derive(Debug, Default)]
struct Table {
    by_code: HashMap<&'static str, Budget>,
    told: HashMap<Who, Told>,
    waiting: VecDeque<Line>,
    closed: bool,
}

impl Table {
    fn note(&mut self, refusal: Refusal, now: Duration) {
        let Refusal { code, door, subject, account, detail } = refusal;
        let whose = subject.as_deref().or(account.as_deref()).unwrap_or_default();
        // A subject that is named like an account is another one.
        let whose = whose.chars().take(MAX_WHO_CHARS).chain(subject.is_some().then_some('.')).collect();
        let who = (code, door, whose);
        if let Some(told) = self.told.get_mut(&who) {
            if now.saturating_sub(told.at) < WINDOW {
                told.more = told.more.saturating_add(1);
                return;
            }
            self.end(&who);
        }
        let has_room = self.told.len() < MAX_SUBJECTS && self.waiting.len() < MAX_WAITING;
        let budget = self.by_code.entry(code).or_default();
        let full_at = budget.full_at.max(now).saturating_add(ONE_MORE_AFTER);
        if !has_room || full_at.saturating_sub(now) > ONE_MORE_AFTER.saturating_mul(AT_ONCE) {
            budget.add(1, now);
            return;
        }
        budget.full_at = full_at;
        self.waiting.push_back(Line::of(code, door, subject.clone(), detail));
        self.told.insert(who, Told { at: now, subject, more: 0 });
    }

    /// Forgets a subject, and tells how often it came again.
    fn end(&mut self, who: &Who) {
        let Some(told) = self.told.remove(who) else { return };
        if told.more == 0 {
            return;
        }
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(Line::counted(who.0, who.1, told.subject, told.more));
        } else {
            self.by_code.entry(who.0).or_default().add(told.more, told.at);
        }
    }

    fn end_windows(&mut self, now: Duration) {
        let over = |at: Duration| now.saturating_sub(at) >= WINDOW;
        let ended: Vec<Who> = self.told.iter().filter(|(_, told)| over(told.at)).map(|(who, _)| who.clone()).collect();
        ended.iter().for_each(|who| self.end(who));
        let due = |budget: &Budget| budget.others > 0 && over(budget.since);
        for (code, budget) in self.by_code.iter_mut().filter(|(_, budget)| due(budget)) {
            if self.waiting.len() < MAX_WAITING {
                self.waiting.push_back(Line::counted(code, ANY_DOOR, None, std::mem::take(&mut budget.others)));
            }
        }
    }

    /// Everything that was counted, in one line for each code: a service that stops in a flood must not write for minutes.
    fn end_all(&mut self) {
        for ((code, ..), told) in std::mem::take(&mut self.told) {
            self.by_code.entry(code).or_default().add(told.more, told.at);
        }
        let counted = self.by_code.iter_mut().filter(|(_, budget)| budget.others > 0);
        let lines =
            counted.map(|(code, budget)| Line::counted(code, ANY_DOOR, None, std::mem::take(&mut budget.others)));
        self.waiting.extend(lines);
    }
}

impl Budget {
    fn add(&mut self, count: u64, at: Duration) {
        if self.others == 0 {
            self.since = at;
        }
        self.others = self.others.saturating_add(count);
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    table: Mutex<Table>,
    news: Condvar,
}

impl Refusals {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes one, and waits for nothing.
    pub(super) fn note(&self, refusal: Refusal, now: Duration) {
        let mut table = self.lock();
        table.note(refusal, now);
        if !table.waiting.is_empty() {
            self.news.notify_one();
        }
    }

    /// The next lines to be written; blocks until there are any. `None`: it is over.
    pub(super) fn next(&self, now: impl Fn() -> Duration) -> Option<VecDeque<Line>> {
        let mut table = self.lock();
        loop {
            if table.closed {
                table.end_all();
            } else {
                table.end_windows(now());
            }
            if !table.waiting.is_empty() {
                return Some(std::mem::take(&mut table.waiting));
            }
            if table.closed {
                return None;
            }
            (table, _) = self.news.wait_timeout(table, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets [`Self::next`] come to its end, with what was counted until now.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.news.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: &'static str, subject: &str) -> Refusal {
        let (subject, account) = (Some(subject.to_owned()), None);
        Refusal { code, door: "/manifest", subject, account, detail: Map::new() }
    }

    fn stranger(account: &str) -> Refusal {
        Refusal { subject: None, account: Some(account.to_owned()), ..refusal("bad_signature", "") }
    }

    /// Code, door, subject and count of what is to be written.
    fn lines(refusals: &Refusals, now: Duration) -> Vec<(String, String, String, u64)> {
        let mut table = refusals.lock();
        table.end_windows(now);
        let line = |Line { subject, detail }| {
            let text = |name: &str| detail[name].as_str().unwrap().to_owned();
            let more = detail.get("more").and_then(Value::as_u64).unwrap_or(0);
            (text("code"), text("door"), subject.unwrap_or_default(), more)
        };
        std::mem::take(&mut table.waiting).into_iter().map(line).collect()
    }

    fn line(code: &str, door: &str, subject: &str, more: u64) -> (String, String, String, u64) {
        (code.to_owned(), door.to_owned(), subject.to_owned(), more)
    }

    #[test]
    fn the_first_is_told_and_the_others_when_its_window_is_over() {
        let refusals = Refusals::default();
        let begun = Duration::from_secs(7);
        for _ in 0..1000 {
            refusals.note(refusal("rollback", "liar"), begun);
        }
        assert_eq!(lines(&refusals, begun), [line("rollback", "/manifest", "liar", 0)]);
        assert_eq!(lines(&refusals, begun + WINDOW - Duration::from_secs(1)), []);
        assert_eq!(lines(&refusals, begun + WINDOW), [line("rollback", "/manifest", "liar", 999)]);
        assert_eq!(lines(&refusals, begun + WINDOW * 3), [], "and it is forgotten");
        refusals.note(refusal("rollback", "liar"), begun + WINDOW * 3);
        assert_eq!(lines(&refusals, begun + WINDOW * 3), [line("rollback", "/manifest", "liar", 0)]);
    }

    #[test]
    fn a_flood_of_subjects_leaves_few_lines_and_hides_no_other_code() {
        let refusals = Refusals::default();
        for number in 0..100_000 {
            refusals.note(refusal("key_mismatch", &number.to_string()), Duration::ZERO);
        }
        refusals.note(refusal("equivocation", "liar"), Duration::ZERO);
        assert!(refusals.lock().told.len() <= 51, "and little memory");
        let told = lines(&refusals, Duration::ZERO);
        assert_eq!((told.len(), told.last()), (51, Some(&line("equivocation", "/manifest", "liar", 0))));
        refusals.note(refusal("key_mismatch", "later"), ONE_MORE_AFTER);
        assert_eq!(lines(&refusals, ONE_MORE_AFTER), [line("key_mismatch", "/manifest", "later", 0)]);
        assert_eq!(lines(&refusals, WINDOW), [line("key_mismatch", "any", "", 99_950)]);
    }

    #[test]
    fn who_is_nobody_is_told_apart_by_where_he_comes_from() {
        let refusals = Refusals::default();
        for account in ["4:7f000001", "4:7f000002", "4:7f000001"] {
            refusals.note(stranger(account), Duration::ZERO);
        }
        refusals.note(refusal("bad_signature", "4:7f000001"), Duration::ZERO);
        let nobody = line("bad_signature", "/manifest", "", 0);
        let named = line("bad_signature", "/manifest", "4:7f000001", 0);
        assert_eq!(lines(&refusals, Duration::ZERO), [nobody.clone(), nobody, named]);
    }

    /// Codes that the audit log knows, as SECURITY.md says.
    const CODES: usize = 41;

    #[test]
    fn a_day_of_refusals_of_all_codes_takes_the_disk_and_memory_that_are_stated() {
        let refusals = Refusals::default();
        let codes: Vec<&'static str> = (0..CODES).map(|code| &*format!("signed_before_st-{code:02}").leak()).collect();
        let (mut bytes, mut written, mut memory, mut number) = (0, 0, 0, 0);
        // The longest subjects, ever new ones, every minute.
        for second in (0..86_400_u64).step_by(60) {
            let now = Duration::from_secs(second);
            for code in &codes {
                // As the thread that writes: nothing waits for long.
                for _ in 0..if second == 0 { 100 } else { 2 } {
                    number += 1;
                    let mut refused = refusal(code, &format!("{number:08}{}", "\u{1F600}".repeat(248)));
                    refused.detail.insert("public_key".to_owned(), "k".repeat(44).into());
                    refused.detail.insert("address".to_owned(), "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff".into());
                    refusals.note(refused, now);
                }
                let mut table = refusals.lock();
                table.end_windows(now);
                memory = memory.max(table.told.len());
                for line in std::mem::take(&mut table.waiting) {
                    written += 1;
                    // As `Entry::to_json`, with the hash before it.
                    let subject = line.subject.unwrap_or_default();
                    bytes += serde_json::json!({
                        "n": 1_000_000, "at": "2026-01-01T00:00:00.000000Z", "kind": "refused", "subject": subject, "detail": line.detail,
                    })
                    .to_string()
                    .len() + 66;
                }
            }
        }
        eprintln!(
            "a day of refusals of {CODES} codes: {written} lines, {} KiB; {memory} subjects in memory",
            bytes >> 10
        );
        // Each code has its 50 lines at once, then one in five minutes.
        assert!(written >= CODES * 300, "{written} lines: no code keeps another one quiet");
        // SECURITY.md: of all codes.
        assert!(bytes <= 19 << 20 && memory <= MAX_SUBJECTS, "{bytes} bytes, {memory}");
    }

    #[test]
    fn while_nobody_writes_it_is_counted_and_nobody_waits() {
        let refusals = Refusals::default();
        let codes: Vec<&'static str> = (0..20).map(|code| &*format!("code-{code}").leak()).collect();
        for number in 0..40 {
            codes.iter().for_each(|code| refusals.note(refusal(code, &number.to_string()), Duration::ZERO));
        }
        assert_eq!(lines(&refusals, Duration::ZERO).len(), MAX_WAITING);
        let counted: u64 = lines(&refusals, WINDOW).iter().map(|(.., more)| more).sum();
        assert_eq!(counted, 800 - u64::try_from(MAX_WAITING).unwrap());
    }

    #[test]
    fn at_the_end_everything_that_was_counted_is_told_of() {
        let refusals = Refusals::default();
        for _ in 0..5 {
            refusals.note(refusal("rollback", "liar"), Duration::ZERO);
            refusals.note(refusal("rollback", "another"), Duration::ZERO);
        }
        assert_eq!(refusals.next(|| Duration::ZERO).unwrap().len(), 2);
        refusals.close();
        let last = refusals.next(|| Duration::ZERO).unwrap();
        assert_eq!(last, [Line::counted("rollback", ANY_DOOR, None, 8)]);
        assert_eq!(refusals.next(|| Duration::ZERO), None);
    }
}
