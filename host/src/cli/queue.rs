//! `lovage queue`: what waits.

use clap::Subcommand;
use lovage_model::QueueName;
use lovage_model::api::PauseReply;

use super::exit::{Exit, Usage};
use super::{Session, table};

#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// List every queue that has a message
    List,
    /// Let no more tasks of a queue begin, until it is resumed; what runs goes on
    Pause {
        /// Name of the queue
        queue: QueueName,
    },
    /// Let tasks of a queue begin again
    Resume {
        /// Name of the queue
        queue: QueueName,
    },
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
        QueueCommand::Pause { queue } => {
            let reply = client.pause(&queue).await?;
            screen.one(&reply, || told(&reply, "paused", "was paused already"))?;
        }
        QueueCommand::Resume { queue } => {
            let reply = client.resume(&queue).await?;
            screen.one(&reply, || told(&reply, "goes on", "was not paused"))?;
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

fn told(reply: &PauseReply, changed: &str, unchanged: &str) -> String {
    format!("{}: {}", reply.name, if reply.changed { changed } else { unchanged })
}
