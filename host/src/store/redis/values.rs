//! Values by key: a hash for each bucket, with its keys in order beside it.

use async_trait::async_trait;
use bytes::Bytes;
use lovage_model::TenantId;
use serde::Serialize;

use super::RedisStore;
use super::script::Script;
use crate::store::{Place, Result, Unkept, Values};

#[derive(Serialize)]
struct Args<'a> {
    what: &'a str,
    tenant: &'a TenantId,
    bucket: &'a str,
    key: &'a str,
    /// As a text: the server's scripts know no large numbers.
    by: String,
    most_bytes: u64,
    /// Of keys: all of them, not those after `key`.
    is_first: bool,
    max: u64,
}

impl<'a> Args<'a> {
    fn of(what: &'a str, place: &'a Place) -> Self {
        let Place { tenant, bucket, key } = place;
        Self { what, tenant, bucket, key, by: String::new(), most_bytes: 0, is_first: false, max: 0 }
    }
}

/// The largest number that the server's scripts can hold exactly; no tenant has so many bytes.
pub(super) const MOST: u64 = 1 << 53;

#[async_trait]
impl Values for RedisStore {
    async fn value(&self, place: Place) -> Result<Option<Bytes>> {
        let found: Option<Vec<u8>> = self.link.ask(Script::Values, &Args::of("get", &place)).await?;
        Ok(found.map(Bytes::from))
    }

    async fn keep_value(&self, place: Place, value: Bytes, most_bytes: u64) -> Result<std::result::Result<(), Unkept>> {
        let args = Args { most_bytes: most_bytes.min(MOST), ..Args::of("set", &place) };
        let kept: bool = self.link.ask_with(Script::Values, &args, &value).await?;
        Ok(if kept { Ok(()) } else { Err(Unkept::Full) })
    }

    async fn add_to_value(&self, place: Place, by: u64, most_bytes: u64) -> Result<std::result::Result<u64, Unkept>> {
        if i64::try_from(by).is_err() {
            return Ok(Err(Unkept::NoCount));
        }
        let args = Args { by: by.to_string(), most_bytes: most_bytes.min(MOST), ..Args::of("add", &place) };
        let sum: String = self.link.ask(Script::Values, &args).await?;
        Ok(match sum.as_str() {
            "full" => Err(Unkept::Full),
            digits => digits.parse().map_err(|_| Unkept::NoCount),
        })
    }

    async fn drop_value(&self, place: Place) -> Result<bool> {
        self.link.ask(Script::Values, &Args::of("drop", &place)).await
    }

    async fn drop_values(&self, tenant: TenantId) -> Result<()> {
        self.drop_groups(&tenant).await?;
        let place = Place { tenant, bucket: String::new(), key: String::new() };
        self.link.ask::<i64>(Script::Values, &Args::of("clear", &place)).await.map(drop)
    }

    async fn keys_of_values(
        &self,
        tenant: TenantId,
        bucket: String,
        after: Option<String>,
        max: usize,
    ) -> Result<Vec<String>> {
        let is_first = after.is_none();
        let place = Place { tenant, bucket, key: after.unwrap_or_default() };
        let args = Args { is_first, max: (max as u64).min(MOST), ..Args::of("keys", &place) };
        if args.max == 0 { Ok(Vec::new()) } else { self.link.ask(Script::Values, &args).await }
    }
}
