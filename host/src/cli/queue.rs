//! `lovage queue`: what waits.

use clap::Subcommand;
use lovage_model::QueueName;

use super::exit::{Exit, Usage};
use super::{Session, table};

#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// List every queue that has a message
    List,
    /// Revoke everything that waits in a queue; what runs goes on
    Purge {
        /// Name of the queue
        queue: QueueName,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

pub(crate) async fn execute(command: QueueCommand, session: &Session) -> anyhow::Result<Exit> {
    let Session { client, screen } = session;
    match command {
        QueueCommand::List => {
            let queues = client.queues().await?;
            screen.list(&queues, || table::queues(&queues))?;
        }
        QueueCommand::Purge { queue, yes } => {
            if !yes && !screen.confirm(&format!("Revoke everything that waits in queue {queue}?"))? {
                return Err(Usage::error("nothing was revoked"));
            }
            let reply = client.purge(&queue).await?;
            screen.one(&reply, || format!("{} revoked", reply.purged))?;
        }
    }
    Ok(Exit::Done)
}
