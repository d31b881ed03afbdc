//! Who asks, over HTTP?
//!
//! The only room that knows HTTP: routes, bodies, problems, event streams, connections. A handler turns a request into a
//! call of another room, and what that room found into a reply; it decides nothing about tasks.
//!
//! Invariants:
//! - Every error is a `Problem` of a kind listed in [`problem::KINDS`]; also those of axum itself.
//! - The OpenAPI document is made from the table that routes are made from.
//! - The tenant comes from the token, never from a body; a handler gets it by saying which scope it needs.
//! - A 2xx answer to a submit is given after the store has said that the message survives.
//!
//! Without tokens the daemon listens on loopback only, and the guard refuses what a web page could send.

mod beat;
mod body;
mod events;
mod groups;
mod guard;
mod health;
mod host;
mod idle;
mod input;
mod modules;
mod orders;
pub mod problem;
mod queues;
mod results;
mod secrets;
mod serve;
mod submit;
mod tasks;
mod tenants;
mod tokens;
mod usage;
mod waiting;
mod watching;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use lovage_model::TenantId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::{Access, Caller, OpenStream, TooMany};
use crate::beat::Beat;
use crate::clock::Logical;
use crate::control::Control;
pub use crate::control::Host;
use crate::events::Hub;
use crate::held::Rooms as Places;
use crate::modules::Modules;
use crate::outside::Outside;
use crate::pipeline::{Running, Standing};
use crate::queue;
use crate::store::Store;

pub use serve::{Door, serve};
#[cfg(fuzzing)]
pub use tasks::read_filter;

/// Modules that may be uploaded at once; others wait. Bounds the memory that uploads take.
const UPLOADS: u32 = 8;
/// What the bodies of one tenant's requests may take together, in bytes; at least two of the largest.
const BODIES_BYTES: usize = 64 << 20;
/// Large submits of a tenant's that are made ready at once; others wait. It takes a processor, and more memory than they have bytes.
const ADMITTED_AT_ONCE: u32 = 1;
/// Reads of a tenant's that the store is asked for at once; others wait, so that they are no line for another tenant's.
const READ_AT_ONCE: u32 = 4;
/// Of lists, which may look through all that a tenant has: results do not wait for them.
const LISTED_AT_ONCE: u32 = 2;
/// Of watches that are answered at once, each with up to 10,000 ids.
const ANSWERED_AT_ONCE: u32 = 16;

/// What the routes stand on.
pub struct Api {
    /// What is remembered.
    pub store: Arc<dyn Store>,
    /// What runs a task name.
    pub modules: Arc<Modules>,
    /// What runs here.
    pub running: Arc<Running>,
    /// What has been ordered of this host.
    pub standing: Arc<Standing>,
    /// Who is told.
    pub hub: Arc<Hub>,
    /// Who may do what.
    pub access: Arc<Access>,
    /// What is sent again and again.
    pub beat: Arc<Beat>,
    /// Who keeps secrets.
    pub outside: Arc<Outside>,
    /// What may be queued.
    pub limits: queue::Limits,
    /// How large bodies may be.
    pub bodies: Bodies,
    /// Event streams that a tenant may hold open.
    pub streams: u32,
    /// Requests of a tenant's that may wait at once.
    pub waits: u32,
    /// Counts what is said to other hosts.
    pub clock: Arc<Logical>,
    /// What is told about this host.
    pub host: Host,
    /// Its settings, as they are shown.
    pub conf: serde_json::Value,
    /// Becomes true when the daemon goes down: nothing new is taken, and whoever waits is sent away.
    pub draining: watch::Receiver<bool>,
}

/// How large the bodies of requests may be, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Bodies {
    /// A component.
    pub module_bytes: usize,
    /// A batch of submits.
    pub batch_bytes: usize,
}

/// What handlers share.
pub(crate) struct Rooms {
    api: Api,
    control: Control,
    uploads: Semaphore,
    /// What of bodies is under way.
    arrivals: body::Arrivals,
    /// For large submits.
    admitting: Places,
    /// For those who ask the store.
    reading: Places,
    listing: Places,
    answering: Places,
    /// Whether tasks can be stored.
    sound: health::Sound,
}

type Shared = Arc<Rooms>;

impl Rooms {
    fn is_draining(&self) -> bool {
        *self.api.draining.borrow()
    }

    /// Whether the daemon goes down, or its worker was told to take no tasks.
    fn takes_nothing(&self) -> bool {
        self.is_draining() || *self.api.standing.resting().borrow()
    }

    /// Waits until the store may be asked something for a tenant, which it may while what is returned is there.
    async fn reading(&self, tenant: &TenantId) -> Option<OwnedSemaphorePermit> {
        self.reading.enter(tenant, 1).await
    }

