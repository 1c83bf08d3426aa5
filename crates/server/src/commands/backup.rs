//! `siltstone backup create | status | cancel | discard | list`.
//!
//! A backup to a folder runs to its end in the calling process. Status, cancel and list read the
//! journal beside the store and the repository, without the store's lock: the process that makes
//! the backup holds that.

use std::{fs, path::Path, sync::Arc, thread, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::json;
use siltstone_backup::{
    api::{Backups, Listed, find, list as list_backups, request_cancel, statuses},
    backend::{self, Backend, BackendConfig},
    format::config::Totals,
    handle::{Handle, Status},
    journal::Kind,
    names::NodeName,
    operation::Summary,
    options::CreateOptions,
    state::State,
};
use siltstone_io::{
    env::Env,
    os::{OsDisk, StreamEngine},
};

use crate::{
    cli::{BackupArgs, CancelArgs, CreateArgs, RepositoryArgs, StoreArgs},
    commands::open,
    outcome::Output,
    progress::{Bar, show_bytes},
    units::{counted, show_rate},
};

/// Where the kernel says how the host is called.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// Time between two looks at a running operation.
const POLL: Duration = Duration::from_millis(100);

/// Makes a backup and reports it.
pub(crate) fn create(args: &CreateArgs, output: Output) -> Result<()> {
    let store = open(&args.backup.store)?;
    let backend = repository(&args.backup.repository)?;
    let mut options = CreateOptions::default();
    options.selection = args.selection.selection();
    options.compression = args.chunks.compression;
    options.cpu_percent = args.speed.cpu_percent;
    options.bytes_per_second_max = args.speed.bytes_per_second;
    options.chunk_mib = args.chunks.chunk_size;
    options.pinned_bytes_max = args.pinned_bytes_max;
    options.node = node_name(args.node.as_deref())?;
    let handle = Backups::new(store.clone())?.create(&backend, &args.backup.id, options)?;
    let summary = follow(&handle, args.wait.then(|| Bar::bytes("backup", Some(0))).as_ref())?;
    store.close()?;
    report(handle.status().kind, &summary, output)
}

/// Prints how a backup or its restore stands: as the journal says, else as the repository has it.
pub(crate) fn status(args: &BackupArgs, output: Output) -> Result<()> {
    let backend = repository(&args.repository)?;
    let journal = statuses(&env(&args.store)?, Some(&backend))?;
    let is_it =
        |status: &&Status| status.id.as_str() == args.id && status.backend == backend.describe();
    if let Some(status) = journal.iter().find(is_it) {
        return output.result(&status_text(status), &status_json(status));
    }
    let completed_at = find(&backend, &args.id)?.completed_at;
    let json = json!({ "type": "result", "kind": kind_name(Kind::Create), "id": args.id,
                       "status": "SUCCESS", "completed_at": completed_at.to_string() });
    output.result(&format!("backup '{}': SUCCESS, completed {completed_at:.0}", args.id), &json)
}

/// Asks the process that makes or restores a backup to stop.
pub(crate) fn cancel(args: &CancelArgs, output: Output) -> Result<()> {
    let status = request_cancel(&env(&args.store)?, &args.id)?;
    let text = format!("asked the {} to stop; it was {}", named(&status), status.state);
    let kind = kind_name(status.kind);
    let json = json!({ "type": "result", "kind": kind, "id": args.id, "canceling": true });
    output.result(&text, &json)
}

/// Removes what restores that failed have left for the next try.
pub(crate) fn discard(args: &StoreArgs, output: Output) -> Result<()> {
    let store = open(args)?;
    let bytes = Backups::new(store.clone())?.discard_held()?;
    store.close()?;
    let json = json!({ "type": "result", "kind": "discard", "bytes_discarded": bytes });
    output.result(&format!("discarded {} of restores that failed", show_bytes(bytes)), &json)
}

/// Lists the backups of a repository, newest first.
pub(crate) fn list(args: &RepositoryArgs, output: Output) -> Result<()> {
    let backups = list_backups(&repository(args)?)?;
    if backups.is_empty() && !output.json {
        return output.result("there are no backups", &());
    }
    for listed in backups {
        match listed {
            Listed::Backup(config) => {
                let Totals { collections, segments, segment_bytes, .. } = config.totals;
                let text = format!(
                    "{}  SUCCESS  {:.0}  {}, {}, {}",
                    config.id,
                    config.completed_at,
                    counted(collections, "collection"),
                    counted(segments, "segment"),
                    show_bytes(segment_bytes),
                );
                let json = json!({
                    "type": "result", "id": config.id.as_str(), "status": "SUCCESS",
                    "started_at": config.started_at.to_string(),
                    "completed_at": config.completed_at.to_string(),
                    "totals": totals_json(config.totals),
                });
                output.result(&text, &json)?;
            }
            Listed::Unreadable(id, why) => {
                let json = json!({ "type": "result", "id": id.as_str(), "unreadable": why });
                output.result(&format!("{id}  UNREADABLE  {why}"), &json)?;
            }
            _ => bail!("the repository holds something this program does not know"),
        }
    }
    Ok(())
}

/// The name of this node: as it was given, else that of the host.
fn node_name(given: Option<&str>) -> Result<NodeName> {
    if let Some(given) = given {
        return Ok(NodeName::new(given)?);
    }
    let host = fs::read_to_string(HOST_NAME).with_context(|| format!("read {HOST_NAME}"))?;
    let host = NodeName::new(host.trim());
    host.context("the name of the host cannot name a node; give one with --node")
}

/// The backend that the options name.
pub(crate) fn repository(args: &RepositoryArgs) -> Result<Arc<dyn Backend>> {
    Ok(backend::open(&super::config::chosen(args)?)?)
}

/// A repository in a folder.
pub(crate) fn folder(root: &Path) -> Result<Arc<dyn Backend>> {
    Ok(backend::open(&BackendConfig::Folder(root.to_path_buf()))?)
}

/// The store's disk, without its lock.
fn env(args: &StoreArgs) -> Result<Env> {
    let disk = OsDisk::open_existing(&args.data, StreamEngine::Auto);
    let disk = disk.with_context(|| format!("store {}", args.data.display()))?;
    Ok(Env::system(Arc::new(disk)))
}

/// Waits for an operation, showing its progress on a bar.
pub(crate) fn follow(handle: &Handle, bar: Option<&Bar>) -> Result<Summary> {
    watch(handle, bar);
    handle.wait().with_context(|| {
        let status = handle.status();
        format!("{} {}", named(&status), status.state)
    })
}

/// Shows the progress of an operation on a bar, until it ends; without a bar returns at once.
pub(crate) fn watch(handle: &Handle, bar: Option<&Bar>) {
    while let Some(bar) = bar {
        let status = handle.status();
        bar.set_length(status.progress.bytes_total);
        bar.set(status.progress.bytes_done);
        if status.state.is_final() {
            bar.finish();
            break;
        }
        thread::sleep(POLL);
    }
}

/// Prints what an operation did.
pub(crate) fn report(kind: Kind, summary: &Summary, output: Output) -> Result<()> {
    let Summary { id, collections, progress, elapsed, .. } = summary;
    let moved = if kind == Kind::Restore {
        let reused = Some(progress.bytes_reused).filter(|bytes| *bytes > 0);
        let reused =
            reused.map(|bytes| format!(" ({} of an earlier try reused)", show_bytes(bytes)));
        format!("{}{}", show_bytes(progress.bytes_done), reused.unwrap_or_default())
    } else {
        format!(
            "{} in {} ({} stored, {} reused)",
            show_bytes(progress.bytes_done),
            counted(progress.chunks_done, "chunk"),
            show_bytes(progress.bytes_stored),
            show_bytes(progress.bytes_reused),
        )
    };
    let skipped = match summary.skipped.as_slice() {
        [] => String::new(),
        skipped => format!("; skipped, as FROZEN: {}", skipped.join(", ")),
    };
    let text = format!(
        "{} '{id}': {}, {moved}, {:.2} s, {}{skipped}",
        if kind == Kind::Restore { "restored" } else { "backed up" },
        counted(collections.len() as u64, "collection"),
        elapsed.as_secs_f64(),
        show_rate(progress.bytes_done, *elapsed),
    );
    let json = json!({
        "type": "result", "kind": kind_name(kind), "id": id.as_str(), "status": "SUCCESS",
        "sequence": summary.sequence.to_string(), "collections": collections,
        "skipped": summary.skipped, "totals": totals_json(summary.totals), "bytes_done": progress.bytes_done,
        "bytes_stored": progress.bytes_stored, "bytes_reused": progress.bytes_reused,
        "chunks": progress.chunks_done, "seconds": elapsed.as_secs_f64(),
    });
    output.result(&text, &json)
}

/// Numbers as numbers: the object in the repository has them as text.
pub(crate) fn totals_json(totals: Totals) -> serde_json::Value {
    json!({
        "collections": totals.collections, "tenants": totals.tenants, "chunks": totals.chunks,
        "segments": totals.segments, "segment_bytes": totals.segment_bytes,
        "chunk_bytes": totals.chunk_bytes, "uploaded_bytes": totals.uploaded_bytes,
    })
}

/// An operation as people call it.
fn named(status: &Status) -> String {
    let what = if status.kind == Kind::Restore { "restore of" } else { "backup" };
    format!("{what} '{}'", status.id)
}

fn kind_name(kind: Kind) -> &'static str {
    if kind == Kind::Restore { "restore" } else { "create" }
}

