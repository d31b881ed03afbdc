//! `lovage module`: push components, look at them, go back.

use std::path::PathBuf;

use clap::Subcommand;
use lovage_client::Pushed;
use lovage_model::{ModuleName, ModuleVersion};

use super::exit::{Exit, Usage};
use super::screen::{Format, Screen};
use super::{Session, table};

#[derive(Debug, Subcommand)]
pub(crate) enum ModuleCommand {
    /// Check, compile and store a module; its tasks can be called from then on
    #[command(after_help = "Examples:\n  cargo build --release --target wasm32-wasip2\n  \
                            lovage module push tour target/wasm32-wasip2/release/tour.wasm\n  \
                            lovage module push tour tour.wasm --dry-run")]
    Push {
        /// Name of the module: a new one, or the one this is a version of
        name: ModuleName,
        /// The component: a .wasm file
        file: PathBuf,
        /// Check it and store nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// List the active version of every module
    List,
    /// Show the versions of a module, and the tasks of the active one
    Show {
        /// Name of the module
        name: ModuleName,
    },
    /// Make the version before the active one active
    Rollback {
        /// Name of the module
        name: ModuleName,
    },
    /// Drop a module with all its versions; its waiting tasks will fail
    Rm {
        /// Name of the module
        name: ModuleName,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

pub(crate) async fn execute(command: ModuleCommand, session: &Session) -> anyhow::Result<Exit> {
    let Session { client, screen } = session;
    match command {
        ModuleCommand::Push { name, file, dry_run } => {
            let component =
                std::fs::read(&file).map_err(|error| Usage::error(format!("{}: {error}", file.display())))?;
            let pushed = client.push_module(&name, component.into(), dry_run).await?;
            screen.note(match &pushed {
                _ if dry_run => "dry run: the module is right; nothing was stored",
                Pushed { is_new: true, .. } => "pushed",
                Pushed { is_restored: true, .. } => {
                    "restored: the active component was missing from the store, or damaged"
                }
                _ => "unchanged: the same component is active",
            });
            show_one(&pushed.version, screen)
        }
        ModuleCommand::List => {
            let versions = client.modules().await?;
            screen.list(&versions, || table::modules(&versions))?;
            Ok(Exit::Done)
        }
        ModuleCommand::Show { name } => {
            let versions = client.module_versions(&name).await?;
            screen.list(&versions, || table::modules(&versions))?;
            if let (Format::Table, Some(active)) = (screen.format, versions.iter().find(|version| version.active)) {
                screen.data(&format!("\n{}", table::definitions(&active.tasks)))?;
            }
            Ok(Exit::Done)
        }
        ModuleCommand::Rollback { name } => show_one(&client.rollback_module(&name).await?, screen),
        ModuleCommand::Rm { name, yes } => {
            if !yes && !screen.confirm(&format!("Drop module {name} with all its versions?"))? {
                return Err(Usage::error("nothing was dropped"));
            }
            client.remove_module(&name).await?;
            screen.note(&format!("dropped {name}"));
            Ok(Exit::Done)
        }
    }
}

fn show_one(version: &ModuleVersion, screen: &Screen) -> anyhow::Result<Exit> {
    screen.one(version, || table::modules(std::slice::from_ref(version)))?;
    Ok(Exit::Done)
}
