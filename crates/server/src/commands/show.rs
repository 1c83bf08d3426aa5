//! `siltstone backup show`: everything a backup says of itself.

use anyhow::Result;
use serde_json::{Value, json};
use siltstone_backup::{
    format::chunk::Codec,
    show::{ChunkContents, CollectionContents, Contents, TreeContents, show},
};
use siltstone_lsm::catalog::TenantStatus;

use crate::{
    cli::ShowArgs,
    commands::backup::{repository, totals_json},
    outcome::Output,
    progress::show_bytes,
    units::counted,
};

/// Runs the command.
pub(crate) fn run(args: &ShowArgs, output: Output) -> Result<()> {
    let contents = show(&repository(&args.backup.repository)?, &args.backup.id)?;
    let mut lines = vec![head_text(&contents)];
    let mut json = head_json(&contents);
    for collection in &contents.collections {
        lines.extend(collection_lines(collection));
    }
    if args.chunks {
        lines.extend(contents.chunks.iter().map(chunk_text));
        json["chunk_list"] = contents.chunks.iter().map(chunk_json).collect();
    }
    output.result(&lines.join("\n"), &json)
}

fn head_text(contents: &Contents) -> String {
    let config = &contents.config;
    let totals = config.totals;
    let share = percent(totals.chunk_bytes, contents.plain_bytes());
    format!(
        "backup '{}' of store {} on node '{}'\n  \
         begun {:.0}, completed {:.0}, by siltstone {}, attempt {}\n  \
         all commits up to sequence {}\n  \
         {} in {}\n  \
         {} in {} ({} uploaded, {} reused), {share} % of the archives",
        config.id,
        hex(config.store_id),
        config.node,
        config.started_at,
        config.completed_at,
        config.server_version,
        config.attempt,
        config.sequence,
        show_bytes(totals.segment_bytes),
        counted(totals.segments, "segment"),
        show_bytes(totals.chunk_bytes),
        counted(totals.chunks, "chunk"),
        show_bytes(totals.uploaded_bytes),
        show_bytes(contents.reused_bytes()),
    )
}

fn collection_lines(collection: &CollectionContents) -> Vec<String> {
    let name = &collection.name;
    let tenants = collection.tenants.iter().map(|tenant| {
        let (status, rows) = (status_name(tenant.status), tree_text(&tenant.rows));
        format!("{name}/{}  {status}, {rows}", tenant.name)
    });
    std::iter::once(format!("{name}  {}", tree_text(&collection.own))).chain(tenants).collect()
}

fn tree_text(tree: &TreeContents) -> String {
    let (puts, deletes) = (tree.entries.puts, tree.entries.deletes + tree.entries.range_deletes);
    let (puts, deletes) = (counted(puts, "put"), counted(deletes, "delete"));
    let segments = counted(tree.segments, "segment");
    format!("{puts}, {deletes}, {} in {segments}", show_bytes(tree.bytes))
}

fn chunk_text(chunk: &ChunkContents) -> String {
    let (codec, frames) = (codec_name(chunk.codec), counted(chunk.frames, "frame"));
    format!(
        "chunk {}  {codec}, {} of {}, {frames}",
        chunk.id,
        show_bytes(chunk.bytes),
        show_bytes(chunk.plain_bytes)
    )
}

fn head_json(contents: &Contents) -> Value {
    let config = &contents.config;
    json!({
        "type": "result", "kind": "show", "id": config.id.as_str(),
        "attempt": config.attempt.to_string(), "store_id": hex(config.store_id),
        "node": config.node.as_str(), "server_version": config.server_version,
        "started_at": config.started_at.to_string(),
        "completed_at": config.completed_at.to_string(),
        "compression": codec_name(config.compression), "sequence": config.sequence.to_string(),
        "totals": totals_json(config.totals), "reused_bytes": contents.reused_bytes(),
        "plain_bytes": contents.plain_bytes(),
        "collections": contents.collections.iter().map(collection_json).collect::<Vec<_>>(),
    })
}

fn collection_json(collection: &CollectionContents) -> Value {
    let mut json = tree_json(&collection.own);
    json["name"] = json!(collection.name);
    let tenants = collection.tenants.iter().map(|tenant| {
        let mut json = tree_json(&tenant.rows);
        json["name"] = json!(tenant.name);
        json["status"] = json!(status_name(tenant.status));
        json
    });
    json["tenants"] = tenants.collect();
    json
}

fn tree_json(tree: &TreeContents) -> Value {
    json!({
        "puts": tree.entries.puts, "deletes": tree.entries.deletes,
        "range_deletes": tree.entries.range_deletes, "segments": tree.segments,
        "bytes": tree.bytes,
    })
}

fn chunk_json(chunk: &ChunkContents) -> Value {
    json!({
        "id": chunk.id.to_string(), "codec": codec_name(chunk.codec), "bytes": chunk.bytes,
        "plain_bytes": chunk.plain_bytes, "frames": chunk.frames,
    })
}

fn codec_name(codec: Codec) -> String {
    format!("{codec:?}").to_lowercase()
}

/// A status as people write it.
pub(crate) fn status_name(status: TenantStatus) -> String {
    format!("{status:?}").to_uppercase()
}

fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100).checked_div(whole).unwrap_or(100)
}

fn hex(id: [u8; 16]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
