//! When is the store to be asked again?
//!
//! A connection of its own listens to the channel on which scripts of other hosts tell what they did, and to the lists that
//! this host takes from: the server tells who has looked at a key (`CLIENT TRACKING`) that it was changed, so that nobody
//! asks again and again, whoever puts a message there. It looks only while somebody waits. The same connection hears what is
//! asked of all hosts by remote control, and passes it on unread.
//!
//! Invariant: whoever waits is woken once after each time that the connection was made again: something may have been missed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lovage_model::{TaskId, TenantId};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ProtocolVersion, PushInfo, PushKind, RedisError, Value};
use tokio::sync::{Notify, broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::link::{PATIENCE, connect};

/// How long to wait before the connection is made again: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often a connection is asked whether it is alive.
const PULSE: Duration = Duration::from_secs(2);

/// Requests, and ends, that may wait for their reader.
const BACKLOG: usize = 1024;

/// Says that tasks are to be stopped, where it would else be said what was done.
pub(super) const STOP: &str = "s";

/// The channel on which hosts tell each other what they did. (Scripts know it by its key.)
pub(super) fn channel(global_keyprefix: &str) -> String {
    format!("{global_keyprefix}lovage:bell")
}

/// Some tasks, with their tenants.
type Tasks = Arc<[(TenantId, TaskId)]>;

pub(super) struct Bell {
    ready: Notify,
    ends: Notify,
    modules: Notify,
    access: Notify,
    /// Somebody waits for messages.
    waits: Notify,
    /// The connection was made again.
    cut: AtomicBool,
    lists: Mutex<Arc<Vec<String>>>,
    asked: broadcast::Sender<Bytes>,
    elsewhere: broadcast::Sender<Tasks>,
    stops: broadcast::Sender<Tasks>,
}

impl Default for Bell {
    fn default() -> Self {
        let (ready, ends, modules, access, waits) = <(Notify, Notify, Notify, Notify, Notify)>::default();
        let (asked, elsewhere) = (broadcast::Sender::new(BACKLOG), broadcast::Sender::new(BACKLOG));
        let (lists, stops, cut) = (Mutex::default(), broadcast::Sender::new(BACKLOG), AtomicBool::default());
        Self { ready, ends, modules, access, waits, cut, lists, asked, elsewhere, stops }
    }
}

impl Bell {
    pub(super) fn ended_elsewhere(&self) -> broadcast::Receiver<Tasks> {
        self.elsewhere.subscribe()
    }

    pub(super) fn to_stop(&self) -> broadcast::Receiver<Tasks> {
        self.stops.subscribe()
    }

    pub(super) fn asked(&self) -> broadcast::Receiver<Bytes> {
        self.asked.subscribe()
    }

    pub(super) async fn ready(&self) {
        let rung = self.ready.notified();
        tokio::pin!(rung);
        if rung.as_mut().enable() {
            return;
        }
        self.waits.notify_one();
        rung.await;
    }

    pub(super) async fn any_ended(&self) {
        self.ends.notified().await;
    }

    pub(super) async fn modules_changed(&self) {
        self.modules.notified().await;
    }

    pub(super) async fn access_changed(&self) {
        self.access.notified().await;
    }

    pub(super) fn ring_ready(&self) {
        self.ready.notify_one();
    }

    pub(super) fn ring_ended(&self) {
        self.ends.notify_one();
    }

    /// From now on these lists are looked at.
    pub(super) fn watch(&self, lists: Vec<String>) {
        let mut watched = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if **watched != lists {
            *watched = Arc::new(lists);
        }
    }

    pub(super) fn lists(&self) -> Arc<Vec<String>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the server was away since this was asked last.
    pub(super) fn was_cut(&self) -> bool {
        self.cut.swap(false, Ordering::AcqRel)
    }

    fn ring_all(&self) {
        self.ring_ready();
        self.ring_ended();
        self.modules.notify_one();
        self.access.notify_one();
        // Any may have: nobody can say which.
        let _ = self.elsewhere.send(Arc::default());
    }
}

/// What the listener must know.
pub(super) struct Ear {
    pub(super) client: Client,
    pub(super) name: String,
    pub(super) channel: String,
    /// The channel of remote control.
    pub(super) pidbox: String,
    /// What a host of this store's says on the channel before anything else.
    pub(super) opening: String,
    /// Whether there are ends that nobody has dealt with.
    pub(super) ends: bool,
}

/// Listens until the task is aborted; returns once it does so the first time.
pub(super) async fn listen(bell: Arc<Bell>, ear: Ear) -> Result<JoinHandle<()>, RedisError> {
    let (begun, first) = oneshot::channel();
    let task = tokio::spawn(async move {
        let mut begun = Some(begun);
        let mut pause = FIRST_PAUSE;
        loop {
            match ear.connect().await {
                Ok((mut connection, mut pushes)) => {
                    pause = FIRST_PAUSE;
                    match begun.take() {
                        Some(begun) => {
                            bell.ring_ready();
                            if ear.ends {
                                bell.ring_ended();
                            }
                            let _ = begun.send(Ok(()));
                        }
                        None => {
                            bell.cut.store(true, Ordering::Release);
                            bell.ring_all();
                        }
                    }
                    ear.attend(&bell, &mut connection, &mut pushes).await;
                }
                Err(error) => {
                    if let Some(begun) = begun.take() {
                        let _ = begun.send(Err(error));
                        return;
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    });
    match first.await {
        Ok(Ok(())) => Ok(task),
        Ok(Err(error)) => Err(error),
        Err(_) => Err((redis::ErrorKind::Client, "the listener has ended").into()),
    }
}

type Pushes = mpsc::UnboundedReceiver<PushInfo>;

impl Ear {
    async fn connect(&self) -> Result<(MultiplexedConnection, Pushes), RedisError> {
        let info = self.client.get_connection_info().clone();
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(settings))?;
        let (sender, pushes) = mpsc::unbounded_channel();
        let made = async {
            let mut connection =
                connect(&client, &self.name, AsyncConnectionConfig::new().set_push_sender(sender)).await?;
            redis::cmd("CLIENT").arg("TRACKING").arg("ON").query_async::<()>(&mut connection).await?;
            connection.subscribe(&[&self.channel, &self.pidbox]).await?;
            Ok::<_, RedisError>(connection)
        };
        let made = tokio::time::timeout(PATIENCE, made).await;
        let late = || RedisError::from((redis::ErrorKind::Io, "it does not answer in time"));
        Ok((made.map_err(|_| late())??, pushes))
    }

    /// Rings for what is heard until the connection breaks.
    async fn attend(&self, bell: &Bell, connection: &mut MultiplexedConnection, pushes: &mut Pushes) {
        let mut pulse = tokio::time::interval(PULSE);
        pulse.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut waits = false;
        loop {
            let is_alive = tokio::select! {
                push = pushes.recv() => push.is_some_and(|push| self.hear(bell, &push, &mut waits)),
                () = bell.waits.notified() => {
                    waits = true;
                    look(bell, connection, &mut waits).await
                }
                _ = pulse.tick() => is_alive(connection).await,
            };
            if !is_alive {
                return;
            }
        }
    }

    /// Whether the connection goes on.
    fn hear(&self, bell: &Bell, push: &PushInfo, waits: &mut bool) -> bool {
        match push.kind {
            PushKind::Disconnection => return false,
            PushKind::Invalidate if std::mem::take(waits) => bell.ring_ready(),
            PushKind::Message => self.heed(bell, &push.data),
            _ => {}
        }
        true
    }

    /// Somebody said on the channel what he did, or asked something of everybody.
    fn heed(&self, bell: &Bell, data: &[Value]) {
        let [Value::BulkString(channel), Value::BulkString(text)] = data else { return };
        if *channel == self.pidbox.as_bytes() {
            // Nobody may listen, as in a command that only opens the store.
            let _ = bell.asked.send(Bytes::copy_from_slice(text));
            return;
        }
        let text = String::from_utf8_lossy(text);
        let (text, tasks) = text.split_once('\n').unwrap_or((&text, ""));
        let mut words = text.split(' ');
        // What this host did it knows.
        if words.next() == Some(self.opening.as_str()) {
            return;
        }
        let task = |line: &str| {
            let (tenant, id) = line.split_once('\0')?;
            Some((tenant.parse().ok()?, id.parse().ok()?))
        };
        let tasks: Tasks = tasks.lines().filter_map(task).collect();
        let what = words.next().unwrap_or_default();
        if !tasks.is_empty() {
            let to = if what == STOP { &bell.stops } else { &bell.elsewhere };
            // As above.
            let _ = to.send(tasks);
        }
        if what.contains('r') {
            bell.ring_ready();
        }
        if what.contains('e') {
            bell.ring_ended();
        }
        if what.contains('m') {
            bell.modules.notify_one();
        }
        if what.contains('a') {
            bell.access.notify_one();
        }
    }
}

/// Looks whether there is something in a list; if not, the server tells when there is.
async fn look(bell: &Bell, connection: &mut MultiplexedConnection, waits: &mut bool) -> bool {
    let lists = bell.lists();
    if lists.is_empty() {
        return true;
    }
    let mut command = redis::cmd("EXISTS");
    command.arg(&**lists);
    match tokio::time::timeout(PATIENCE, command.query_async::<u64>(connection)).await {
        Ok(Ok(0)) => true,
        Ok(Ok(_)) => {
            *waits = false;
            bell.ring_ready();
            true
        }
        Ok(Err(_)) | Err(_) => false,
    }
}

async fn is_alive(connection: &mut MultiplexedConnection) -> bool {
    let ping = redis::cmd("PING");
    matches!(tokio::time::timeout(PATIENCE, ping.query_async::<()>(connection)).await, Ok(Ok(())))
}
