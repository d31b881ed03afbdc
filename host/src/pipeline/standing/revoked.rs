//! Which tasks were revoked before anybody here had them?
//!
//! As in Celery that is remembered for some hours, and for so many: a message that waits in a queue unread cannot be found.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use lovage_model::{Json, Message, TaskId, TenantId, Timestamp};

/// How many are remembered of each kind, and for how long: Celery's own figures.
const MOST: usize = 50_000;
const KEPT: Duration = Duration::from_hours(3);

/// What was revoked by orders that found no task.
#[derive(Debug, Default)]
pub struct Foretold(RwLock<Both>);

#[derive(Debug, Default)]
struct Both {
    ids: Remembered<(TenantId, TaskId)>,
    stamps: Remembered<(TenantId, String, String)>,
}

impl Foretold {
    /// Remembers ids.
    pub fn revoke(&self, tenant: &TenantId, ids: &[TaskId], now: Timestamp) {
        let mut both = self.0.write().unwrap_or_else(PoisonError::into_inner);
        ids.iter().for_each(|id| both.ids.add((tenant.clone(), id.clone()), now));
    }

    /// Remembers that tasks with a stamp of this name and one of these values are revoked.
    pub fn revoke_stamped(&self, tenant: &TenantId, stamp: &str, values: &[Json], now: Timestamp) {
        let mut both = self.0.write().unwrap_or_else(PoisonError::into_inner);
        values.iter().for_each(|value| both.stamps.add((tenant.clone(), stamp.to_owned(), plain(value)), now));
    }

    /// Forgets an id: it was ordered to run after all.
    pub fn pardon(&self, tenant: &TenantId, id: &TaskId) {
        let key = (tenant.clone(), id.clone());
        self.0.write().unwrap_or_else(PoisonError::into_inner).ids.drop(&key);
    }

    /// Whether a message is of such a task.
    pub fn has(&self, tenant: &TenantId, message: &Message, now: Timestamp) -> bool {
        let both = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if both.ids.has(now, || (tenant.clone(), message.id.clone())) {
            return true;
        }
        let is_stamped = |name: &str, value: &Json| {
            let one = |value: &Json| both.stamps.has(now, || (tenant.clone(), name.to_owned(), plain(value)));
            if value.is_array() { value.read::<Vec<Json>>().unwrap_or_default().iter().any(one) } else { one(value) }
        };
        !both.stamps.times.is_empty() && message.stamps.iter().any(|(name, value)| is_stamped(name, value))
    }

    /// The ids, the oldest first.
    pub fn ids(&self, tenant: &TenantId, now: Timestamp) -> Vec<TaskId> {
        let mut both = self.0.write().unwrap_or_else(PoisonError::into_inner);
        both.ids.purge(now);
        both.ids.keys().filter(|(of, _)| of == tenant).map(|(_, id)| id.clone()).collect()
    }
}

/// A value as one text, however it is spaced.
fn plain(value: &Json) -> String {
    value.read::<serde_json::Value>().map_or_else(|_| value.to_string(), |value| value.to_string())
}

/// Keys, each with the time when it was added last.
#[derive(Debug)]
struct Remembered<K> {
    times: HashMap<K, Timestamp>,
    /// In the order of adding. Of an entry whose time is not the key's in `times` nothing is meant any more: it was added again, or
    /// dropped.
    order: VecDeque<(Timestamp, K)>,
}

