//! What is ordered about messages beside their main path.

use async_trait::async_trait;
use lovage_model::{Json, QueueName, TaskId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use super::broker::Found;
use super::draft::label;
use super::revoking::Texts;
use super::script::Script;
use super::{RedisStore, Rings};
use crate::store::record::canonical;
use crate::store::{Fenced, LeaseKey, MOST_PAUSED, Orders, Paused, Result, Revoked};

/// Tasks revoked in one step, so that others get their turn.
const PAGE: usize = 500;

#[async_trait]
impl Orders for RedisStore {
    async fn postpone(&self, key: LeaseKey, until: Timestamp) -> Result<Fenced> {
        self.give(key, false, Some(until)).await
    }

    async fn pause(&self, tenant: &TenantId, queue: &QueueName, paused: bool) -> Result<Paused> {
        #[derive(Serialize)]
        struct Args<'a> {
            tenant: &'a TenantId,
            queue: &'a QueueName,
            paused: bool,
            most: usize,
        }
        #[derive(Deserialize)]
        struct Answer {
            changed: bool,
            full: bool,
            rings: Rings,
        }
        let answer: Answer = self.link.call(Script::Pause, &Args { tenant, queue, paused, most: MOST_PAUSED }).await?;
        self.ring(answer.rings);
        Ok(match (answer.changed, answer.full) {
            (true, _) => Paused::Changed,
            (false, true) => Paused::Full,
            (false, false) => Paused::AsBefore,
        })
    }

    async fn is_paused(&self, tenant: &TenantId, queue: &QueueName) -> Result<bool> {
        #[derive(Serialize)]
        struct Args<'a> {
            tenant: &'a TenantId,
            queue: &'a QueueName,
        }
        self.link.ask(Script::Paused, &Args { tenant, queue }).await
    }

    async fn revoke_stamped(
        &self,
        tenant: &TenantId,
        stamp: &str,
        values: &[Json],
        now: Timestamp,
    ) -> Result<Vec<(TaskId, Revoked)>> {
        #[derive(Serialize)]
        struct Args<'a> {
            tenant: &'a TenantId,
            labels: &'a [String],
            now: i64,
            most: usize,
            /// Numbers of tasks: behind the last one that was looked at, up to the last one that there was at first.
            from: String,
            upto: Option<String>,
            #[serde(flatten)]
            texts: &'a Texts,
        }
        #[derive(Deserialize)]
        struct One {
            id: TaskId,
            found: Option<Found>,
        }
        #[derive(Deserialize)]
        struct Page {
            answers: Vec<One>,
            from: String,
            upto: String,
            done: bool,
            rings: Rings,
        }
        let labels: Vec<String> = values.iter().map(|value| label(stamp, &canonical(value))).collect();
        let (texts, mut all) = (Texts::of(now)?, Vec::new());
        let (mut from, mut upto) = ("0".to_owned(), None);
        loop {
            let args = Args { tenant, labels: &labels, now: now.as_micros(), most: PAGE, from, upto, texts: &texts };
            let page: Page = self.link.call(Script::Stamped, &args).await?;
            self.ring(page.rings);
            for One { id, found } in page.answers {
                let revoked = match found {
                    Some(found) => found.revoked(),
                    None => self.order_end(tenant, &id, now).await?,
                };
                all.push((id, revoked));
            }
            if page.done {
                return Ok(all);
            }
            (from, upto) = (page.from, Some(page.upto));
        }
    }
}
