//! Bytes and times as people write and read them.

use std::time::Duration;

const UNITS: [(&str, u64); 10] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
];

/// Reads a size: a number, or one with a unit (KiB, MiB, GiB, TiB, KB, MB, GB; K, M, G are binary).
///
/// # Errors
/// A sentence for the user when it is not one.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = lower[digits.len()..].trim();
    let number: u64 = digits.trim().parse().ok().ok_or_else(|| explain(text))?;
    let factor = match unit {
        "" | "b" => 1,
        unit => UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(|| explain(text))?.1,
    };
    number.checked_mul(factor).ok_or_else(|| explain(text))
}

fn explain(text: &str) -> String {
    format!("'{text}' is not a size; write a number of bytes, or such as 64MiB, 2GiB, 500MB")
}

const AGES: [(&str, u64); 4] = [("h", 1), ("d", 24), ("w", 7 * 24), ("y", 366 * 24)];

/// Reads an age: a number and `h`, `d`, `w` or `y` for hours, days, weeks or years.
///
/// # Errors
/// A sentence for the user when it is not one.
pub(crate) fn parse_age(text: &str) -> Result<Duration, String> {
    let explain = || format!("'{text}' is not an age; write such as 36h, 7d, 8w or 1y");
    let age = AGES.iter().find_map(|(unit, hours)| Some((text.strip_suffix(unit)?, hours)));
    let (number, hours) = age.ok_or_else(explain)?;
    let plain = number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u32 = number.parse().ok().filter(|_| plain).ok_or_else(explain)?;
    Ok(Duration::from_hours(u64::from(number) * hours))
}

/// How many of something: `1 chunk`, `2 chunks`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Bytes a second over a time.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn show_rate(bytes: u64, time: Duration) -> String {
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    format!("{:.1} MiB/s", mebibytes / time.as_secs_f64().max(1e-9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_with_their_units() {
        assert_eq!(parse_age("36h"), Ok(Duration::from_hours(36)));
        assert_eq!(parse_age("7d"), Ok(Duration::from_hours(7 * 24)));
        assert_eq!(parse_age("8w"), Ok(Duration::from_hours(8 * 7 * 24)));
        assert_eq!(parse_age("1y"), Ok(Duration::from_hours(366 * 24)));
        for bad in ["", "h", "5", "5m", "-1h", "+1h", "1.5d", "99999999999h"] {
            assert!(parse_age(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_read_with_and_without_units() {
        assert_eq!(parse_bytes("123"), Ok(123));
        assert_eq!(parse_bytes("2GiB"), Ok(2 << 30));
        assert_eq!(parse_bytes("64 MiB"), Ok(64 << 20));
        assert_eq!(parse_bytes("5MB"), Ok(5_000_000));
        for bad in ["", "MiB", "5 parsecs", "-1", "99999999999GiB"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }
}
