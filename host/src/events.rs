//! Who must be told?
use lovage_model::{Event, TaskId, TenantId};
/// x
pub struct Hub;
impl Hub {
    /// x
    pub fn announce(&self, _: &TenantId, _: Vec<Event>) {}
    /// x
    pub fn watched(&self, _: &TenantId, _: &TaskId) -> bool {
        false
    }
}
