//! Patterns on ids.

/// A pattern on ids: `*` is any text, `?` one character, `\` takes the next character as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Vec<Part>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Any,
    One,
    Char(char),
}

impl Glob {
    /// Reads a pattern. Every text is one.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        let mut parts = Vec::new();
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            parts.push(match c {
                '*' => Part::Any,
                '?' => Part::One,
                '\\' => Part::Char(chars.next().unwrap_or('\\')),
                c => Part::Char(c),
            });
        }
        Self(parts)
    }

    /// Does the whole of `text` fit?
    #[must_use]
    pub fn fits(&self, text: &str) -> bool {
        // One star is gone back to at most: the last one. So the work is bounded by the product of the lengths.
        let text: Vec<char> = text.chars().collect();
        let (mut at, mut part, mut star) = (0, 0, None);
        while let Some(&c) = text.get(at) {
            match self.0.get(part) {
                Some(Part::Any) => {
                    star = Some((part, at));
                    part += 1;
                }
                Some(Part::One) => (at, part) = (at + 1, part + 1),
                Some(Part::Char(wanted)) if *wanted == c => (at, part) = (at + 1, part + 1),
                _ => match star {
                    Some((star_part, star_at)) => {
                        star = Some((star_part, star_at + 1));
                        (at, part) = (star_at + 1, star_part + 1);
                    }
                    None => return false,
                },
            }
        }
        self.0.get(part..).unwrap_or_default().iter().all(|part| *part == Part::Any)
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn patterns_fit_whole_ids() {
        for (pattern, fits, not) in [
            ("python_*", "python_flask", "a_python_"),
            ("*_basic", "python_flask_basic", "basic_x"),
            ("*a*b", "xaxbxab", "ba"),
            ("n?", "nä", "n"),
            ("", "", "a"),
            ("**", "", "\u{0}never"),
            ("a\\*", "a*", "ab"),
            ("a/b", "a/b", "a/bc"),
        ] {
            assert!(Glob::new(pattern).fits(fits), "{pattern} {fits}");
            assert!(pattern == "**" || !Glob::new(pattern).fits(not), "{pattern} {not}");
        }
        let long = "a".repeat(2_000);
        assert!(!Glob::new(&"*a".repeat(200)).fits(&format!("{long}b")));
    }
}
