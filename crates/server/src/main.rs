//! The `siltstone` command.

#![forbid(unsafe_code)]

mod cli;
mod commands;
mod demo;
mod ledger;
mod outcome;
mod progress;
mod units;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    cli::{BackupCommand, Cli, Command, ConfigCommand, TenantCommand},
    outcome::Output,
};

fn main() -> ExitCode {
    siltstone_io::os::return_large_blocks();
    let cli = Cli::parse();
    let output = Output { json: cli.json };
    match run(cli.command, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => outcome::fail(&error, output),
    }
}

fn run(command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Demo(args) => demo::run(&args, output),
        Command::DemoRows(args) => demo::print_rows(&args),
        Command::Import(args) => commands::import::run(&args, output),
        Command::Get(args) => commands::read::get(&args, output),
        Command::Scan(args) => commands::read::scan(&args, output),
        Command::Check(args) => commands::check::run(&args, output),
        Command::Backup(BackupCommand::Create(args)) => commands::backup::create(&args, output),
        Command::Backup(BackupCommand::Status(args)) => commands::backup::status(&args, output),
        Command::Backup(BackupCommand::Cancel(args)) => commands::backup::cancel(&args, output),
        Command::Backup(BackupCommand::Discard(args)) => commands::backup::discard(&args, output),
        Command::Backup(BackupCommand::List(args)) => commands::backup::list(&args, output),
        Command::Backup(BackupCommand::Show(args)) => commands::show::run(&args, output),
        Command::Backup(BackupCommand::Verify(args)) => commands::verify::run(&args, output),
        Command::Backup(BackupCommand::Copy(args)) => commands::copy::run(&args, output),
        Command::Backup(BackupCommand::Delete(args)) => commands::prune::delete(&args, output),
        Command::Backup(BackupCommand::Prune(args)) => commands::prune::run(&args, output),
        Command::Config(ConfigCommand::Show) => commands::config::show(output),
        Command::Restore(args) => commands::restore::run(&args, output),
        Command::Tenant(TenantCommand::List(args)) => commands::tenant::list(&args, output),
        Command::Tenant(TenantCommand::Activate(args)) => commands::tenant::activate(&args, output),
        Command::Tenant(TenantCommand::Deactivate(args)) => {
            commands::tenant::deactivate(&args, output)
        }
        Command::Tenant(TenantCommand::Offload(args)) => commands::tenant::offload(&args, output),
        Command::Tenant(TenantCommand::Fetch(args)) => commands::tenant::fetch(&args, output),
        Command::Tenant(TenantCommand::Sweep(args)) => commands::tenant::sweep(&args, output),
    }
}
