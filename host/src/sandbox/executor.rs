//! One engine with what it has loaded, ready to run.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lovage_model::Digest;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Engine, Store, UpdateDeadline};

use super::bindings::lovage::task;
use super::bindings::wasi::keyvalue;
use super::capabilities::http;
use super::ending::{self, HardLimit};
use super::engine::{self, Allocator, Flavour, Pool};
use super::guest::{Deadline, Guest};
use super::linked::Linked;
use super::run::Run;
use super::ticker::Ticker;
use super::turns::{Taker, Turns};
use super::until::{End, ordered, until};
use super::{Refusal, admission};
use crate::attempt::{Attempt, Grants, Outcome, Progress, Report, Stop};
use crate::clock;

/// How much fuel a guest burns before it lets others run: about a millisecond's worth.
const FUEL_SLICE: u64 = 1_000_000;
/// Room for the copies of a call besides the largest payload.
const HOSTCALL_ROOM_BYTES: usize = 64 << 10;
/// How long an attempt waits for a place before it goes back to its queue. Less than what a daemon gives it to end in besides its limits,
/// after which it takes this process for broken.
const PLACE_TIME: Duration = Duration::from_secs(10);
/// Components that are asked for their tasks at once.
const ASKED_AT_ONCE: u32 = 1;

/// An engine of one flavour, ready to run.
pub(super) struct Executor {
    pub(super) engine: Engine,
    pub(super) flavour: Flavour,
    pub(super) allocator: Allocator,
    linker: Linker<Guest>,
    loaded: Mutex<HashMap<Digest, Linked>>,
    /// With `asking` as many as the pool has places: the pool refuses where these wait.
    places: Semaphore,
    /// For components that are asked for their tasks: a push must not wait for a task to end.
    asking: Semaphore,
    ticker: Option<Ticker>,
    pub(super) turns: Arc<Turns>,
}

impl Executor {
    /// An executor with so many places for attempts.
    pub(super) fn new(flavour: Flavour, places: Pool, turns: Arc<Turns>) -> wasmtime::Result<Self> {
        let pool = Pool { instances: places.instances.saturating_add(ASKED_AT_ONCE), ..places };
        let (engine, allocator) = engine::executor(flavour, pool)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
        http::bound(&mut linker)?;
        keyvalue::store::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
        keyvalue::atomics::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
        task::secrets::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
        task::host::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
        task::types::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
        let ticker = (flavour == Flavour::Epoch).then(|| Ticker::start(&engine)).transpose()?;
        Ok(Self {
            engine,
            flavour,
            allocator,
            linker,
            loaded: Mutex::default(),
            places: Semaphore::new(places.instances as usize),
            asking: Semaphore::new(ASKED_AT_ONCE as usize),
            ticker,
            turns,
        })
    }

