//! How long may a guest run? To its end, its hard limit or an order, whichever is first.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::metered::Metered;
use super::turns::Taker;
use crate::attempt::Stop;
use crate::clock;

/// Why a run ended.
pub(super) enum End<T> {
    /// By itself.
    Ran(wasmtime::Result<T>),
    /// It waited past its hard limit.
    Late,
    /// It was told to.
    Stopped(Stop),
}

/// Drives a run to its end, its hard limit or an order, whichever is first. The run is polled first, so that code which
/// runs into the limit ends by itself, with a traceback; what waits in the host is dropped where it stands.
pub(super) async fn until<T>(
    run: impl Future<Output = wasmtime::Result<T>>,
    cpu: &mut Duration,
    taker: Taker<'_>,
    hard: Instant,
    mut stop: watch::Receiver<Option<Stop>>,
) -> End<T> {
    let mut run = pin!(Metered::new(run, cpu, taker));
    let mut limit = pin!(tokio::time::sleep_until(hard.into()));
    let mut stopped = pin!(ordered(&mut stop));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(result) = run.as_mut().poll(cx) {
            return Poll::Ready(End::Ran(result));
        }
        // A guest that yields without end keeps the runtime from its timers: the clock decides.
        if clock::instant() >= hard || limit.as_mut().poll(cx).is_ready() {
            run.as_mut().waits_no_more();
            // Code that had only yielded meets its limit at the next tick by itself, and says where it was.
            return Poll::Ready(match run.as_mut().poll(cx) {
                Poll::Ready(result) => End::Ran(result),
                Poll::Pending => End::Late,
            });
        }
        stopped.as_mut().poll(cx).map(End::Stopped)
    })
    .await
}

/// Waits for an order to stop: for ever, if nobody can give one any more.
pub(super) async fn ordered(stop: &mut watch::Receiver<Option<Stop>>) -> Stop {
    let order = stop.wait_for(Option::is_some).await.map(|order| *order);
    match order {
        Ok(order) => order.unwrap_or(Stop::Interrupted),
        Err(_nobody_can_order_any_more) => std::future::pending().await,
    }
}
