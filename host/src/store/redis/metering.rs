//! What tenants have used: a hash for each, which all hosts count in.

use std::collections::BTreeMap;

use async_trait::async_trait;
use lovage_model::{DailyUsage, TenantId, Timestamp};
use serde::Serialize;

use super::RedisStore;
use super::script::Script;
use crate::store::metering::{Used, day};
use crate::store::{Metering, Result};

#[derive(Serialize)]
struct Args<'a> {
    tenant: &'a TenantId,
}

#[derive(Serialize)]
struct FuelArgs<'a> {
    tenants: &'a [TenantId],
    field: String,
}

#[async_trait]
impl Metering for RedisStore {
    async fn metered(&self, tenant: &TenantId, since: Timestamp) -> Result<Vec<DailyUsage>> {
        let all: Vec<(String, String)> = self.link.ask(Script::Metered, &Args { tenant }).await?;
        let mut days: BTreeMap<i64, Used> = BTreeMap::new();
        for (field, number) in all {
            // What somebody else has written there is nothing of ours.
            let Some((Ok(on), what)) = field.split_once(':').map(|(on, what)| (on.parse(), what)) else { continue };
            let number = number.parse().unwrap_or_default();
            if on >= day(since) {
                let used = days.entry(on).or_default();
                match what {
                    "a" => used.attempts = number,
                    "f" => used.fuel = number,
                    "c" => used.cpu_micros = number,
                    "m" => used.kib_millis = number,
                    _ => {}
                }
            }
        }
        Ok(days.into_iter().rev().map(|(day, used)| used.on(day)).collect())
    }

    async fn fuel_used(&self, tenants: &[TenantId], on: Timestamp) -> Result<Vec<u64>> {
        let args = FuelArgs { tenants, field: format!("{}:f", day(on)) };
        let all: Vec<Option<String>> = self.link.ask(Script::Fuel, &args).await?;
        let number = |text: Option<String>| text.and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
        Ok(all.into_iter().map(number).collect())
    }
}

/// The most that is added at once: sums of these stay numbers that the server can hold.
const MOST: u64 = 1 << 53;

/// What an attempt has used, for `scripts/settle.lua`: the day, and attempts, fuel, processor time and memory.
pub(super) type Meters = (i64, u64, u64, u64, u64);

pub(super) fn meters(used: Used, at: Timestamp) -> Meters {
    let Used { attempts, fuel, cpu_micros, kib_millis } = used;
    (day(at), attempts.min(MOST), fuel.min(MOST), cpu_micros.min(MOST), kib_millis.min(MOST))
}