fn status_text(status: &Status) -> String {
    let progress = status.progress;
    let left = status.time_left().filter(|_| !status.state.is_final());
    let left = left.map_or(String::new(), |left| format!(", {} s left", left.as_secs()));
    let reused = Some(progress.bytes_reused).filter(|bytes| *bytes > 0);
    let reused = reused.map_or(String::new(), |bytes| format!(", {} reused", show_bytes(bytes)));
    let held =
        Some(progress.bytes_held).filter(|bytes| *bytes > 0 && status.state == State::Failed);
    let held = held
        .map_or(String::new(), |bytes| format!(", {} kept for the next try", show_bytes(bytes)));
    let error = status.error.as_ref().map_or(String::new(), |error| format!(": {error}"));
    format!(
        "{}: {}{error} ({} of {}{reused}{held}, {}{left})",
        named(status),
        status.state,
        show_bytes(progress.bytes_done),
        show_bytes(progress.bytes_total),
        show_rate(progress.bytes_done, status.elapsed),
    )
}

fn status_json(status: &Status) -> serde_json::Value {
    json!({
        "type": "result", "kind": kind_name(status.kind), "id": status.id.as_str(),
        "status": status.state.to_string(), "error": status.error,
        "bytes_done": status.progress.bytes_done, "bytes_total": status.progress.bytes_total,
        "bytes_reused": status.progress.bytes_reused, "chunks": status.progress.chunks_done,
        "bytes_pinned": status.progress.bytes_pinned, "bytes_held": status.progress.bytes_held,
        "bytes_per_second": status.bytes_per_second(),
        "seconds_left": status.time_left().map(|left| left.as_secs()),
        "elapsed_seconds": status.elapsed.as_secs_f64(),
    })
}
