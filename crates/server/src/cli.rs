//! The command line: what can be asked, and the help that explains it.

mod keep;
mod tenant;

use std::{fmt, path::PathBuf};

use clap::{
    Args, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use siltstone_backup::{
    backend::Provider,
    options::{
        CHUNK_MIB_MAX, CHUNK_MIB_MIN, CPU_PERCENT_MAX, CPU_PERCENT_MIN, Compression, Selection,
    },
};

pub(crate) use self::{
    keep::{CopyArgs, DeleteArgs, PruneArgs, ShowArgs, VerifyArgs},
    tenant::{
        FetchArgs, ListArgs, OffloadArgs, SweepArgs, TenantArgs, TenantCommand, TenantTarget,
    },
};

/// A storage engine whose live backups never pause a writer.
#[derive(Debug, Parser)]
#[command(name = "siltstone", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Results go to standard output, progress and messages to standard error.\n\
    Exit codes: 0 ok, 1 failed, 2 usage, 3 verification found damage, 4 not found, 5 conflict or \
    locked,\n6 store unreachable or denied, 7 corrupt data, 130 interrupted. See docs/operations.md.")]
pub(crate) struct Cli {
    /// Print results as JSON, one object a line.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Load real files, back them up live, restore them elsewhere, and prove both are equal.
    Demo(DemoArgs),
    /// Put the lines of a JSON Lines file into a collection or tenant; makes what is missing.
    Import(ImportArgs),
    /// Print the value of one key.
    Get(GetArgs),
    /// Print the rows of a collection or tenant in key order.
    Scan(ScanArgs),
    /// Read and verify everything in a store.
    Check(CheckArgs),
    /// Make, follow, list, verify, copy, delete and prune backups.
    #[command(subcommand)]
    Backup(BackupCommand),
    /// Restore a backup into a store, which is made if it is missing.
    Restore(RestoreArgs),
    /// List tenants, make them HOT or COLD, offload them to a backend and fetch them back.
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The half of `demo` that runs in a process of its own.
    #[command(hide = true)]
    DemoRows(StoreArgs),
}

/// Where the store is.
#[derive(Clone, Debug, Args)]
pub(crate) struct StoreArgs {
    /// Folder of the store.
    #[arg(long, value_name = "DIR", env = "SILTSTONE_DATA")]
    pub(crate) data: PathBuf,
}

/// Options of `demo`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArgs {
    /// Folder whose files are loaded (those over 8 MiB are skipped).
    #[arg(long, value_name = "DIR", default_value = "/usr/share")]
    pub(crate) from: PathBuf,

    /// How much to load, such as 64MiB or 2GiB; files are repeated under numbered prefixes to get
    /// there [default: what there is, at most 256MiB].
    #[arg(long, value_name = "BYTES", value_parser = crate::units::parse_bytes)]
    pub(crate) size: Option<u64>,

    /// Folder for the stores, the backups and acks.log [default: a temporary folder, removed].
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// Latencies that each phase must have before the numbers mean something.
    #[arg(long, value_name = "COMMITS", default_value_t = 10_000, hide = true)]
    pub(crate) samples: u64,
}

/// Options of `import`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    siltstone import birds birds.jsonl --data ./data --key name\n  \
    gunzip -c eu.jsonl.gz | siltstone import birds/eu - --data ./data")]
pub(crate) struct ImportArgs {
    /// Collection, or COLLECTION/TENANT; created if absent.
    #[arg(value_name = "COLLECTION[/TENANT]")]
    pub(crate) target: Target,

    /// File with one JSON object a line; `-` reads standard input.
    #[arg(value_name = "FILE.jsonl")]
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) store: StoreArgs,

    /// Field that becomes the key; the whole line becomes the value. Of duplicate keys the last
    /// wins.
    #[arg(long, value_name = "FIELD", default_value = "id")]
    pub(crate) key: String,
}

/// Options of `get`.
#[derive(Clone, Debug, Args)]
pub(crate) struct GetArgs {
    /// Collection, or COLLECTION/TENANT.
    #[arg(value_name = "COLLECTION[/TENANT]")]
    pub(crate) target: Target,

    /// The key.
    pub(crate) key: String,

    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

/// Options of `scan`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "A row is printed as key, tab, value; with --json as an object of both.\n\
    Example:\n  siltstone scan birds --data ./data --start her --end rob --limit 10")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct ScanArgs {
    /// Collection, or COLLECTION/TENANT.
    #[arg(value_name = "COLLECTION[/TENANT]")]
    pub(crate) target: Target,

    #[command(flatten)]
    pub(crate) store: StoreArgs,

