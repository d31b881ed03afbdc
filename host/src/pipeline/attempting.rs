//! How is a message attempted? What it names is run in the sandbox or, if the host does it by itself, here; or it is said
//! why it is not run.

use std::sync::Arc;

use lovage_model::{
    Event, EventKind, Inline, Message, Request, Room, Settlement, TaskId, TaskOptions, TenantId, TenantPolicy,
    TimeLimit, Timestamp,
};

use super::attending::{Attending, Live};
use super::failure::log_failure;
use super::grant::{grant, least, timelimit};
use super::scope::Exported;
use super::{Arrived, Interrupted, Listed, Pipeline};
use crate::attempt::{Attempt, Grants, Outcome, Report, Stop};
use crate::canvas::inline::{self, ChordParts};
use crate::canvas::{Rules, Scope, builtin};
use crate::clock::{self, Seldom};
use crate::modules::{Code, NotReady};
use crate::outside::May;
use crate::store::{ChordEnd, Lease};
use crate::trace::{self, Attempted, Awaited, Unrun, Unsent};

/// Tasks that went back though nobody had stopped them.
static UNRUN: Seldom = Seldom::new();
/// Tasks that this host could not run for now. Each comes back, and again, until it can.
static NOT_NOW: Seldom = Seldom::new();

/// Why there is no report of an attempt.
pub(super) enum Unattempted {
    /// There will never be one.
    Never(Unrun),
    /// This host cannot run it for now.
    NotNow(String),
    /// It was taken before it was known that its tenant has no fuel left today.
    NoFuel,
    /// The host goes down, or has lost its lease.
    Interrupted,
}

impl From<NotReady> for Unattempted {
    fn from(not_ready: NotReady) -> Self {
        match not_ready {
            NotReady::Unusable(why) => Self::Never(Unrun::Unusable(why)),
            NotReady::NotNow(why) => Self::NotNow(why),
        }
    }
}

impl Pipeline {
    /// Attempts a message and says what follows.
    pub(super) async fn settle(&self, lease: &Lease, listed: &Listed) -> Result<Settlement, Interrupted> {
        let message = &lease.message;
        let code = if builtin::has(message.task.as_str()) {
            None
        } else {
            self.modules.code_anywhere(&lease.tenant, &message.task).await
        };
        let options = self.as_ordered(&lease.tenant, message, in_force(code.as_deref(), message));
        let attempted = Attempted {
            message,
            deliveries: lease.deliveries,
            worker: &self.hostname,
            options: &options,
            eager: self.eager.is_some(),
        };
        let stopped = *listed.stopped.borrow();
        let report = match stopped {
            Some(Stop::Revoked) => Err(Unattempted::Never(Unrun::Revoked)),
            Some(stop) => Ok(Report::stopped(stop)),
            None => self.attempt(lease, listed, code.as_deref(), &options).await,
        };
        let lost = matches!(&report, Ok(Report { outcome: Outcome::Stopped(Stop::Lost), .. }));
        let settlement = match report {
            Ok(report) => self.decide(&lease.tenant, |scope| trace::settle(attempted, report, scope)),
            Err(Unattempted::Never(why)) => {
                Some(self.decide(&lease.tenant, |scope| trace::settle_unrun(attempted, why, scope)))
            }
            Err(Unattempted::NoFuel) => {
                tracing::info!(task_id = %message.id, "its tenant has used its fuel of the day (fuel_per_day): it waits for the next");
                return Err(Interrupted { begun: false });
            }
            Err(Unattempted::Interrupted) => return Err(Interrupted { begun: false }),
            Err(Unattempted::NotNow(why)) => {
                if NOT_NOW.is_due(clock::instant()) {
                    tracing::error!(task_id = %message.id, why, "a task cannot be run now; it goes back to its queue");
                }
                return Err(Interrupted { begun: false });
            }
        };
        // Without an order to stop it was the sandbox that could not begin, or was lost.
        let begun = lost || stopped.is_none() && listed.stopped.borrow().is_some();
        if settlement.is_none() && stopped.is_none() && !begun && UNRUN.is_due(clock::instant()) {
            tracing::warn!(task_id = %message.id, "no sandbox ran a task, though nobody stopped it: it goes back to its queue");
        }
        let settlement = settlement.ok_or(Interrupted { begun })?;
        // Whoever asked for that one is told by himself.
        if self.eager.as_ref() != Some(&message.id) {
            log_failure(message, &settlement.verdict, &options);
        }
        Ok(settlement)
    }

