//! What went wrong, and what is to be checked? The server's errors as they reach people: never a type of the driver.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::store::StoreError;

/// Explains the errors of one server.
#[derive(Debug, Clone)]
pub(super) struct Faults {
    /// Where it is, without the password.
    at: String,
}

impl Faults {
    pub(super) fn of(at: String) -> Self {
        Self { at }
    }

    /// It does not answer in time.
    pub(super) fn silent(&self, seconds: u64) -> StoreError {
        StoreError::Away(format!(
            "redis at {} does not answer within {seconds} s: is it running, and not busy with something else? \
             (redis-cli --latency, SLOWLOG GET)",
            self.at
        ))
    }

    /// An answer that is none.
    pub(super) fn garbled(&self, what: &str, error: &dyn std::fmt::Display) -> StoreError {
        StoreError::Corrupt(format!(
            "redis at {}: the answer to {what} cannot be read ({error}): was something else written to lovage's keys?",
            self.at
        ))
    }

    pub(super) fn explain(&self, error: &RedisError) -> StoreError {
        let at = &self.at;
        let says = error.detail().unwrap_or_default();
        match error.kind() {
            ErrorKind::Io => {
                StoreError::Away(format!("redis at {at} cannot be reached ({error}): is it running there?"))
            }
            ErrorKind::Parse => StoreError::Failed(format!(
                "what answers at {at} is no Redis server ({says}): check host and port in store.url"
            )),
            ErrorKind::AuthenticationFailed => StoreError::Failed(format!(
                "redis at {at} refuses the password: give user and password in store.url, redis://user:password@host/db"
            )),
            ErrorKind::Server(ServerErrorKind::BusyLoading) => {
                StoreError::Away(format!("redis at {at} is loading its data from disk: wait until it is ready"))
            }
            ErrorKind::Server(ServerErrorKind::ReadOnly) => self.read_only(),
            ErrorKind::Server(ServerErrorKind::NoPerm) => StoreError::Failed(format!(
                "redis at {at} forbids it ({says}): let the user read and write the keys and channels of lovage, \
                 and run EVALSHA, EVAL, SUBSCRIBE, CLIENT (ACL SETUSER)"
            )),
            ErrorKind::Server(ServerErrorKind::MasterDown) => StoreError::Away(format!(
                "redis at {at} is a replica without its primary: point store.url at a primary that runs"
            )),
            _ => self.of_code(error, says),
        }
    }

    fn of_code(&self, error: &RedisError, says: &str) -> StoreError {
        let at = &self.at;
        let code = error.code().unwrap_or_default();
        let is = |word: &str| code == word || says.contains(word);
        // As a script of ours tells it.
        if is("READONLY") {
            self.read_only()
        } else if is("NOREPLICAS") {
            StoreError::Away(format!(
                "redis at {at} takes no writes while too few replicas follow it: bring these back, or lower \
                 min-replicas-to-write"
            ))
        } else if is("OOM") {
            StoreError::Full(format!(
                "redis at {at} has no memory left: raise maxmemory, or let results expire sooner; nothing needs a restart"
            ))
        } else if is("WRONGTYPE") {
            StoreError::Corrupt(format!(
                "redis at {at}: a key of lovage's holds something of another kind ({says}): does another program use \
                 the same names? Give each its own redis.global_keyprefix"
            ))
        } else if is("NOAUTH") || is("WRONGPASS") {
            StoreError::Failed(format!(
                "redis at {at} wants a password: give it in store.url, redis://user:password@host/db"
            ))
        } else if is("MISCONF") {
            StoreError::Full(format!("redis at {at} cannot write to its disk ({says}): check the disk and its log"))
        } else if says.contains("DB index is out of range") {
            StoreError::Failed(format!(
                "redis at {at} has no database of that number: name one that it has in store.url, redis://host:port/0 \
                 (`databases` in redis.conf says how many, 16 if nothing)"
            ))
        } else if is("BUSY") {
            StoreError::Away(format!("redis at {at} is busy with a script of somebody's: SCRIPT KILL ends it"))
        } else {
            let what = if says.is_empty() { error.to_string() } else { says.to_owned() };
            StoreError::Failed(format!("redis at {at} answers: {what}"))
        }
    }

    fn read_only(&self) -> StoreError {
        StoreError::Away(format!(
            "redis at {} is a replica, which takes no writes: point store.url at the primary",
            self.at
        ))
    }

    /// Where it is.
    pub(super) fn at(&self) -> &str {
        &self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_speaks_something_else_is_no_redis() {
        let error = redis::parse_redis_value(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap_err();
        let explained = Faults::of("h:80".to_owned()).explain(&error).to_string();
        assert!(explained.contains("h:80 is no Redis server") && explained.contains("store.url"), "{explained}");
    }
}
