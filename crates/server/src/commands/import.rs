//! `siltstone import`: JSON Lines into a collection or tenant.

use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader, Read, stdin},
    path::Path,
};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use siltstone_lsm::{
    batch::Batch,
    error::ErrorKind,
    options::{Durability, Options},
    store::Store,
    types::{KEY_BYTES_MAX, TreeId, VALUE_BYTES_MAX},
};

use crate::{
    cli::{ImportArgs, Target},
    commands::tree,
    outcome::Output,
    progress::Bar,
};

/// Encoded bytes of a batch after which it is committed.
const BATCH_BYTES: usize = 1 << 20;

/// What an import did.
#[derive(Debug, Default, Serialize)]
struct Imported {
    #[serde(rename = "type")]
    kind: &'static str,
    lines: u64,
    rows: u64,
    duplicates: u64,
    bytes: u64,
}

/// Runs the command. The import is durable when it returns; a failure at some line leaves the rows
/// of earlier batches, and running it again is safe.
pub(crate) fn run(args: &ImportArgs, output: Output) -> Result<()> {
    let (input, length) = open_input(&args.file)?;
    let store = Store::open(&args.store.data, Options::default())?;
    let tree = find_or_create(&store, &args.target)?;
    let bar = Bar::bytes("import", length);
    let mut imported = Imported { kind: "result", ..Imported::default() };
    let into = Into { store: &store, tree, key: &args.key, bar: &bar };
    let outcome = import(input, &into, &mut imported);
    bar.finish();
    outcome.with_context(|| format!("import of {} failed", args.file.display()))?;
    store.close()?;
    let text = format!(
        "{} lines imported: {} rows, {} duplicate keys (the last won), {} bytes",
        imported.lines, imported.rows, imported.duplicates, imported.bytes
    );
    output.result(&text, &imported)
}

fn open_input(path: &Path) -> Result<(Box<dyn Read>, Option<u64>)> {
    if path == Path::new("-") {
        return Ok((Box::new(stdin()), None));
    }
    let file = OpenOptions::new().read(true).open(path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    let length = file.metadata().map(|metadata| metadata.len()).ok();
    Ok((Box::new(file), length))
}

fn find_or_create(store: &Store, target: &Target) -> Result<TreeId> {
    match store.tree(&target.collection, target.tenant.as_deref()) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        found => return Ok(found?),
    }
    if !store.catalog().collections.contains_key(target.collection.as_str()) {
        store.create_collection(&target.collection)?;
    }
    if let Some(tenant) = &target.tenant {
        store.create_tenants(&target.collection, &[tenant])?;
    }
    Ok(tree(store, target)?)
}

/// Where the rows go.
struct Into<'a> {
    store: &'a Store,
    tree: TreeId,
    key: &'a str,
    bar: &'a Bar,
}

fn import(input: Box<dyn Read>, into: &Into<'_>, imported: &mut Imported) -> Result<()> {
    let &Into { store, tree, key: field, bar } = into;
    let mut reader = BufReader::with_capacity(1 << 20, input);
    let mut line = Vec::new();
    let mut batch = Batch::new();
    let mut batch_keys = std::collections::BTreeSet::new();
    loop {
        line.clear();
        let limit = VALUE_BYTES_MAX as u64 + 2;
        let read = reader.by_ref().take(limit).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        imported.lines += 1;
        bar.add(read as u64);
        let value = line.strip_suffix(b"\n").unwrap_or(&line);
        let value = value.strip_suffix(b"\r").unwrap_or(value);
        if value.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let key = key_of(value, field).with_context(|| format!("line {}", imported.lines))?;
        let again = !batch_keys.insert(key.clone()) || store.get(tree, &key)?.is_some();
        imported.duplicates += u64::from(again);
        imported.rows += u64::from(!again);
        imported.bytes += value.len() as u64;
        batch.put(tree, &key, value).with_context(|| format!("line {}", imported.lines))?;
        if batch.encoded().len() >= BATCH_BYTES {
            store.write(std::mem::take(&mut batch), Durability::Sync)?;
            batch_keys.clear();
        }
    }
    store.write(batch, Durability::Sync)?;
    Ok(())
}

/// The key of one line: a string as it is, a number as it is written.
fn key_of(line: &[u8], field: &str) -> Result<Vec<u8>> {
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(line).context("not a JSON object")?;
    let key = match object.get(field) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(serde_json::Value::Number(number)) => number.to_string(),
        Some(_) => bail!("field '{field}' is neither text nor a number"),
        None => bail!("there is no field '{field}'; name the key field with --key"),
    };
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        bail!("the key has {} bytes; 1 to {KEY_BYTES_MAX} are allowed", key.len());
    }
    Ok(key.into_bytes())
}
