//! `lovage secret`: what the tasks of a module are told in confidence.

use std::io::IsTerminal as _;

use clap::Subcommand;
use lovage_model::{ModuleName, SecretName};

use super::Session;
use super::exit::{Exit, Usage};
use super::value::{Stdin, text};

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Set a secret for the tasks of a module; it is never shown again
    #[command(after_help = "Examples:\n  pass show report/database | lovage secret set report DATABASE\n  \
                            lovage secret set report DATABASE @/run/secrets/database")]
    Set {
        /// Name of the module; it need not be there yet
        module: ModuleName,
        /// Name of the secret
        name: SecretName,
        /// @FILE, or - for standard input. A line's end after it is not a part of it
        #[arg(default_value = "-", value_name = "FROM")]
        from: String,
    },
    /// Take a secret away
    Rm {
        /// Name of the module
        module: ModuleName,
        /// Name of the secret
        name: SecretName,
    },
}

pub(crate) async fn execute(command: SecretCommand, Session { client, screen }: &Session) -> anyhow::Result<Exit> {
    match command {
        SecretCommand::Set { module, name, from } => {
            let stdin = std::io::stdin();
            if from == "-" && stdin.is_terminal() {
                screen.note("type the secret, then Enter and Ctrl-D");
            }
            let mut secret = text(&from, "the secret", &mut Stdin::new(stdin))?;
            secret.truncate(secret.trim_end_matches(['\r', '\n']).len());
            if secret.is_empty() {
                return Err(Usage::error("the secret is empty: nothing was set (lovage secret rm takes one away)"));
            }
            client.set_secret(&module, &name, secret).await?;
            screen.note(&format!("set {name} for {module}"));
        }
        SecretCommand::Rm { module, name } => {
            client.remove_secret(&module, &name).await?;
            screen.note(&format!("took {name} of {module} away"));
        }
    }
    Ok(Exit::Done)
}
