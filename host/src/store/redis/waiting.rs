//! Messages that wait for their time.

use async_trait::async_trait;
use lovage_model::{Message, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use super::row::{micros, read_message};
use super::script::Script;
use super::wire::Blob;
use super::{RedisStore, Rings};
use crate::store::{Result, Waiting};

/// So many are hastened in one step: a script keeps everybody else from the server.
const HASTENED_AT_ONCE: usize = 1000;

#[async_trait]
impl Waiting for RedisStore {
    async fn scheduled(&self, tenant: &TenantId, max: usize) -> Result<Vec<(Timestamp, Message)>> {
        #[derive(Serialize)]
        struct Args<'a> {
            tenant: &'a TenantId,
            max: usize,
        }
        #[derive(Deserialize)]
        struct One {
            m: Blob,
            si: String,
            raw: Option<String>,
            q: String,
        }
        #[derive(Deserialize)]
        struct Found {
            found: Vec<One>,
        }
        if max == 0 {
            return Ok(Vec::new());
        }
        let answer: Found = self.link.call(Script::Scheduled, &Args { tenant, max }).await?;
        let read = |one: One| -> Result<(Timestamp, Message)> {
            let message = read_message(&one.m, one.raw.is_some(), &one.q)
                .map_err(|error| self.link.faults.garbled("a message that waits for its time", &error))?;
            Ok((micros(&one.si)?, message))
        };
        answer.found.into_iter().map(read).collect()
    }

    async fn hasten(&self, postponed: Vec<(i64, Timestamp)>, now: Timestamp) -> Result<u64> {
        #[derive(Serialize)]
        struct One {
            tenant: TenantId,
            id: lovage_model::TaskId,
            n: String,
            si: String,
        }
        #[derive(Serialize)]
        struct Args<'a> {
            batch: &'a [One],
            now: i64,
        }
        #[derive(Deserialize)]
        struct Answer {
            hastened: u64,
            rings: Rings,
        }
        let one = |(number, until): (i64, Timestamp)| {
            let (tenant, id) = self.leases.postponed(number)?;
            Some(One { tenant, id, n: number.to_string(), si: until.as_micros().to_string() })
        };
        let batch: Vec<One> = postponed.into_iter().filter_map(one).collect();
        let mut hastened = 0;
        for batch in batch.chunks(HASTENED_AT_ONCE) {
            let answer: Answer = self.link.call(Script::Hasten, &Args { batch, now: now.as_micros() }).await?;
            self.ring(answer.rings);
            hastened += answer.hastened;
        }
        Ok(hastened)
    }
}
