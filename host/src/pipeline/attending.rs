//! Who listens to a running attempt: tells those who watch, keeps the live log, and stores its latest state.

use std::sync::{Arc, Mutex, PoisonError};

use lovage_model::{AttemptLog, Event, EventKind, Json, LogRecord, TaskId, TaskName, TenantId};
use tokio::sync::Notify;

use crate::attempt::Progress;
use crate::clock;
use crate::events::Hub;
use crate::store::{LeaseKey, Store};

/// The listener of one attempt.
pub(super) struct Attending {
    pub(super) hub: Arc<Hub>,
    pub(super) tenant: TenantId,
    pub(super) id: TaskId,
    pub(super) name: TaskName,
    pub(super) live: Arc<Mutex<AttemptLog>>,
    pub(super) latest: Mutex<Option<(String, Json)>>,
    pub(super) changed: Notify,
}

impl Attending {
    /// Waits for the attempt's end, and stores its states meanwhile.
    pub(super) async fn beside<T>(&self, run: impl Future<Output = T>, store: &dyn Store, key: LeaseKey) -> T {
        tokio::select! {
            biased;
            ended = run => ended,
            () = self.store_states(store, key) => unreachable!("it listens until it is dropped"),
        }
    }

    /// Stores states as they come, the latest one when they come faster than the store takes them. Never returns: it is
    /// dropped with the attempt, whose end overwrites what was not stored yet.
    async fn store_states(&self, store: &dyn Store, key: LeaseKey) {
        loop {
            self.changed.notified().await;
            let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some((state, meta)) = latest else { continue };
            if let Err(error) = store.report(key, state, meta).await {
                tracing::warn!(task_id = %self.id, %error, "a custom state was not stored");
            }
        }
    }

    fn tell(&self, kind: EventKind) {
        let event = Event::new(self.id.clone(), self.name.clone(), clock::now(), kind);
        self.hub.announce(&self.tenant, &[event]);
    }

    fn live(&self, change: impl FnOnce(&mut AttemptLog)) {
        change(&mut self.live.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn tell_log(&self, stream: &str, text: &str) {
        if self.hub.watched(&self.tenant, &self.id) {
            self.tell(EventKind::Log { stream: stream.to_owned(), text: text.to_owned() });
        }
    }
}

impl Progress for Attending {
    fn state(&self, state: &str, meta: Json) {
        self.tell(EventKind::progress(state, &meta));
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some((state.to_owned(), meta));
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
        self.tell(EventKind::Custom { event: name.to_owned(), fields: fields.read().unwrap_or_default() });
    }
}
