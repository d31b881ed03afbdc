//! What does this host do for a task, besides running it?
//!
//! It takes its message, carries it to who runs it, listens to what it says, does what it asks for, and records and tells what came
//! of it. For a task that ends at once that is more than the run, and for a large result, or many words, much more; who only paid for
//! runs would get all of it for nothing, from the others' share. So each tenant is charged for it as well: what this process really
//! used of the processors, divided by the bytes that passed meanwhile for each: its messages, what its attempts said, asked for and
//! were answered, and what they left to be recorded. An item of a map is carried to who runs it as an attempt is, and counts as one.
//!
//! Invariant: what is charged is a part of what was used, and bounded for each byte: what else a host does, such as answering
//! somebody's requests, cannot ruin a tenant.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lovage_model::TenantId;

use crate::clock;

/// What every attempt counts beside its outcome: as much is done for it, however small that is.
const EACH_BYTES: u64 = 4 << 10;
/// What a word of an attempt counts beside what it says.
pub(super) const WORD_BYTES: usize = 512;
/// What something that it asks for counts beside what is said of it, and answered: a call of the store, or a request to a server.
pub(super) const ASK_BYTES: usize = 4 << 10;
/// How much passes between two looks at the clock of this process.
const LOOK_EVERY_BYTES: u64 = 512 << 10;
/// What a byte is thought to take of a processor before the first look, and the most that is believed, in picoseconds.
const GUESS_PICOS: u64 = 8_000;
const MOST_PICOS: u64 = 100_000;
/// One in so many parts of what is known comes from the latest look, or attempt.
const MEMORY: u64 = 8;
/// Tenants of which is kept what an attempt takes, and what they have not been charged yet.
const KEPT_TENANTS: usize = 1024;

/// What this host does itself. See the file's head.
#[derive(Debug)]
pub struct Overhead {
    /// Whether this process runs guests, too: they pay for that themselves.
    runs_guests: bool,
    meter: Mutex<Meter>,
}

#[derive(Debug)]
struct Meter {
    /// What this process had used at the last look, and what passed since.
    used: Duration,
    bytes: u64,
    guests: Duration,
    picos_per_byte: u64,
    /// What an attempt of a tenant's takes, in nanoseconds.
    of: HashMap<TenantId, u64>,
    /// What was done for attempts of a tenant that have not ended, and is charged with its next outcome.
    meanwhile: HashMap<TenantId, Meanwhile>,
}

/// In nanoseconds.
#[derive(Debug, Default)]
struct Meanwhile {
    /// For the items of its maps. They are known to who runs them, one by one.
    items: u64,
    /// For what its attempts said and asked for.
    words: u64,
}

impl Overhead {
    /// Of this process, which runs guests itself or has other processes that do.
    pub fn new(runs_guests: bool) -> Self {
        let meter = Meter {
            used: clock::processor_time(),
            bytes: 0,
            guests: Duration::ZERO,
            picos_per_byte: GUESS_PICOS,
            of: HashMap::new(),
            meanwhile: HashMap::new(),
        };
        Self { runs_guests, meter: Mutex::new(meter) }
    }

    /// What was done for an attempt that ran for so long, and whose message and what it left to be recorded are so many bytes.
    pub(super) fn of(&self, tenant: &TenantId, ran: Duration, bytes: usize) -> Duration {
        let mut meter = self.meter();
        if self.runs_guests {
            meter.guests += ran;
        }
        let charged = meter.ended(tenant, bytes);
        if meter.bytes >= LOOK_EVERY_BYTES {
            meter.look(clock::processor_time());
        }
        charged
    }

    /// What will probably be done for one more item of a map than the first, which its message stands for, that is told so many
    /// bytes. It is charged with that.
    pub(super) fn item(&self, tenant: &TenantId, bytes: usize) -> Duration {
        let mut meter = self.meter();
        let nanos = meter.pass(bytes as u64 + EACH_BYTES);
        let items = &mut meter.meanwhile(tenant).items;
        *items = items.saturating_add(nanos);
        Duration::from_nanos(nanos)
    }

