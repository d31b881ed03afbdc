//! Which connections is nothing asked on?
//!
//! A daemon has only so many connections at once, and a client that keeps many for later could keep everybody else out. So when
//! all are taken and one more comes, the one that has been idle for longest is closed for it, as a server may at any time (RFC 9112,
//! section 9.5).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The idle connections of a server.
#[derive(Debug, Clone, Default)]
pub(super) struct Idle(Arc<Mutex<Line>>);

#[derive(Debug, Default)]
struct Line {
    next: u64,
    /// What closes each, the one that has been idle for longest first.
    idle: BTreeMap<u64, Arc<Notify>>,
    /// Whether the next that is idle is to be closed: there was none when room was needed.
    is_room_wanted: bool,
}

/// A connection, which is idle when nothing is asked on it.
#[derive(Debug)]
pub(super) struct Connection {
    idle: Idle,
    close: Arc<Notify>,
    /// Its place in the line, while it is there.
    place: Mutex<Option<u64>>,
    has_asked: AtomicBool,
}

/// A request, until its answer has been sent.
#[derive(Debug)]
pub(super) struct Asked(Arc<Connection>);

impl Idle {
    /// Closes one, or the next that is idle.
    pub(super) fn make_room(&self) {
        let mut line = self.line();
        match line.idle.pop_first() {
            Some((_, close)) => close.notify_one(),
            None => line.is_room_wanted = true,
        }
    }

    /// There is room.
    pub(super) fn has_room(&self) {
        self.line().is_room_wanted = false;
    }

    /// A new connection, on which nothing was asked yet.
    pub(super) fn connection(&self) -> Arc<Connection> {
        let connection = Connection {
            idle: self.clone(),
            close: Arc::new(Notify::new()),
            place: Mutex::new(None),
            has_asked: AtomicBool::new(false),
        };
        connection.rest();
        Arc::new(connection)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Something is asked on it.
    pub(super) fn ask(self: &Arc<Self>) -> Asked {
        self.leave();
        self.has_asked.store(true, Ordering::Release);
        Asked(Arc::clone(self))
    }

    /// Whether anything was ever asked on it.
    pub(super) fn has_asked(&self) -> bool {
        self.has_asked.load(Ordering::Acquire)
    }

    /// Returns when it is to be closed, once what was asked on it is answered.
    pub(super) async fn closed(&self) {
        self.close.notified().await;
    }

    fn rest(&self) {
        let mut line = self.idle.line();
        if std::mem::take(&mut line.is_room_wanted) {
            return self.close.notify_one();
        }
        line.next += 1;
        let place = line.next;
        line.idle.insert(place, Arc::clone(&self.close));
        *self.place() = Some(place);
    }

    fn leave(&self) {
        let mut line = self.idle.line();
        if let Some(place) = self.place().take() {
            line.idle.remove(&place);
        }
    }

    fn place(&self) -> MutexGuard<'_, Option<u64>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.rest();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn is_closed(connection: &Connection) -> bool {
        connection.closed().now_or_never().is_some()
    }

    #[test]
    fn the_one_that_was_idle_for_longest_makes_room() {
        let idle = Idle::default();
        let [first, second, third] = std::array::from_fn(|_| idle.connection());
        drop(first.ask());
        idle.make_room();
        assert!(is_closed(&second) && !is_closed(&first) && !is_closed(&third));
        drop(third);
        idle.make_room();
        assert!(is_closed(&first));
    }

    #[test]
    fn who_is_asked_something_is_closed_when_it_is_answered() {
        let idle = Idle::default();
        let [first, second] = std::array::from_fn(|_| idle.connection());
        let asked = [first.ask(), second.ask()];
        idle.make_room();
        assert!(!is_closed(&first) && !is_closed(&second), "nothing is idle");
        drop(asked);
        assert!(is_closed(&first) && !is_closed(&second));
        let asked = second.ask();
        idle.make_room();
        idle.has_room();
        drop(asked);
        assert!(!is_closed(&second), "by then there was room");
    }
}
