//! What is to be run is loaded first: from the cache, or compiled again.
//!
//! A component in the store was compiled and loaded once. If it cannot be here, that may be this host's trouble: a machine so busy
//! that its compiler took too long, or was ended for its memory, or a file that just went. So it is tried again before its tasks
//! fail, and not at each of their messages.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lovage_model::{Digest, ModuleName, TenantId, Timestamp};

use super::{Modules, NotReady, digest_of};
use crate::clock;
use crate::sandbox::Refusal;
use crate::store::StoreError;

/// How often a component is tried before it is thought to be why.
const TRIES: u32 = 3;
/// How long it is not tried again after that it could not be loaded.
const PAUSE: Duration = Duration::from_secs(30);
/// And after so many tries. Then they begin anew.
const REST: Duration = Duration::from_secs(600);
/// As many are remembered; of more, those whose pause is over are forgotten.
const MOST: usize = 1024;

/// What could not be loaded here, though it may be.
#[derive(Debug, Default)]
pub(super) struct Troubles(Mutex<HashMap<Digest, Trouble>>);

#[derive(Debug)]
struct Trouble {
    tries: u32,
    last: Timestamp,
    why: String,
}

impl Trouble {
    fn is_final(&self) -> bool {
        self.tries >= TRIES
    }

    fn is_over(&self, now: Timestamp) -> bool {
        now.since(self.last) >= if self.is_final() { REST } else { PAUSE }
    }

    fn not_ready(&self) -> NotReady {
        let why = self.why.clone();
        if self.is_final() { NotReady::Unusable(why) } else { NotReady::NotNow(why) }
    }
}

impl Troubles {
    /// Why a component is not tried now.
    fn known(&self, digest: &Digest, now: Timestamp) -> Option<NotReady> {
        self.book().get(digest).filter(|trouble| !trouble.is_over(now)).map(Trouble::not_ready)
    }

    /// Notes that a component could not be loaded; what that means for its tasks.
    fn note(&self, digest: &Digest, refusal: Refusal, now: Timestamp) -> NotReady {
        if !may_pass(&refusal) {
            return refusal.into();
        }
        let before = self.book().get(digest).filter(|trouble| !trouble.is_final()).map_or(0, |trouble| trouble.tries);
        self.enter(digest, Trouble { tries: before + 1, last: now, why: refusal.message }, now)
    }

    /// Notes that a component is missing or damaged in the store. That is no try of it: whoever pushes it again heals it.
    fn note_spoilt(&self, digest: &Digest, error: &StoreError, now: Timestamp) -> NotReady {
        self.enter(digest, Trouble { tries: 0, last: now, why: error.to_string() }, now)
    }

    fn enter(&self, digest: &Digest, trouble: Trouble, now: Timestamp) -> NotReady {
        let mut book = self.book();
        if book.len() >= MOST {
            book.retain(|_, trouble| !trouble.is_over(now));
        }
        let not_ready = trouble.not_ready();
        book.insert(digest.clone(), trouble);
        not_ready
    }

    pub(super) fn forget(&self, digest: &Digest) {
        self.book().remove(digest);
    }

    fn book(&self) -> MutexGuard<'_, HashMap<Digest, Trouble>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a component that was admitted once may be refused so by a host that is in trouble.
fn may_pass(refusal: &Refusal) -> bool {
    ["compile_failed", "compile_too_long", "removed", "too_demanding"].contains(&refusal.code)
}

impl Modules {
    /// Makes a component ready to run, with or without fuel: at once if it is loaded, from the cache if it was compiled
    /// by this version of the engine, else by compiling it again.
    pub async fn ready(&self, digest: &Digest, fuel: bool) -> Result<(), NotReady> {
        if self.sandbox.has(digest, fuel) {
            return Ok(());
        }
        let _one_at_a_time = self.loading.enter(digest, 1).await;
        if let Some(not_ready) = self.troubles.known(digest, clock::now()) {
            return Err(not_ready);
        }
        let loaded = self.load(digest, fuel).await?;
        match loaded {
            Ok(()) => self.troubles.forget(digest),
            Err(refusal) => return Err(self.troubles.note(digest, refusal, clock::now())),
        }
        Ok(())
    }

    /// A component from the store, if its bytes are those that were pushed. Others are somebody else's code, or nobody's, and are
    /// not run under this name.
    async fn whole(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        let Some(component) = self.store.component(digest).await? else { return Ok(None) };
        if digest_of(&component).await == *digest {
            Ok(Some(component))
        } else {
            Err(StoreError::Corrupt(format!("component {digest} is not what was pushed: push the module again")))
        }
    }

