//! Text as one word of a shell command, for messages that name a command to type.

use std::fmt;

/// Shows a text as one word of a POSIX shell: as it is where nothing in it has a meaning there, else in single quotes.
#[derive(Debug, Clone, Copy)]
pub struct ShellWord<'a>(pub &'a str);

impl fmt::Display for ShellWord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._:/@-+=".contains(c);
        if !self.0.is_empty() && !self.0.starts_with('-') && self.0.chars().all(plain) {
            return f.write_str(self.0);
        }
        write!(f, "'{}'", self.0.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::ShellWord;

    #[test]
    fn a_word_stays_one_word() {
        let shown = |text| ShellWord(text).to_string();
        assert_eq!(shown("logline-id://node/peer-beta"), "logline-id://node/peer-beta");
        assert_eq!(shown("pi; reboot"), "'pi; reboot'");
        assert_eq!(shown("it's"), r"'it'\''s'");
        assert_eq!((shown(""), shown("--help")), ("''".to_owned(), "'--help'".to_owned()));
    }
}
