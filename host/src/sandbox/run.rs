//! One attempt, from its first instruction to its report: the run, and the handlers after it.
//!
//! Handlers are called in the run's instance, or in a fresh one once that was killed; there is never more than one, since
//! an attempt has one place. Whatever they do, the outcome stays.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lovage_model::{Handler, LogLevel, LogRecord, Request, Usage};
use tokio::sync::watch;
use wasmtime::Store;

use super::bindings::lovage::task::types;
use super::ending;
use super::engine::Flavour;
use super::executor::Executor;
use super::guest::Guest;
use super::handlers::{Came, following, tell};
use super::linked::{Instance, Linked};
use super::metered::thread_time;
use super::until::{End, until};
use crate::attempt::{Fault, Outcome, Report, Stop};
use crate::clock;

/// An attempt that runs.
pub(super) struct Run<'a> {
    executor: &'a Executor,
    linked: Linked,
    store: Store<Guest>,
    /// None: it has not begun, or it was killed.
    instance: Option<Instance>,
    stop: watch::Receiver<Option<Stop>>,
    cpu: Duration,
    /// The fuel that the store was armed with last.
    armed: u64,
    /// What was burnt before that.
    burnt: u64,
}

impl<'a> Run<'a> {
    /// One that has not begun.
    pub(super) fn new(
        executor: &'a Executor,
        linked: Linked,
        guest: Guest,
        stop: watch::Receiver<Option<Stop>>,
    ) -> Self {
        let armed = guest.grants.fuel.unwrap_or(u64::MAX);
        let store = executor.store(guest);
        Self { executor, linked, store, instance: None, stop, cpu: Duration::ZERO, armed, burnt: 0 }
    }

    /// Takes it to its end.
    pub(super) async fn report(mut self, started: Instant) -> Report {
        let deadline = self.store.data().deadline.hard;
        let taker = self.executor.taker(self.store.data());
        let call = call(&self.linked, &mut self.store, &mut self.instance);
        let end = until(call, &mut self.cpu, taker, deadline, self.stop.clone()).await;
        if !matches!(end, End::Ran(Ok(_))) {
            self.instance = None;
        }
        let guest = self.store.data();
        let outcome = outcome(guest, end);
        // What does not even start does not start again.
        let declared = if guest.instantiated.is_some() { guest.attempt.handlers.as_slice() } else { &[] };
        let following = following(declared, &outcome, &guest.effects);
        if !following.is_empty() {
            // Boxed, since it is rare and as large as the run.
            Box::pin(self.handle(following)).await;
        }
        self.into_report(outcome, started)
    }

    /// Calls handlers, one after the other.
    async fn handle(&mut self, following: Vec<(Handler, Came)>) {
        for (handler, came) in following {
            let end = self.tell(handler, came).await;
            let stopped = matches!(end, End::Stopped(_));
            if !matches!(end, End::Ran(Ok(_))) {
                self.instance = None;
            }
            self.note(handler, end);
            if stopped {
                return;
            }
        }
    }

    /// Calls one, in a time and with fuel of its own: one that takes all of it takes nothing from the next.
    async fn tell(&mut self, handler: Handler, came: Came) -> End<Result<(), types::Exception>> {
        self.store.data_mut().ends(clock::instant());
        self.burnt += self.armed - self.left();
        if self.instance.is_none() {
            let guest = self.store.data_mut().renewed();
            self.store = self.executor.store(guest);
        }
        self.arm();
        let hard = self.store.data().deadline.hard;
        let taker = self.executor.taker(self.store.data());
        let Self { linked, store, instance, cpu, stop, .. } = self;
        let call = async {
            let instance = match instance {
                Some(instance) => instance,
                None => instance.insert(linked.instantiate(store, true).await??),
            };
            tell(instance, store, handler, came).await
        };
        until(call, cpu, taker, hard, stop.clone()).await
    }

    fn arm(&mut self) {
        self.armed = self.store.data().grants.fuel.unwrap_or(u64::MAX);
        if self.executor.flavour == Flavour::Fuel {
            self.store.set_fuel(self.armed).expect("the engine of this flavour counts fuel");
        }
    }

    fn left(&self) -> u64 {
        if self.executor.flavour == Flavour::Fuel { self.store.get_fuel().unwrap_or_default() } else { self.armed }
    }

    /// What became of a handler, if it is worth a line in the task's log.
    fn note(&self, handler: Handler, end: End<Result<(), types::Exception>>) {
        let guest = self.store.data();
        let name = handler.name();
        let stopped = match end {
            End::Ran(Ok(Ok(()))) => return,
            End::Ran(Ok(Err(raised))) => {
                let text = ending::described(raised);
                return guest.output.log(error(format!("{name} raised {text}")));
            }
            End::Ran(Err(error)) => ending::failed(guest, &error),
            End::Late => ending::late(guest),
            End::Stopped(stop) => Outcome::Stopped(stop),
        };
        let why = match stopped {
            Outcome::Faulted(Fault { exception, .. }) => exception.to_string(),
            _ => "its host stopped it".to_owned(),
        };
        guest.output.log(error(format!("{name} did not end: {why}")));
    }

    fn into_report(self, outcome: Outcome, started: Instant) -> Report {
        let burnt = self.burnt + (self.armed - self.left());
        let fuel = (self.executor.flavour == Flavour::Fuel).then_some(burnt);
        // With the store goes all of its memory, which takes its time.
        let before = thread_time();
        let guest = self.store.into_data();
        let cleaning = thread_time().saturating_sub(before);
        self.executor.turns.charge(&guest.attempt.tenant, guest.grants.weight, cleaning + guest.grants.overhead);
        let wall = clock::instant().saturating_duration_since(started);
        let instantiate = guest.instantiated.map_or(wall, |at| at.saturating_duration_since(started));
        Report {
            outcome,
            effects: guest.effects,
            usage: Usage {
                fuel,
                peak_memory_bytes: guest.limiter.peak_bytes() as u64,
                cpu_seconds: (self.cpu + cleaning).as_secs_f64(),
                wall_seconds: wall.as_secs_f64(),
                instantiate_seconds: instantiate.as_secs_f64(),
            },
            log: guest.output.take(guest.attempt.request.retries),
        }
    }
}

/// Instantiates a component and runs its task, unless what it has before the run fails.
async fn call(
    linked: &Linked,
    store: &mut Store<Guest>,
    running: &mut Option<Instance>,
) -> wasmtime::Result<Result<String, types::Ending>> {
    let attempt = Arc::clone(&store.data().attempt);
    let (any, before) = (!attempt.handlers.is_empty(), attempt.handlers.contains(&Handler::BeforeStart));
    let instance = running.insert(linked.instantiate(store, any).await??);
    let Request { task, args, kwargs, .. } = &attempt.request;
    let (task, args, kwargs) = (task.as_str(), args.as_str(), kwargs.as_str());
    if let Some(handlers) = instance.handlers.as_ref().filter(|_| before)
        && let Err(ending) = handlers.call_before_start(&mut *store, task, args, kwargs).await?
    {
        return Ok(Err(ending));
    }
    instance.tasks.call_run(store, task, args, kwargs).await
}

fn outcome(guest: &Guest, end: End<Result<String, types::Ending>>) -> Outcome {
    match end {
        End::Ran(Ok(result)) => ending::returned(guest, result),
        End::Ran(Err(error)) => ending::failed(guest, &error),
        End::Late => ending::late(guest),
        End::Stopped(stop) => Outcome::Stopped(stop),
    }
}

fn error(message: String) -> LogRecord {
    LogRecord { at: clock::now(), level: LogLevel::Error, message }
}
