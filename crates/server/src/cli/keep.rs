//! The command line of what is done with backups once they are made: verify, show, delete, prune,
//! copy.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use siltstone_backup::{backend::Provider, prune::PruneOptions, retention::Policy, verify::Level};

use super::{RepositoryArgs, SpeedArgs};
use crate::units::parse_age;

/// A backup, and where it is. No store is needed.
#[derive(Clone, Debug, Args)]
pub(crate) struct StoredArgs {
    /// Name of the backup.
    pub(crate) id: String,

    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,
}

/// How thoroughly a backup is verified.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum VerifyLevel {
    /// All objects are there, with their lengths; descriptors match their hashes.
    #[value(name = "1")]
    Objects,
    /// And every byte of every chunk is read and checked.
    #[value(name = "2")]
    Hashes,
    /// And the backup is restored into a store of its own, which is read, compared and removed.
    #[value(name = "3")]
    Rehearsal,
}

impl From<VerifyLevel> for Level {
    fn from(level: VerifyLevel) -> Self {
        match level {
            VerifyLevel::Objects => Self::Objects,
            VerifyLevel::Hashes => Self::Hashes,
            VerifyLevel::Rehearsal => Self::Rehearsal,
        }
    }
}

/// Options of `backup verify`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Reads alone: a repository that may not be written will do. Ends with exit code 3 \
    if anything is\nwrong, and lists all of it.\nExample:\n  \
    siltstone backup verify monday --root ./backups --level 3 --scratch /var/tmp"
)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) backup: StoredArgs,

    /// How thoroughly.
    #[arg(long, value_name = "LEVEL", default_value = "1")]
    pub(crate) level: VerifyLevel,

    /// Folder for the store of level 3, which is removed again; it needs the room of the backup's
    /// data [default: the system's temporary folder].
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) speed: SpeedArgs,
}

/// Options of `backup show`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) backup: StoredArgs,

    /// List the chunks, too.
    #[arg(long)]
    pub(crate) chunks: bool,
}

/// Options of `backup delete`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "No other backup is hurt. The space comes back with `siltstone backup prune`."
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    pub(crate) backup: StoredArgs,

    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,

    /// Delete it even if its descriptor is damaged.
    #[arg(long)]
    pub(crate) damaged: bool,
}

/// Options of `backup prune`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "A backup is kept if any rule keeps it; without rules all are. Hours, days, weeks \
    (from Monday)\nand months are those of UTC, and each store has its own history. Chunks that no backup \
    needs are\ncondemned by one run and removed by a later one, after the grace: run it daily.\nExample:\n  \
    siltstone backup prune --root ./backups --keep-daily 7 --keep-weekly 4 --dry-run"
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct PruneArgs {
    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,

    /// Keep the newest N backups. The newest one is always kept, unless this is 0.
    #[arg(long, value_name = "N")]
    keep_last: Option<u32>,

    /// Keep the newest backup of each of the last N hours that have one.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_hourly: u32,

    /// Of the last N days that have one.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_daily: u32,

    /// Of the last N weeks that have one.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_weekly: u32,

    /// Of the last N months that have one.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_monthly: u32,

    /// Of the last N years that have one.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_yearly: u32,

    /// Keep all backups younger than this, such as 36h, 7d or 8w.
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    keep_within: Option<Duration>,

    /// How long chunks are condemned before they are removed, at least 1h. With less than the
    /// default, no backup or copy may take longer than half of it.
    #[arg(long, value_name = "AGE", default_value = "48h", value_parser = parse_age)]
    grace: Duration,

    /// Print what would happen, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Do not ask before backups are deleted.
    #[arg(long)]
    pub(crate) yes: bool,
}

impl PruneArgs {
    /// As the library takes it.
    pub(crate) fn options(&self) -> PruneOptions {
        let mut policy = Policy::default();
        policy.last = self.keep_last;
        policy.hourly = self.keep_hourly;
        policy.daily = self.keep_daily;
        policy.weekly = self.keep_weekly;
        policy.monthly = self.keep_monthly;
        policy.yearly = self.keep_yearly;
        policy.within = self.keep_within;
        let mut options = PruneOptions::default();
        (options.policy, options.grace) = (policy, self.grace);
        options
    }
}

/// Options of `backup copy`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "What the other repository holds of the same store already is not copied again. The \
    copy is\nwhole or not there; later backups of the store to that repository build on it. One that was cut \
    off goes\non from the chunks that are there when it is run again.\nExample:\n  \
    siltstone backup copy monday --root ./backups --to-root /mnt/other --bytes-per-second 20MiB"
)]
pub(crate) struct CopyArgs {
    #[command(flatten)]
    pub(crate) backup: StoredArgs,

    /// Kind of storage that gets the copy: filesystem, s3, gcs or azure.
    #[arg(long, value_name = "KIND", default_value = "filesystem")]
    to_backend: Provider,

    /// Folder of the repository that gets the copy; made if it is missing.
    #[arg(long, value_name = "DIR")]
    to_root: Option<PathBuf>,

    /// Bucket or container that gets the copy [default: as for --bucket].
    #[arg(long, value_name = "NAME", conflicts_with = "to_root")]
    to_bucket: Option<String>,

    /// Path within that bucket or folder [default: as for --path].
    #[arg(long, value_name = "PATH")]
    to_path: Option<String>,

    /// Name of the copy [default: that of the backup].
    #[arg(long = "as", value_name = "NEW_ID")]
    pub(crate) rename: Option<String>,

    #[command(flatten)]
    pub(crate) speed: SpeedArgs,
}

impl CopyArgs {
    /// Where the copy goes.
    pub(crate) fn to(&self) -> RepositoryArgs {
        RepositoryArgs {
            backend: self.to_backend,
            root: self.to_root.clone(),
            bucket: self.to_bucket.clone(),
            path: self.to_path.clone(),
        }
    }
}
