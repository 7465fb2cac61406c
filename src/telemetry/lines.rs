//! Log lines. Whatever stands in them came from outside perhaps: it never ends a line, and never speaks to a terminal.

use super::outlet::Lines;
use crate::types::is_unprintable;
use std::{
    fmt::{self, Debug, Write as _},
    io,
};
use tracing::field::Field;
use tracing_subscriber::{
    EnvFilter,
    field::MakeExt,
    fmt::{
        FormatFields, MakeWriter,
        format::{Writer, debug_fn},
    },
    util::SubscriberInitExt,
};

/// Whether `level` is such a filter.
///
/// # Errors
/// It is not.
pub fn check_level(level: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    filter(level).map(drop)
}

fn filter(level: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    EnvFilter::builder().parse(format!("actix_server=warn,actix_http::h1::dispatcher=off,redis=error,{level}"))
}

/// Starts writing log lines to standard error; nobody who logs waits for its reader ([`super::flush_logging`]). Does nothing where a subscriber is set already (tests).
///
/// # Errors
/// `level` is not a filter such as `info` or `info,ark_lattice=debug`.
pub fn start_logging(level: &str, json: bool) -> Result<(), tracing_subscriber::filter::ParseError> {
    // The server's own lines repeat what `serve` says, and call each client's rubbish an error, so that anybody could fill the
    // log; a filter that names them brings them back.
    let filter = filter(level)?;
    // Told that a line was not written, the subscriber would complain with `eprintln!`, which panics where standard error is
    // what failed (its reader is gone, its disk full): in the thread that wrote the line, the registry's writer included.
    let lines = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
    let out = Lines::start();
    let colours = io::IsTerminal::is_terminal(&io::stderr());
    let already_set = if json {
        lines.json().flatten_event(true).with_writer(JsonLines(move || out)).finish().try_init().is_err()
    } else {
        let lines = lines.with_writer(move || out).with_ansi(colours).with_target(false);
        lines.fmt_fields(text_fields()).finish().try_init().is_err()
    };
    if already_set {
        tracing::debug!("another subscriber takes the log lines");
    }
    Ok(())
}

/// Writes such characters as Rust writes them in a string: `\n`, `\u{1b}`.
struct Escaping<'a>(&'a mut dyn fmt::Write);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((at, found)) = rest.char_indices().find(|(_, c)| is_unprintable(*c)) {
            let (before, from) = rest.split_at(at);
            self.0.write_str(before)?;
            write!(self.0, "{}", found.escape_default())?;
            rest = from.get(found.len_utf8()..).unwrap_or_default();
        }
        self.0.write_str(rest)
    }
}

/// `name=value` as text lines have it; the colours of the names are the only ones.
fn text_fields() -> impl for<'writer> FormatFields<'writer> + Clone + Send + Sync + 'static {
    debug_fn(|writer: &mut Writer<'_>, field: &Field, value: &dyn Debug| {
        if field.name() != "message" {
            let (dim, plain) = if writer.has_ansi_escapes() { ("\u{1b}[2m", "\u{1b}[0m") } else { ("", "") };
            write!(writer, "{dim}{}={plain}", field.name().trim_start_matches("r#"))?;
        }
        write!(Escaping(writer), "{value:?}")
    })
    .delimited(" ")
}

/// JSON escapes what is below the space only: here also the rest, which stands within strings and nowhere else.
#[derive(Debug, Clone, Copy)]
struct JsonLines<M>(M);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for JsonLines<M> {
    type Writer = JsonLine<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        JsonLine(self.0.make_writer())
    }
}

struct JsonLine<W>(W);

impl<W: io::Write> io::Write for JsonLine<W> {
    /// The subscriber hands over whole lines.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Ok(text) = std::str::from_utf8(line) else {
            self.0.write_all(String::from_utf8_lossy(line).as_bytes())?;
            return Ok(line.len());
        };
        let text = text.strip_suffix('\n').unwrap_or(text);
        let mut out = String::with_capacity(line.len().saturating_add(16));
        for c in text.chars() {
            if is_unprintable(c) {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").map_err(io::Error::other)?;
                }
            } else {
                out.push(c);
            }
        }
        out.push('\n');
        self.0.write_all(out.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::fmt::SubscriberBuilder;

    /// A line of its own, the screen cleared, another direction, a separator that some viewers take for a line's end, and a C1 code.
    const HOSTILE: &str = "a\n{\"level\":\"ERROR\"}\r\u{1b}[2J\u{202e}\u{2028}\u{9b}31m\u{7f}z";

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn said(with: impl FnOnce(SubscriberBuilder, Kept) -> tracing::Dispatch) -> String {
        let kept = Kept::default();
        let dispatch = with(tracing_subscriber::fmt(), kept.clone());
        tracing::dispatcher::with_default(&dispatch, || {
            tracing::info!(shown = %HOSTILE, quoted = HOSTILE, error = ?Some(HOSTILE), many = 7, "told: {HOSTILE}");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.chars().any(is_unprintable), "{line:?}");
        line.to_owned()
    }

    #[test]
    fn a_line_stays_one_line_whatever_it_says() {
        let line = said(|lines, kept| {
            let lines = lines.with_ansi(false).with_target(false).with_writer(move || kept.clone());
            lines.fmt_fields(text_fields()).finish().into()
        });
        assert!(
            line.contains("INFO told: a\\n{\"level\":\"ERROR\"}\\r\\u{1b}[2J\\u{202e}\\u{2028}\\u{9b}31m\\u{7f}z "),
            "{line}"
        );
        assert!(line.contains(" shown=a\\n{") && line.ends_with(" many=7"), "{line}");
    }

    #[test]
    fn a_json_line_says_the_same_to_whoever_reads_it() {
        let line = said(|lines, kept| {
            let lines = lines.json().flatten_event(true);
            lines.with_writer(JsonLines(move || kept.clone())).finish().into()
        });
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&read["shown"], &read["quoted"]), (&HOSTILE.into(), &HOSTILE.into()));
        assert_eq!((&read["level"], &read["many"]), (&"INFO".into(), &7.into()));
        assert_eq!(read["message"], format!("told: {HOSTILE}"));
    }
}