    /// Only keys that start with this.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["start", "end"])]
    pub(crate) prefix: Option<String>,

    /// First key [default: from the beginning].
    #[arg(long, value_name = "KEY")]
    pub(crate) start: Option<String>,

    /// First key that is left out [default: to the end].
    #[arg(long, value_name = "KEY")]
    pub(crate) end: Option<String>,

    /// From the last key to the first.
    #[arg(long)]
    pub(crate) reverse: bool,

    /// At most this many rows [default: all].
    #[arg(long, value_name = "ROWS")]
    pub(crate) limit: Option<u64>,

    /// Print keys without values.
    #[arg(long)]
    pub(crate) keys_only: bool,
}

/// Options of `check`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,

    /// An acks.log of `demo`: every commit in it, or a later one of the same writer, must be there.
    #[arg(long, value_name = "FILE")]
    pub(crate) acks: Option<PathBuf>,
}

/// What to do with backups.
#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// Back up a store; makes the folder of the repository if it is missing.
    Create(CreateArgs),
    /// Print how a backup or its restore stands (running, ended, or as the repository has it).
    Status(BackupArgs),
    /// Ask the process that makes or restores the backup to stop.
    Cancel(CancelArgs),
    /// Remove what restores that failed have left in the store for the next try.
    Discard(StoreArgs),
    /// List the backups of a repository, the newest first.
    List(RepositoryArgs),
    /// Print everything a backup says of itself: collections, tenants, sizes, times.
    Show(ShowArgs),
    /// Check that a backup is whole, down to every byte, or that it restores.
    Verify(VerifyArgs),
    /// Copy a backup to another repository.
    Copy(CopyArgs),
    /// Delete one backup.
    Delete(DeleteArgs),
    /// Delete the backups that no rule keeps, and free the space that no backup needs.
    Prune(PruneArgs),
}

/// Where backups are kept.
#[derive(Clone, Debug, Args)]
pub(crate) struct RepositoryArgs {
    /// Kind of storage: filesystem, s3, gcs or azure.
    #[arg(long, value_name = "KIND", default_value = "filesystem")]
    pub(crate) backend: Provider,

    #[arg(
        long,
        value_name = "DIR",
        help = "Folder of the repository [filesystem; default: BACKUP_FILESYSTEM_PATH]"
    )]
    pub(crate) root: Option<PathBuf>,

    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "root",
        help = "Bucket or container [default: BACKUP_S3_BUCKET, BACKUP_GCS_BUCKET or \
                  BACKUP_AZURE_CONTAINER]"
    )]
    pub(crate) bucket: Option<String>,

    #[arg(
        long,
        value_name = "PATH",
        help = "Path within the bucket [default: BACKUP_S3_PATH, BACKUP_GCS_PATH or \
                  BACKUP_AZURE_PATH], or within the folder"
    )]
    pub(crate) path: Option<String>,
}

/// What to do with the configuration.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print each backend as the environment sets it up, who asks it, and how it answers. Secrets
    /// are not shown, and nothing is written.
    Show,
}

/// Which backup of which store, and where.
#[derive(Clone, Debug, Args)]
pub(crate) struct BackupArgs {
    /// Name of the backup: 1 to 128 lower-case letters, digits, `_` and `-`.
    pub(crate) id: String,

    #[command(flatten)]
    pub(crate) store: StoreArgs,

    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,
}

/// Options of `backup cancel`: the journal of the store says where the backup is.
#[derive(Clone, Debug, Args)]
pub(crate) struct CancelArgs {
    /// Name of the backup.
    pub(crate) id: String,

    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

/// Which collections and tenants.
#[derive(Clone, Debug, Args)]
pub(crate) struct SelectionArgs {
    /// Only these: COLLECTION or COLLECTION/TENANT, separated by commas; may be repeated; `*` stands
    /// for any characters, `?` for one [default: all].
    #[arg(long, value_name = "NAMES", value_delimiter = ',', conflicts_with = "exclude")]
    include: Vec<String>,

    /// All but these: COLLECTION or COLLECTION/TENANT, separated by commas; may be repeated.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    exclude: Vec<String>,
}

impl SelectionArgs {
    /// As the library takes it.
    pub(crate) fn selection(&self) -> Selection {
        Selection { include: self.include.clone(), exclude: self.exclude.clone() }
    }
}

/// The names of compressions, with what each stands for.
fn parse_compression() -> impl TypedValueParser<Value = Compression> {
    PossibleValuesParser::new(Compression::ALL.map(Compression::name))
        .try_map(|name| name.parse::<Compression>())
}

/// How chunks are stored.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ChunkArgs {
    /// How chunks are compressed: with gzip, with Zstandard (Zstd...), or not at all.
    #[arg(long, value_name = "LEVEL", default_value = "DefaultCompression", ignore_case = true,
          value_parser = parse_compression())]
    pub(crate) compression: Compression,

    /// Bound of a stored chunk in MiB, 2 to 512.
    #[arg(long, value_name = "MIB", default_value_t = 128,
          value_parser = clap::value_parser!(u64).range(CHUNK_MIB_MIN..=CHUNK_MIB_MAX))]
    pub(crate) chunk_size: u64,
}

