//! What runs leave to each other: nothing; and what they take from each other: nothing either.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use lovage::attempt::{Outcome, Progress, Report, Stop};
use lovage::sandbox::{Compiler, Sandbox};
use lovage_model::{Json, LogRecord};
use lovage_tests::{artifacts, guests};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::lab::{self, PLACES, Run};

fn run(task: &str) -> Run {
    Run::of(guests::walls(), task, &json!([]))
}

/// Tells when a task has set a state.
struct Told(mpsc::UnboundedSender<()>);

impl Progress for Told {
    fn state(&self, _: &str, _: Json) {
        // The test may have seen enough.
        let _ = self.0.send(());
    }

    fn wrote(&self, _: &'static str, _: &[u8]) {}
    fn logged(&self, _: &LogRecord) {}
    fn event(&self, _: &str, _: Json) {}
}

fn sandbox_of(places: u32) -> Arc<Sandbox> {
    let settings = lab::settings(artifacts::directory(), Compiler::InProcess);
    Arc::new(Sandbox::new(lovage::sandbox::Settings { concurrency: places, ..settings }).unwrap())
}

/// Fills every place of a sandbox at once, finds that one more has to wait, and empties it again.
async fn fill(sandbox: &Arc<Sandbox>, places: u32) {
    let (stop, stopped) = watch::channel(None);
    let (told, mut waiting) = mpsc::unbounded_channel();
    let mut runs = JoinSet::new();
    let mut start = |stop: watch::Receiver<_>| {
        let (sandbox, told) = (Arc::clone(sandbox), Arc::new(Told(told.clone())));
        runs.spawn(async move { run("walls.wait_visibly").start(&sandbox, told, stop).await });
    };
    let (stop_first, first_stopped) = watch::channel(None);
    start(first_stopped);
    waiting.recv().await.unwrap();
    (1..places).for_each(|_| start(stopped.clone()));
    for _ in 1..places {
        waiting.recv().await.unwrap();
    }
    start(stopped.clone());
    tokio::task::yield_now().await;
    assert!(waiting.is_empty(), "there are {places} places");
    stop_first.send(Some(Stop::Revoked)).unwrap();
    waiting.recv().await.unwrap();
    stop.send(Some(Stop::Interrupted)).unwrap();
    let ends: Vec<Outcome> = runs.join_all().await.into_iter().map(|report: Report| report.outcome).collect();
    assert_eq!(ends.iter().filter(|end| **end == Outcome::Stopped(Stop::Revoked)).count(), 1);
    assert_eq!(ends.iter().filter(|end| **end == Outcome::Stopped(Stop::Interrupted)).count(), places as usize);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_sleep_at_once_as_there_are_places() {
    fill(&sandbox_of(PLACES), PLACES).await;
}

#[tokio::test]
async fn an_order_ends_a_run_at_every_stage() {
    for task in ["walls.spin", "walls.spin_in_memory_fill", "walls.sleep_in_std", "walls.wait_visibly"] {
        for fuel in [None, Some(u64::MAX >> 1)] {
            for order in [Stop::Revoked, Stop::Interrupted] {
                let (stop, stopped) = watch::channel(None);
                let mut running =
                    pin!(run(task).with(|grants| grants.fuel = fuel).start(lab::sandbox(), Arc::new(()), stopped));
                let stages = if fuel.is_some() { 2 } else { 3 };
                assert!(poll(running.as_mut(), stages).is_pending(), "{task}");
                stop.send(Some(order)).unwrap();
                assert_eq!(running.await.outcome, Outcome::Stopped(order), "{task}");
            }
        }
        let (_keep, stopped) = watch::channel(Some(Stop::Revoked));
        let outcome = run(task).start(lab::sandbox(), Arc::new(()), stopped).await.outcome;
        assert_eq!(outcome, Outcome::Stopped(Stop::Revoked), "{task}: ordered before it began");
    }
}

/// Polls a future so many times, as a runtime would.
fn poll<T>(mut future: std::pin::Pin<&mut impl Future<Output = T>>, times: usize) -> Poll<T> {
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..times {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Poll::Ready(value);
        }
    }
    Poll::Pending
}

#[tokio::test]
async fn runs_that_are_dropped_give_back_all_they_had() {
    const PLACES: u32 = 6;
    let sandbox = sandbox_of(PLACES);
    for task in ["walls.spin", "walls.sleep_in_std", "walls.hoard", "walls.recurse", "walls.flood_stdout"] {
        for stage in 0..4 {
            // More than there are places, twice over if any were lost.
            for _ in 0..PLACES {
                let (_keep, stop) = watch::channel(None);
                let mut running = pin!(run(task).start(&sandbox, Arc::new(()), stop));
                let _ = poll(running.as_mut(), stage);
            }
        }
    }
    fill(&sandbox, PLACES).await;
}

#[tokio::test]
async fn a_run_sees_nothing_of_the_run_before() {
    const SEED: u64 = 20_261_121;
    // One place: what is left would be found.
    let sandbox = sandbox_of(1);
    let marks = async |task: &str, fuel: Option<u64>| {
        let (_keep, stop) = watch::channel(None);
        let run = Run::of(guests::walls(), task, &json!([SEED])).with(|grants| grants.fuel = fuel);
        let report = run.start(&sandbox, Arc::new(()), stop).await;
        let Outcome::Returned(count) = report.outcome else { panic!("{:?}", report.outcome) };
        count.read::<u64>().unwrap()
    };
    for fuel in [None, Some(1 << 40)] {
        let left = marks("walls.leave_marks", fuel).await;
        assert!(left > 1 << 15, "it leaves marks: {left}");
        assert_eq!(marks("walls.find_marks", fuel).await, 0);
    }
}

/// A neighbour that computes without end takes its share and no more: what comes after it still runs.
#[tokio::test(flavor = "current_thread")]
async fn who_spins_does_not_keep_others_from_running() {
    let (stop, stopped) = watch::channel(None);
    let mut spinning = JoinSet::new();
    for fuel in [None, None, Some(u64::MAX >> 1)] {
        let spin = run("walls.spin").with(|grants| grants.fuel = fuel);
        spinning.spawn(spin.start(lab::sandbox(), Arc::new(()), stopped.clone()));
    }
    tokio::task::yield_now().await;
    let polite = run("walls.hoard_politely").report().await;
    assert_eq!(polite.outcome, Outcome::Returned(Json::parse("\"there was none\"".to_owned()).unwrap()));
    stop.send(Some(Stop::Revoked)).unwrap();
    for report in spinning.join_all().await {
        assert_eq!(report.outcome, Outcome::Stopped(Stop::Revoked));
    }
}

#[tokio::test]
async fn an_unknown_module_goes_back_to_its_queue() {
    let (_keep, stop) = watch::channel(None);
    let mut run = Run::of(guests::walls(), "walls.spin", &json!([]));
    run.attempt.module = artifacts::digest_of(b"never seen");
    let report = lab::sandbox().run(run.attempt, run.grants, Arc::new(()), stop).await;
    assert_eq!(report.outcome, Outcome::Stopped(Stop::Interrupted));
}
