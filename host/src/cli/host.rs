//! `lovage worker`, `lovage inspect`, `lovage control`: hosts, what they say, what is ordered of them.

use clap::{Args, Subcommand, ValueEnum};
use lovage_model::{RateLimit, Seconds, TaskId, TaskName};

use super::exit::{Exit, Usage};
use super::send::seconds;
use super::{Session, table};

#[derive(Debug, Subcommand)]
pub(crate) enum WorkerCommand {
    /// Show the worker that is asked; others on the same Redis are asked at their own addresses
    List,
    /// Let the worker that is asked take no more tasks; what runs goes on, and calls are accepted
    Drain {
        /// Let it take tasks again
        #[arg(long)]
        resume: bool,
    },
}

pub(crate) async fn worker(command: WorkerCommand, session: &Session) -> anyhow::Result<Exit> {
    let Session { client, screen } = session;
    match command {
        WorkerCommand::List => {
            let workers = client.workers().await?;
            screen.list(&workers, || table::workers(&workers))?;
        }
        WorkerCommand::Drain { resume } => {
            let worker = client.drain_worker(resume).await?;
            screen.one(&worker, || table::workers(std::slice::from_ref(&worker)))?;
        }
    }
    Ok(Exit::Done)
}

/// What can be asked; Celery's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum What {
    /// What runs
    Active,
    /// What was taken and waits for a slot
    Reserved,
    /// What waits for its time: an ETA, or its turn by a rate limit
    Scheduled,
    /// What was revoked
    Revoked,
    /// The tasks there are, with their rate limits
    Registered,
    /// What the host has done, and what it is made of
    Stats,
    /// Where these tasks are
    QueryTask,
    /// Whether it answers
    Ping,
    /// Its settings
    Conf,
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// What to ask
    #[arg(value_enum)]
    what: What,
    /// Ids of tasks, for query_task
    ids: Vec<TaskId>,
}

pub(crate) async fn inspect(Inspect { what, ids }: Inspect, session: &Session) -> anyhow::Result<Exit> {
    let Session { client, screen } = session;
    if (what == What::QueryTask) == ids.is_empty() {
        return Err(Usage::error("ids belong to query_task, which needs one at least"));
    }
    let name = what.to_possible_value().expect("none is skipped").get_name().to_owned();
    let says = client.inspect(&name, &ids).await?;
    screen.one(&says, || table::inspected(&says))?;
    Ok(Exit::Done)
}

#[derive(Debug, Subcommand)]
#[command(rename_all = "snake_case")]
pub(crate) enum ControlCommand {
    /// Change how often a task may start, on this host, until it restarts
    RateLimit {
        /// Name of the task
        task: TaskName,
        /// Such as 10/s, 100/m or 5/h; 0: no limit; left out: as the task declares
        rate: Option<RateLimit>,
    },
    /// Change how long a task may take, on this host, until it restarts; both left out: as the task declares
    TimeLimit {
        /// Name of the task
        task: TaskName,
        /// Soft limit in seconds
        #[arg(value_parser = seconds)]
        soft: Option<Seconds>,
        /// Hard limit in seconds
        #[arg(value_parser = seconds)]
        hard: Option<Seconds>,
    },
    /// Drop the results whose time is over, now
    Cleanup,
}

pub(crate) async fn control(command: ControlCommand, session: &Session) -> anyhow::Result<Exit> {
    let Session { client, screen } = session;
    match command {
        ControlCommand::RateLimit { task, rate } => {
            let reply = client.rate_limit(task, rate).await?;
            screen.one(&reply, || reply.ok.clone())?;
        }
        ControlCommand::TimeLimit { task, soft, hard } => {
            let reply = client.time_limit(task, soft, hard).await?;
            screen.one(&reply, || reply.ok.clone())?;
        }
        ControlCommand::Cleanup => {
            let reply = client.cleanup().await?;
            screen.one(&reply, || format!("{} results dropped", reply.expired))?;
        }
    }
    Ok(Exit::Done)
}
