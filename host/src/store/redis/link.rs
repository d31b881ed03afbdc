//! How is the server asked? Over one connection that all calls share, which is made again when it breaks.
//!
//! Invariants: no call takes longer than [`PATIENCE`] (and a bit for what is large); a call that failed may have been
//! carried out all the same, so that whoever must know asks again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, RedisError, ServerErrorKind};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use super::fault::Faults;
use super::script::{Script, Scripts};
use super::wire::{pack, unpack};
use crate::store::{Result, StoreError};

/// How long a call may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait before a server that was there is looked for again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// How often.
const RECONNECTS: usize = 40;
/// So many bytes may take a second more.
const BYTES_A_SECOND: u64 = 4 << 20;

pub(super) struct Link {
    client: Client,
    /// What the server lists our connections as.
    name: String,
    pub(super) faults: Faults,
    scripts: Scripts,
    connection: Mutex<Connected>,
    opening: String,
    closed: AtomicBool,
}

impl Link {
    pub(super) fn new(client: Client, name: String, faults: Faults, scripts: Scripts) -> Self {
        let (connection, closed) = (Mutex::default(), AtomicBool::new(false));
        Self { client, name, faults, scripts, connection, opening: String::new(), closed }
    }

    /// From now on scripts are told as which opening they are called.
    pub(super) fn opened(self, opening: String) -> Self {
        Self { opening, ..self }
    }

    /// Calls a script, which answers in MessagePack.
    pub(super) async fn call<R: DeserializeOwned>(
        &self,
        script: Script,
        args: &(impl Serialize + ?Sized),
    ) -> Result<R> {
        self.call_for(script, args, 0).await
    }

    /// The same; the answer may have so many bytes, and is waited for as long as these may take.
    pub(super) async fn call_for<R: DeserializeOwned>(
        &self,
        script: Script,
        args: &(impl Serialize + ?Sized),
        bytes: usize,
    ) -> Result<R> {
        let answer: Vec<u8> = self.run_script(script, args, &[], bytes).await?;
        unpack(&answer).map_err(|error| self.faults.garbled(script.name(), &error))
    }

    /// Calls a script, which answers as Redis does.
    pub(super) async fn ask<R: FromRedisValue>(&self, script: Script, args: &(impl Serialize + ?Sized)) -> Result<R> {
        self.ask_with(script, args, &[]).await
    }

    /// Calls a script with bytes that are no text, which its MessagePack has no word for.
    pub(super) async fn ask_with<R: FromRedisValue>(
        &self,
        script: Script,
        args: &(impl Serialize + ?Sized),
        bytes: &[u8],
    ) -> Result<R> {
        self.run_script(script, args, bytes, 0).await
    }

    async fn run_script<R: FromRedisValue>(
        &self,
        script: Script,
        args: &(impl Serialize + ?Sized),
        bytes: &[u8],
        answered: usize,
    ) -> Result<R> {
        let packed = pack(args).map_err(|error| StoreError::Failed(format!("{}: {error}", script.name())))?;
        let text = self.scripts.get(script);
        let how = |command: &str, what: &str| {
            let mut command = redis::cmd(command);
            command.arg(what).arg(0).arg(packed.as_slice()).arg(&self.opening);
            if !bytes.is_empty() {
                command.arg(bytes);
            }
            command
        };
        let size = packed.len() + bytes.len() + answered;
        match self.run(&how("EVALSHA", &text.hash), size).await {
            Err(Failure::Redis(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                let answer = self.run(&how("EVAL", &text.code), size).await;
                self.explained(answer)
            }
            answer => self.explained(answer),
        }
    }

    /// Gives a command of its own.
    pub(super) async fn command<R: FromRedisValue>(&self, command: &redis::Cmd) -> Result<R> {
        let answer = self.run(command, 0).await;
        self.explained(answer)
    }

    fn explained<R>(&self, answer: std::result::Result<R, Failure>) -> Result<R> {
        answer.map_err(|failure| match failure {
            Failure::Redis(error) => self.faults.explain(&error),
            Failure::Silent(after) => self.faults.silent(after.as_secs()),
            Failure::Closed => StoreError::Failed("the store is closed".to_owned()),
        })
    }

    async fn run<R: FromRedisValue>(&self, command: &redis::Cmd, bytes: usize) -> std::result::Result<R, Failure> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Failure::Closed);
        }
        let patience = PATIENCE + Duration::from_secs(bytes as u64 / BYTES_A_SECOND);
        let mut used = None;
        let asked = async {
            let (number, mut connection) = self.connected_soon().await?;
            used = Some(number);
            command.query_async::<R>(&mut connection).await
        };
        let failure = match tokio::time::timeout(patience, asked).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) if !is_broken(&error) => return Err(Failure::Redis(error)),
            Ok(Err(error)) => Failure::Redis(error),
            Err(_) => Failure::Silent(patience),
        };
        if let Some(number) = used {
            self.disconnect(number).await;
        }
        Err(failure)
    }

    /// As [`Link::connected`]; if the server was there before, and is not now, it is waited for nearly as long as a call may take: it
    /// may only be restarted.
    async fn connected_soon(&self) -> std::result::Result<(u64, MultiplexedConnection), RedisError> {
        for _ in 0..RECONNECTS {
            match self.connected().await {
                Err(error) if error.is_io_error() && self.was_connected().await => {
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                }
                answer => return answer,
            }
        }
        self.connected().await
    }

    async fn was_connected(&self) -> bool {
        !self.closed.load(Ordering::Acquire) && self.connection.lock().await.number > 0
    }

    async fn connected(&self) -> std::result::Result<(u64, MultiplexedConnection), RedisError> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = &slot.now {
            return Ok((slot.number, connection.clone()));
        }
        let connection = connect(&self.client, &self.name, AsyncConnectionConfig::new()).await?;
        slot.number += 1;
        slot.now = Some(connection.clone());
        Ok((slot.number, connection))
    }

    /// Drops the connection of this number, so that the next call makes another one.
    async fn disconnect(&self, number: u64) {
        let mut slot = self.connection.lock().await;
        if slot.number == number {
            slot.now = None;
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The number of the database.
    pub(super) fn db(&self) -> i64 {
        self.client.get_connection_info().redis_settings().db()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn opening(&self) -> &str {
        &self.opening
    }

    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.connection.lock().await.now = None;
    }
}

/// A connection with our name on it. Answers are waited for as long as their caller likes.
pub(super) async fn connect(
    client: &Client,
    name: &str,
    config: AsyncConnectionConfig,
) -> std::result::Result<MultiplexedConnection, RedisError> {
    let config = config.set_response_timeout(None).set_connection_timeout(Some(PATIENCE));
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    redis::cmd("CLIENT").arg("SETNAME").arg(name).query_async::<()>(&mut connection).await?;
    Ok(connection)
}

fn is_broken(error: &RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error()
}

/// The connection there is, and how many there were.
#[derive(Default)]
struct Connected {
    number: u64,
    now: Option<MultiplexedConnection>,
}

enum Failure {
    Redis(RedisError),
    Silent(Duration),
    Closed,
}
