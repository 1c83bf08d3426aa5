//! `cargo xtask bench backup`: builds the comparison with peers and runs it.
//!
//! It is a package outside the workspace (benches/peers), since RocksDB is a large C++ build; its
//! target folder is `target/peers`. What it needs of the system is looked for first, and installed
//! where that can be done without asking: as root, with apt-get.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::{
    bench::absolute,
    run::{exists, program, root, say, shown},
};

/// How to compare backups with the device, RocksDB, restic and tar.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these sections, by comma: read, folder, codecs, foreground, restore,
    /// incremental, memory, small, tenants [default: all].
    #[arg(long)]
    only: Option<String>,
    /// Bytes of rows, such as 4GiB [default: 4GiB, quick 1GiB].
    #[arg(long)]
    size: Option<String>,
    /// Fewer rounds on a smaller store: some ten minutes.
    #[arg(long)]
    quick: bool,
    /// Where the temporary folder is made, on the disk to be measured [default: that of the
    /// system].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Where the plot goes.
    #[arg(long, default_value = "target/bench-backup.svg")]
    plot: PathBuf,
    /// Leave a peer out, and its build.
    #[arg(long)]
    without: Option<Peer>,
}

/// A peer that takes long to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Peer {
    /// A large C++ library.
    Rocksdb,
}

/// Something of the system: how to see it, and the package of Debian that brings it.
struct Tool {
    name: &'static str,
    is_there: fn() -> bool,
    package: &'static str,
}

/// What the comparison runs.
const TO_RUN: [Tool; 5] = [
    Tool { name: "restic", is_there: || exists("restic", &["version"]), package: "restic" },
    Tool { name: "tar", is_there: || exists("tar", &["--version"]), package: "tar" },
    Tool { name: "gzip", is_there: || exists("gzip", &["--version"]), package: "gzip" },
    Tool { name: "zstd", is_there: || exists("zstd", &["--version"]), package: "zstd" },
    Tool { name: "fincore", is_there: || exists("fincore", &["--version"]), package: "util-linux" },
];

/// What the build of RocksDB needs.
const TO_BUILD: [Tool; 2] = [
    Tool { name: "a C++ compiler", is_there: || exists("c++", &["--version"]), package: "g++" },
    Tool { name: "libclang", is_there: has_libclang, package: "libclang-dev" },
];

/// Builds and runs.
pub(crate) fn backup(args: &Args) -> Result<()> {
    let mut missing: Vec<&Tool> = TO_RUN.iter().filter(|tool| !(tool.is_there)()).collect();
    if args.without.is_none() {
        missing.extend(TO_BUILD.iter().filter(|tool| !(tool.is_there)()));
    }
    install(&missing)?;
    let target = root().join("target/peers");
    let mut build = program("cargo", &["build", "--release"]);
    build.args(["--manifest-path", "benches/peers/Cargo.toml", "--bin", "backup", "--target-dir"]);
    build.arg(&target);
    if args.without.is_some() {
        build.arg("--no-default-features");
    }
    shown(build)?;
    let mut run = Command::new(target.join("release/backup"));
    run.args(args.of_run()?).current_dir(root());
    shown(run)
}

fn install(missing: &[&Tool]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    let by_hand = by_hand(missing);
    say(format_args!("{by_hand}"));
    ensure!(is_root() && exists("apt-get", &["--version"]), "{by_hand}");
    let mut command = program("apt-get", &["install", "--yes", "--no-install-recommends"]);
    command.args(packages).env("DEBIAN_FRONTEND", "noninteractive");
    shown(command).context(by_hand)
}

fn by_hand(missing: &[&Tool]) -> String {
    let names: Vec<&str> = missing.iter().map(|tool| tool.name).collect();
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    format!("{} missing; to install: apt-get install {}", names.join(", "), packages.join(" "))
}

fn is_root() -> bool {
    let output = program("id", &["-u"]).output();
    output.is_ok_and(|output| output.stdout == b"0\n")
}

/// Whether the library is known to the loader, or where Debian's packages of LLVM put it.
fn has_libclang() -> bool {
    let named = std::env::var_os("LIBCLANG_PATH").is_some();
    let output = program("ldconfig", &["-p"]).output();
    let known =
        output.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains("libclang.so"));
    let of_llvm = |version| Path::new(&format!("/usr/lib/llvm-{version}/lib/libclang.so")).exists();
    named || known || (10..40).any(of_llvm)
}

impl Args {
    /// What the program gets to hear.
    fn of_run(&self) -> Result<Vec<String>> {
        // The path must not depend on the folder that the program runs in.
        let plot = std::path::absolute(&self.plot).context("the plot has no path")?;
        let plot = plot.into_os_string().into_string().ok();
        let given = [
            ("--only", self.only.clone()),
            ("--size", self.size.clone()),
            ("--dir", self.dir.as_deref().map(absolute).transpose()?),
            ("--plot", Some(plot.context("the path of the plot is not UTF-8")?)),
        ];
        let given = given.into_iter().filter_map(|(flag, value)| Some([flag.to_owned(), value?]));
        let quick = self.quick.then(|| "--quick".to_owned());
        Ok(given.flatten().chain(quick).collect())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn only_what_is_given_is_handed_on() {
        let of_run = |line: &str| Cli::parse_from(line.split(' ')).args.of_run().unwrap();
        assert_eq!(of_run("backup --plot /p.svg"), ["--plot", "/p.svg"]);
        assert_eq!(
            of_run("backup --plot /p.svg --quick --only read,small --size 1GiB --dir /"),
            ["--only", "read,small", "--size", "1GiB", "--dir", "/", "--plot", "/p.svg", "--quick"]
        );
    }

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let tools: Vec<&Tool> = TO_BUILD.iter().collect();
        assert_eq!(
            by_hand(&tools),
            "a C++ compiler, libclang missing; to install: apt-get install g++ libclang-dev"
        );
    }
}
