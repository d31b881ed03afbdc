//! What waits for others: what has ended, and what becomes of those that waited for it.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use lovage_model::{Arrival, Followed, Message, Sender, TaskId, TenantId, Then, Timestamp};
use serde::{Deserialize, Serialize};

use super::broker::Answer;
use super::chord::Gathered;
use super::draft::{Draft, read_then, text};
use super::inline::DraftInline;
use super::row::Row;
use super::script::Script;
use super::settle::{Ending, Of};
use super::settling::{Waiter, follower};
use super::wire::Blob;
use super::{RedisStore, Rings};
use crate::store::advance::too_large;
use crate::store::record::MAX_LEASED_BYTES;
use crate::store::{ChordEnd, Completed, Ended, Fenced, FollowUp, Joins, Result, StoreError};

/// What a script found to have ended.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Left {
    Task {
        arrival: String,
    },
    Join {
        th: String,
        parts: Vec<String>,
        #[serde(default)]
        too_long: bool,
    },
    Chord {
        body: String,
        sender: String,
        parts: Vec<Blob>,
        nested: Option<Blob>,
        #[serde(default)]
        too_long: bool,
    },
}

#[derive(Debug, Deserialize)]
struct Found {
    key: i64,
    t: TenantId,
    id: TaskId,
    #[serde(flatten)]
    left: Left,
}

#[derive(Serialize)]
struct Step {
    id: TaskId,
    #[serde(skip_serializing_if = "Option::is_none")]
    released: Option<Draft>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settled: Option<Ending>,
}

#[async_trait]
impl Joins for RedisStore {
    async fn ended(&self, max: usize) -> Result<Vec<Ended>> {
        #[derive(Serialize)]
        struct Args {
            max: usize,
        }
        #[derive(Deserialize)]
        struct Answer {
            ended: Vec<Found>,
        }
        if max == 0 {
            return Ok(Vec::new());
        }
        // What is large is slow on its way, and comes again: who had no answer waits for it longer the next time.
        let large = if self.unanswered.load(Ordering::Relaxed) { MAX_LEASED_BYTES } else { 0 };
        let answer = self.link.call_for::<Answer>(Script::Ended, &Args { max }, large).await;
        self.unanswered.store(answer.is_err(), Ordering::Relaxed);
        let all = answer?.ended;
        let (mut ended, mut bytes) = (Vec::with_capacity(all.len()), 0);
        for found in all {
            // Who asks does so again once he has dealt with these.
            if bytes > MAX_LEASED_BYTES {
                break;
            }
            let (key, tenant, id) = (found.key, found.t.clone(), found.id.clone());
            let read = match self.read(found).await {
                // Left where it is it would keep those that come after it waiting for ever.
                Err(error @ StoreError::Corrupt(_)) => {
                    tracing::error!(%tenant, %id, %error, "what follows this is dropped");
                    Ended { key, tenant, id, outcome: Completed::Join { parts: Vec::new(), then: Then::Next } }
                }
                read => read?,
            };
            if let Completed::Chord(end) = &read.outcome {
                // With what was read beside its parts.
                bytes += end.parts.iter().map(|(_, part)| part.bytes()).sum::<usize>();
            }
            ended.push(read);
        }
        Ok(ended)
    }

    async fn any_ended(&self) {
        self.bell.any_ended().await;
    }

    async fn followers(&self, tenant: &TenantId, awaited: &TaskId, max: usize) -> Result<Vec<Message>> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let found = self.waiters(tenant, awaited, max).await?;
        let messages = found.iter().map(|one| serde_json::from_slice(&one.m.0));
        messages.collect::<std::result::Result<_, _>>().map_err(|error| self.link.faults.garbled("who waits", &error))
    }

    async fn follow(&self, key: i64, step: FollowUp, now: Timestamp) -> Result<Fenced> {
        #[derive(Serialize)]
        struct Args {
            key: String,
            followed: Vec<Step>,
            #[serde(skip_serializing_if = "Option::is_none")]
            part: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            inline: Option<DraftInline>,
            done: bool,
            now: i64,
        }
        #[derive(Deserialize)]
        struct Done {
            #[serde(flatten)]
            answer: Answer,
            rings: Option<Rings>,
        }
        let part = step.part.as_ref().map(text).transpose()?;
        let inline = DraftInline::of(&step.inline, now)?;
        let followed = self.steps(key, &step.followed, now).await?;
        let args = Args { key: key.to_string(), followed, part, inline, done: step.done, now: now.as_micros() };
        let done: Done = self.link.call(Script::Follow, &args).await?;
        if let Some(rings) = done.rings {
            self.ring(rings);
        }
        Ok(done.answer.fenced())
    }
}

