//! How many event streams may each tenant hold open, how many requests that wait, and how many uploads?

use std::time::Duration;

use lovage_model::TenantId;

use crate::held::{Held, Holdings};

/// How often all streams of a tenant may be written to together, in a second.
const WRITES_A_SECOND: u32 = 2000;
/// However many there are.
const LONGEST_REST: Duration = Duration::from_millis(500);

/// It has as many as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany {
    /// How many it may have.
    pub most: u32,
}

/// What is open, of one kind.
#[derive(Debug, Default)]
pub(super) struct Streams(Holdings);

/// A stream, or a request that waits, while it is open; dropped, it is not.
#[derive(Debug)]
pub struct OpenStream(Held);

impl OpenStream {
    /// How long it rests after it was written to, so that those of one tenant, however many, take little from others; what
    /// comes meanwhile is written together. One alone need not rest.
    pub fn rest(&self) -> Duration {
        let others = u32::try_from(self.0.all().saturating_sub(1)).unwrap_or(u32::MAX);
        (Duration::from_secs(1) / WRITES_A_SECOND).saturating_mul(others).min(LONGEST_REST)
    }
}

impl Streams {
    pub(super) fn open(&self, tenant: &TenantId, most: u32) -> Result<OpenStream, TooMany> {
        let mut stream = self.0.of(tenant);
        if stream.more(1, u64::from(most)) { Ok(OpenStream(stream)) } else { Err(TooMany { most }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tenant_has_its_own_and_one_that_ends_makes_room() {
        let streams = Streams::default();
        let [one, other] = ["one", "other"].map(|name| name.parse::<TenantId>().unwrap());
        let open: Vec<_> = (0..3).map(|_| streams.open(&one, 3).unwrap()).collect();
        assert_eq!(streams.open(&one, 3).unwrap_err(), TooMany { most: 3 });
        let others = streams.open(&other, 1).unwrap();
        assert_eq!((open[0].rest(), others.rest()), (Duration::from_millis(1), Duration::ZERO));
        drop(open);
        assert!(streams.open(&one, 1).is_ok() && streams.open(&other, 1).is_err());
    }
}
