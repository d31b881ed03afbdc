//! How is everything kept in Redis, in Celery's own words?
//!
//! Queues, results and chords are on Celery's keys, so that its clients and workers read and write them as well; what Celery
//! does not know is on keys of our own beside them (`scripts/keys.lua`). Each call is one script: it checks, then moves and
//! counts; every text and every decision is made here before. Several hosts on one server are one system.
//!
//! Invariants beside those of every backend:
//! - No message is ever between a list and `unacked`: one script takes it from the one and puts it into the other.
//! - A delivery tag is given once. What a host has it keeps while it renews; a lost host's messages are back within its
//!   leases, at once if it comes back itself.
//! - A SUCCESS that Celery's clients see is never overwritten, whoever wrote it.
//!
//! Absent: clusters, TLS; what is said on Celery's exchanges for everybody (it is carried, not read).

mod access;
mod bell;
mod broker;
mod check;
mod chord;
mod draft;
mod fanout;
mod fault;
mod foreign;
mod groups;
mod inline;
mod joins;
mod lapses;
mod leases;
mod link;
mod metering;
mod modules;
mod options;
mod orders;
mod results;
mod revoking;
mod row;
mod schedules;
mod script;
mod settle;
mod settling;
mod started;
mod taking;
mod texts;
mod values;
mod waiting;
mod wire;

#[cfg(test)]
pub(in crate::store) mod tests;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lovage_model::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::{Fanout, Result, Store, StoreError};
use crate::celery::pidbox;
use bell::{Bell, Ear};
use fault::Faults;
use lapses::Lapses;
use leases::Leases;
use link::Link;
pub use options::Options;
use script::{SCHEMA, Script, Scripts};
use taking::{LONG_AGO, Line, Registry};

/// How long a host of the same name may take to be gone.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often is looked whether it is.
const LOOK: Duration = Duration::from_millis(10);

/// A store in Redis.
pub struct RedisStore {
    link: Link,
    bell: Arc<Bell>,
    listener: JoinHandle<()>,
    leases: Leases,
    registry: Mutex<Arc<Registry>>,
    options: Options,
    /// Name of this host in results of states.
    hostname: String,
    extended: bool,
    /// Which opening of the store this is: the upper part of every token.
    opens: u64,
    /// How many tokens were given.
    tokens: AtomicU64,
    /// From this token on nobody knows whether they were given; the largest number: all are known.
    unheard: AtomicU64,
    /// One lease call at a time: who makes it has this.
    turn: tokio::sync::Mutex<Lapses>,
    /// The latest time that a call told.
    latest: AtomicI64,
    /// When it was last looked whether a Celery worker lost something.
    restored: AtomicI64,
    /// Whether it was not answered when it was asked last what has ended.
    unanswered: AtomicBool,
}

/// Who is to be told of what a script did.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Rings {
    ready: bool,
    ended: bool,
}

impl RedisStore {
    /// Opens the store of a server. What this host had when it was here last it has no more: it can be leased again.
    ///
    /// Fails with [`StoreError::Busy`] if a host of its name is there, with [`StoreError::Newer`], and with
    /// [`StoreError::Failed`] for a server that cannot be reached or that tasks cannot be entrusted to; each says what to do.
    pub async fn open(options: Options, now: Timestamp) -> Result<Self> {
        let client = redis::Client::open(options.url.as_str())
            .map_err(|error| StoreError::Failed(format!("store.url is no address of a Redis server: {error}")))?;
        let faults = Faults::of(client.get_connection_info().addr().to_string());
        let name = name_of(&options);
        let link = Link::new(client, name, faults, Scripts::of(&options));
        check::check(&link).await?;
        alone(&link, &options).await?;
        let (opening, ends) = begin(&link, &options, now).await?;
        let opens = u64::from_str_radix(&opening, 16).unwrap_or_default();
        let link = link.opened(opening.clone());
        let bell = Arc::new(Bell::default());
        let ear = Ear {
            client: link.client().clone(),
            name: link.name().to_owned(),
            channel: bell::channel(&options.global_keyprefix),
            pidbox: fanout::channel_of(&options.global_keyprefix, link.db(), pidbox::EXCHANGE, ""),
            opening,
            ends,
        };
        let listener = bell::listen(Arc::clone(&bell), ear).await.map_err(|error| link.faults.explain(&error))?;
        let store = Self {
            link,
            bell,
            listener,
            leases: Leases::default(),
            registry: Mutex::default(),
            hostname: options.hostname.clone(),
            extended: options.result_extended,
            options,
            opens,
            tokens: AtomicU64::new(1),
            unheard: AtomicU64::new(u64::MAX),
            turn: tokio::sync::Mutex::new(Lapses::new(now.as_micros())),
            latest: AtomicI64::new(now.as_micros()),
            restored: AtomicI64::new(LONG_AGO),
            unanswered: AtomicBool::default(),
        };
        store.read_registry().await?;
        Ok(store)
    }

