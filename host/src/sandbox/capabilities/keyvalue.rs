//! `wasi:keyvalue` for guests: what a bucket is asked goes to the host, which has the store.

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
        Ok(Ok(self.ctx().table.push(Bucket { name: identifier })?))
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
        let from = cursor.unwrap_or_default();
        let found = self.ask_bucket(&bucket, String::new(), KeyValueDo::ListKeys(from)).await?;
        Ok(found.and_then(|found| match found {
            KeyValueFound::Keys(keys) => {
                let cursor = (keys.len() == KEYS_IN_A_PAGE).then(|| from.saturating_add(KEYS_IN_A_PAGE as u64));
                Ok(store::KeyResponse { keys, cursor })
            }
            _ => Err(unexpected()),
        }))
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

fn unexpected() -> store::Error {
    store::Error::Other("the host gave another answer than it was asked for".to_owned())
}
