//! What is printed, and where: answers on standard output, errors and remarks on standard error. Colours on a terminal only.

use super::exit::Exit;
use crate::types;
use anstyle::{AnsiColor, Style};
use comfy_table::{Table, presets};
use serde_json::{Value, json};
use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
};

const BOLD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const REMOVED: Style = AnsiColor::Red.on_default();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const ERROR: Style = AnsiColor::Red.on_default().bold();

/// How much is printed, and in which form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    json: bool,
    quiet: bool,
    verbose: bool,
}

impl Output {
    pub(super) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet, verbose: false }
    }

    /// As JSON where it is asked for, or where `json` is.
    pub(super) fn or_json(self, json: bool) -> Self {
        Self { json: self.json || json, ..self }
    }

    /// With details on standard error, or without.
    pub(super) fn verbose(self, verbose: bool) -> Self {
        Self { verbose, ..self }
    }

    /// A remark on standard error for `--verbose`; never with `--json`.
    pub(super) fn detail(self, text: impl FnOnce() -> String) {
        if self.verbose {
            self.remark(text());
        }
    }

    /// Is JSON asked for?
    pub(super) fn json(self) -> bool {
        self.json
    }

    /// Is a person watching who likes to see progress?
    pub(super) fn shows_progress(self) -> bool {
        !self.json && !self.quiet && io::stderr().is_terminal()
    }

    /// A line that was asked for.
    pub(super) fn line(self, text: impl Display) -> io::Result<()> {
        let mut out = anstream::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// Bytes that were asked for, as they are, with a line feed at the end.
    pub(super) fn bytes(self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        if !bytes.ends_with(b"\n") {
            out.write_all(b"\n")?;
        }
        out.flush()
    }

    /// An answer in both forms: `value` with `--json`, otherwise `text`, which `--quiet` leaves out.
    pub(super) fn answer(self, value: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> io::Result<()> {
        match (self.json, self.quiet) {
            (true, _) => self.line(value()),
            (false, true) => Ok(()),
            (false, false) => self.line(harmless(&text())),
        }
    }

    /// Text for people only: neither with `--json` nor with `--quiet`.
    pub(super) fn answer_text(self, text: impl FnOnce() -> String) -> io::Result<()> {
        if self.json || self.quiet { Ok(()) } else { self.line(harmless(&text())) }
    }

    /// A table for people only.
    pub(super) fn answer_table(self, header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> io::Result<()> {
        if self.json || self.quiet { Ok(()) } else { self.table(header, rows) }
    }

    /// A table.
    pub(super) fn table(self, header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> io::Result<()> {
        self.lines(&table_lines(header, rows))
    }

    /// Lines that were asked for.
    pub(super) fn lines(self, lines: &[String]) -> io::Result<()> {
        let mut out = anstream::stdout().lock();
        for line in lines {
            writeln!(out, "{line}")?;
        }
        out.flush()
    }

    /// Can what is drawn be drawn over?
    pub(super) fn redraws(self) -> bool {
        !self.json && io::stdout().is_terminal()
    }

    /// Draws the lines in the place of all that is on the terminal; what does not fit is left out.
    pub(super) fn redraw(self, lines: &[String]) -> io::Result<()> {
        let rows = terminal_size::terminal_size().map_or(usize::MAX, |(_, rows)| usize::from(rows.0));
        // Movements go past what takes colours away: who wants no colours has a terminal all the same.
        let plain = anstream::AutoStream::choice(&io::stdout()) == anstream::ColorChoice::Never;
        let mut out = io::stdout().lock();
        write!(out, "{HOME}")?;
        for line in lines.iter().take(rows.saturating_sub(1)) {
            let stripped = plain.then(|| anstream::adapter::strip_str(line).to_string());
            writeln!(out, "{}{TO_END_OF_LINE}", stripped.as_ref().unwrap_or(line))?;
        }
        write!(out, "{BELOW}")?;
        out.flush()
    }
}

/// To the first corner, and no line goes on in the next.
const HOME: &str = "\u{1b}[?7l\u{1b}[H";
const TO_END_OF_LINE: &str = "\u{1b}[K";
/// Nothing below, and lines go on as usual.
const BELOW: &str = "\u{1b}[J\u{1b}[?7h";

/// A table without borders, its header bold. Control characters do not reach the terminal.
pub(super) fn table_lines(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().map(|title| title.to_uppercase()));
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines = table.lines().enumerate();
    let lines = lines.map(|(number, line)| (number, line.trim_end().to_owned()));
    lines.map(|(number, line)| if number == 0 { bold(&line) } else { line }).collect()
}

pub(super) fn bold(text: &str) -> String {
    format!("{BOLD}{text}{BOLD:#}")
}

pub(super) fn added(text: &str) -> String {
    format!("{GOOD}{text}{GOOD:#}")
}

pub(super) fn removed(text: &str) -> String {
    format!("{REMOVED}{text}{REMOVED:#}")
}

impl Output {
    /// What a check found, and below it what to do.
    pub(super) fn finding(self, word: &str, check: &str, found: &str, next: Option<&str>) -> io::Result<()> {
        if self.quiet && word == "ok" {
            return Ok(());
        }
        let style = match word {
            "ok" => GOOD,
            "warn" => WARNING,
            _ => ERROR,
        };
        let mut out = anstream::stdout().lock();
        writeln!(out, "{style}{word:4}{style:#}  {check:12}  {}", printable(found))?;
        if let Some(next) = next {
            writeln!(out, "{:20}→ {}", "", printable(next))?;
        }
        out.flush()
    }

    /// A remark on standard error.
    pub(super) fn remark(self, text: impl Display) {
        if !self.quiet && !self.json {
            // Whoever cannot be told cannot be told of that either.
            let _ = writeln!(anstream::stderr().lock(), "{}", harmless(&text.to_string()));
        }
    }

    /// The one line of a failure.
    pub(super) fn error(self, exit: Exit, code: Option<&str>, message: &str) {
        let mut err = anstream::stderr().lock();
        let _ = if self.json {
            let value = json!({"error": message, "exit_code": exit.code(), "code": code});
            writeln!(err, "{value}")
        } else {
            writeln!(err, "{ERROR}error:{ERROR:#} {message}")
        };
    }
}

/// Lines for people, whatever texts of others are in them: only line ends and our own styles (`ESC [ … m`) stay as they are.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, found)) = rest.char_indices().find(|(_, c)| *c != '\n' && types::is_unprintable(*c)) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let style = from.strip_prefix("\u{1b}[").and_then(|from| from.find(|c: char| !matches!(c, '0'..='9' | ';')));
        let style = style.and_then(|end| from.get(..end.saturating_add(3))).filter(|style| style.ends_with('m'));
        match style {
            Some(style) => out.push_str(style),
            None => out.extend(found.escape_default()),
        }
        rest = from.get(style.map_or(found.len_utf8(), str::len)..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// Text of others on one line, with escapes for what would not be seen.
pub(super) fn printable(text: &str) -> String {
    types::printable(text).into_owned()
}

/// Bytes as people read them.
pub(super) fn size(bytes: u64) -> String {
    let mut unit = "bytes";
    let (mut whole, mut tenth) = (bytes, 0);
    for next in ["KiB", "MiB", "GiB"] {
        if whole < 1024 {
            break;
        }
        (whole, tenth, unit) = (whole / 1024, whole % 1024 * 10 / 1024, next);
    }
    if unit == "bytes" { format!("{whole} {unit}") } else { format!("{whole}.{tenth} {unit}") }
}

/// `1 node`, `2 nodes`.
pub(super) fn count(number: impl TryInto<usize>, word: &str) -> String {
    let number = number.try_into().unwrap_or(usize::MAX);
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_line_ends_and_our_styles_reach_the_terminal() {
        let bold = bold("title");
        assert_eq!(
            harmless(&format!("{bold}\n  ark-2\u{200b} \u{202e}x")),
            format!("{bold}\n  ark-2\\u{{200b}} \\u{{202e}}x")
        );
        for (text, shown) in [
            ("\u{1b}[2Ja", "\\u{1b}[2Ja"),
            ("\u{1b}]0;x\u{7}", "\\u{1b}]0;x\\u{7}"),
            ("\u{1b}[1", "\\u{1b}[1"),
            ("\u{1b}", "\\u{1b}"),
            ("a\rb\tc", "a\\rb\\tc"),
        ] {
            assert_eq!(harmless(text), shown);
        }
    }

    #[test]
    fn sizes_and_counts_read_well() {
        assert_eq!((size(0), size(1023), size(1536)), ("0 bytes".into(), "1023 bytes".into(), "1.5 KiB".into()));
        assert_eq!(size(5 << 20), "5.0 MiB");
        assert_eq!((count(1, "node"), count(0, "node")), ("1 node".into(), "0 nodes".into()));
    }
}