    fn ring(&self, rings: Rings) {
        if rings.ready {
            self.bell.ring_ready();
        }
        if rings.ended {
            self.bell.ring_ended();
        }
    }

    fn registry(&self) -> Arc<Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn read_registry(&self) -> Result<()> {
        let registry: Registry = self.link.call(Script::Registry, &Nothing {}).await?;
        *self.registry.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(registry);
        Ok(())
    }

    /// The lists of some queues.
    fn keys_of(&self, lines: &[Line]) -> Vec<String> {
        let Options { global_keyprefix, priority_steps, .. } = &self.options;
        let lists = lines.iter().flat_map(|Line { t, q }| {
            let of = if t.as_str() == "default" { String::new() } else { format!("lovage:{{{t}}}:") };
            priority_steps.iter().map(move |step| format!("{global_keyprefix}{of}{q}{}", self.options.behind(*step)))
        });
        lists.collect()
    }

    /// The latest time that was told.
    fn micros(&self) -> i64 {
        self.latest.load(Ordering::Relaxed)
    }
}

#[derive(Serialize)]
struct Nothing {}

/// What the server lists the connections of a host as.
fn name_of(options: &Options) -> String {
    let apart = if options.global_keyprefix.is_empty() { "" } else { ":" };
    let whole = format!("lovage:{}{apart}{}", options.hostname, options.global_keyprefix);
    whole.chars().map(|c| if ('!'..='~').contains(&c) { c } else { '_' }).collect()
}

/// Refuses to begin while a host of the same name is there. One that ends just now is waited for.
async fn alone(link: &Link, options: &Options) -> Result<()> {
    let own: u64 = link.command(redis::cmd("CLIENT").arg("ID")).await?;
    let asked = async {
        loop {
            let listed: String = match link.command(redis::cmd("CLIENT").arg("LIST")).await {
                Ok(listed) => listed,
                Err(error) => {
                    tracing::warn!(%error, "whether another host has the name {} is not known", options.hostname);
                    return Ok(());
                }
            };
            if !has_twin(&listed, link.name(), own) {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let busy = || {
        StoreError::Busy(format!("the name {} (worker.hostname) on redis at {}", options.hostname, link.faults.at()))
    };
    tokio::time::timeout(FAREWELL, asked).await.unwrap_or_else(|_| Err(busy()))
}

/// Whether a list of connections has another of this name than that of this number, by the same user. A name is whatever a client
/// says, and who is somebody else to the server is no host of ours.
fn has_twin(listed: &str, name: &str, own: u64) -> bool {
    let has = |line: &str, word: &str| line.split(' ').any(|one| one == word);
    let (name, own) = (format!("name={name}"), format!("id={own}"));
    let ours = listed.lines().find(|line| has(line, &own)).unwrap_or_default();
    let user = ours.split(' ').find(|word| word.starts_with("user="));
    listed.lines().any(|line| has(line, &name) && !has(line, &own) && user.is_none_or(|user| has(line, user)))
}

/// Begins this host's time; its number, and whether there is something whose followers are to be dealt with.
async fn begin(link: &Link, options: &Options, now: Timestamp) -> Result<(String, bool)> {
    #[derive(Serialize)]
    struct Args<'a> {
        host: &'a str,
        now: i64,
    }
    #[derive(Deserialize)]
    struct Opened {
        opening: Option<String>,
        #[serde(default)]
        ends: bool,
        newer: Option<u32>,
    }
    let opened: Opened = link.call(Script::Open, &Args { host: &options.hostname, now: now.as_micros() }).await?;
    if let Some(found) = opened.newer {
        return Err(StoreError::Newer { found, known: SCHEMA });
    }
    let opening = opened.opening.ok_or_else(|| link.faults.garbled("Open", &"it gives no number"))?;
    Ok((opening, opened.ends))
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn healthy(&self) -> Result<()> {
        let key = format!("{}lovage:health", self.options.global_keyprefix);
        self.link.command(redis::cmd("SET").arg(key).arg(self.micros())).await
    }

    async fn close(&self) -> Result<()> {
        self.link.close().await;
        self.listener.abort();
        self.bell.ring_ready();
        self.bell.ring_ended();
        Ok(())
    }

    fn fanout(&self) -> Option<&dyn Fanout> {
        Some(self)
    }
}
