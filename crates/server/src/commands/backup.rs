//! `siltstone backup create | status | cancel | list`.
//!
//! A backup to a folder runs to its end in the calling process. Status, cancel and list read the
//! journal beside the store and the repository, without the store's lock: the process that makes
//! the backup holds that.

use std::{path::Path, sync::Arc, thread, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::json;
use siltstone_backup::{
    api::{Backups, Listed, list as list_backups, request_cancel, statuses},
    backend::{self, Backend, BackendConfig},
    error::{Error, ErrorKind},
    handle::{Handle, Status},
    operation::Summary,
    options::{Compression, CreateOptions, Selection},
};
use siltstone_io::{
    env::Env,
    os::{OsDisk, StreamEngine},
};

use crate::{
    cli::{BackupIdArgs, CreateArgs, RepositoryArgs},
    commands::open,
    outcome::Output,
    progress::{Bar, show_bytes},
    units::show_rate,
};

/// Time between two looks at a running operation.
const POLL: Duration = Duration::from_millis(100);

/// Makes a backup and reports it.
pub(crate) fn create(args: &CreateArgs, output: Output) -> Result<()> {
    let store = open(&args.store)?;
    let backend = repository(&args.repository)?;
    let mut options = CreateOptions::default();
    options.selection = Selection { include: args.include.clone(), exclude: args.exclude.clone() };
    options.compression = compression(&args.compression);
    options.chunk_mib = args.chunk_size;
    let handle = Backups::new(store.clone())?.create(&backend, &args.id, options)?;
    let summary = follow(&handle, args.wait.then(|| Bar::bytes("backup", Some(0))).as_ref())?;
    store.close()?;
    report("backed up", &summary, output)
}

/// Prints how a backup stands: as its journal says, else as the repository has it.
pub(crate) fn status(args: &BackupIdArgs, output: Output) -> Result<()> {
    let backend = repository(&args.repository)?;
    let journal = statuses(&env(&args.store.data)?, Some(&backend))?;
    if let Some(status) = journal.iter().find(|status| status.id.as_str() == args.id) {
        return output.result(&status_text(status), &status_json(status));
    }
    let config = list_backups(&backend)?.into_iter().find_map(|listed| match listed {
        Listed::Backup(config) if config.id.as_str() == args.id => Some(config),
        _ => None,
    });
    let Some(config) = config else {
        let message =
            format!("there is no backup '{}', neither running nor in the repository", args.id);
        return Err(Error::new(ErrorKind::NotFound, message).into());
    };
    let json = json!({ "type": "result", "id": args.id, "status": "SUCCESS",
                       "completed_at": config.completed_at.to_string() });
    output.result(&format!("{}: SUCCESS, completed {}", args.id, config.completed_at), &json)
}

/// Asks the process that makes a backup to stop.
pub(crate) fn cancel(args: &BackupIdArgs, output: Output) -> Result<()> {
    let status = request_cancel(&env(&args.store.data)?, &args.id)?;
    let text = format!("asked for the cancellation of '{}' (it was {})", args.id, status.state);
    output.result(&text, &json!({ "type": "result", "id": args.id, "canceling": true }))
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
                let totals = config.totals;
                let text = format!(
                    "{}  SUCCESS  {}  {} collections, {} segments, {} chunks",
                    config.id,
                    config.completed_at,
                    totals.collections,
                    totals.segments,
                    totals.chunks
                );
                let json = json!({
                    "type": "result", "id": config.id.as_str(), "status": "SUCCESS",
                    "started_at": config.started_at.to_string(),
                    "completed_at": config.completed_at.to_string(), "totals": totals,
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

/// The backend that the options name.
pub(crate) fn repository(args: &RepositoryArgs) -> Result<Arc<dyn Backend>> {
    folder(&args.root)
}

/// A repository in a folder.
pub(crate) fn folder(root: &Path) -> Result<Arc<dyn Backend>> {
    Ok(backend::open(&BackendConfig::Folder(root.to_path_buf()))?)
}

/// The store's disk, without its lock.
fn env(data: &Path) -> Result<Env> {
    let disk = OsDisk::open_existing(data, StreamEngine::Auto)
        .with_context(|| format!("there is no store in {}", data.display()))?;
    Ok(Env::system(Arc::new(disk)))
}

fn compression(level: &str) -> Compression {
    match level.to_ascii_lowercase().as_str() {
        "nocompression" => Compression::None,
        "bestspeed" => Compression::GzipBestSpeed,
        "bestcompression" => Compression::GzipBestCompression,
        _ => Compression::GzipDefault,
    }
}

/// Waits for an operation, showing its progress on a bar.
pub(crate) fn follow(handle: &Handle, bar: Option<&Bar>) -> Result<Summary> {
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
    Ok(handle.wait()?)
}

/// Prints what an operation did.
pub(crate) fn report(what: &str, summary: &Summary, output: Output) -> Result<()> {
    let progress = summary.progress;
    let text = format!(
        "{what} '{}': {} collections, {} in {} chunks ({} stored, {} reused), {:.2} s, {}",
        summary.id,
        summary.collections.len(),
        show_bytes(progress.bytes_done),
        progress.chunks_done,
        show_bytes(progress.bytes_stored),
        show_bytes(progress.bytes_reused),
        summary.elapsed.as_secs_f64(),
        show_rate(progress.bytes_done, summary.elapsed),
    );
    let json = json!({
        "type": "result", "id": summary.id.as_str(), "status": "SUCCESS",
        "sequence": summary.sequence.to_string(), "collections": summary.collections,
        "totals": summary.totals, "bytes_done": progress.bytes_done,
        "bytes_stored": progress.bytes_stored, "bytes_reused": progress.bytes_reused,
        "chunks": progress.chunks_done, "seconds": summary.elapsed.as_secs_f64(),
    });
    output.result(&text, &json)
}

fn status_text(status: &Status) -> String {
    let progress = status.progress;
    let left = status.time_left().filter(|_| !status.state.is_final());
    let left = left.map_or(String::new(), |left| format!(", {} s left", left.as_secs()));
    let error = status.error.as_ref().map_or(String::new(), |error| format!(": {error}"));
    format!(
        "{}: {}{error} ({} of {}, {}{left})",
        status.id,
        status.state,
        show_bytes(progress.bytes_done),
        show_bytes(progress.bytes_total),
        show_rate(progress.bytes_done, status.elapsed),
    )
}

fn status_json(status: &Status) -> serde_json::Value {
    json!({
        "type": "result", "id": status.id.as_str(), "status": status.state.to_string(),
        "error": status.error, "bytes_done": status.progress.bytes_done,
        "bytes_total": status.progress.bytes_total, "chunks": status.progress.chunks_done,
        "bytes_per_second": status.bytes_per_second(),
        "seconds_left": status.time_left().map(|left| left.as_secs()),
        "elapsed_seconds": status.elapsed.as_secs_f64(),
    })
}
