//! How is everybody spoken to? By what is published on the channels of kombu's fanout exchanges, and lists for answers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lovage_model::{Exception, Json, State, TaskId, TenantId, Timestamp};
use redis::ConnectionAddr;
use tokio::sync::broadcast;

use super::settle::Of;
use super::texts::{self, Outcome};
use super::{RedisStore, bell};
use crate::celery::pidbox::ReplyTo;
use crate::celery::{self, pidbox};
use crate::store::{Fanout, Result};

/// The channel of an exchange: kombu puts the prefix of all keys before it, too.
pub(super) fn channel_of(prefix: &str, db: i64, exchange: &str, routing_key: &str) -> String {
    format!("{prefix}{}", celery::channel(u32::try_from(db).unwrap_or_default(), exchange, routing_key))
}

impl RedisStore {
    /// What lets kombu find the list of a host's answers.
    fn binding(&self, to: &str) -> (String, String) {
        let key = format!("{}_kombu.binding.{}", self.options.global_keyprefix, pidbox::REPLY_EXCHANGE);
        // One separator for this and for the priorities, as in kombu.
        let sep = &self.options.sep;
        (key, format!("{to}{sep}{sep}{}", ReplyTo::of(to).queue()))
    }
}

#[async_trait]
impl Fanout for RedisStore {
    async fn publish(&self, exchange: &str, routing_key: &str, envelope: &str) -> Result<()> {
        let channel = channel_of(&self.options.global_keyprefix, self.link.db(), exchange, routing_key);
        self.link.command::<i64>(redis::cmd("PUBLISH").arg(channel).arg(envelope)).await.map(drop)
    }

    async fn answer(&self, list: &str, envelope: &str, keep: Duration) -> Result<()> {
        let list = format!("{}{list}", self.options.global_keyprefix);
        self.link.command::<i64>(redis::cmd("LPUSH").arg(&list).arg(envelope)).await?;
        self.link.command::<i64>(redis::cmd("EXPIRE").arg(&list).arg(keep.as_secs().max(1))).await.map(drop)
    }

    async fn expect_answers(&self, to: &str) -> Result<()> {
        let (key, member) = self.binding(to);
        self.link.command::<i64>(redis::cmd("SADD").arg(key).arg(member)).await.map(drop)
    }

    async fn answers(&self, to: &str) -> Result<Vec<Bytes>> {
        let list = format!("{}{}", self.options.global_keyprefix, ReplyTo::of(to).queue());
        let found = self.link.command::<Vec<Vec<u8>>>(redis::cmd("LRANGE").arg(&list).arg(0).arg(-1)).await?;
        self.link.command::<i64>(redis::cmd("DEL").arg(&list)).await?;
        let (key, member) = self.binding(to);
        self.link.command::<i64>(redis::cmd("SREM").arg(key).arg(member)).await?;
        Ok(found.into_iter().map(Bytes::from).collect())
    }

    fn broker(&self) -> serde_json::Value {
        let info = self.link.client().get_connection_info();
        let (hostname, port) = match info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => (host.clone(), Some(*port)),
            other => (other.to_string(), None),
        };
        serde_json::json!({
            "hostname": hostname, "port": port, "transport": "redis", "virtual_host": self.link.db().to_string(),
            "userid": info.redis_settings().username(), "ssl": false, "alternates": [],
        })
    }

    fn ended_elsewhere(&self) -> broadcast::Receiver<Arc<[(TenantId, TaskId)]>> {
        self.bell.ended_elsewhere()
    }

    fn asked(&self) -> broadcast::Receiver<Bytes> {
        self.bell.asked()
    }

    async fn stop_elsewhere(&self, tenant: &TenantId, ids: &[TaskId]) -> Result<()> {
        let channel = bell::channel(&self.options.global_keyprefix);
        let tasks: String = ids.iter().map(|id| format!("\n{tenant}\0{id}")).collect();
        let text = format!("{} {}{tasks}", self.link.opening(), bell::STOP);
        self.link.command::<i64>(redis::cmd("PUBLISH").arg(channel).arg(text)).await.map(drop)
    }

    fn to_stop(&self) -> broadcast::Receiver<Arc<[(TenantId, TaskId)]>> {
        self.bell.to_stop()
    }

    async fn revoke_unseen(&self, ids: &[TaskId], now: Timestamp) -> Result<()> {
        let result = Json::of(&Exception::revoked("revoked")).unwrap_or_else(|_| Json::null());
        let outcome =
            Outcome { state: &State::Revoked, result: &result, traceback: None, children: &[], worker: None, at: now };
        for id in ids {
            let meta = texts::meta(Of { message: None, id, extended: false }, &outcome)?;
            let key = format!("{}celery-task-meta-{id}", self.options.result_keyprefix);
            let (expires, mut set) = (self.options.result_expires.as_secs(), redis::cmd("SET"));
            set.arg(&key).arg(&meta).arg("EX").arg(expires).arg("NX");
            // Who waits for it listens there.
            if self.link.command::<Option<String>>(&set).await?.is_some() {
                self.link.command::<i64>(redis::cmd("PUBLISH").arg(&key).arg(&meta)).await?;
            }
        }
        Ok(())
    }
}