    /// Whether a component can be run at once.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.loaded().contains_key(digest)
    }

    /// Maps an artifact and links it.
    ///
    /// # Safety
    /// The file must have been made by this program's compiler: it is run as machine code.
    pub(super) unsafe fn load(&self, digest: &Digest, path: &Path) -> Result<(), Refusal> {
        // SAFETY: the caller's promise is the one asked for.
        let component = unsafe { Component::deserialize_file(&self.engine, path) };
        // What is not there says nothing about the component.
        let refusal = |error: wasmtime::Error| {
            if path.exists() { admission::unloadable(&error) } else { admission::vanished() }
        };
        let component = component.map_err(refusal)?;
        admission::check_interface(&self.engine, &component)?;
        let linked = self.linker.instantiate_pre(&component).and_then(Linked::new);
        self.loaded().insert(digest.clone(), linked.map_err(|error| admission::mismatch(&error))?);
        Ok(())
    }

    /// Forgets a component; runs under way keep it.
    pub(super) fn unload(&self, digest: &Digest) {
        self.loaded().remove(digest);
    }

    fn loaded(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Linked>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who takes turns for a guest.
    pub(super) fn taker(&self, guest: &Guest) -> Taker<'_> {
        let (tenant, progress) = (guest.attempt.tenant.clone(), Arc::clone(&guest.progress));
        Taker::new(&self.turns, tenant, guest.grants.weight, progress).interrupted_by(self.ticker.as_ref())
    }

    /// Runs an attempt in an instance of its own.
    pub(super) async fn run(
        &self,
        attempt: Attempt,
        grants: Grants,
        progress: Arc<dyn Progress>,
        stop: watch::Receiver<Option<Stop>>,
    ) -> Report {
        let _place = match self.place(stop.clone(), PLACE_TIME).await {
            Ok(place) => place,
            Err(stop) => return Report::stopped(stop),
        };
        let started = clock::instant();
        let Some(linked) = self.loaded().get(&attempt.module).cloned() else {
            // It was unloaded (its module removed) between the check and here: the task goes back.
            return Report::stopped(Stop::Interrupted);
        };
        let deadline = Deadline::start(&grants, started);
        let guest = Guest::new(attempt, grants, progress, deadline);
        Run::new(self, linked, guest, stop).report(started).await
    }

    /// A place for an attempt, unless it is told to stop before there is one, or there is none for so long.
    async fn place(
        &self,
        mut stop: watch::Receiver<Option<Stop>>,
        most: Duration,
    ) -> Result<SemaphorePermit<'_>, Stop> {
        tokio::select! {
            biased;
            place = self.places.acquire() => place.map_err(|_closed| Stop::Interrupted),
            order = ordered(&mut stop) => Err(order),
            () = tokio::time::sleep(most) => Err(Stop::Interrupted),
        }
    }

    /// Asks a component for its tasks, in an instance of its own.
    pub(super) async fn describe(&self, digest: &Digest, grants: Grants) -> Result<String, Refusal> {
        let _place = self.asking.acquire().await;
        let ready = self.loaded().get(digest).cloned().ok_or_else(admission::vanished)?;
        let deadline = Deadline::start(&grants, clock::instant());
        let attempt = admission::question(digest);
        let mut store = self.store(Guest::new(attempt, grants, Arc::new(()), deadline));
        let (mut cpu, (_keep, stop)) = (Duration::ZERO, watch::channel(None));
        let taker = self.taker(store.data());
        let ask = async {
            // The names of the exports were found when it was linked; their types are compared only here.
            match ready.instantiate(&mut store, true).await? {
                Ok(instance) => instance.tasks.call_describe(&mut store).await.map(Ok),
                Err(error) => Ok(Err(admission::mismatch(&error))),
            }
        };
        let end = until(ask, &mut cpu, taker, deadline.hard, stop).await;
        let outcome = match end {
            End::Ran(Ok(described)) => return described,
            End::Ran(Err(error)) => ending::failed(store.data(), &error),
            End::Late => ending::late(store.data()),
            End::Stopped(stop) => Outcome::Stopped(stop),
        };
        Err(admission::speechless(&outcome))
    }

    /// Whether a component exports handlers.
    pub(super) fn has_handlers(&self, digest: &Digest) -> bool {
        self.loaded().get(digest).is_some_and(Linked::has_handlers)
    }

    /// A store with every limit armed, before anything of the guest runs.
    pub(super) fn store(&self, guest: Guest) -> Store<Guest> {
        let payload_bytes = guest.grants.payload_bytes;
        let fuel = guest.grants.fuel;
        let mut store = Store::new(&self.engine, guest);
        store.limiter(|guest| &mut guest.limiter);
        store.set_hostcall_fuel(payload_bytes + HOSTCALL_ROOM_BYTES);
        match self.flavour {
            Flavour::Epoch => {
                store.set_epoch_deadline(1);
                store.epoch_deadline_callback(|store| {
                    if clock::instant() >= store.data().deadline.hard {
                        Err(HardLimit.into())
                    } else {
                        Ok(UpdateDeadline::Yield(1))
                    }
                });
            }
            Flavour::Fuel => {
                let armed = store.set_fuel(fuel.unwrap_or(u64::MAX));
                let armed = armed.and_then(|()| store.fuel_async_yield_interval(Some(FUEL_SLICE)));
                armed.expect("the engine of this flavour counts fuel");
            }
        }
        store
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::admission::question;

    #[test]
    fn what_is_not_there_is_not_said_to_demand_too_much() {
        let places = Pool { instances: 1, memory_bytes: 1 << 20 };
        let executor = Executor::new(Flavour::Fuel, places, Arc::new(Turns::new(1))).unwrap();
        let home = tempfile::tempdir().unwrap();
        // SAFETY: there is no such file, so none of it is run.
        let loaded = unsafe { executor.load(&Digest::from_bytes(&[7; 32]), &home.path().join("gone")) };
        assert_eq!(loaded.unwrap_err().code, "removed");
    }

    #[tokio::test]
    async fn who_waits_for_a_place_is_stopped_and_does_not_wait_for_ever() {
        let places = Pool { instances: 0, memory_bytes: 1 << 20 };
        let executor = Executor::new(Flavour::Fuel, places, Arc::new(Turns::new(1))).unwrap();
        let (order, stop) = watch::channel(None);
        let late = executor.place(stop.clone(), Duration::from_millis(20)).await;
        assert_eq!(late.map(drop), Err(Stop::Interrupted));
        let run = executor.run(
            question(&Digest::from_bytes(&[7; 32])),
            Grants::of_time(Duration::from_secs(60)),
            Arc::new(()),
            stop,
        );
        let (waited, ()) = tokio::join!(run, async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let _ = order.send(Some(Stop::Revoked));
        });
        assert_eq!(waited, Report::stopped(Stop::Revoked));
    }
}