    /// So many bytes pass for an attempt that runs. It is charged with its end, or that of another of its tenant's.
    pub(super) fn passed(&self, tenant: &TenantId, bytes: usize) {
        self.meter().passed(tenant, bytes);
    }

    /// What will probably be done for an attempt of a tenant's.
    pub(super) fn expected(&self, tenant: &TenantId) -> Duration {
        let meter = self.meter();
        let nanos = meter.of.get(tenant).copied();
        Duration::from_nanos(nanos.unwrap_or(EACH_BYTES * meter.picos_per_byte / 1000))
    }

    fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Meter {
    /// So much more has passed; what that took, in nanoseconds.
    fn pass(&mut self, bytes: u64) -> u64 {
        self.bytes += bytes;
        bytes.saturating_mul(self.picos_per_byte) / 1000
    }

    /// So much has passed for an attempt that has not ended.
    fn passed(&mut self, tenant: &TenantId, bytes: usize) {
        let nanos = self.pass(bytes as u64);
        let words = &mut self.meanwhile(tenant).words;
        *words = words.saturating_add(nanos);
    }

    /// An attempt has ended; what its tenant is charged.
    fn ended(&mut self, tenant: &TenantId, bytes: usize) -> Duration {
        let nanos = self.pass(bytes as u64 + EACH_BYTES);
        let Meanwhile { items, words } = self.meanwhile.remove(tenant).unwrap_or_default();
        let nanos = nanos.saturating_add(words);
        self.remember(tenant, nanos);
        Duration::from_nanos(nanos.saturating_add(items))
    }

    fn meanwhile(&mut self, tenant: &TenantId) -> &mut Meanwhile {
        make_room(&mut self.meanwhile, tenant);
        self.meanwhile.entry(tenant.clone()).or_default()
    }

    /// Looks at what was used for what has passed.
    fn look(&mut self, used: Duration) {
        let own = used.saturating_sub(self.used).saturating_sub(self.guests);
        let picos = own.as_nanos().saturating_mul(1000) / u128::from(self.bytes.max(1));
        let picos = u64::try_from(picos).unwrap_or(u64::MAX).min(MOST_PICOS);
        self.picos_per_byte = lately(self.picos_per_byte, picos);
        (self.used, self.bytes, self.guests) = (used, 0, Duration::ZERO);
    }

    fn remember(&mut self, tenant: &TenantId, nanos: u64) {
        if let Some(known) = self.of.get_mut(tenant) {
            *known = lately(*known, nanos);
            return;
        }
        make_room(&mut self.of, tenant);
        self.of.insert(tenant.clone(), nanos);
    }
}

/// Forgets the others where a tenant would be one too many.
fn make_room<T>(kept: &mut HashMap<TenantId, T>, tenant: &TenantId) {
    if kept.len() >= KEPT_TENANTS && !kept.contains_key(tenant) {
        kept.clear();
    }
}

/// What is known, with something new.
fn lately(known: u64, new: u64) -> u64 {
    known - known / MEMORY + new / MEMORY
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter() -> Meter {
        Meter {
            used: Duration::ZERO,
            bytes: 0,
            guests: Duration::ZERO,
            picos_per_byte: GUESS_PICOS,
            of: HashMap::new(),
            meanwhile: HashMap::new(),
        }
    }

    #[test]
    fn what_is_charged_is_what_was_used() {
        let (mut meter, mut used) = (meter(), Duration::ZERO);
        let mut round = || {
            let sizes = [0, 0, 100_000, 0, 4_000_000].map(|size| size + EACH_BYTES);
            let charged: u64 = sizes.into_iter().map(|size| meter.pass(size)).sum();
            // Three nanoseconds for each byte.
            let really = 3 * sizes.iter().sum::<u64>();
            used += Duration::from_nanos(really);
            meter.look(used);
            (charged, really)
        };
        let first = round();
        assert!(first.0 > 2 * first.1, "it was a guess: {first:?}");
        let last = (0..100).map(|_| round()).last().unwrap();
        assert!(last.0.abs_diff(last.1) * 50 < last.1, "{last:?}");
    }

    #[test]
    fn guests_pay_for_themselves_and_nobody_for_a_host_that_was_busy_with_something_else() {
        let mut meter = meter();
        for second in 1..100 {
            meter.pass(1 << 20);
            meter.guests = Duration::from_secs(1);
            meter.look(Duration::from_secs(second));
        }
        assert!(meter.picos_per_byte < 10, "{}", meter.picos_per_byte);
        for hour in 1..100 {
            meter.pass(EACH_BYTES);
            meter.look(Duration::from_secs(100 + hour * 3600));
        }
        assert!(meter.picos_per_byte <= MOST_PICOS);
    }

    #[test]
    fn each_item_of_a_map_is_charged_to_its_tenant() {
        let overhead = Overhead::new(false);
        let [map, other] = ["map", "other"].map(|name| TenantId::new(name).unwrap());
        let one = overhead.of(&other, Duration::ZERO, 0);
        let items: Duration = (1..100).map(|_| overhead.item(&map, 0)).sum();
        assert_eq!(items, 99 * one);
        assert_eq!(overhead.of(&other, Duration::ZERO, 0), one);
        assert_eq!(overhead.of(&map, Duration::ZERO, 0), 100 * one);
        assert_eq!(overhead.of(&map, Duration::ZERO, 0), one, "once");
        assert_eq!(overhead.expected(&map), one, "of an attempt, not of a map");
        // What they took is divided by all that passed.
        assert_eq!(overhead.meter().bytes, 103 * EACH_BYTES);
    }

    #[test]
    fn what_one_says_and_asks_for_is_charged_to_it_and_to_nobody_else() {
        let [asks, other] = ["asks", "other"].map(|name| TenantId::new(name).unwrap());
        let (mut meter, mut used, mut charged) = (meter(), Duration::ZERO, Duration::ZERO);
        for _ in 0..100 {
            meter.passed(&asks, 1 << 20);
            charged = meter.ended(&other, 0);
            // Three nanoseconds for each byte, whether it is recorded or not.
            used += Duration::from_nanos(3 * ((1 << 20) + EACH_BYTES));
            meter.look(used);
        }
        let own = Duration::from_nanos(3 * EACH_BYTES);
        assert!(charged.abs_diff(own) * 50 < own, "{charged:?}");
        assert!(meter.ended(&asks, 0) > 100 * Duration::from_nanos(3 << 20));
        assert!(meter.of[&asks] > 100 * meter.of[&other], "and it is expected to go on so");
        assert!(meter.ended(&asks, 0) < 2 * own, "once");
    }

    #[test]
    fn what_is_not_charged_yet_is_kept_of_so_many_tenants() {
        let mut meter = meter();
        for n in 0..2 * KEPT_TENANTS {
            meter.passed(&TenantId::new(format!("t{n}")).unwrap(), 1 << 20);
        }
        assert!(meter.meanwhile.len() <= KEPT_TENANTS);
        let last = TenantId::new(format!("t{}", 2 * KEPT_TENANTS - 1)).unwrap();
        meter.passed(&last, 1 << 20);
        assert!(meter.ended(&last, 0) > Duration::from_nanos(8 * (2 << 20)), "both times");
    }

    #[test]
    fn a_tenant_is_expected_to_go_on_as_it_did() {
        let overhead = Overhead::new(false);
        let [large, small, new] = ["large", "small", "new"].map(|name| TenantId::new(name).unwrap());
        for _ in 0..100 {
            overhead.of(&large, Duration::ZERO, 1 << 20);
            overhead.of(&small, Duration::ZERO, 500);
        }
        assert!(overhead.expected(&large) > 100 * overhead.expected(&small));
        assert!(overhead.expected(&new) < overhead.expected(&large));
        for n in 0..2 * KEPT_TENANTS {
            overhead.of(&TenantId::new(format!("t{n}")).unwrap(), Duration::ZERO, 0);
        }
        assert!(overhead.meter().of.len() <= KEPT_TENANTS);
    }
}