impl RedisStore {
    /// What becomes of those that waited, told to the script.
    async fn steps(&self, key: i64, followed: &[(TaskId, Followed)], now: Timestamp) -> Result<Vec<Step>> {
        let settled = followed.iter().filter(|(_, one)| matches!(one, Followed::Settled(_)));
        let ids: Vec<&TaskId> = settled.map(|(id, _)| id).collect();
        let (messages, mut waiters) = self.of_followers(key, &ids).await?;
        let mut steps = Vec::with_capacity(followed.len());
        for (id, one) in followed {
            let mut step = Step { id: id.clone(), released: None, settled: None };
            match one {
                Followed::Released(message) => step.released = Some(Draft::free(message, now)?),
                Followed::Settled(settlement) => {
                    let of = Of { message: messages.get(id), id, extended: self.extended };
                    let mut ending = Ending::of(settlement, of)?;
                    let waiters = waiters.remove(id).unwrap_or_default();
                    if let Some(arrival @ Arrival::Value(_)) = &settlement.arrival
                        && let Some(follower) = follower(arrival, waiters, settlement.at)?
                    {
                        ending.hand_to(follower);
                    }
                    step.settled = Some(ending);
                }
            }
            steps.push(step);
        }
        Ok(steps)
    }

    /// The messages of tasks that end without having run, and who waits for each of them in turn.
    async fn of_followers(
        &self,
        key: i64,
        ids: &[&TaskId],
    ) -> Result<(HashMap<TaskId, Message>, HashMap<TaskId, Vec<Waiter>>)> {
        let tenant = if ids.is_empty() { None } else { self.tenant_of(key).await? };
        let Some(tenant) = tenant else { return Ok(Default::default()) };
        let rows = self.rows(&tenant, ids).await?;
        let read = |row: Row| row.message(&self.link.faults).ok().map(|message| (message.id.clone(), message));
        let messages = rows.into_iter().filter_map(read).collect();
        let awaited: Vec<_> = ids.iter().map(|id| (&tenant, *id)).collect();
        let waiters = self.only_waiters(&awaited).await?;
        Ok((messages, ids.iter().map(|id| (*id).clone()).zip(waiters).collect()))
    }

    /// Whose something is that ended.
    async fn tenant_of(&self, key: i64) -> Result<Option<TenantId>> {
        #[derive(Serialize)]
        struct Args {
            key: String,
        }
        let name: Option<String> = self.link.ask(Script::Whose, &Args { key: key.to_string() }).await?;
        Ok(name.and_then(|name| name.parse().ok()))
    }

    async fn read(&self, Found { key, t: tenant, id, left }: Found) -> Result<Ended> {
        let garbled = |error: &dyn std::fmt::Display| self.link.faults.garbled(&format!("the end of {id}"), error);
        let arrival = |text: &str| serde_json::from_str::<Arrival>(text).map_err(|error| garbled(&error));
        let outcome = match left {
            Left::Task { arrival: text } => Completed::Task(arrival(&text)?),
            Left::Join { th, parts, too_long } => {
                // Behind its place, and by when it came.
                let part = |text: &String| arrival(text.splitn(3, '\0').nth(2).unwrap_or_default());
                let parts = if too_long {
                    vec![too_large(id.clone())]
                } else {
                    parts.iter().map(part).collect::<Result<Vec<_>>>()?
                };
                let then = read_then(&th).ok_or_else(|| garbled(&format!("it is for {th:?}")))?;
                Completed::Join { parts, then }
            }
            Left::Chord { body, sender, parts, nested, too_long } => {
                let body = serde_json::from_str(&body).map_err(|error| garbled(&error))?;
                let sender: Sender = serde_json::from_str(&sender).map_err(|error| garbled(&error))?;
                let gathered = if too_long { None } else { self.gathered(&tenant, &id, &parts, nested).await? };
                let Gathered { parts, nested } = gathered
                    .unwrap_or_else(|| Gathered { parts: vec![(id.clone(), too_large(id.clone()))], nested: None });
                Completed::Chord(Box::new(ChordEnd { body, parts, nested, sender }))
            }
        };
        Ok(Ended { key, tenant, id, outcome })
    }
}

/// What is to be done if an answer is none of those there are.
pub(super) fn unexpected(what: &str, answer: &str) -> StoreError {
    StoreError::Failed(format!("{what} was answered {answer:?}"))
}
