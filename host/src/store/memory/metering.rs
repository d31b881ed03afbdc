//! What tenants have used, in memory.

use async_trait::async_trait;
use lovage_model::{DailyUsage, TenantId, Timestamp};

use super::MemoryStore;
use crate::store::metering::day;
use crate::store::{Metering, Result};

#[async_trait]
impl Metering for MemoryStore {
    async fn metered(&self, tenant: &TenantId, since: Timestamp) -> Result<Vec<DailyUsage>> {
        let open = self.open()?;
        let days = open.tasks.metered.range((tenant.clone(), day(since))..=(tenant.clone(), i64::MAX));
        Ok(days.rev().map(|((_, day), used)| used.on(*day)).collect())
    }
}
