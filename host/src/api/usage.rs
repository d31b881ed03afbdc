//! What tenants have used, by day.

use axum::Json;
use axum::extract::State;
use lovage_model::api::Problem;
use lovage_model::{DailyUsage, TenantId, Timestamp};
use serde::Deserialize;

use super::Shared;
use super::input::{Administers, Asked, Named, Reads};
use super::problem::Reply;
use crate::clock;

const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UsageQuery {
    /// How many days, today among them.
    #[param(default = 30)]
    days: Option<u16>,
}

impl UsageQuery {
    /// Of the days since that of a time, or of all.
    async fn of(&self, rooms: &Shared, tenant: &TenantId, created: Option<Timestamp>) -> Reply<Json<Vec<DailyUsage>>> {
        const DAYS: u16 = 30;
        let before = u32::from(self.days.unwrap_or(DAYS).saturating_sub(1));
        let since = clock::now().before(DAY * before);
        let since = created.map_or(since, |created| created.max(since));
        let _place = rooms.reading(tenant).await;
        Ok(Json(rooms.api.store.metered(tenant, since).await?))
    }
}

/// What the caller's tenant has used, by day, the latest first: attempts, fuel, processor time, memory.
#[utoipa::path(get, path = "/v1/usage", tag = "access", params(UsageQuery),
    responses((status = 200, body = Vec<DailyUsage>),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn own_usage(
    State(rooms): State<Shared>,
    Reads(tenant): Reads,
    Asked(query): Asked<UsageQuery>,
) -> Reply<Json<Vec<DailyUsage>>> {
    // One that had its name before is somebody else.
    let created = rooms.api.access.created(&tenant);
    query.of(&rooms, &tenant, created).await
}

/// The same of any tenant; of one that is gone, too, and of all that have had its name.
#[utoipa::path(get, path = "/v1/tenants/{name}/usage", tag = "access",
    params(("name" = String, Path, description = "Its name"), UsageQuery),
    responses((status = 200, body = Vec<DailyUsage>),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn usage_of_tenant(
    State(rooms): State<Shared>,
    _: Administers,
    Named(name): Named<TenantId>,
    Asked(query): Asked<UsageQuery>,
) -> Reply<Json<Vec<DailyUsage>>> {
    query.of(&rooms, &name, None).await
}
