//! Who listens to a running attempt: tells those who watch, keeps the live log, and stores its latest state.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lovage_model::{AttemptLog, Event, EventKind, Json, LogRecord, TaskId, TaskName, TenantId};
use tokio::sync::Notify;

use crate::attempt::{Answered, Ask, Progress};
use crate::clock;
use crate::events::Hub;
use crate::outside::{May, Outside};
use crate::store::{LeaseKey, Store};

/// The listener of one attempt.
pub(super) struct Attending {
    pub(super) hub: Arc<Hub>,
    pub(super) tenant: TenantId,
    pub(super) id: TaskId,
    pub(super) name: TaskName,
    pub(super) live: Arc<Mutex<AttemptLog>>,
    pub(super) unstored: Mutex<Unstored>,
    pub(super) changed: Notify,
    pub(super) outside: Arc<Outside>,
    pub(super) may: Arc<May>,
}

/// States that the task has set since the last one was stored. They are told once they are, so that who begins to listen meanwhile
/// finds each in the store or is told of it.
#[derive(Default)]
pub(super) struct Unstored {
    latest: Option<(String, Json)>,
    untold: VecDeque<EventKind>,
}

/// How long a state waits that comes right after another.
const BETWEEN_STATES: Duration = Duration::from_millis(20);
/// States that may wait to be told; then the oldest is not.
const MOST_UNTOLD: usize = 64;

impl Attending {
    /// Waits for the attempt's end, and stores its states meanwhile.
    pub(super) async fn beside<T>(&self, run: impl Future<Output = T>, store: &dyn Store, key: LeaseKey) -> T {
        let ended = tokio::select! {
            biased;
            ended = run => ended,
            () = self.store_states(store, key) => unreachable!("it listens until it is dropped"),
        };
        self.tell_states(usize::MAX);
        ended
    }

    fn unstored(&self) -> MutexGuard<'_, Unstored> {
        self.unstored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of the first of the states that were not told of.
    fn tell_states(&self, most: usize) {
        for _ in 0..most {
            let Some(kind) = self.unstored().untold.pop_front() else { return };
            self.tell(|| kind);
        }
    }

    /// Stores states as they come, the latest one when they come faster than they are taken. Never returns: it is
    /// dropped with the attempt, whose end overwrites what was not stored yet.
    async fn store_states(&self, store: &dyn Store, key: LeaseKey) {
        loop {
            self.changed.notified().await;
            let (latest, states) = {
                let mut unstored = self.unstored();
                (unstored.latest.take(), unstored.untold.len())
            };
            let Some((state, meta)) = latest else { continue };
            if let Err(error) = store.report(key, state, meta).await {
                tracing::warn!(task_id = %self.id, %error, "a custom state was not stored");
            }
            self.tell_states(states);
            // Who sets states all the time is heard now and then.
            tokio::time::sleep(BETWEEN_STATES).await;
        }
    }

    /// Tells of something, which is made only if somebody listens.
    fn tell(&self, kind: impl FnOnce() -> EventKind) {
        let event = || vec![Event::new(self.id.clone(), self.name.clone(), clock::now(), kind())];
        self.hub.announce_with(&self.tenant, event);
    }

    fn live(&self, change: impl FnOnce(&mut AttemptLog)) {
        change(&mut self.live.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn tell_log(&self, stream: &str, text: &str) {
        if self.hub.watched(&self.tenant, &self.id) {
            self.tell(|| EventKind::Log { stream: stream.to_owned(), text: text.to_owned() });
        }
    }
}

impl Progress for Attending {
    fn state(&self, state: &str, meta: Json) {
        let mut unstored = self.unstored();
        if unstored.untold.len() == MOST_UNTOLD {
            unstored.untold.pop_front();
        }
        unstored.untold.push_back(EventKind::progress(state, &meta));
        unstored.latest = Some((state.to_owned(), meta));
        drop(unstored);
        self.changed.notify_one();
    }

    fn wrote(&self, stream: &'static str, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        self.live(|log| match stream {
            "stdout" => log.stdout.push_str(&text),
            _ => log.stderr.push_str(&text),
        });
        self.tell_log(stream, &text);
    }

    fn logged(&self, record: &LogRecord) {
        self.live(|log| log.records.push(record.clone()));
        self.tell_log(record.level.name(), &record.message);
    }

    fn event(&self, name: &str, fields: Json) {
        self.tell(|| EventKind::Custom { event: name.to_owned(), fields: fields.read().unwrap_or_default() });
    }

    fn ask(&self, ask: Ask) -> Answered {
        let (outside, may) = (Arc::clone(&self.outside), Arc::clone(&self.may));
        Box::pin(async move { outside.answer(&may, ask).await })
    }
}
