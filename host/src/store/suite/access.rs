//! Tenants and tokens: kept, changed, and there after a restart.

use lovage_model::{Digest, Scope, TenantPolicy, TenantView, TokenId, TokenView};

use super::*;
use crate::store::Token;

for_each_backend!(tenants_are_kept_by_name, tokens_are_kept_by_id, both_survive_a_restart);

fn view(name: &str, weight: u32) -> TenantView {
    let policy = TenantPolicy { weight: Some(weight), queued_tasks: Some(u64::MAX >> 1), ..TenantPolicy::default() };
    TenantView { name: TenantId::new(name).unwrap(), created_at: at(1), policy }
}

fn token(id: &str, revoked: bool) -> Token {
    let view = TokenView {
        id: TokenId::new(id).unwrap(),
        tenant: tenant(),
        scopes: [Scope::Read, Scope::Submit].into(),
        note: "\"quoted\", \u{1f33f}".to_owned(),
        created_at: at(1),
        expires_at: Some(at(100)),
        revoked_at: revoked.then(|| at(2)),
    };
    Token { view, hash: Digest::from_bytes(&[7; 32]) }
}

async fn tenants_are_kept_by_name(bench: Bench) {
    assert_eq!(bench.store.registered().await.unwrap(), []);
    for one in [view("b", 2), view("a", 1), view("b", 3)] {
        bench.store.register(one).await.unwrap();
    }
    assert_eq!(bench.store.registered().await.unwrap(), [view("a", 1), view("b", 3)]);
    let a = TenantId::new("a").unwrap();
    assert!(bench.store.unregister(&a).await.unwrap());
    assert!(!bench.store.unregister(&a).await.unwrap());
    assert_eq!(bench.store.registered().await.unwrap(), [view("b", 3)]);
}

async fn tokens_are_kept_by_id(bench: Bench) {
    for one in [token("t2", false), token("t1", false), token("t1", true)] {
        bench.store.keep_token(one).await.unwrap();
    }
    assert_eq!(bench.store.tokens().await.unwrap(), [token("t1", true), token("t2", false)]);
}

async fn both_survive_a_restart(mut bench: Bench) {
    bench.store.register(view("a", 1)).await.unwrap();
    bench.store.keep_token(token("t1", false)).await.unwrap();
    bench.restart().await;
    assert_eq!(bench.store.registered().await.unwrap(), [view("a", 1)]);
    assert_eq!(bench.store.tokens().await.unwrap(), [token("t1", false)]);
}
