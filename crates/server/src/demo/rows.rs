//! Comparing two stores that live in two processes: one prints its rows, the other reads along.
//!
//! The child prints, for each tree, a `T` line, one `R` line a row (hash of the value, key as JSON)
//! and a `D` line with the tree's digest. The parent scans its own snapshot in step, so neither
//! holds more than one row.

use std::{
    io::{BufRead, Write},
    ops::Bound,
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use siltstone_lsm::{catalog::Catalog, format::primitives::hash, store::Snapshot, types::TreeId};

/// One line of the child's output.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum RowLine {
    /// A tree begins.
    Tree { collection: String, tenant: Option<String> },
    /// One row.
    Row { key: String, value: String },
    /// A tree ends.
    Digest { rows: u64, bytes: u64, sum: String },
    /// All trees are through.
    End,
}

/// Rows and bytes that were compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Compared {
    pub(crate) trees: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

/// Prints all rows of a snapshot.
pub(crate) fn print(snapshot: &Snapshot, out: &mut impl Write) -> Result<()> {
    for (collection, tenant, tree) in all_trees(snapshot.catalog()) {
        line(out, &RowLine::Tree { collection, tenant })?;
        for row in snapshot.scan(tree, (Bound::Unbounded, Bound::Unbounded))? {
            let (key, value) = row?;
            line(out, &row_line(&key, &value))?;
        }
        line(out, &digest_line(snapshot, tree)?)?;
    }
    line(out, &RowLine::End)
}

/// Reads the rows of another snapshot and compares each with this one's; `seen` gets every row.
pub(crate) fn compare(
    snapshot: &Snapshot,
    input: &mut impl BufRead,
    mut seen: impl FnMut(&str, Option<&str>, &[u8]) -> Result<()>,
) -> Result<Compared> {
    let mut compared = Compared::default();
    for (collection, tenant, tree) in all_trees(snapshot.catalog()) {
        let name = || {
            format!("{collection}{}", tenant.iter().map(|t| format!("/{t}")).collect::<String>())
        };
        let begin = RowLine::Tree { collection: collection.clone(), tenant: tenant.clone() };
        ensure!(next(input)? == begin, "{} is missing in the restored store", name());
        for row in snapshot.scan(tree, (Bound::Unbounded, Bound::Unbounded))? {
            let (key, value) = row?;
            let (ours, theirs) = (row_line(&key, &value), next(input)?);
            ensure!(ours == theirs, "{} differs: {ours:?} was restored as {theirs:?}", name());
            seen(&collection, tenant.as_deref(), &key)?;
            compared.rows += 1;
            compared.bytes += (key.len() + value.len()) as u64;
        }
        let (ours, theirs) = (digest_line(snapshot, tree)?, next(input)?);
        ensure!(ours == theirs, "{} differs: {ours:?} was restored as {theirs:?}", name());
        compared.trees += 1;
    }
    ensure!(next(input)? == RowLine::End, "the restored store has more collections");
    Ok(compared)
}

fn all_trees(catalog: &Catalog) -> Vec<(String, Option<String>, TreeId)> {
    let mut trees = Vec::new();
    for (name, collection) in &catalog.collections {
        trees.push((name.to_string(), None, collection.tree));
        for (tenant, state) in &collection.tenants {
            trees.push((name.to_string(), Some(tenant.to_string()), state.tree));
        }
    }
    trees
}

fn row_line(key: &[u8], value: &[u8]) -> RowLine {
    let key = String::from_utf8_lossy(key).into_owned();
    RowLine::Row { key, value: hash(value).to_string() }
}

fn digest_line(snapshot: &Snapshot, tree: TreeId) -> Result<RowLine> {
    let digest = snapshot.digest(tree)?;
    Ok(RowLine::Digest { rows: digest.rows, bytes: digest.bytes, sum: digest.sum.to_string() })
}

fn line(out: &mut impl Write, line: &RowLine) -> Result<()> {
    serde_json::to_writer(&mut *out, line).context("cannot write rows")?;
    out.write_all(b"\n").context("cannot write rows")
}

fn next(input: &mut impl BufRead) -> Result<RowLine> {
    let mut text = String::new();
    if input.read_line(&mut text).context("cannot read rows")? == 0 {
        bail!("the process that reads the restored store ended early");
    }
    serde_json::from_str(&text).context("the other process printed something else than rows")
}
