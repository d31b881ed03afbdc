//! Which tasks does a stamp mean?

use lovage_model::{EventKind, Json, State, TaskId, TenantId, Timestamp};

use super::{Control, Found};
use crate::store::{Result, Revoked};

impl Control {
    /// Revokes every task that has not ended and has a stamp of this name and one of these values; with `terminate` also
    /// those that run here.
    pub async fn revoke_stamped(
        &self,
        tenant: &TenantId,
        (stamp, values): (&str, &[Json]),
        terminate: bool,
        now: Timestamp,
    ) -> Result<Vec<(TaskId, Found)>> {
        let mut found = Vec::new();
        for (id, revoked) in self.store.revoke_stamped(tenant, stamp, values, now).await? {
            found.push(match revoked {
                Revoked::Waiting => {
                    self.tell(tenant, &id, now, EventKind::Revoked { terminated: false, expired: false }).await?;
                    (id, Found::Done(State::Revoked, "it was waiting, and will not run"))
                }
                Revoked::Running(_) => {
                    let one = self.revoke(tenant, &id, terminate, now).await?;
                    (id, one)
                }
                Revoked::Ended(_) | Revoked::Unknown => continue,
            });
        }
        Ok(found)
    }
}
