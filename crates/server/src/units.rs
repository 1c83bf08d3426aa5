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
