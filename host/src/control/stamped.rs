//! Which tasks does a stamp mean?

use lovage_model::{EventKind, Json, State, TaskId, TenantId, Timestamp};

use super::{Control, Found, TOLD};
use crate::celery::pidbox::Request;
use crate::store::{Result, Revoked};

impl Control {
    /// Revokes every task that has not ended and has a stamp of this name and one of these values; with `terminate` also
    /// those that run, wherever they do.
    pub async fn revoke_stamped(
        &self,
        tenant: &TenantId,
        (stamp, values): (&str, &[Json]),
        terminate: bool,
        now: Timestamp,
    ) -> Result<Vec<(TaskId, Found)>> {
        let mut found = self.revoke_stamped_here(tenant, (stamp, values), terminate, now).await?;
        if self.has_others(tenant) {
            self.standing.foretold.revoke_stamped(tenant, stamp, values, now);
            self.cast(Request::revoke_stamped(stamp, values, terminate, self.clock.forward())).await?;
            for (_, found) in &mut found {
                if let Found::Elsewhere(state) = found
                    && terminate
                {
                    *found = Found::Done(state.clone(), TOLD);
                }
            }
        } else if terminate {
            self.stop_elsewhere(tenant, found.iter_mut().map(|(id, found)| (&*id, found))).await?;
        }
        Ok(found)
    }

    /// The same, as far as this host can.
    pub(super) async fn revoke_stamped_here(
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
                    let one = self.revoke_one(tenant, &id, terminate, now).await?;
                    (id, one)
                }
                Revoked::Ended(_) | Revoked::Unknown => continue,
            });
        }
        Ok(found)
    }
}
