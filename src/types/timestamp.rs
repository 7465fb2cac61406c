//! Instants, to the microsecond.

use std::{fmt, time::Duration};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

const MICROS: i64 = 1_000_000;

/// An instant in microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// From microseconds since the epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From milliseconds since the epoch; saturates.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// From whole seconds since the epoch; saturates.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(MICROS))
    }

    /// Reads a JSON number's text as epoch seconds, exactly to the microsecond (further digits are cut).
    /// `None` where the number is out of range. The text must be a JSON number.
    #[must_use]
    pub fn from_seconds_text(text: &str) -> Option<Self> {
        if text.contains(['e', 'E']) {
            let seconds: f64 = text.parse().ok()?;
            return Self::from_seconds_text(&format!("{seconds:.6}")).filter(|_| seconds.abs() < 9.0e12);
        }
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let whole: i64 = whole.parse().ok()?;
        let mut micros = 0_i64;
        for at in 0..6 {
            let digit = fraction.as_bytes().get(at).map_or(0, |byte| byte.wrapping_sub(b'0'));
            micros = micros * 10 + i64::from(digit);
        }
        let total = whole.checked_mul(MICROS)?.checked_add(micros)?;
        Some(Self(if negative { -total } else { total }))
    }

    /// Reads an RFC 3339 text such as `2026-11-21T10:00:00Z`. `None` for every other text.
    #[must_use]
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let parsed = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(parsed.unix_timestamp_nanos().div_euclid(1_000)).ok().map(Self)
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since the epoch, rounded down.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(MICROS)
    }

    /// Epoch seconds with as many decimals as are needed, e.g. `1763696494.25`: a JSON number.
    #[must_use]
    pub fn to_seconds_text(self) -> String {
        let (whole, micros) = (self.0.unsigned_abs() / 1_000_000, self.0.unsigned_abs() % 1_000_000);
        let sign = if self.0 < 0 { "-" } else { "" };
        if micros == 0 {
            return format!("{sign}{whole}");
        }
        let text = format!("{sign}{whole}.{micros:06}");
        text.trim_end_matches('0').to_owned()
    }

    /// RFC 3339 in UTC, e.g. `2026-11-21T10:00:00Z`; falls back to epoch seconds outside the years 0 to 9999.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000)
            .ok()
            .and_then(|instant| instant.format(&Rfc3339).ok())
            .unwrap_or_else(|| self.to_seconds_text())
    }

    /// This instant moved later by `by`; saturates.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }

    /// This instant moved earlier by `by`; saturates.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How much later this instant is than `earlier`; zero when it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoch_seconds_are_read_exactly() {
        assert_eq!(Timestamp::from_seconds_text("1699564800"), Some(Timestamp::from_seconds(1_699_564_800)));
        assert_eq!(Timestamp::from_seconds_text("1.25"), Some(Timestamp::from_micros(1_250_000)));
        assert_eq!(Timestamp::from_seconds_text("-1.5"), Some(Timestamp::from_micros(-1_500_000)));
        assert_eq!(Timestamp::from_seconds_text("1.7e9"), Some(Timestamp::from_seconds(1_700_000_000)));
        assert_eq!(Timestamp::from_seconds_text("1e300"), None);
        assert_eq!(Timestamp::from_seconds_text("99999999999999999999"), None);
    }

    #[test]
    fn both_ways_of_writing_an_instant_agree() {
        let text = Timestamp::from_rfc3339("2023-11-09T21:20:00+00:00");
        assert_eq!(text, Timestamp::from_seconds_text("1699564800"));
        assert_eq!(Timestamp::from_seconds(1_699_564_800).to_rfc3339(), "2023-11-09T21:20:00Z");
        assert_eq!(Timestamp::from_micros(1_500_000).to_seconds_text(), "1.5");
        assert_eq!(Timestamp::from_micros(-1_500_000).to_seconds_text(), "-1.5");
    }
}
