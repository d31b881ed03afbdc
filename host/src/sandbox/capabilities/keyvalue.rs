//! `wasi:keyvalue` for guests: what a bucket is asked goes to the host, which has the store.

use std::collections::VecDeque;

use wasmtime::component::Resource;
use wasmtime_wasi::WasiView;

use super::super::bindings::wasi::keyvalue::{atomics, store};
use super::super::guest::Guest;
use crate::attempt::{
    Answer, Ask, Bytes, KEYS_IN_A_PAGE, KeyValueCall, KeyValueDo, KeyValueFault, KeyValueFound, MAX_KEY_BYTES,
};

/// A bucket that a guest has opened.
#[allow(unreachable_pub, reason = "the bindings name it, which are public in their module")]
pub struct Bucket {
    name: String,
    cursors: Cursors,
}

/// The most cursors of a bucket that hold: those that were given last.
const CURSORS: usize = 16;

/// Where the pages of keys end that a guest was given. To the guest they are numbers.
#[derive(Debug, Default)]
struct Cursors {
    given: u64,
    ends: VecDeque<(u64, String)>,
}

impl Cursors {
    fn give(&mut self, end: String) -> u64 {
        self.given += 1;
        if self.ends.len() == CURSORS {
            self.ends.pop_front();
        }
        self.ends.push_back((self.given, end));
        self.given
    }

    fn end(&self, cursor: u64) -> Option<String> {
        self.ends.iter().find(|(given, _)| *given == cursor).map(|(_, end)| end.clone())
    }
}

type Answered<T> = wasmtime::Result<Result<T, store::Error>>;

impl store::Host for Guest {
    fn open(&mut self, identifier: String) -> Answered<Resource<Bucket>> {
        if !self.grants.capabilities.key_value {
            return Ok(Err(store::Error::AccessDenied));
        }
        if identifier.len() > MAX_KEY_BYTES {
            return Ok(Err(store::Error::NoSuchStore));
        }
        Ok(Ok(self.ctx().table.push(Bucket { name: identifier, cursors: Cursors::default() })?))
    }
}

impl store::HostBucket for Guest {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Answered<Option<Vec<u8>>> {
        self.look_up(bucket, key).await
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Answered<()> {
        let most = self.grants.payload_bytes;
        if value.len() > most {
            let text = format!("a value of {} bytes: at most {most}", value.len());
            return Ok(Err(store::Error::Other(text)));
        }
        let done = self.ask_bucket(&bucket, key, KeyValueDo::Set(Bytes(value))).await?;
        Ok(done.map(drop))
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Answered<()> {
        let done = self.ask_bucket(&bucket, key, KeyValueDo::Delete).await?;
        Ok(done.map(drop))
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Answered<bool> {
        let found = self.look_up(bucket, key).await?;
        Ok(found.map(|value| value.is_some()))
    }

    async fn list_keys(&mut self, bucket: Resource<Bucket>, cursor: Option<u64>) -> Answered<store::KeyResponse> {
        let after = match cursor {
            None => None,
            Some(cursor) => match self.ctx().table.get(&bucket)?.cursors.end(cursor) {
                None => return Ok(Err(no_cursor(cursor))),
                end => end,
            },
        };
        let keys = match self.ask_bucket(&bucket, String::new(), KeyValueDo::ListKeys(after)).await? {
            Ok(KeyValueFound::Keys(keys)) => keys,
            Ok(_) => return Ok(Err(unexpected())),
            Err(error) => return Ok(Err(error)),
        };
        let end = keys.last().filter(|_| keys.len() == KEYS_IN_A_PAGE).cloned();
        let cursor = match end {
            Some(end) => Some(self.ctx().table.get_mut(&bucket)?.cursors.give(end)),
            None => None,
        };
        Ok(Ok(store::KeyResponse { keys, cursor }))
    }

    fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.ctx().table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for Guest {
    async fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: u64) -> Answered<u64> {
        let found = self.ask_bucket(&bucket, key, KeyValueDo::Increment(delta)).await?;
        Ok(found.and_then(|found| match found {
            KeyValueFound::Sum(sum) => Ok(sum),
            _ => Err(unexpected()),
        }))
    }
}

impl Guest {
    async fn look_up(&mut self, bucket: Resource<Bucket>, key: String) -> Answered<Option<Vec<u8>>> {
        let found = self.ask_bucket(&bucket, key, KeyValueDo::Get).await?;
        Ok(found.and_then(|found| match found {
            KeyValueFound::Value(value) => Ok(value.map(|Bytes(bytes)| bytes)),
            _ => Err(unexpected()),
        }))
    }

    async fn ask_bucket(
        &mut self,
        bucket: &Resource<Bucket>,
        key: String,
        call: KeyValueDo,
    ) -> Answered<KeyValueFound> {
        let bucket = self.ctx().table.get(bucket)?.name.clone();
        if key.len() > MAX_KEY_BYTES {
            return Ok(Err(store::Error::Other(format!("a key of {} bytes: at most {MAX_KEY_BYTES}", key.len()))));
        }
        let answer = self.progress.ask(Ask::KeyValue(KeyValueCall { bucket, key, call })).await;
        Ok(match answer {
            Answer::KeyValue(found) => found.map_err(|fault| match fault {
                KeyValueFault::AccessDenied => store::Error::AccessDenied,
                KeyValueFault::Other(why) => store::Error::Other(why),
            }),
            _ => Err(store::Error::AccessDenied),
        })
    }
}

fn no_cursor(cursor: u64) -> store::Error {
    let text = format!("{cursor} is none of the last {CURSORS} cursors of this bucket: begin again without one");
    store::Error::Other(text)
}

fn unexpected() -> store::Error {
    store::Error::Other("the host gave another answer than it was asked for".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_cursors_hold() {
        let mut cursors = Cursors::default();
        let given: Vec<u64> = (0..=CURSORS).map(|n| cursors.give(format!("k{n}"))).collect();
        assert_eq!(cursors.end(given[0]), None);
        assert_eq!(cursors.end(given[1]).as_deref(), Some("k1"));
        assert_eq!(cursors.end(given[CURSORS]), Some(format!("k{CURSORS}")));
        assert_eq!((cursors.end(0), cursors.end(u64::MAX)), (None, None));
    }
}
