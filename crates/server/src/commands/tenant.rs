//! `siltstone tenant list | activate | deactivate | offload | fetch | sweep`.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use siltstone_backup::{
    api::Backups,
    operation::Summary,
    options::{CreateOptions, RestoreOptions},
};
use siltstone_lsm::{catalog::TenantStatus, store::Store};

use crate::{
    cli::{FetchArgs, ListArgs, OffloadArgs, SweepArgs, TenantArgs, TenantTarget},
    commands::{
        backup::{repository, watch},
        open,
        show::status_name,
        work::ask,
    },
    outcome::{Output, note},
    progress::{Bar, show_bytes},
    units::{counted, show_rate},
};

/// Lists tenants with their status.
pub(crate) fn list(args: &ListArgs, output: Output) -> Result<()> {
    let store = open(&args.store)?;
    let catalog = store.catalog();
    if let Some(name) = &args.collection {
        catalog.collection(name)?;
    }
    let mut found = false;
    for (name, collection) in &catalog.collections {
        if args.collection.as_ref().is_some_and(|only| **only != **name) {
            continue;
        }
        for (tenant, info) in &collection.tenants {
            found = true;
            let (status, location) = (status_name(info.status), collection.location(tenant));
            let elsewhere = location.map_or(String::new(), |location| format!("  {location}"));
            let json = json!({
                "type": "result", "collection": **name, "tenant": **tenant, "status": status,
                "location": location,
            });
            output.result(&format!("{name}/{tenant}  {status}{elsewhere}"), &json)?;
        }
    }
    if !found && !output.json {
        return output.result("there are no tenants", &());
    }
    Ok(())
}

/// Makes a tenant HOT.
pub(crate) fn activate(args: &TenantArgs, output: Output) -> Result<()> {
    set(args, TenantStatus::Hot, output)
}

/// Makes a tenant COLD.
pub(crate) fn deactivate(args: &TenantArgs, output: Output) -> Result<()> {
    set(args, TenantStatus::Cold, output)
}

fn set(args: &TenantArgs, status: TenantStatus, output: Output) -> Result<()> {
    let store = open(&args.store)?;
    let TenantTarget { collection, tenant } = &args.target;
    store.set_tenant_status(collection, &[tenant], status)?;
    store.close()?;
    let json = described(&args.target, "status", status);
    output.result(&format!("'{}' is {}", args.target, status_name(status)), &json)
}

/// Moves the rows of a tenant to a backend.
pub(crate) fn offload(args: &OffloadArgs, output: Output) -> Result<()> {
    let (target, backend) = (&args.tenant.target, repository(&args.repository)?);
    let store = open(&args.tenant.store)?;
    let mut options = CreateOptions::default();
    options.compression = args.chunks.compression;
    options.chunk_mib = args.chunks.chunk_size;
    options.cpu_percent = args.speed.cpu_percent;
    options.bytes_per_second_max = args.speed.bytes_per_second;
    let backups = Backups::new(store.clone())?;
    let begun = backups.begin_offload(&backend, &target.collection, &target.tenant, options)?;
    watch(begun.handle(), args.wait.then(|| Bar::bytes("offload", Some(0))).as_ref());
    let outcome = begun.finish();
    let summary = outcome.with_context(|| {
        format!("the offload of '{target}' failed; the tenant is {}", status_of(&store, target))
    })?;
    store.close()?;
    let progress = summary.progress;
    let text = format!(
        "offloaded '{target}' to {} as '{}': {} in {} ({} stored), {}",
        backend.describe(),
        summary.id,
        show_bytes(progress.bytes_done),
        counted(progress.chunks_done, "chunk"),
        show_bytes(progress.bytes_stored),
        speed(&summary),
    );
    let mut json = described(target, "offload", TenantStatus::Frozen);
    add_summary(&mut json, &summary);
    json["place"] = json!(backend.describe());
    output.result(&text, &json)
}

