//! `lovage secret`: what the tasks of a module are told in confidence.

use std::io::{self, IsTerminal as _};

use clap::Subcommand;
use lovage_model::{ModuleName, SecretName};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::Session;
use super::exit::{Exit, Usage};
use super::screen::Screen;
use super::value::{Stdin, text};
use crate::daemon::Signals;

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

pub(crate) async fn execute(command: SecretCommand, session: &Session) -> anyhow::Result<Exit> {
    let Session { client, screen } = session;
    match command {
        SecretCommand::Set { module, name, from } => {
            if from == "-" && io::stdin().is_terminal() {
                // Heard before the terminal is changed, which is changed back whatever ends this; and to the end, since nothing else
                // hears them from then on.
                let mut signals = Signals::listen()?;
                tokio::select! {
                    done = async { set(session, &module, &name, typed(screen).await?).await } => done?,
                    stopped = signals.next() => return Err(stopped.into()),
                }
            } else {
                let secret = text(&from, "the secret", &mut Stdin::new(io::stdin()))?;
                set(session, &module, &name, secret).await?;
            }
        }
        SecretCommand::Rm { module, name } => {
            client.remove_secret(&module, &name).await?;
            screen.note(&format!("took {name} of {module} away"));
        }
    }
    Ok(Exit::Done)
}

/// Sets a secret, without the line's end after it.
async fn set(
    Session { client, screen }: &Session,
    module: &ModuleName,
    name: &SecretName,
    mut secret: String,
) -> anyhow::Result<()> {
    secret.truncate(secret.trim_end_matches(['\r', '\n']).len());
    if secret.is_empty() {
        return Err(Usage::error("the secret is empty: nothing was set (lovage secret rm takes one away)"));
    }
    client.set_secret(module, name, secret).await?;
    screen.note(&format!("set {name} for {module}"));
    Ok(())
}

/// What is typed at the terminal, which does not show it.
async fn typed(screen: &Screen) -> anyhow::Result<String> {
    let _unseen = Unseen::begin()?;
    screen.note("type the secret, which is not shown, then Enter and Ctrl-D");
    let (tell, told) = tokio::sync::oneshot::channel();
    // On a thread that nobody waits for: who is interrupted is still reading.
    std::thread::spawn(move || tell.send(text("-", "the secret", &mut Stdin::new(io::stdin()))));
    told.await?
}

/// While it is there, the terminal shows nothing of what is typed but ends of lines.
struct Unseen {
    stdin: io::Stdin,
    before: Termios,
}

impl Unseen {
    fn begin() -> io::Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut unseen = before.clone();
        unseen.local_modes.remove(LocalModes::ECHO);
        unseen.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(&stdin, OptionalActions::Now, &unseen)?;
        Ok(Self { stdin, before })
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        // A terminal that is gone by now shows nothing.
        _ = tcsetattr(&self.stdin, OptionalActions::Now, &self.before);
    }
}
