//! `siltstone import`: JSON Lines into a collection or tenant.

use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader, Read, stdin},
    path::Path,
};

use anyhow::{Context, Result};
use serde::Serialize;
use siltstone_lsm::{
    batch::Batch,
    error::{Error, ErrorKind},
    options::Durability,
    store::Store,
    types::{KEY_BYTES_MAX, TreeId, VALUE_BYTES_MAX},
};

use crate::{
    cli::{ImportArgs, Target},
    commands::{open_or_create, tree},
    outcome::Output,
    progress::{Bar, show_bytes},
    units::counted,
};

/// Encoded bytes of a batch after which it is committed.
const BATCH_BYTES: usize = 1 << 20;

/// What an import did.
#[derive(Debug, Default, Serialize)]
struct Imported {
    #[serde(rename = "type")]
    kind: &'static str,
    /// Lines that hold something.
    lines: u64,
    /// Keys that were not there before.
    rows: u64,
    /// Keys whose value was replaced.
    duplicates: u64,
    bytes: u64,
    /// Where it is in the input, from 1.
    #[serde(skip)]
    line_number: u64,
}

/// Runs the command. The import is durable when it returns; a failure at some line leaves the rows
/// of earlier batches, and running it again is safe.
pub(crate) fn run(args: &ImportArgs, output: Output) -> Result<()> {
    let (input, length) = open_input(&args.file)?;
    let store = open_or_create(&args.store)?;
    let tree = find_or_create(&store, &args.target)?;
    let bar = Bar::bytes("import", length);
    let mut imported = Imported { kind: "result", ..Imported::default() };
    let into = Into { store: &store, tree, key: &args.key, bar: &bar };
    let outcome = import(input, &into, &mut imported);
    bar.finish();
    let line_number = imported.line_number;
    outcome.with_context(|| format!("{}, line {line_number}", name_of(&args.file)))?;
    store.close()?;
    let text = format!(
        "{} imported into '{}': {}, {} replaced, {}",
        counted(imported.lines, "line"),
        args.target,
        counted(imported.rows, "new key"),
        imported.duplicates,
        show_bytes(imported.bytes)
    );
    output.result(&text, &imported)
}

fn name_of(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() }
}

fn open_input(path: &Path) -> Result<(Box<dyn Read>, Option<u64>)> {
    if path == Path::new("-") {
        return Ok((Box::new(stdin()), None));
    }
    let file = OpenOptions::new().read(true).open(path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    let metadata = file.metadata().with_context(|| format!("cannot read {}", path.display()))?;
    if metadata.is_dir() {
        return Err(refused(format!("{} is a folder, not a file", path.display())));
    }
    // What is not a regular file, such as a pipe, has no length.
    Ok((Box::new(file), metadata.is_file().then_some(metadata.len())))
}

fn find_or_create(store: &Store, target: &Target) -> Result<TreeId> {
    match store.tree(&target.collection, target.tenant.as_deref()) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        _ => return tree(store, target),
    }
    if !store.catalog().collections.contains_key(target.collection.as_str()) {
        store.create_collection(&target.collection)?;
    }
    if let Some(tenant) = &target.tenant {
        store.create_tenants(&target.collection, &[tenant])?;
    }
    tree(store, target)
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
        imported.line_number += 1;
        let limit = VALUE_BYTES_MAX as u64 + 2;
        let read = reader.by_ref().take(limit).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        bar.add(read as u64);
        let value = line.strip_suffix(b"\n").unwrap_or(&line);
        let value = value.strip_suffix(b"\r").unwrap_or(value);
        if value.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let key = key_of(value, field)?;
        let again = !batch_keys.insert(key.clone()) || store.get(tree, &key)?.is_some();
        imported.lines += 1;
        imported.duplicates += u64::from(again);
        imported.rows += u64::from(!again);
        imported.bytes += value.len() as u64;
        batch.put(tree, &key, value)?;
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
    if line.len() > VALUE_BYTES_MAX {
        return Err(refused(format!("the line has more than {VALUE_BYTES_MAX} bytes")));
    }
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(line).map_err(|error| {
            // The message counts lines as well, and this one is always the first.
            let (column, error) = (error.column(), error.to_string());
            let what = error.split(" at line ").next().unwrap_or_default();
            refused(format!("not a JSON object: {what}, at column {column}"))
        })?;
    let key = match object.get(field) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(serde_json::Value::Number(number)) => number.to_string(),
        Some(_) => return Err(refused(format!("field '{field}' is neither text nor a number"))),
        None => {
            let message = format!("there is no field '{field}'; name the key field with --key");
            return Err(refused(message));
        }
    };
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        let bytes = key.len();
        return Err(refused(format!(
            "the key has {bytes} bytes; 1 to {KEY_BYTES_MAX} are allowed"
        )));
    }
    Ok(key.into_bytes())
}

/// Input that cannot be imported.
fn refused(message: String) -> anyhow::Error {
    Error::new(ErrorKind::Invalid, message).into()
}
