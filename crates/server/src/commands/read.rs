//! `siltstone get` and `siltstone scan`.

use std::{
    io::{self, BufWriter, Write},
    ops::Bound,
};

use anyhow::Result;
use siltstone_lsm::error::{Error, ErrorKind};

use crate::{
    cli::{GetArgs, ScanArgs},
    commands::{open, tree},
    outcome::{Output, printed},
};

/// Prints one value, as it is.
pub(crate) fn get(args: &GetArgs, output: Output) -> Result<()> {
    let store = open(&args.store)?;
    let tree = tree(&store, &args.target)?;
    let Some(value) = store.get(tree, args.key.as_bytes())? else {
        let message = format!("there is no key '{}' in '{}'", args.key, args.target);
        return Err(Error::new(ErrorKind::NotFound, message).into());
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let written = if output.json {
        json_row(&mut out, args.key.as_bytes(), Some(value.as_ref()))
    } else {
        out.write_all(value.as_ref())
    };
    printed(written.and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()))
}

/// Prints rows in key order: key, a tab, value; or one JSON object a row.
pub(crate) fn scan(args: &ScanArgs, output: Output) -> Result<()> {
    let store = open(&args.store)?;
    let tree = tree(&store, &args.target)?;
    let scan = store.snapshot().scan(tree, range(args))?;
    let rows: Box<dyn Iterator<Item = _>> =
        if args.reverse { Box::new(scan.rev()) } else { Box::new(scan) };
    let limit = args.limit.unwrap_or(u64::MAX);
    let mut out = BufWriter::new(io::stdout().lock());
    for (_, row) in (0..limit).zip(rows) {
        let (key, value) = row?;
        let value = (!args.keys_only).then_some(value.as_slice());
        let write = if output.json { json_row } else { text_row };
        printed(write(&mut out, &key, value).and_then(|()| out.write_all(b"\n")))?;
    }
    printed(out.flush())
}

fn range(args: &ScanArgs) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    if let Some(prefix) = &args.prefix {
        let start = prefix.clone().into_bytes();
        let end = after_prefix(&start).map_or(Bound::Unbounded, Bound::Excluded);
        return (Bound::Included(start), end);
    }
    let start = args.start.clone().map_or(Bound::Unbounded, |key| Bound::Included(key.into()));
    let end = args.end.clone().map_or(Bound::Unbounded, |key| Bound::Excluded(key.into()));
    (start, end)
}

/// The lowest key above all keys with the prefix.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=kept].to_vec();
    end[kept] += 1;
    Some(end)
}

fn text_row(out: &mut impl Write, key: &[u8], value: Option<&[u8]>) -> io::Result<()> {
    out.write_all(key)?;
    let Some(value) = value else { return Ok(()) };
    out.write_all(b"\t")?;
    out.write_all(value)
}

/// A row as JSON: bytes that are not UTF-8 are replaced by U+FFFD.
fn json_row(out: &mut impl Write, key: &[u8], value: Option<&[u8]>) -> io::Result<()> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let row = match value {
        Some(value) => serde_json::json!({ "key": text(key), "value": text(value) }),
        None => serde_json::json!({ "key": text(key) }),
    };
    Ok(serde_json::to_writer(out, &row)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(after_prefix(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(after_prefix(b"a\xff"), Some(b"b".to_vec()));
        assert_eq!(after_prefix(b"\xff\xff"), None);
        assert_eq!(after_prefix(b""), None);
    }
}
