//! What is presented as a token. There is one, and nobody guesses it.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use lovage::access::Access;
use lovage::store::memory::MemoryStore;
use lovage_model::{NewToken, Scope, TenantId, Timestamp};

const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

static HOUSE: LazyLock<(Access, String)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let access = Access::open(Arc::new(MemoryStore::new()), true).await.expect("a store");
        let scopes = [Scope::Read].into();
        let new = NewToken { tenant: TenantId::default(), scopes, note: String::new(), expires_seconds: None };
        let token = access.issue(new, NOW).await.expect("a token").token;
        (access, token)
    })
});

fuzz_target!(|presented: &str| {
    let (access, token) = &*HOUSE;
    // Its own id with another secret, too: what is hardest to tell from it.
    let id = token.rsplit_once('_').expect("a token has parts").0;
    for presented in [presented.to_owned(), format!("{id}_{presented}"), format!("{token}{presented}")] {
        let known = access.identify(Some(&presented), Scope::Read, NOW).is_ok();
        assert_eq!(known, presented == *token, "{presented:?}");
    }
});
