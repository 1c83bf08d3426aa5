//! The command line of what is done with tenants: list, activate, deactivate, offload, fetch.

use clap::{Args, Subcommand};

use super::{ChunkArgs, RepositoryArgs, SpeedArgs, StoreArgs, Target};

/// What to do with tenants.
#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// List tenants with their status, and where the rows of FROZEN ones are.
    List(ListArgs),
    /// Make a COLD tenant HOT: it answers reads and writes.
    Activate(TenantArgs),
    /// Make a HOT tenant COLD: it keeps its rows, and answers nothing.
    Deactivate(TenantArgs),
    /// Move the rows of a tenant to a backend and off this disk; the tenant is then FROZEN.
    Offload(OffloadArgs),
    /// Bring the rows of a FROZEN tenant back.
    Fetch(FetchArgs),
    /// Remove copies of offloaded tenants of this store that no tenant needs any more.
    Sweep(SweepArgs),
}

/// Options of `tenant list`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ListArgs {
    /// Only the tenants of this collection [default: of all].
    pub(crate) collection: Option<String>,

    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

/// A tenant of a store.
#[derive(Clone, Debug, Args)]
pub(crate) struct TenantArgs {
    /// Collection and tenant.
    #[arg(value_name = "COLLECTION/TENANT")]
    pub(crate) target: TenantTarget,

    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

/// Options of `tenant offload`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "The tenant answers nothing meanwhile. The copy is read back and compared before the \
    rows leave\nthe disk. It may then be the only one: keep the repository.\nExample:\n  \
    siltstone tenant offload birds/eu --data ./data --backend s3 --bucket my-backups"
)]
pub(crate) struct OffloadArgs {
    #[command(flatten)]
    pub(crate) tenant: TenantArgs,

    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,

    #[command(flatten)]
    pub(crate) chunks: ChunkArgs,

    #[command(flatten)]
    pub(crate) speed: SpeedArgs,

    /// Show a progress bar on a terminal; the command ends with the offload in any case.
    #[arg(long)]
    pub(crate) wait: bool,
}

/// Options of `tenant fetch`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "All rows appear in one step, and the copy in the backend is removed then. `tenant \
    list` says\nwhere the rows are.\nExample:\n  \
    siltstone tenant fetch birds/eu --data ./data --backend s3 --bucket my-backups"
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct FetchArgs {
    #[command(flatten)]
    pub(crate) tenant: TenantArgs,

    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,

    /// Leave the tenant COLD [default: HOT].
    #[arg(long)]
    pub(crate) cold: bool,

    #[command(flatten)]
    pub(crate) speed: SpeedArgs,

    /// Show a progress bar on a terminal; the command ends with the fetch in any case.
    #[arg(long)]
    pub(crate) wait: bool,
}

/// Options of `tenant sweep`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "A killed offload or fetch leaves a copy, or a tenant that was dropped while it was \
    FROZEN.\nNever use it with a copy of the folder of a store: the other one may need them still."
)]
pub(crate) struct SweepArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,

    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,

    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
}

/// A tenant, with its collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TenantTarget {
    pub(crate) collection: String,
    pub(crate) tenant: String,
}

impl std::fmt::Display for TenantTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.collection, self.tenant)
    }
}

impl std::str::FromStr for TenantTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(Target { collection, tenant: Some(tenant) }) => Ok(Self { collection, tenant }),
            _ => Err("expected COLLECTION/TENANT".to_owned()),
        }
    }
}
