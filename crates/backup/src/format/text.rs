//! Numbers and bytes as JSON strings, each with exactly one spelling.
//!
//! 64-bit and 128-bit numbers are decimal strings, because JSON readers round numbers past 2^53.
//! Identities, hashes and keys are lower-case hexadecimal. For `#[serde(with = "...")]`.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::{fmt, marker::PhantomData};

use serde::{Deserializer, Serializer, de::Visitor};

/// Calls `parse` with the string that comes next, uncopied.
fn parse_str<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &'static str,
    parse: fn(&str) -> Option<T>,
) -> Result<T, D::Error> {
    struct Text<T> {
        expected: &'static str,
        parse: fn(&str) -> Option<T>,
        made: PhantomData<T>,
    }
    impl<T> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.expected)
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            (self.parse)(text).ok_or_else(|| E::custom(format_args!("not {}", self.expected)))
        }
    }
    deserializer.deserialize_str(Text { expected, parse, made: PhantomData })
}

/// A number as a decimal string without sign or leading zeros.
pub(super) mod decimal {
    use super::{Deserializer, Serializer, fmt, parse_str};

    pub(in crate::format) fn serialize<S: Serializer, T: fmt::Display>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(in crate::format) fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: std::str::FromStr,
    {
        parse_str(deserializer, "a decimal number in its range, as a string", parse)
    }

    fn parse<T: std::str::FromStr>(text: &str) -> Option<T> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let canonical = text == "0" || !text.starts_with('0');
        if digits && canonical { text.parse().ok() } else { None }
    }
}

/// An array of bytes as hexadecimal digits.
pub(super) mod hex_array {
    use super::{Deserializer, Serializer, hex_digits, parse_hex, parse_str};

    pub(in crate::format) fn serialize<S: Serializer, const N: usize>(
        bytes: &[u8; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex_digits(bytes))
    }

    pub(in crate::format) fn deserialize<'de, D, const N: usize>(
        deserializer: D,
    ) -> Result<[u8; N], D::Error>
    where
        D: Deserializer<'de>,
    {
        parse_str(deserializer, "bytes as hexadecimal digits", |text| {
            parse_hex(text, N)?.try_into().ok()
        })
    }
}

/// A hash as hexadecimal digits.
pub(super) mod hash_hex {
    use siltstone_lsm::types::Hash;

    use super::{Deserializer, Serializer, hex_array};

    pub(in crate::format) fn serialize<S: Serializer>(
        hash: &Hash,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        hex_array::serialize(&hash.0, serializer)
    }

    pub(in crate::format) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Hash, D::Error> {
        hex_array::deserialize(deserializer).map(Hash)
    }
}

/// An optional array of bytes as hexadecimal digits; absent when `None`.
pub(super) mod hex_array_option {
    use super::{Deserializer, Serializer, hex_array, hex_digits};

    #[expect(clippy::ref_option, reason = "serde passes a field so")]
    pub(in crate::format) fn serialize<S: Serializer, const N: usize>(
        bytes: &Option<[u8; N]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => serializer.serialize_str(&hex_digits(bytes)),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::format) fn deserialize<'de, D, const N: usize>(
        deserializer: D,
    ) -> Result<Option<[u8; N]>, D::Error>
    where
        D: Deserializer<'de>,
    {
        hex_array::deserialize(deserializer).map(Some)
    }
}

/// A key as hexadecimal digits.
pub(super) mod key {
    use siltstone_lsm::types::KEY_BYTES_MAX;

    use super::{Deserializer, Serializer, hex_digits, parse_hex, parse_str};

    pub(in crate::format) fn serialize<S: Serializer>(
        key: &[u8],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex_digits(key))
    }

    pub(in crate::format) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        parse_str(deserializer, "a key as hexadecimal digits", |text| {
            parse_hex(text, KEY_BYTES_MAX)
        })
    }
}

/// A key as hexadecimal digits; absent for no key.
pub(super) mod key_option {
    use super::{Deserializer, Serializer, key};

    #[expect(clippy::ref_option, reason = "serde passes a field so")]
    pub(in crate::format) fn serialize<S: Serializer>(
        value: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => key::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::format) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        key::deserialize(deserializer).map(Some)
    }
}

/// A moment as RFC 3339 text.
pub(super) mod moment {
    use super::{Deserializer, Serializer, parse_str};
    use crate::moment::Timestamp;

    pub(in crate::format) fn serialize<S: Serializer>(
        value: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(in crate::format) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Timestamp, D::Error> {
        parse_str(deserializer, "a moment such as 2026-11-24T04:00:00Z", |text| {
            let moment: Timestamp = text.parse().ok()?;
            (moment.to_string() == text).then_some(moment)
        })
    }
}

/// Lower-case hexadecimal digits of bytes.
pub(super) fn hex_digits(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The bytes that lower-case digits stand for, at most `bytes_max`.
pub(super) fn parse_hex(text: &str, bytes_max: usize) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.len() > bytes_max {
        return None;
    }
    pairs.iter().map(|[high, low]| Some((nibble(*high)? << 4) | nibble(*low)?)).collect()
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => digit.checked_sub(b'0'),
        b'a'..=b'f' => digit.checked_sub(b'a' - 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use siltstone_lsm::types::KEY_BYTES_MAX;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Number(#[serde(with = "decimal")] u64);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Bytes(#[serde(with = "hex_array")] [u8; 2]);

    #[test]
    fn values_have_one_spelling() {
        for (text, value) in [("\"0\"", 0), ("\"70\"", 70), ("\"18446744073709551615\"", u64::MAX)]
        {
            assert_eq!(serde_json::to_string(&Number(value)).unwrap(), text);
            assert_eq!(serde_json::from_str::<Number>(text).unwrap(), Number(value));
        }
        for bad in
            ["\"\"", "\"00\"", "\"+1\"", "\"-1\"", "\" 1\"", "\"18446744073709551616\"", "1", "1e3"]
        {
            assert!(serde_json::from_str::<Number>(bad).is_err(), "{bad}");
        }
        assert_eq!(serde_json::to_string(&Bytes([0x0a, 0xf0])).unwrap(), "\"0af0\"");
        assert_eq!(serde_json::from_str::<Bytes>("\"0af0\"").unwrap(), Bytes([0x0a, 0xf0]));
        for bad in ["\"0AF0\"", "\"0af\"", "\"0af000\"", "\"0a\"", "\"0ag0\"", "\"\""] {
            assert!(serde_json::from_str::<Bytes>(bad).is_err(), "{bad}");
        }
        assert!(parse_hex(&"00".repeat(KEY_BYTES_MAX + 1), KEY_BYTES_MAX).is_none());
    }
}