/// How fast a backup or restore may go.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct SpeedArgs {
    /// Percent of the time of all processors that it may use, 1 to 80.
    #[arg(long, value_name = "PERCENT", default_value_t = 50,
          value_parser = clap::value_parser!(u8)
              .range(i64::from(CPU_PERCENT_MIN)..=i64::from(CPU_PERCENT_MAX)))]
    pub(crate) cpu_percent: u8,

    /// Bytes a second to or from the repository at most, such as 20MiB [default: no bound].
    #[arg(long, value_name = "BYTES", value_parser = crate::units::parse_bytes)]
    pub(crate) bytes_per_second: Option<u64>,
}

/// Options of `backup create`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    siltstone backup create monday --data ./data --root ./backups --exclude logs --wait\n  \
    siltstone backup create monday --data ./data --backend s3 --bucket my-backups --path birds")]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    pub(crate) backup: BackupArgs,

    #[command(flatten)]
    pub(crate) selection: SelectionArgs,

    #[command(flatten)]
    pub(crate) chunks: ChunkArgs,

    /// Give up when backups, snapshots and readers alone keep more than this on the disk of the
    /// store, such as 10GiB [default: give up at 64 MiB of free space].
    #[arg(long, value_name = "BYTES", value_parser = crate::units::parse_bytes)]
    pub(crate) pinned_bytes_max: Option<u64>,

    #[command(flatten)]
    pub(crate) speed: SpeedArgs,

    /// Name of this node in the backup [default: the name of the host].
    #[arg(long, value_name = "NAME", env = "CLUSTER_HOSTNAME")]
    pub(crate) node: Option<String>,

    /// Show a progress bar on a terminal; the command ends with the backup in any case.
    #[arg(long)]
    pub(crate) wait: bool,
}

/// Options of `restore`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  \
    siltstone restore monday --data ./other --root ./backups --include birds --rename birds=old")]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    pub(crate) backup: BackupArgs,

    #[command(flatten)]
    pub(crate) selection: SelectionArgs,

    /// Restore OLD (COLLECTION or COLLECTION/TENANT) under the name NEW; may be repeated.
    #[arg(long, value_name = "OLD=NEW", value_parser = parse_rename)]
    pub(crate) rename: Vec<(String, String)>,

    /// Name of the node in the backup, and of this one. Not needed: the backup of one node can be
    /// restored onto a node of any name.
    #[arg(long, value_name = "OLD=NEW", value_parser = parse_rename)]
    pub(crate) node_mapping: Vec<(String, String)>,

    #[command(flatten)]
    pub(crate) speed: SpeedArgs,

    /// Show a progress bar on a terminal; the command ends with the restore in any case.
    #[arg(long)]
    pub(crate) wait: bool,
}

/// A collection, or one tenant of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) collection: String,
    pub(crate) tenant: Option<String>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.collection)?;
        self.tenant.as_ref().map_or(Ok(()), |tenant| write!(f, "/{tenant}"))
    }
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (collection, tenant) = match text.split_once('/') {
            None => (text, None),
            Some((collection, tenant)) => (collection, Some(tenant.to_owned())),
        };
        let is_bad = |tenant: &str| tenant.is_empty() || tenant.contains('/');
        if collection.is_empty() || tenant.as_deref().is_some_and(is_bad) {
            return Err("expected COLLECTION or COLLECTION/TENANT".to_owned());
        }
        Ok(Self { collection: collection.to_owned(), tenant })
    }
}

fn parse_rename(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => {
            Ok((old.to_owned(), new.to_owned()))
        }
        _ => Err("expected OLD=NEW".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn targets_name_a_collection_or_a_tenant() {
        let target: Target = "birds/eu".parse().unwrap();
        assert_eq!((target.collection.as_str(), target.tenant.as_deref()), ("birds", Some("eu")));
        assert_eq!("birds".parse::<Target>().unwrap().tenant, None);
        assert_eq!(target.to_string(), "birds/eu");
        for bad in ["", "/eu", "birds/", "birds/eu/north"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
