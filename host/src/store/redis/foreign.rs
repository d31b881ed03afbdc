//! What did a Celery client put on a list, and what becomes of what nobody can run?

use std::sync::Arc;

use lovage_model::{Json, Message, State, TaskId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use super::broker::Answers;
use super::draft::Draft;
use super::inline::{DraftPart, unrun_after};
use super::leases::Taken;
use super::script::Script;
use super::settle::Of;
use super::taking::Granted;
use super::texts::{self, Outcome};
use super::{RedisStore, Rings};
use crate::celery::Poison;
use crate::store::transition::due_later;
use crate::store::{Ask, Lease, LeaseKey, Result};

/// A message of a client's that needs more than to be run.
#[derive(Serialize)]
struct Adoption<'a> {
    tenant: &'a TenantId,
    tag: String,
    /// The tag under which it was taken without a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    blind: Option<String>,
    /// Whether it waits for its ETA.
    later: bool,
    d: Draft,
}

#[derive(Deserialize)]
struct Adopted {
    /// Its number; 0: it is a second one of a task that is dealt with already.
    n: i64,
}

impl RedisStore {
    /// Leases what clients sent, apart from what is not due yet and what nobody can run.
    pub(super) async fn read_foreign(&self, foreign: Vec<Granted>, ask: &Ask) -> Result<Vec<Lease>> {
        let (mut leases, mut adopted) = (Vec::new(), Vec::new());
        for granted in foreign {
            match texts::received(&granted.m.0, &granted.q) {
                Ok(message) if needs_more(&granted, &message, ask.now) => adopted.push((granted, message)),
                Ok(message) => leases.push(self.known(&granted, message)),
                Err(poison) => self.bury(&granted, &poison, ask.now).await?,
            }
        }
        if !adopted.is_empty() {
            leases.extend(self.adopt(adopted, ask).await?);
        }
        Ok(leases)
    }

    async fn adopt(&self, all: Vec<(Granted, Message)>, ask: &Ask) -> Result<Vec<Lease>> {
        #[derive(Serialize)]
        struct Args<'a> {
            batch: Vec<Adoption<'a>>,
            now: i64,
            until: i64,
            worker: &'a str,
        }
        let batch = all.iter().map(|(granted, message)| self.adoption(granted, message, ask.now));
        let batch = batch.collect::<Result<Vec<_>>>()?;
        let args = Args { batch, now: ask.now.as_micros(), until: ask.until.as_micros(), worker: &ask.worker };
        let done: Answers<Adopted> = self.link.call(Script::Adopt, &args).await?;
        self.ring(done.rings);
        let mut leases = Vec::new();
        for ((granted, message), Adopted { n }) in all.into_iter().zip(done.answers) {
            if n != 0 && due_later(&message, ask.now).is_none() {
                let granted = Granted { n, id: message.id.to_string(), ..granted };
                leases.push(self.known(&granted, message));
            }
        }
        Ok(leases)
    }

    fn adoption<'a>(&self, granted: &'a Granted, message: &Message, now: Timestamp) -> Result<Adoption<'a>> {
        Ok(Adoption {
            tenant: &granted.t,
            tag: self.tag(granted.token, &granted.t, message.id.as_str()),
            blind: granted.id.is_empty().then(|| self.tag_of(granted)),
            later: due_later(message, now).is_some(),
            d: Draft::free(message, now)?,
        })
    }

    /// Ends a message that nobody can run.
    async fn bury(&self, granted: &Granted, poison: &Poison, now: Timestamp) -> Result<()> {
        #[derive(Serialize)]
        struct Meta {
            id: String,
            text: String,
        }
        #[derive(Serialize)]
        struct Args<'a> {
            tenant: &'a TenantId,
            tag: String,
            queue: &'a str,
            now: i64,
            exception: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            d: Option<Draft>,
            metas: Vec<Meta>,
            /// Of the row, if a script has made one.
            id: &'a str,
            parts: Vec<DraftPart>,
        }
        tracing::warn!(task_id = ?poison.id(), queue = %granted.q, "a message cannot be run: {}", poison.exception);
        let result = Json::of(&poison.exception).unwrap_or_else(|_| Json::null());
        let outcome = Outcome {
            state: &State::Failure,
            result: &result,
            traceback: None,
            children: &[],
            worker: Some(&self.hostname),
            at: now,
        };
        let (mut d, mut parts, mut metas) = (None, Vec::new(), Vec::new());
        if let Some(message) = poison.message.as_deref() {
            let of = Of { message: Some(message), id: &message.id, extended: self.extended };
            let text = texts::meta(of, &outcome)?;
            metas.push(match poison.misnamed.clone() {
                Some(id) => Meta { text: texts::meta_under(&id, &text)?, id },
                None => Meta { id: message.id.to_string(), text },
            });
            // What follows it in its chain never runs either.
            for id in unrun_after(message) {
                let text = texts::meta(Of { message: None, id, extended: false }, &outcome)?;
                metas.push(Meta { id: id.to_string(), text });
            }
            parts = DraftPart::unrun(message, &State::Failure, &result)?;
            d = Some(Draft::free(message, now)?);
        } else if let Ok(id) = granted.id.parse::<TaskId>() {
            // A script could read so much of it.
            let text = texts::meta(Of { message: None, id: &id, extended: false }, &outcome)?;
            metas.push(Meta { id: id.to_string(), text });
        }
        let args = Args {
            tenant: &granted.t,
            tag: self.tag_of(granted),
            queue: granted.q.as_str(),
            now: now.as_micros(),
            exception: result.as_str(),
            d,
            metas,
            id: &granted.id,
            parts,
        };
        // It may have been the last part of a chord.
        let ended = self.link.ask::<i64>(Script::Bury, &args).await? == 2;
        self.ring(Rings { ready: false, ended });
        Ok(())
    }

    /// Puts back what Celery workers took and lost, and says whether there may be more of it.
    pub(super) async fn restore_lost(&self) -> Result<bool> {
        let (restored, more): (u64, u64) = self.link.ask(Script::Restore, &super::Nothing {}).await?;
        if restored > 0 {
            tracing::warn!(count = restored, "messages were put back that a Celery worker took and gave no sign of");
            self.ring(Rings { ready: true, ended: false });
        }
        Ok(more == 1)
    }

    /// Notes a message that this host has now.
    pub(super) fn known(&self, granted: &Granted, message: Message) -> Lease {
        let key = LeaseKey { task: granted.n, token: self.opens << 40 | granted.token };
        let (tenant, tag) = (granted.t.clone(), self.tag_of(granted));
        self.leases.add(key, Taken { tenant: tenant.clone(), tag, message: Arc::new(message.clone()) });
        Lease { key, tenant, message, deliveries: granted.de }
    }
}

/// Whether more is to be done about a message than to run it.
fn needs_more(granted: &Granted, message: &Message, now: Timestamp) -> bool {
    granted.id.is_empty()
        || granted.id != message.id.as_str()
        || due_later(message, now).is_some()
        || !message.stamps.is_empty()
}