impl<K> Default for Remembered<K> {
    fn default() -> Self {
        Self { times: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Clone + Eq + Hash> Remembered<K> {
    fn add(&mut self, key: K, now: Timestamp) {
        if self.times.insert(key.clone(), now) != Some(now) {
            self.order.push_back((now, key));
        }
        self.purge(now);
    }

    fn drop(&mut self, key: &K) {
        self.times.remove(key);
    }

    /// The keys, the oldest first.
    fn keys(&self) -> impl Iterator<Item = &K> {
        self.order.iter().filter(move |(at, key)| self.times.get(key) == Some(at)).map(|(_, key)| key)
    }

    fn purge(&mut self, now: Timestamp) {
        while let Some((at, key)) = self.order.front() {
            let is_meant = self.times.get(key) == Some(at);
            if is_meant && self.times.len() <= MOST && now.since(*at) <= KEPT {
                break;
            }
            if is_meant {
                self.times.remove(key);
            }
            self.order.pop_front();
        }
        // There are at least as many of which nothing is meant, so each that is added costs a few steps, however often it comes.
        if self.order.len() > 2 * MOST {
            let times = &self.times;
            self.order.retain(|(at, key)| times.get(key) == Some(at));
        }
    }

    /// The key is made only if there is any to compare it with.
    fn has(&self, now: Timestamp, key: impl FnOnce() -> K) -> bool {
        !self.times.is_empty() && self.times.get(&key()).is_some_and(|at| now.since(*at) <= KEPT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> TaskId {
        text.parse().unwrap()
    }

    fn message(text: &str) -> Message {
        Message::new(id(text), "t".parse().unwrap())
    }

    #[test]
    fn what_was_revoked_is_known_for_some_hours_and_to_its_tenant() {
        let (foretold, tenant, now) = (Foretold::default(), TenantId::default(), Timestamp::from_micros(0));
        foretold.revoke(&tenant, &[id("a"), id("b")], now);
        assert!(foretold.has(&tenant, &message("a"), now.after(KEPT)));
        assert!(!foretold.has(&tenant, &message("c"), now));
        assert!(!foretold.has(&"other".parse().unwrap(), &message("a"), now));
        assert!(!foretold.has(&tenant, &message("a"), now.after(KEPT + Duration::from_secs(1))));
        foretold.pardon(&tenant, &id("a"));
        assert_eq!(foretold.ids(&tenant, now), [id("b")]);
        assert!(foretold.ids(&tenant, now.after(KEPT * 2)).is_empty());
    }

    #[test]
    fn a_stamp_means_every_task_that_has_it() {
        let (foretold, tenant, now) = (Foretold::default(), TenantId::default(), Timestamp::from_micros(0));
        foretold.revoke_stamped(&tenant, "batch", &[Json::of(&7).unwrap()], now);
        let stamped = |value: serde_json::Value| {
            let mut message = message("a");
            message.stamps = [("batch".to_owned(), Json::from(value))].into_iter().collect();
            foretold.has(&tenant, &message, now)
        };
        assert!(stamped(serde_json::json!(7)) && stamped(serde_json::json!([6, 7])));
        assert!(!stamped(serde_json::json!("7")) && !stamped(serde_json::json!(8)));
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut some = Remembered::default();
        let now = Timestamp::from_micros(0);
        (0..=MOST).for_each(|number| some.add(number, now));
        assert!(!some.has(now, || 0) && some.has(now, || 1) && some.has(now, || MOST));
        assert_eq!(some.times.len(), MOST);
    }

    #[test]
    fn what_is_revoked_again_is_new_again_and_costs_no_more() {
        let (mut some, mut now) = (Remembered::default(), Timestamp::from_micros(0));
        for _ in 0..4 {
            now = now.after(Duration::from_secs(1));
            (0..MOST).for_each(|number| some.add(number, now));
            assert!(some.times.len() == MOST && some.order.len() <= 2 * MOST);
        }
        for _ in 0..3 * MOST {
            now = now.after(Duration::from_micros(1));
            some.add(0, now);
            assert!(some.order.len() <= 2 * MOST);
        }
        some.add(MOST, now);
        assert!(some.has(now, || 0) && !some.has(now, || 1) && some.has(now, || 2), "the oldest makes room");
        assert_eq!(some.keys().skip(MOST - 2).copied().collect::<Vec<_>>(), [0, MOST]);
        some.drop(&0);
        assert_eq!(some.keys().count(), MOST - 1);
    }
}
