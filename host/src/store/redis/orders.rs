//! What is ordered about messages beside their main path.

use async_trait::async_trait;
use lovage_model::{Json, QueueName, TaskId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use super::broker::{Answers, Found};
use super::draft::label;
use super::revoking::Texts;
use super::script::Script;
use super::{RedisStore, Rings};
use crate::store::record::canonical;
use crate::store::{Fenced, LeaseKey, Orders, Result, Revoked};

#[async_trait]
impl Orders for RedisStore {
    async fn postpone(&self, key: LeaseKey, until: Timestamp) -> Result<Fenced> {
        self.give(key, false, Some(until)).await
    }

    async fn pause(&self, tenant: &TenantId, queue: &QueueName, paused: bool) -> Result<bool> {
        #[derive(Serialize)]
        struct Args<'a> {
            tenant: &'a TenantId,
            queue: &'a QueueName,
            paused: bool,
        }
        #[derive(Deserialize)]
        struct Answer {
            changed: bool,
            rings: Rings,
        }
        let answer: Answer = self.link.call(Script::Pause, &Args { tenant, queue, paused }).await?;
        self.ring(answer.rings);
        Ok(answer.changed)
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
            labels: Vec<String>,
            now: i64,
            #[serde(flatten)]
            texts: Texts,
        }
        #[derive(Deserialize)]
        struct One {
            id: TaskId,
            found: Option<Found>,
        }
        let labels = values.iter().map(|value| label(stamp, &canonical(value))).collect();
        let args = Args { tenant, labels, now: now.as_micros(), texts: Texts::of(now)? };
        let done: Answers<One> = self.link.call(Script::Stamped, &args).await?;
        self.ring(done.rings);
        let mut all = Vec::with_capacity(done.answers.len());
        for One { id, found } in done.answers {
            let revoked = match found {
                Some(found) => found.revoked(),
                None => self.order_end(tenant, &id, now).await?,
            };
            all.push((id, revoked));
        }
        Ok(all)
    }
}