    /// Decides something about a tenant's tasks, as far as they may go.
    fn decide<T>(&self, tenant: &TenantId, decide: impl FnOnce(&mut Scope<'_>) -> T) -> T {
        let tasks = Exported { modules: &self.modules, tenant };
        let mut ids = || TaskId::from_uuid(uuid::Uuid::now_v7());
        let scope = Scope::new(&tasks, &mut ids, self.rules_of(tenant), clock::now());
        decide(&mut scope.within(self.room(tenant)))
    }

    /// How far the calls of a tenant's tasks may go.
    pub(super) fn rules_of(&self, tenant: &TenantId) -> Rules {
        self.rules.of(&self.access.policy(tenant))
    }

    /// How much of what a tenant's tasks send may be stored.
    fn room(&self, tenant: &TenantId) -> Room {
        self.access.room(tenant, self.room)
    }

    /// What becomes of a task that waited for something that has ended.
    pub fn follow(&self, message: &Message, arrived: Arrived<'_>) -> lovage_model::Followed {
        let code = self.modules.code(arrived.tenant, &message.task);
        let options = in_force(code.as_deref(), message);
        // No host has run it.
        let (deliveries, worker) = (0, "");
        let attempted = Attempted { message, deliveries, worker, options: &options, eager: self.eager.is_some() };
        let awaited = if arrived.of_group { Awaited::Group(arrived.many) } else { Awaited::Task };
        self.decide(arrived.tenant, |scope| trace::follow(attempted, awaited, arrived.arrival, scope))
    }

    /// What follows a chord in Celery's own form whose parts have all ended.
    pub fn complete(&self, tenant: &TenantId, group: &TaskId, end: ChordEnd) -> Inline {
        let ChordEnd { body, parts, nested, sender } = end;
        let parts = ChordParts { parts, nested, sender };
        self.decide(tenant, |scope| inline::chord_ended(group, parts, body, scope))
    }

    /// The options in force, with the time limits that were ordered for the task in place of its own.
    fn as_ordered(&self, tenant: &TenantId, message: &Message, options: TaskOptions) -> TaskOptions {
        match self.standing.ordered(tenant, &message.task).time_limit {
            Some(TimeLimit { soft, hard }) => TaskOptions { soft_time_limit: soft, time_limit: hard, ..options },
            None => options,
        }
    }

    /// What is recorded of an attempt of which nothing can be sent.
    pub fn refused(&self, lease: &Lease, settlement: Settlement, why: &Unsent) -> Settlement {
        let code = self.modules.code(&lease.tenant, &lease.message.task);
        let options = in_force(code.as_deref(), &lease.message);
        let attempted = Attempted {
            message: &lease.message,
            deliveries: lease.deliveries,
            worker: &self.hostname,
            options: &options,
            eager: self.eager.is_some(),
        };
        self.decide(&lease.tenant, |scope| trace::refused(attempted, settlement, why, scope))
    }

    async fn attempt(
        &self,
        lease: &Lease,
        listed: &Listed,
        code: Option<&Code>,
        options: &TaskOptions,
    ) -> Result<Report, Unattempted> {
        let message = &lease.message;
        if let Some(why) = unfit(lease, options, self.caps.deliveries, clock::now()) {
            return Err(Unattempted::Never(why));
        }
        let left = self.access.fuel_left(&lease.tenant);
        if left == Some(0) {
            return Err(Unattempted::NoFuel);
        }
        let policy = self.access.policy(&lease.tenant);
        let policy = TenantPolicy { fuel: least(policy.fuel, left), ..policy };
        let grants = grant(&self.caps, &policy, options, message);
        match (message.task.as_str(), code) {
            (builtin::MAP, _) => self.run_each(lease, listed, grants, false).await,
            (builtin::STARMAP, _) => self.run_each(lease, listed, grants, true).await,
            (name, _) if builtin::ALL.contains(&name) => self.run_builtin(lease).await,
            (name, _) if builtin::CANVASES.contains(&name) => Ok(super::builtin::run_canvas(message)),
            (_, Some(code)) => {
                self.ready(listed, code, &grants).await?;
                self.tell_begun(lease, options).await;
                Ok(self.run(lease, listed, code, grants, options).await)
            }
            (_, None) => Err(Unattempted::Never(Unrun::NotRegistered)),
        }
    }

    /// Makes what it runs ready, unless it is told to stop meanwhile: that may take long, or for ever where no process can be started.
    pub(super) async fn ready(&self, listed: &Listed, code: &Code, grants: &Grants) -> Result<(), Unattempted> {
        let mut stopped = listed.stopped.clone();
        let stop = tokio::select! {
            biased;
            ready = self.modules.ready(&code.digest, grants.fuel.is_some()) => return Ok(ready?),
            Ok(stop) = stopped.wait_for(Option::is_some) => *stop,
        };
        match stop {
            Some(Stop::Revoked) => Err(Unattempted::Never(Unrun::Revoked)),
            _ => Err(Unattempted::Interrupted),
        }
    }

    async fn run(&self, lease: &Lease, listed: &Listed, code: &Code, grants: Grants, options: &TaskOptions) -> Report {
        let (capabilities, overhead) =
            (self.granted.to(&lease.tenant, &code.module), self.overhead.expected(&lease.tenant));
        let grants = Grants { capabilities, overhead, ..grants };
        let attending = self.attend(lease, listed, code, &grants);
        let request = self.request(lease, &grants, options);
        let attempt = Attempt {
            tenant: lease.tenant.clone(),
            module: code.digest.clone(),
            request,
            handlers: code.definition.handlers.clone(),
        };
        let run = self.sandbox.run(attempt, grants, Arc::clone(&attending) as _, listed.stopped.clone());
        attending.beside(run, &*self.store, lease.key).await
    }

    /// What the task may know of its run.
    pub(super) fn request(&self, lease: &Lease, grants: &Grants, options: &TaskOptions) -> Request {
        let message = &lease.message;
        Request {
            timelimit: timelimit(grants),
            fuel: grants.fuel,
            ignore_result: message.ignores_result(options),
            is_eager: self.eager.is_some(),
            options: TaskOptions {
                time_limit: message.timelimit.hard.or(options.time_limit),
                soft_time_limit: message.timelimit.soft.or(options.soft_time_limit),
                ..options.clone()
            },
            ..Request::of(message, &self.hostname, lease.message.is_redelivered(lease.deliveries) || message.requeued)
        }
    }

    /// Lets the store show that a task runs, if it is one that shows it and somebody reads its result.
    pub(super) async fn tell_begun(&self, lease: &Lease, options: &TaskOptions) {
        if options.track_started && !lease.message.ignores_result(options) {
            self.store.begun(lease.key).await;
        }
    }

    /// Tells that a message is attempted; returns who listens to the attempt.
    pub(super) fn attend(
        &self,
        Lease { tenant, message, .. }: &Lease,
        listed: &Listed,
        code: &Code,
        grants: &Grants,
    ) -> Arc<Attending> {
        listed.begin(&message.task, clock::now());
        let started = || vec![Event::of(message, clock::now(), EventKind::Started)];
        self.hub.announce_with(tenant, started);
        Arc::new(Attending {
            hub: Arc::clone(&self.hub),
            tenant: tenant.clone(),
            id: message.id.clone(),
            name: message.task.clone(),
            live: Live::of(Arc::clone(&listed.log), grants.output_bytes),
            overhead: Arc::clone(&self.overhead),
            unstored: std::sync::Mutex::default(),
            changed: tokio::sync::Notify::new(),
            outside: Arc::clone(&self.outside),
            may: Arc::new(May::of(tenant.clone(), code.module.clone(), grants, &self.access.policy(tenant))),
        })
    }
}

/// Why a message must not be run, if so.
fn unfit(lease: &Lease, options: &TaskOptions, most_deliveries: u32, now: Timestamp) -> Option<Unrun> {
    if lease.message.is_redelivered(lease.deliveries) && options.runs_once() {
        return Some(Unrun::Lost);
    }
    let lost = lease.deliveries.saturating_sub(lease.message.earlier_deliveries + 1);
    if lost >= most_deliveries {
        return Some(Unrun::Poison { lost });
    }
    lease.message.expires.filter(|expires| *expires <= now).map(|_| Unrun::Expired)
}

/// The options in force: those of the task, as its message overrides them.
pub(super) fn in_force(code: Option<&Code>, message: &Message) -> TaskOptions {
    let declared = code.map(|code| code.definition.options.clone()).unwrap_or_default();
    if message.overrides.is_empty() {
        return declared;
    }
    declared.overridden(&message.overrides).unwrap_or_else(|bad| {
        // It was checked when it was sent.
        tracing::warn!(task_id = %message.id, %bad, "an option is left as the task declares it");
        declared
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::LeaseKey;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000);

    fn lease(deliveries: u32, message: Message) -> Lease {
        Lease { key: LeaseKey { task: 1, token: 1 }, tenant: TenantId::default(), message, deliveries }
    }

    fn message() -> Message {
        Message::new("a".parse().unwrap(), "t.a".parse().unwrap())
    }

    #[test]
    fn what_may_run_once_is_lost_with_its_host() {
        let late = TaskOptions::default();
        let early = TaskOptions { acks_late: false, ..late.clone() };
        let lost = TaskOptions { reject_on_worker_lost: false, ..late.clone() };
        for (options, again) in [(&late, None), (&early, Some(Unrun::Lost)), (&lost, Some(Unrun::Lost))] {
            assert_eq!(unfit(&lease(1, message()), options, 10, NOW), None);
            assert_eq!(unfit(&lease(2, message()), options, 10, NOW), again);
            let retried = Message { earlier_deliveries: 1, retries: 1, ..message() };
            assert_eq!(unfit(&lease(2, retried), options, 10, NOW), None, "a retry is no loss");
        }
    }

    #[test]
    fn what_was_lost_with_host_after_host_is_not_run_again() {
        let unfit = |deliveries, message| unfit(&lease(deliveries, message), &TaskOptions::default(), 3, NOW);
        assert_eq!((unfit(3, message()), unfit(4, message())), (None, Some(Unrun::Poison { lost: 3 })));
        let retried = Message { earlier_deliveries: 5, retries: 5, ..message() };
        assert_eq!((unfit(8, retried.clone()), unfit(9, retried)), (None, Some(Unrun::Poison { lost: 3 })));
    }

    #[test]
    fn what_comes_too_late_is_not_run() {
        let until = |expires| Message { expires: Some(Timestamp::from_micros(expires)), ..message() };
        let unfit = |expires| unfit(&lease(1, until(expires)), &TaskOptions::default(), 10, NOW);
        assert_eq!((unfit(1_000_000), unfit(1_000_001)), (Some(Unrun::Expired), None));
    }
}