    /// The same, for a list.
    async fn listing(&self, tenant: &TenantId) -> Option<OwnedSemaphorePermit> {
        self.listing.enter(tenant, 1).await
    }

    /// The same, for a watch that does not wait.
    async fn answering(&self, tenant: &TenantId) -> Option<OwnedSemaphorePermit> {
        self.answering.enter(tenant, 1).await
    }

    /// Counts an event stream, while what is returned is there.
    fn open_stream(&self, caller: &Caller) -> Result<OpenStream, TooMany> {
        self.api.access.open_stream(&caller.tenant, self.api.streams)
    }

    /// Returns when who listens must leave: the daemon goes down, or he may not any more.
    async fn over(&self, caller: &Caller) {
        tokio::select! {
            () = self.drained() => {}
            () = self.api.access.barred(caller) => {}
        }
    }

    /// Returns when the daemon goes down.
    async fn drained(&self) {
        let mut draining = self.api.draining.clone();
        if draining.wait_for(|draining| *draining).await.is_err() {
            // Who could say so is gone, and never will.
            std::future::pending().await
        }
    }
}

/// Everything that can be asked over HTTP.
pub fn router(api: Api) -> Router {
    let (store, running, hub) = (Arc::clone(&api.store), Arc::clone(&api.running), Arc::clone(&api.hub));
    let (modules, standing) = (Arc::clone(&api.modules), Arc::clone(&api.standing));
    let (clock, host) = (Arc::clone(&api.clock), api.host.clone());
    let control = Control { store, running, hub, modules, standing, clock, host };
    let largest = api.bodies.batch_bytes.max(api.limits.rules.message_bytes);
    let most_bytes = BODIES_BYTES.max(largest.saturating_mul(2));
    let rooms = Arc::new(Rooms {
        api,
        control,
        uploads: Semaphore::new(UPLOADS as usize),
        arrivals: body::Arrivals::of(most_bytes as u64),
        admitting: Places::of(ADMITTED_AT_ONCE),
        reading: Places::of(READ_AT_ONCE),
        listing: Places::of(LISTED_AT_ONCE),
        answering: Places::of(ANSWERED_AT_ONCE),
        sound: health::Sound::default(),
    });
    let (router, _) = table().split_for_parts();
    router
        .fallback(guard::unknown_route)
        .method_not_allowed_fallback(guard::method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(&rooms), guard::guard))
        .with_state(rooms)
}

/// The OpenAPI 3.1 document of all routes.
pub fn document() -> utoipa::openapi::OpenApi {
    table().into_openapi()
}

#[derive(utoipa::OpenApi)]
#[openapi(info(
    title = "Lovage",
    description = "Celery's task queue with every task inside a WebAssembly sandbox. \
        Every error is an application/problem+json; `code` says which kind.",
))]
struct Document;

/// The one table of routes: what is served, and what the document says.
fn table() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(modules::list_modules))
        .routes(routes!(modules::push_module, modules::show_module, modules::remove_module))
        .routes(routes!(modules::rollback_module))
        .routes(routes!(secrets::set_secret, secrets::remove_secret))
        .routes(routes!(submit::submit_task, tasks::list_tasks))
        .routes(routes!(submit::submit_batch))
        .routes(routes!(submit::submit_task_as, tasks::show_task, orders::forget_task))
        .routes(routes!(results::wait_for_result))
        .routes(routes!(watching::watch_tasks))
        .routes(routes!(groups::save_group, groups::restore_group, groups::delete_group))
        .routes(routes!(events::task_events))
        .routes(routes!(tasks::show_logs))
        .routes(routes!(orders::revoke_task))
        .routes(routes!(orders::revoke_tasks))
        .routes(routes!(orders::retry_task))
        .routes(routes!(events::all_events))
        .routes(routes!(queues::list_queues))
        .routes(routes!(queues::purge_queue))
        .routes(routes!(queues::pause_queue))
        .routes(routes!(queues::resume_queue))
        .routes(routes!(host::inspect))
        .routes(routes!(host::rate_limit))
        .routes(routes!(host::time_limit))
        .routes(routes!(host::cleanup))
        .routes(routes!(host::list_workers))
        .routes(routes!(host::drain_worker))
        .routes(routes!(beat::list_beat))
        .routes(routes!(beat::set_beat, beat::show_beat, beat::remove_beat))
        .routes(routes!(beat::run_beat))
        .routes(routes!(tenants::list_tenants))
        .routes(routes!(tenants::set_tenant, tenants::remove_tenant))
        .routes(routes!(usage::own_usage))
        .routes(routes!(usage::usage_of_tenant))
        .routes(routes!(tokens::list_tokens, tokens::issue_token))
        .routes(routes!(tokens::revoke_token))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::openapi))
}

#[cfg(test)]
mod tests;
