//! What does a task keep for the next one?
//!
//! Values by key, in buckets that all modules of a tenant share that the operator has granted them to
//! (`key_value = true`). It is `wasi:keyvalue`; [`Context::bucket`](crate::Context::bucket) opens one.

use std::fmt;

#[cfg(not(target_arch = "wasm32"))]
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(target_arch = "wasm32")]
use crate::bindings::wasi::keyvalue::{atomics, store};
use crate::host::Raised;
use crate::{Json, TaskError, TaskResult};

/// An open bucket. Each call is one step that other tasks see at once, and that stays when the attempt does not end well: an
/// attempt that is run again finds what the first has kept.
///
/// Its calls fail with PermissionError if the module has no grant, and with RuntimeError if the value is not kept: it is
/// larger than a value may be, the tenant's values take as much as they may, or the store fails.
pub struct Bucket {
    #[cfg(target_arch = "wasm32")]
    bucket: store::Bucket,
    #[cfg(not(target_arch = "wasm32"))]
    bucket: Rc<dyn HostBucket>,
}

/// What a native host does for a bucket.
#[cfg(not(target_arch = "wasm32"))]
pub trait HostBucket {
    /// What is there.
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Raised>;
    /// Keeps a value; none: drops it.
    fn set(&self, key: &str, value: Option<&[u8]>) -> Result<(), Raised>;
    /// Adds to a number.
    fn increment(&self, key: &str, by: u64) -> Result<u64, Raised>;
    /// Every key, in order.
    fn keys(&self) -> Result<Vec<String>, Raised>;
}

impl Bucket {
    /// What was kept under a key, read as JSON. ValueError if it is not that, or not of this type.
    #[track_caller]
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> TaskResult<Option<T>> {
        let Some(value) = self.get_bytes(key)? else { return Ok(None) };
        let read = serde_json::from_slice(&value);
        read.map(Some).map_err(|error| TaskError::builtin("ValueError", format!("the value of {key:?}: {error}")))
    }

    /// Keeps a value as JSON, instead of what is there.
    pub fn set(&self, key: &str, value: &impl Serialize) -> TaskResult<()> {
        let value = Json::of(value).map_err(|error| TaskError::encode("a value that is kept", &error))?;
        self.set_bytes(key, value.as_str().as_bytes())
    }

    /// What was kept under a key.
    pub fn get_bytes(&self, key: &str) -> TaskResult<Option<Vec<u8>>> {
        Ok(self.bucket.get(key).map_err(raised)?)
    }

    /// Keeps bytes, instead of what is there.
    pub fn set_bytes(&self, key: &str, value: &[u8]) -> TaskResult<()> {
        #[cfg(target_arch = "wasm32")]
        let kept = self.bucket.set(key, value);
        #[cfg(not(target_arch = "wasm32"))]
        let kept = self.bucket.set(key, Some(value));
        Ok(kept.map_err(raised)?)
    }

    /// Drops what was kept under a key, if there is anything.
    pub fn delete(&self, key: &str) -> TaskResult<()> {
        #[cfg(target_arch = "wasm32")]
        let dropped = self.bucket.delete(key);
        #[cfg(not(target_arch = "wasm32"))]
        let dropped = self.bucket.set(key, None);
        Ok(dropped.map_err(raised)?)
    }

    /// Adds to a number, in one step for all who do; none counts as 0. Returns the sum. RuntimeError if there is something else.
    pub fn increment(&self, key: &str, by: u64) -> TaskResult<u64> {
        #[cfg(target_arch = "wasm32")]
        let sum = atomics::increment(&self.bucket, key, by);
        #[cfg(not(target_arch = "wasm32"))]
        let sum = self.bucket.increment(key, by);
        Ok(sum.map_err(raised)?)
    }

    /// Every key in it, in order.
    pub fn keys(&self) -> TaskResult<Vec<String>> {
        #[cfg(target_arch = "wasm32")]
        let keys = pages(&self.bucket);
        #[cfg(not(target_arch = "wasm32"))]
        let keys = self.bucket.keys();
        Ok(keys.map_err(raised)?)
    }
}

#[cfg(target_arch = "wasm32")]
pub(crate) fn open(name: &str) -> TaskResult<Bucket> {
    let bucket = store::open(name).map_err(raised)?;
    Ok(Bucket { bucket })
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn of(bucket: Rc<dyn HostBucket>) -> Bucket {
    Bucket { bucket }
}

#[cfg(target_arch = "wasm32")]
fn pages(bucket: &store::Bucket) -> Result<Vec<String>, store::Error> {
    let mut page = bucket.list_keys(None)?;
    let mut keys = std::mem::take(&mut page.keys);
    while let Some(cursor) = page.cursor {
        page = bucket.list_keys(Some(cursor))?;
        keys.append(&mut page.keys);
    }
    Ok(keys)
}

#[cfg(target_arch = "wasm32")]
fn raised(error: store::Error) -> Raised {
    let (exc_type, text) = match error {
        store::Error::AccessDenied => ("PermissionError", DENIED.to_owned()),
        store::Error::NoSuchStore => ("ValueError", "the name of a bucket is too long".to_owned()),
        store::Error::Other(why) => ("RuntimeError", why),
    };
    lovage_model::Exception::new(lovage_model::exc_module::BUILTINS, exc_type, text).into()
}

#[cfg(not(target_arch = "wasm32"))]
fn raised(raised: Raised) -> Raised {
    raised
}

/// What is said to a module that has no grant.
#[cfg(target_arch = "wasm32")]
const DENIED: &str = "the operator has granted this module no key-value store: [grants.NAME] key_value = true";

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bucket")
    }
}
