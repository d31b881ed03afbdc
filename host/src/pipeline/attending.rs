//! Who listens to a running attempt: tells those who watch, keeps the live log, and stores its latest state.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lovage_model::{AttemptLog, Event, EventKind, Json, LogRecord, TaskId, TaskName, TenantId};
use tokio::sync::Notify;

use super::overhead::{ASK_BYTES, Overhead, WORD_BYTES};
use crate::attempt::{Answered, Ask, LOSSY, Progress, record_bytes};
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
    pub(super) live: Live,
    pub(super) overhead: Arc<Overhead>,
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

/// What an attempt has written so far, for those who look at it. No more is kept of a whole map than of one item: each is told of apart,
/// and a process that runs it may tell more than it reports.
pub(super) struct Live {
    log: Arc<Mutex<AttemptLog>>,
    output_bytes: usize,
    record_bytes: AtomicUsize,
}

impl Live {
    /// Keeps it in a log, as far as an attempt may write.
    pub(super) fn of(log: Arc<Mutex<AttemptLog>>, output_bytes: usize) -> Self {
        Self { log, output_bytes, record_bytes: AtomicUsize::new(0) }
    }

    fn wrote(&self, stream: &str, text: &str) {
        let mut log = self.log();
        let written = if stream == "stdout" { &mut log.stdout } else { &mut log.stderr };
        if written.len() + text.len() <= self.output_bytes.saturating_mul(LOSSY) {
            written.push_str(text);
        }
    }

    fn logged(&self, record: &LogRecord) {
        let bytes = record_bytes(record);
        let mut log = self.log();
        if self.record_bytes.load(Ordering::Relaxed) + bytes <= self.output_bytes {
            self.record_bytes.fetch_add(bytes, Ordering::Relaxed);
            log.records.push(record.clone());
        }
    }

    fn log(&self) -> MutexGuard<'_, AttemptLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

    /// It has said so much: whoever makes this host listen is charged for it.
    fn heard(&self, bytes: usize) {
        self.overhead.passed(&self.tenant, bytes + WORD_BYTES);
    }

    fn tell_log(&self, stream: &str, text: &str) {
        if self.hub.watched(&self.tenant, &self.id) {
            self.tell(|| EventKind::Log { stream: stream.to_owned(), text: text.to_owned() });
        }
    }
}

impl Progress for Attending {
    fn state(&self, state: &str, meta: Json) {
        self.heard(state.len() + meta.as_str().len());
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
        self.heard(bytes.len());
        let text = String::from_utf8_lossy(bytes);
        self.live.wrote(stream, &text);
        self.tell_log(stream, &text);
    }

    fn logged(&self, record: &LogRecord) {
        self.heard(record.message.len());
        self.live.logged(record);
        self.tell_log(record.level.name(), &record.message);
    }

    fn event(&self, name: &str, fields: Json) {
        self.heard(name.len() + fields.as_str().len());
        self.tell(|| EventKind::Custom { event: name.to_owned(), fields: fields.read().unwrap_or_default() });
    }

    fn ask(&self, ask: Ask) -> Answered {
        self.overhead.passed(&self.tenant, ask.bytes() + ASK_BYTES);
        let (outside, may) = (Arc::clone(&self.outside), Arc::clone(&self.may));
        let (overhead, tenant) = (Arc::clone(&self.overhead), self.tenant.clone());
        Box::pin(async move {
            let answer = outside.answer(&may, ask).await;
            overhead.passed(&tenant, answer.bytes());
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use lovage_model::{LogLevel, Message, TaskOptions, TenantPolicy, Timestamp};

    use super::*;
    use crate::attempt::Answer;
    use crate::pipeline::{Caps, grant};
    use crate::store::memory::MemoryStore;

    fn attending(overhead: &Arc<Overhead>) -> Attending {
        let message = Message::new("a".parse().unwrap(), "t".parse().unwrap());
        let (tenant, policy) = (TenantId::default(), TenantPolicy::default());
        let caps = Caps {
            memory_bytes: 1 << 20,
            time_limit: BETWEEN_STATES,
            default_time_limit: BETWEEN_STATES,
            fuel: None,
            output_bytes: 100,
            payload_bytes: 100,
            subtasks: 0,
            deliveries: 1,
        };
        let grants = grant(&caps, &policy, &TaskOptions::default(), &message);
        Attending {
            hub: Arc::new(Hub::new(clock::now())),
            tenant: tenant.clone(),
            id: message.id,
            name: message.task,
            live: Live::of(Arc::default(), grants.output_bytes),
            overhead: Arc::clone(overhead),
            unstored: Mutex::default(),
            changed: Notify::new(),
            outside: Arc::new(Outside::new(Arc::new(MemoryStore::new()), 0)),
            may: Arc::new(May::of(tenant, "m".parse().unwrap(), &grants, &policy)),
        }
    }

    #[tokio::test]
    async fn whatever_an_attempt_says_or_asks_for_is_charged_to_its_tenant() {
        let overhead = Arc::new(Overhead::new(false));
        let (attending, tenant) = (attending(&overhead), TenantId::default());
        let charged = || overhead.of(&tenant, Duration::ZERO, 0);
        let silent = charged();
        let costs = |said: &str| {
            let charged = charged();
            assert!(charged > silent, "{said}: {charged:?}");
            charged
        };
        attending.state("PROGRESS", Json::null());
        costs("a state");
        attending.wrote("stdout", b"x");
        let word = costs("a byte");
        attending.logged(&LogRecord { at: Timestamp::from_micros(1), level: LogLevel::Info, message: String::new() });
        costs("a record");
        attending.event("it", Json::empty_object());
        costs("an event");
        let answer = attending.ask(Ask::Secret("none".to_owned())).await;
        assert_eq!(answer, Answer::Secret(Ok(None)));
        assert!(costs("a secret") > word, "more is done for it");
    }

    #[test]
    fn what_is_kept_of_a_log_is_bounded_however_much_is_told() {
        let log = Arc::new(Mutex::new(AttemptLog::default()));
        let live = Live::of(Arc::clone(&log), 100);
        let record = LogRecord { at: Timestamp::from_micros(1), level: LogLevel::Info, message: String::new() };
        for _ in 0..1000 {
            live.wrote("stdout", "0123456789");
            live.wrote("stderr", "0123456789");
            live.logged(&record);
        }
        let log = log.lock().unwrap();
        assert_eq!((log.stdout.len(), log.stderr.len(), log.records.len()), (300, 300, 1));
    }
}
