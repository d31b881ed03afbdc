//! How much has a tenant used? Counted in the step that records an outcome, in whole numbers, so that sums are exact.

use async_trait::async_trait;
use lovage_model::{DailyUsage, Settlement, TenantId, Timestamp, Usage};

use super::Result;

const DAY_MICROS: i64 = 86_400_000_000;
const MICROS: f64 = 1e6;
/// KiB times milliseconds in a GiB times seconds.
const KIB_MILLIS: f64 = 1024.0 * 1024.0 * 1e3;

/// What one attempt adds to the day on which it ended, or what a day has come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) attempts: u64,
    pub(super) fuel: u64,
    pub(super) cpu_micros: u64,
    /// Of memory, as long as it was held.
    pub(super) kib_millis: u64,
}

impl Used {
    /// By an attempt; none: no host ran it.
    pub(super) fn by(settlement: &Settlement) -> Option<Self> {
        let Usage { fuel, peak_memory_bytes, cpu_seconds, wall_seconds, .. } = settlement.usage;
        let kib_millis = peak_memory_bytes as f64 / 1024.0 * wall_seconds * 1e3;
        // A cast of a float ends at the bounds of the integer.
        (!settlement.worker.is_empty()).then(|| Self {
            attempts: 1,
            fuel: fuel.unwrap_or_default(),
            cpu_micros: (cpu_seconds * MICROS).round() as u64,
            kib_millis: kib_millis.round() as u64,
        })
    }

    pub(super) fn add(&mut self, other: Self) {
        self.attempts += other.attempts;
        self.fuel = self.fuel.saturating_add(other.fuel);
        self.cpu_micros = self.cpu_micros.saturating_add(other.cpu_micros);
        self.kib_millis = self.kib_millis.saturating_add(other.kib_millis);
    }

    /// What it is to people.
    pub(super) fn on(self, day: i64) -> DailyUsage {
        let start = Timestamp::from_micros(day.saturating_mul(DAY_MICROS)).to_string();
        DailyUsage {
            day: start.split('T').next().unwrap_or_default().to_owned(),
            attempts: self.attempts,
            fuel: self.fuel,
            cpu_seconds: self.cpu_micros as f64 / MICROS,
            memory_gib_seconds: self.kib_millis as f64 / KIB_MILLIS,
        }
    }
}

/// Which day it is, by UTC: days since 1970.
pub(super) fn day(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(DAY_MICROS)
}

/// The same as people write it.
fn name_of(at: Timestamp) -> String {
    Used::default().on(day(at)).day
}

/// What tenants have used. All hosts of a store count together.
#[async_trait]
pub trait Metering: Send + Sync {
    /// What a tenant has used on each day since that of a time, the latest first; days on which nothing ended are left out.
    async fn metered(&self, tenant: &TenantId, since: Timestamp) -> Result<Vec<DailyUsage>>;

    /// Whether anything of a tenant has ended on the day of a time.
    async fn is_metered(&self, tenant: &TenantId, on: Timestamp) -> Result<bool> {
        let of_day = name_of(on);
        Ok(self.metered(tenant, on).await?.iter().any(|one| one.day == of_day))
    }

    /// How much fuel each of these has used on the day of a time, in order: of all for the price of one where the backend can.
    async fn fuel_used(&self, tenants: &[TenantId], on: Timestamp) -> Result<Vec<u64>> {
        let (of_day, mut used) = (name_of(on), Vec::with_capacity(tenants.len()));
        for tenant in tenants {
            let days = self.metered(tenant, on).await?;
            used.push(days.iter().find(|one| one.day == of_day).map_or(0, |one| one.fuel));
        }
        Ok(used)
    }
}
