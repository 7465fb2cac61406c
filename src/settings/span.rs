//! Durations as people write them.

use serde::{Deserialize, Deserializer, de::Error};
use std::{fmt, time::Duration};

/// A duration that takes a unit in settings: `120s`, `5m`, `250ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(Duration);

impl Span {
    /// From whole seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// From milliseconds.
    #[must_use]
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// The duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY: u64 = 86_400;
        // Months of 30.44 days are no unit that anybody would write.
        if self.0.as_secs() > 30 * DAY && self.0.as_secs().is_multiple_of(DAY) && self.0.subsec_nanos() == 0 {
            return write!(f, "{}days", self.0.as_secs() / DAY);
        }
        let text = humantime::format_duration(self.0).to_string();
        f.write_str(&text.replace(' ', ""))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(D::Error::custom(format!("a duration takes a unit, such as {text}s")));
        }
        humantime::parse_duration(&text)
            .map(Self)
            .map_err(|error| D::Error::custom(format!("{text:?} is not a duration such as 120s or 5m: {error}")))
    }
}
