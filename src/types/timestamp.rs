//! Instants, to the microsecond.

use std::{
    fmt,
    time::{Duration, SystemTime},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

const MICROS: i64 = 1_000_000;
/// Epoch numbers from here on are milliseconds: as seconds they would lie beyond the year 5138.
const FIRST_MILLIS: i64 = 100_000_000_000;
/// Epoch numbers from here on are neither seconds nor milliseconds.
const END_MILLIS: i64 = 1_000_000_000_000_000;
/// Length of `YYYY-MM-DD`.
const DATE_BYTES: usize = 10;
/// Length of `hh:mm`.
const MINUTES_BYTES: usize = 5;

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

    /// Reads a JSON number's text as epoch seconds, or as epoch milliseconds where its absolute value is 10^11 or more; exactly to the
    /// microsecond (further digits are cut). `None` from 10^15 on. The text must be a JSON number.
    #[must_use]
    pub fn from_epoch_text(text: &str) -> Option<Self> {
        if text.contains(['e', 'E']) {
            let number: f64 = text.parse().ok()?;
            // Below 10^15 the digits before the point are exact, and the text is short.
            return (number.abs() < 1e15).then(|| Self::from_epoch_text(&format!("{number:.6}"))).flatten();
        }
        let (sign, digits) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        match whole.parse().ok()? {
            ..FIRST_MILLIS => Self::from_seconds_text(text),
            FIRST_MILLIS..END_MILLIS => {
                let (seconds, millis) = whole.split_at_checked(whole.len().saturating_sub(3))?;
                Self::from_seconds_text(&format!("{sign}{seconds}.{millis}{fraction}"))
            }
            END_MILLIS.. => None,
        }
    }

    /// Reads an ISO 8601 date, or date and time: RFC 3339, and the same with a blank instead of `T`, without seconds, or without an offset,
    /// which then is UTC: what Python's `datetime.isoformat()` writes. A date alone is its midnight, UTC. `None` for every other text.
    #[must_use]
    pub fn from_iso8601(text: &str) -> Option<Self> {
        let (date, rest) = text.split_at_checked(DATE_BYTES)?;
        if rest.is_empty() {
            return Self::from_rfc3339(&format!("{date}T00:00:00Z"));
        }
        let rest = rest.strip_prefix(['T', 't', ' '])?;
        let (time, offset) = rest.split_at_checked(rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len()))?;
        let seconds = if time.len() == MINUTES_BYTES { ":00" } else { "" };
        let offset = if offset.is_empty() { "Z" } else { offset };
        Self::from_rfc3339(&format!("{date}T{time}{seconds}{offset}"))
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

    /// From nanoseconds since the epoch; what is less than a microsecond is cut.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos.div_euclid(1_000))
    }

    /// From the machine's clock or file system; what lies before 1970 reads as 1970.
    #[must_use]
    pub fn from_system_time(at: SystemTime) -> Self {
        let since_epoch = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }

    /// As the file system takes it; `None` where the machine has no such time.
    #[must_use]
    pub fn to_system_time(self) -> Option<SystemTime> {
        let distance = Duration::from_micros(self.0.unsigned_abs());
        if self.0 < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(distance)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(distance)
        }
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
    use proptest::prelude::*;

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
    fn milliseconds_and_seconds_are_told_apart_by_their_size() {
        let at = Some(Timestamp::from_seconds(1_699_564_800));
        for text in ["1699564800", "1699564800.0", "1699564800000", "1699564800000.0", "1.6995648e12", "1.6995648E9"] {
            assert_eq!(Timestamp::from_epoch_text(text), at, "{text}");
        }
        assert_eq!(Timestamp::from_epoch_text("1699564800123"), Some(Timestamp::from_millis(1_699_564_800_123)));
        assert_eq!(
            Timestamp::from_epoch_text("-1699564800123.4567"),
            Some(Timestamp::from_micros(-1_699_564_800_123_456))
        );
        assert_eq!(Timestamp::from_epoch_text("0"), Some(Timestamp::EPOCH));
        assert_eq!(Timestamp::from_epoch_text("99999999999"), Some(Timestamp::from_seconds(99_999_999_999)));
        assert_eq!(Timestamp::from_epoch_text("100000000000"), Some(Timestamp::from_seconds(100_000_000)));
        for text in ["1e300", "1e15", "-1e15", "1699564800000000", "99999999999999999999"] {
            assert_eq!(Timestamp::from_epoch_text(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_without_an_offset_is_utc() {
        let at = |text: &str| Timestamp::from_iso8601(text).map(Timestamp::micros);
        let noon = 1_793_534_400_000_000;
        for text in [
            "2026-11-01T12:00:00",
            "2026-11-01 12:00:00",
            "2026-11-01t12:00:00.000",
            "2026-11-01T12:00",
            "2026-11-01 12:00",
            "2026-11-01T12:00:00Z",
            "2026-11-01 12:00:00z",
            "2026-11-01T12:00Z",
            "2026-11-01T13:30:00+01:30",
            "2026-11-01 07:00-05:00",
        ] {
            assert_eq!(at(text), Some(noon), "{text}");
        }
        assert_eq!(at("2026-11-01T12:00:00.123456"), Some(noon + 123_456));
        assert_eq!(at("2026-11-01"), Some(noon - 12 * 3_600_000_000), "a date alone is its midnight");
        assert_eq!(at("2026-11-01T12:00:00.1234567891"), Some(noon + 123_456));
        for text in [
            "",
            "2026",
            "2026-11",
            "2026-13-01",
            "2026-11-1 ",
            "2026-11-01T",
            "2026-11-01T12",
            "2026-13-01T12:00:00",
            "2026-11-01T25:00",
            "2026-11-01T12:00:00 ",
            " 2026-11-01T12:00:00",
            "2026-11-01X12:00:00",
            "01.11.2026 12:00:00",
            "2026-11-0é12:00",
            "2026-11-01T12:00:00+1",
            "2026-11-01T12:00é",
            "12026-11-01T12:00:00",
            "1793534400",
        ] {
            assert_eq!(at(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_way_of_writing_an_instant_gives_that_instant(millis in 0_i64..253_402_300_800_000, micros in 0_i64..1000) {
            let instant = Timestamp::from_micros(millis * 1000 + micros);
            let text = instant.to_rfc3339();
            let naive = text.strip_suffix('Z').unwrap();
            for text in [&text, naive, &naive.replace('T', " "), &format!("{naive}+00:00"), &format!("{naive}-00:00")] {
                prop_assert_eq!(Timestamp::from_iso8601(text), Some(instant), "{}", text);
            }
            prop_assert_eq!(Timestamp::from_rfc3339(&text), Some(instant));
            if instant.seconds() < FIRST_MILLIS {
                prop_assert_eq!(Timestamp::from_epoch_text(&instant.to_seconds_text()), Some(instant));
            }
            if millis >= FIRST_MILLIS {
                prop_assert_eq!(Timestamp::from_epoch_text(&format!("{millis}.{micros:03}")), Some(instant));
                prop_assert_eq!(Timestamp::from_epoch_text(&format!("-{millis}")), Some(Timestamp::from_millis(-millis)));
            }
        }

        #[test]
        fn no_text_is_too_odd_to_be_looked_at(text in "\\PC{0,40}", number in "-?[0-9]{1,30}(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?") {
            let _ = (Timestamp::from_iso8601(&text), Timestamp::from_epoch_text(&number));
        }
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
