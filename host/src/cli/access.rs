//! `lovage tenant` and `lovage token`: who may do what. For operators.

use clap::{Args, Subcommand};
use lovage_model::{NewToken, Scope, TenantId, TenantPolicy, TokenId};

use super::exit::Exit;
use super::{Session, table};

const TENANT_EXAMPLES: &str = "\
Examples:
  lovage tenant add acme
  lovage tenant add acme --weight 3 --queued-tasks 10000 --memory-bytes 67108864
  lovage tenant set acme --running-tasks 8           # and nothing else is limited any more";

const USAGE_EXAMPLES: &str = "\
Examples:
  lovage tenant usage                                # your own
  lovage tenant usage acme --days 365 -o json        # for operators";

const TOKEN_EXAMPLES: &str = "\
Examples:
  lovage token add --scope admin                     # the first one, unless the daemon has printed it: it makes the others
  lovage token add --tenant acme                     # to send tasks and look at them
  lovage token add --tenant acme --scope deploy --note ci --expires 86400
  lovage token revoke 5f0c6bd2a914";

#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// Add a tenant, or say anew what it may use
    ///
    /// What is not given is limited by the settings of the daemon only (limits.*). Where these allow less than what is given, they hold.
    #[command(visible_alias = "set", after_help = TENANT_EXAMPLES)]
    Add(Box<Add>),
    /// List the tenants that were added; `default` is there without that
    List,
    /// Show what a tenant has used, by day: what a bill would need
    #[command(after_help = USAGE_EXAMPLES)]
    Usage {
        /// Its name [default: that of the token]
        name: Option<TenantId>,
        /// How many days, today among them [default: 30]
        #[arg(long, value_name = "N")]
        days: Option<u16>,
    },
    /// Take a tenant away that has no modules and no unfinished tasks, and revoke its tokens
    Rm {
        /// Its name
        name: TenantId,
    },
}

/// What is not given is limited by the settings of the daemon only; where these allow less, they hold.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Its name
    name: TenantId,
    /// Its share of the processors beside other tenants, 1 to 1000 [default: 1]
    #[arg(long, value_name = "N")]
    weight: Option<u32>,
    /// Tasks that may wait
    #[arg(long, value_name = "N")]
    queued_tasks: Option<u64>,
    /// Of them, those that may wait for their eta or countdown
    #[arg(long, value_name = "N")]
    scheduled_tasks: Option<u64>,
    /// Tasks that may run at once on each host
    #[arg(long, value_name = "N")]
    running_tasks: Option<u32>,
    /// Tasks that may be sent over HTTP in a second to each host
    #[arg(long, value_name = "N")]
    submits_per_second: Option<u32>,
    /// Memory of one attempt
    #[arg(long, value_name = "BYTES")]
    memory_bytes: Option<u64>,
    /// The longest an attempt may take
    #[arg(long, value_name = "SECONDS")]
    time_limit: Option<u64>,
    /// Fuel of one attempt
    #[arg(long, value_name = "N")]
    fuel: Option<u64>,
    /// Fuel of all attempts of a day, by UTC: all of them are metered
    #[arg(long, value_name = "N")]
    fuel_per_day: Option<u64>,
    /// Arguments and headers of one message
    #[arg(long, value_name = "BYTES")]
    message_bytes: Option<u64>,
    /// One result, progress meta or signature
    #[arg(long, value_name = "BYTES")]
    result_bytes: Option<u64>,
    /// Kept of what an attempt writes
    #[arg(long, value_name = "BYTES")]
    output_bytes: Option<u64>,
    /// Calls that one attempt may send
    #[arg(long, value_name = "N")]
    subtasks: Option<u64>,
    /// Event streams that may be open at once on each host
    #[arg(long, value_name = "N")]
    streams: Option<u32>,
    /// What its tasks keep in buckets, its secrets and its saved groups
    #[arg(long, value_name = "BYTES")]
    key_value_bytes: Option<u64>,
    /// Modules, by name
    #[arg(long, value_name = "N")]
    modules: Option<u64>,
    /// Components of all versions of its modules together
    #[arg(long, value_name = "BYTES")]
    module_bytes: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it: it is not shown again
    #[command(after_help = TOKEN_EXAMPLES)]
    Add(New),
    /// List every token there ever was
    List,
    /// Revoke a token: requests with it are refused from now on
    Revoke {
        /// The part of it after `lovage_`, as `lovage token list` shows it
        id: TokenId,
    },
}

#[derive(Debug, Args)]
pub(crate) struct New {
    /// Whose requests it stands for
    #[arg(long, value_name = "NAME", default_value_t)]
    tenant: TenantId,
    /// What it is good for: read, submit, deploy, admin
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',', default_values = ["read", "submit"])]
    scopes: Vec<Scope>,
    /// What you call it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
    /// After how many seconds it ends by itself [default: never]
    #[arg(long, value_name = "SECONDS")]
    expires: Option<u64>,
}

pub(crate) async fn tenant(command: TenantCommand, Session { client, screen }: &Session) -> anyhow::Result<Exit> {
    match command {
        TenantCommand::Add(add) => {
            let policy = TenantPolicy {
                weight: add.weight,
                queued_tasks: add.queued_tasks,
                scheduled_tasks: add.scheduled_tasks,
                running_tasks: add.running_tasks,
                submits_per_second: add.submits_per_second,
                memory_bytes: add.memory_bytes,
                time_limit_seconds: add.time_limit,
                fuel: add.fuel,
                fuel_per_day: add.fuel_per_day,
                message_bytes: add.message_bytes,
                result_bytes: add.result_bytes,
                output_bytes: add.output_bytes,
                subtasks: add.subtasks,
                streams: add.streams,
                key_value_bytes: add.key_value_bytes,
                modules: add.modules,
                module_bytes: add.module_bytes,
            };
            let shown = client.set_tenant(&add.name, &policy).await?;
            screen.one(&shown, || table::tenants(std::slice::from_ref(&shown)))?;
        }
        TenantCommand::List => {
            let all = client.tenants().await?;
            screen.list(&all, || table::tenants(&all))?;
        }
        TenantCommand::Usage { name, days } => {
            let all = match name {
                Some(name) => client.usage_of(&name, days).await?,
                None => client.usage(days).await?,
            };
            screen.list(&all, || table::usage(&all))?;
        }
        TenantCommand::Rm { name } => {
            client.remove_tenant(&name).await?;
            screen.note(&format!("the tenant {name} is gone, its tokens are revoked"));
        }
    }
    Ok(Exit::Done)
}

pub(crate) async fn token(command: TokenCommand, Session { client, screen }: &Session) -> anyhow::Result<Exit> {
    match command {
        TokenCommand::Add(New { tenant, scopes, note, expires }) => {
            let scopes = scopes.into_iter().collect();
            let issued = client.issue_token(&NewToken { tenant, scopes, note, expires_seconds: expires }).await?;
            screen.one(&issued, || issued.token.clone())?;
            screen.note(&format!("its id is {}; the token itself is not shown again", issued.view.id));
        }
        TokenCommand::List => {
            let all = client.tokens().await?;
            screen.list(&all, || table::tokens(&all))?;
        }
        TokenCommand::Revoke { id } => {
            let view = client.revoke_token(&id).await?;
            screen.one(&view, || format!("{id} is good for nothing any more"))?;
        }
    }
    Ok(Exit::Done)
}