/// Brings the rows of a tenant back.
pub(crate) fn fetch(args: &FetchArgs, output: Output) -> Result<()> {
    let (target, backend) = (&args.tenant.target, repository(&args.repository)?);
    let store = open(&args.tenant.store)?;
    let status = if args.cold { TenantStatus::Cold } else { TenantStatus::Hot };
    let mut options = RestoreOptions::default();
    options.cpu_percent = args.speed.cpu_percent;
    options.bytes_per_second_max = args.speed.bytes_per_second;
    let backups = Backups::new(store.clone())?;
    let names = (target.collection.as_str(), target.tenant.as_str());
    let begun = backups.begin_fetch_back(&backend, names, status, options)?;
    watch(begun.handle(), args.wait.then(|| Bar::bytes("fetch", Some(0))).as_ref());
    let outcome = begun.finish();
    let back = outcome.with_context(|| {
        format!("the fetch of '{target}' failed; the tenant is {}", status_of(&store, target))
    })?;
    store.close()?;
    let (summary, leftover) = (&back.summary, back.leftover.map(|error| error.to_string()));
    if let Some(why) = &leftover {
        note(format_args!(
            "warning: the copy '{}' in {} could not be removed: {why}; `siltstone tenant \
             sweep` does so later",
            summary.id,
            backend.describe()
        ));
    }
    let text = format!(
        "fetched '{target}' back, it is {}: {}, {}",
        status_name(status),
        show_bytes(summary.progress.bytes_done),
        speed(summary),
    );
    let mut json = described(target, "fetch", status);
    add_summary(&mut json, summary);
    json["leftover"] = json!(leftover);
    output.result(&text, &json)
}

/// Removes copies that no tenant needs.
pub(crate) fn sweep(args: &SweepArgs, output: Output) -> Result<()> {
    let backend = repository(&args.repository)?;
    let store = open(&args.store)?;
    let backups = Backups::new(store.clone())?;
    let copies = backups.unneeded_copies(&backend)?;
    if !args.yes && !copies.is_empty() {
        let names: Vec<String> = copies.iter().map(|copy| format!("'{}'", copy.id)).collect();
        ask(format_args!("Delete {} in {}?", names.join(", "), backend.describe()))?;
    }
    let mut bytes = 0;
    for copy in &copies {
        backups.remove_copy(&backend, copy)?;
        bytes += copy.totals.chunk_bytes;
    }
    store.close()?;
    let ids: Vec<&str> = copies.iter().map(|copy| copy.id.as_str()).collect();
    let json = json!({ "type": "result", "kind": "sweep", "removed": ids, "bytes": bytes });
    let removed = counted(copies.len() as u64, "copied tenant");
    output.result(&format!("removed {removed} that nobody needs, {}", show_bytes(bytes)), &json)
}

/// What a tenant is now, after a failure.
fn status_of(store: &Store, target: &TenantTarget) -> String {
    let catalog = store.catalog();
    let found = catalog.collection(&target.collection).and_then(|it| it.tenant(&target.tenant));
    found.map_or_else(|_| "gone".to_owned(), |tenant| status_name(tenant.status))
}

fn speed(summary: &Summary) -> String {
    let rate = show_rate(summary.progress.bytes_done, summary.elapsed);
    format!("{:.2} s, {rate}", summary.elapsed.as_secs_f64())
}

fn described(target: &TenantTarget, kind: &str, status: TenantStatus) -> Value {
    json!({
        "type": "result", "kind": kind, "collection": target.collection, "tenant": target.tenant,
        "status": status_name(status),
    })
}

fn add_summary(json: &mut Value, summary: &Summary) {
    json["id"] = json!(summary.id.as_str());
    json["bytes_done"] = json!(summary.progress.bytes_done);
    json["bytes_stored"] = json!(summary.progress.bytes_stored);
    json["chunks"] = json!(summary.progress.chunks_done);
    json["seconds"] = json!(summary.elapsed.as_secs_f64());
}
