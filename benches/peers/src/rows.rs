//! The rows that every contender holds: which row `index` is follows from the number alone.
//!
//! Keys are 16 hexadecimal digits in the order of the numbers, so that stores are loaded in order
//! and what is measured is the backup, not the compaction. Values are those of the other
//! benchmarks: 1 KiB that begin with what they are and shrink to about half.

use anyhow::{Context, Result, ensure};
use siltstone_benches::{fill_value, version_of};

/// Bytes of a key.
pub const KEY_BYTES: usize = 16;

/// Bytes of a value.
pub const VALUE_BYTES: usize = 1024;

/// Bytes of a row.
pub const ROW_BYTES: u64 = (KEY_BYTES + VALUE_BYTES) as u64;

/// The version of rows that were not overwritten.
pub const FIRST_VERSION: u64 = 1;

/// Rows that make up about so many bytes.
pub fn rows_of(bytes: u64) -> u64 {
    (bytes / ROW_BYTES).max(1)
}

/// The key of a row.
pub fn key(index: u64) -> [u8; KEY_BYTES] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut rest = index;
    let mut key = [b'0'; KEY_BYTES];
    for byte in key.iter_mut().rev() {
        *byte = DIGITS[(rest & 15) as usize];
        rest >>= 4;
    }
    key
}

/// The value of a row in some version.
pub fn value(index: u64, version: u64) -> Vec<u8> {
    let mut value = vec![0; VALUE_BYTES];
    fill_value(&mut value, index, version);
    value
}

/// Takes all rows of a contender in order and makes sure that they are what was written.
#[derive(Debug, Default)]
pub struct Checker {
    next: u64,
    scratch: Vec<u8>,
}

impl Checker {
    /// The next row.
    ///
    /// # Errors
    /// When it is another row than the next, or damaged.
    pub fn row(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let index = self.next;
        let found = String::from_utf8_lossy(key);
        ensure!(key == self::key(index), "row {found} comes in the place of row {index:016x}");
        ensure!(value.len() == VALUE_BYTES, "row {found} has {} bytes", value.len());
        let version = version_of(value, index, &mut self.scratch);
        version.with_context(|| format!("row {found} is damaged"))?;
        self.next += 1;
        Ok(())
    }

    /// There were all rows and no more.
    ///
    /// # Errors
    /// Says how many there were.
    pub fn end(self, rows: u64) -> Result<()> {
        ensure!(self.next == rows, "there are {} rows, not {rows}", self.next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_numbers() {
        assert_eq!(&key(0x1a), b"000000000000001a");
        assert!((0..1000).all(|index| key(index) < key(index + 1)));
    }

    #[test]
    fn missing_foreign_and_damaged_rows_are_found() {
        let mut checker = Checker::default();
        checker.row(&key(0), &value(0, 1)).unwrap();
        assert!(checker.row(&key(2), &value(2, 1)).is_err(), "row 1 is missing");
        assert!(checker.row(&key(1), &value(2, 1)).is_err(), "another row's value");
        let mut damaged = value(1, 7);
        damaged[500] ^= 1;
        assert!(checker.row(&key(1), &damaged).is_err());
        checker.row(&key(1), &value(1, 7)).unwrap();
        assert!(checker.end(3).is_err());
    }
}