    /// Whether it is the component of the active version, and is missing from the store or damaged there.
    pub(super) async fn is_spoilt(
        &self,
        tenant: &TenantId,
        name: &ModuleName,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        let active = self.store.active(tenant).await?;
        if !active.iter().any(|version| version.name == *name && version.digest == *digest) {
            return Ok(false);
        }
        // One that cannot be read is written anew as well.
        Ok(matches!(self.whole(digest).await, Ok(None) | Err(StoreError::Corrupt(_) | StoreError::Failed(_))))
    }

    /// The inner error is about the component, or about this host.
    async fn load(&self, digest: &Digest, fuel: bool) -> Result<Result<(), Refusal>, NotReady> {
        match self.sandbox.load_cached(digest, fuel).await {
            Ok(true) => return Ok(Ok(())),
            Ok(false) => {}
            Err(refusal) => return Ok(Err(refusal)),
        }
        let component = match self.whole(digest).await {
            Ok(Some(component)) => component,
            Ok(None) => {
                return Err(NotReady::Unusable(format!("no module has its component {digest} any more")));
            }
            Err(spoilt @ StoreError::Corrupt(_)) => {
                return Err(self.troubles.note_spoilt(digest, &spoilt, clock::now()));
            }
            Err(error) => return Err(error.into()),
        };
        if let Err(refusal) = self.sandbox.prepare(digest, &component).await {
            return Ok(Err(refusal));
        }
        match self.sandbox.load_cached(digest, fuel).await {
            Ok(true) => Ok(Ok(())),
            Ok(false) => {
                Err(NotReady::NotNow("what was just compiled does not verify: check the cache directory".to_owned()))
            }
            Err(refusal) => Ok(Err(refusal)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: &'static str) -> Refusal {
        Refusal { code, message: "why".to_owned() }
    }

    #[test]
    fn what_may_pass_is_tried_again_some_times_and_not_at_each_message() {
        let (troubles, digest, now) = (Troubles::default(), Digest::from_bytes(&[7; 32]), Timestamp::from_micros(0));
        let mut at = now;
        for tries in 1..=TRIES {
            assert!(troubles.known(&digest, at).is_none(), "it is tried");
            let not_ready = troubles.note(&digest, refusal("compile_too_long"), at);
            assert_eq!(matches!(not_ready, NotReady::Unusable(_)), tries == TRIES, "{tries}");
            assert!(troubles.known(&digest, at).is_some(), "and not at once again");
            at = at.after(PAUSE);
        }
        assert!(matches!(troubles.known(&digest, at), Some(NotReady::Unusable(_))));
        let later = at.after(REST);
        assert!(troubles.known(&digest, later).is_none());
        assert!(matches!(troubles.note(&digest, refusal("too_demanding"), later), NotReady::NotNow(_)), "anew");
        troubles.forget(&digest);
        assert!(troubles.known(&digest, later).is_none());
    }

    #[test]
    fn what_lies_with_the_component_is_final_at_once_and_what_lies_with_the_disk_never() {
        let (troubles, digest, now) = (Troubles::default(), Digest::from_bytes(&[7; 32]), Timestamp::from_micros(0));
        for _ in 0..2 * TRIES {
            assert!(matches!(troubles.note(&digest, refusal("disk_full"), now), NotReady::NotNow(_)));
            assert!(matches!(troubles.note(&digest, refusal("contract_mismatch"), now), NotReady::Unusable(_)));
            assert!(troubles.known(&digest, now).is_none());
        }
    }

    #[test]
    fn what_is_spoilt_in_the_store_is_read_again_after_a_pause_and_is_never_final() {
        let (troubles, digest) = (Troubles::default(), Digest::from_bytes(&[7; 32]));
        let mut at = Timestamp::from_micros(0);
        for _ in 0..2 * TRIES {
            assert!(troubles.known(&digest, at).is_none(), "it is read");
            let not_ready = troubles.note_spoilt(&digest, &StoreError::Corrupt("why".to_owned()), at);
            assert!(matches!(not_ready, NotReady::NotNow(why) if why.contains("why")));
            assert!(matches!(troubles.known(&digest, at), Some(NotReady::NotNow(_))), "and not at once again");
            at = at.after(PAUSE);
        }
    }
}
