//! The state of one running guest: what the host's functions read and change. Dropped with its store after the run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lovage_model::{Exception, exc_module};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::capabilities::{self, http::Outgoing};
use super::limiter::Limiter;
use super::output::Output;
use crate::attempt::{Attempt, Effects, Grants, Progress};
use crate::clock;

/// Handles a guest may hold at once.
const MAX_HANDLES: usize = 1000;
/// The most random bytes it gets in one call.
const MAX_RANDOM_BYTES: u64 = 64 << 10;

/// When the guest is told, and when it is killed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    pub(super) soft: Option<Instant>,
    pub(super) hard: Instant,
}

impl Deadline {
    /// Counts from now: before instantiation, so that a looping initialiser is caught as well.
    pub(super) fn start(grants: &Grants, now: Instant) -> Self {
        Self { soft: grants.soft_limit.map(|limit| now + limit), hard: now + grants.hard_limit }
    }

    pub(super) fn soft_has_passed(&self, now: Instant) -> bool {
        self.soft.is_some_and(|soft| now >= soft)
    }
}

pub(super) struct Guest {
    /// Shared with whoever calls the guest: its arguments may be large.
    pub(super) attempt: Arc<Attempt>,
    pub(super) grants: Grants,
    pub(super) deadline: Deadline,
    /// Whether a call has already failed for the soft limit: it is raised once, as a signal is.
    pub(super) soft_limit_raised: bool,
    pub(super) limiter: Limiter,
    pub(super) output: Output,
    pub(super) effects: Effects,
    /// How large its subtasks are together.
    pub(super) sent_bytes: usize,
    pub(super) progress: Arc<dyn Progress>,
    pub(super) instantiated: Option<Instant>,
    /// Whether the run is over: from then on handlers are called, which cannot change how it ended.
    pub(super) ended: bool,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outgoing: Outgoing,
    table: ResourceTable,
}

impl Guest {
    pub(super) fn new(attempt: Attempt, grants: Grants, progress: Arc<dyn Progress>, deadline: Deadline) -> Self {
        let output = Output::new(grants.output_bytes, Arc::clone(&progress));
        Self::of(Arc::new(attempt), grants, output, deadline, progress)
    }

    fn of(
        attempt: Arc<Attempt>,
        grants: Grants,
        output: Output,
        deadline: Deadline,
        progress: Arc<dyn Progress>,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        // Nothing else is given but what was granted: no files, environment, arguments, network; standard input is at its end.
        let mut wasi = WasiCtx::builder();
        wasi.stdout(output.stdout()).stderr(output.stderr()).max_random_size(MAX_RANDOM_BYTES);
        capabilities::give(&mut wasi, &grants.capabilities);
        let outgoing = Outgoing::new(Arc::clone(&progress), &grants);
        Self {
            attempt,
            deadline,
            soft_limit_raised: false,
            limiter: Limiter::new(grants.memory_bytes),
            grants,
            output,
            effects: Effects::default(),
            sent_bytes: 0,
            progress,
            instantiated: None,
            ended: false,
            wasi: wasi.build(),
            http: capabilities::http::context(),
            outgoing,
            table,
        }
    }

    /// An instance is there. Only the first counts.
    pub(super) fn began(&mut self) {
        self.instantiated.get_or_insert_with(clock::instant);
    }

    /// The run is over: what handlers may use is their own.
    pub(super) fn ends(&mut self, now: Instant) {
        self.ended = true;
        self.grants.hard_limit = self.grants.handler_limit;
        self.grants.soft_limit = None;
        self.grants.fuel = self.grants.handler_fuel;
        self.deadline = Deadline::start(&self.grants, now);
    }

    /// The guest of a fresh instance, which goes on where this one stopped. This one is left without effects.
    pub(super) fn renewed(&mut self) -> Self {
        let (attempt, grants, progress) = (Arc::clone(&self.attempt), self.grants.clone(), Arc::clone(&self.progress));
        let mut fresh = Self::of(attempt, grants, self.output.clone(), self.deadline, progress);
        fresh.limiter.peaked(self.limiter.peak_bytes());
        fresh.effects = std::mem::take(&mut self.effects);
        (fresh.sent_bytes, fresh.instantiated, fresh.ended) = (self.sent_bytes, self.instantiated, self.ended);
        fresh
    }

    /// Fails once when the soft limit has passed.
    pub(super) fn check_soft_limit(&mut self, now: Instant) -> Result<(), Exception> {
        if self.soft_limit_raised || !self.deadline.soft_has_passed(now) {
            return Ok(());
        }
        self.soft_limit_raised = true;
        Err(soft_time_limit_exceeded())
    }

    /// What is left of a span that ends at `end`.
    pub(super) fn remaining(end: Instant, now: Instant) -> f64 {
        end.checked_duration_since(now).unwrap_or(Duration::ZERO).as_secs_f64()
    }
}

/// billiard's exception, without arguments, as Celery stores it.
pub(super) fn soft_time_limit_exceeded() -> Exception {
    Exception::with_args::<&str>(exc_module::BILLIARD, "SoftTimeLimitExceeded", &[])
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.outgoing, table: &mut self.table, ctx: &mut self.http }
    }
}
