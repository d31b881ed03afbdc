//! `lovage beat`: what is sent again and again.

use clap::{Args, Subcommand};
use lovage_model::{Crontab, EntryName, Json, PeriodicTask, Schedule, Seconds, SignatureOptions, TaskName};

use super::exit::{Exit, Usage};
use super::send::seconds;
use super::value::{self, Stdin};
use super::{Session, table};

const EXAMPLES: &str = "\
Examples:
  lovage beat set tidy store.tidy --every 30
  lovage beat set report report.build --crontab '30 7 * * mon-fri' --timezone Europe/Berlin
  lovage beat set sums tour.add 2 3 --every 3600 --options '{\"queue\": \"slow\", \"expires\": 600}'";

#[derive(Debug, Subcommand)]
pub(crate) enum BeatCommand {
    /// List the periodic tasks
    List,
    /// Declare a periodic task, or change it
    #[command(after_help = format!("{}\n\n{EXAMPLES}", value::RULES))]
    Set(Box<Set>),
    /// Show a periodic task
    Show(One),
    /// Take a periodic task away; what it has sent stays
    Rm(One),
    /// Send a periodic task now, beside its times
    Run(One),
}

/// One periodic task.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// Name of the periodic task
    name: EntryName,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// Name of the periodic task
    name: EntryName,
    /// Name of the task it sends
    task: TaskName,
    /// Positional arguments: JSON, else a string; @FILE, @base64:FILE and - read them (see below)
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    args: Vec<String>,
    /// Keyword arguments: a JSON object, @FILE or -
    #[arg(long, value_name = "JSON")]
    kwargs: Option<String>,
    /// Celery's options, such as queue, priority, expires: a JSON object, @FILE or -
    #[arg(long, value_name = "JSON")]
    options: Option<String>,
    /// Send it at each multiple of so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, required_unless_present = "crontab")]
    every: Option<Seconds>,
    /// Send it when the clock looks so: minute, hour, day of month, month of year, day of week
    #[arg(long, value_name = "FIELDS", conflicts_with = "every")]
    crontab: Option<Crontab>,
    /// Whose clock, such as Europe/Berlin; UTC if left out
    #[arg(long, value_name = "NAME", requires = "crontab", conflicts_with = "every")]
    timezone: Option<String>,
    /// Do not send it, for now
    #[arg(long)]
    disabled: bool,
    /// Do not make up for times that came while no daemon ran
    #[arg(long)]
    no_catch_up: bool,
}

impl Set {
    fn entry(self) -> anyhow::Result<PeriodicTask> {
        let mut stdin = Stdin::new(std::io::stdin());
        let options: SignatureOptions = match &self.options {
            None => SignatureOptions::default(),
            Some(text) => {
                let json: Json = value::document(text, "--options", &mut stdin)?;
                json.read().map_err(|error| Usage::error(format!("--options: {error}")))?
            }
        };
        let schedule = match (self.every, self.crontab) {
            (Some(every), _) => Schedule::Every(every),
            (None, Some(crontab)) => Schedule::Crontab { crontab, timezone: self.timezone },
            (None, None) => return Err(Usage::error("--every or --crontab: when?")),
        };
        Ok(PeriodicTask {
            task: self.task,
            args: value::arguments(&self.args, &mut stdin)?,
            kwargs: value::kwargs(self.kwargs.as_deref(), &mut stdin)?,
            options,
            schedule,
            enabled: !self.disabled,
            catch_up: !self.no_catch_up,
        })
    }
}

pub(crate) async fn execute(command: BeatCommand, session: &Session) -> anyhow::Result<Exit> {
    let Session { client, screen } = session;
    match command {
        BeatCommand::List => {
            let all = client.beat().await?;
            screen.list(&all, || table::beat(&all))?;
        }
        BeatCommand::Set(set) => {
            let name = set.name.clone();
            let shown = client.set_periodic(&name, &set.entry()?).await?;
            screen.one(&shown, || table::beat(std::slice::from_ref(&shown)))?;
        }
        BeatCommand::Show(One { name }) => {
            let shown = client.periodic(&name).await?;
            screen.one(&shown, || table::beat(std::slice::from_ref(&shown)))?;
        }
        BeatCommand::Rm(One { name }) => {
            client.remove_periodic(&name).await?;
            screen.note(&format!("{name} is not sent any more"));
        }
        BeatCommand::Run(One { name }) => {
            let reply = client.run_periodic(&name).await?;
            screen.one(&reply, || reply.id.to_string())?;
        }
    }
    Ok(Exit::Done)
}
