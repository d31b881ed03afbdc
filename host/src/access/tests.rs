//! Tokens: issued, presented, ended. Tenants: added, changed, taken away.

use super::*;
use crate::store::memory::MemoryStore;

const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

async fn access(required: bool) -> Access {
    Access::open(Arc::new(MemoryStore::new()), required).await.unwrap()
}

fn new(tenant: &str, scopes: &[Scope]) -> NewToken {
    let scopes = scopes.iter().copied().collect();
    NewToken { tenant: TenantId::new(tenant).unwrap(), scopes, note: String::new(), expires_seconds: None }
}

#[tokio::test]
async fn without_tokens_whoever_comes_is_the_default_tenant() {
    let access = access(false).await;
    let anybody = Caller { tenant: TenantId::default(), token: None };
    for presented in [None, Some("anything")] {
        assert_eq!(access.identify(presented, Scope::Admin, NOW), Ok(anybody.clone()));
    }
    assert!(access.bootstrap(NOW).await.unwrap().is_none());
}

#[tokio::test]
async fn from_the_first_token_on_everybody_needs_one_for_ever() {
    let access = access(false).await;
    let first = access.issue(new("default", &[Scope::Admin]), NOW).await.unwrap();
    assert_eq!(access.identify(None, Scope::Read, NOW), Err(Denied::Missing));
    assert!(access.identify(Some(&first.token), Scope::Deploy, NOW).is_ok());
    access.revoke(&first.view.id, NOW).await.unwrap();
    assert_eq!(access.identify(None, Scope::Read, NOW), Err(Denied::Missing));
    assert_eq!(access.identify(Some(&first.token), Scope::Read, NOW), Err(Denied::Unknown));
    // Only who may start the daemon comes in again.
    let again = access.bootstrap(NOW).await.unwrap().unwrap();
    assert!(access.identify(Some(&again.token), Scope::Admin, NOW).is_ok());
    assert!(access.bootstrap(NOW).await.unwrap().is_none(), "one is enough");
}

#[tokio::test]
async fn the_first_token_of_an_open_daemon_can_make_others() {
    let access = access(false).await;
    access.set_tenant(TenantId::new("acme").unwrap(), TenantPolicy::default(), NOW).await.unwrap();
    for (tenant, scope) in [("acme", Scope::Submit), ("acme", Scope::Admin), ("default", Scope::Deploy)] {
        let error = access.issue(new(tenant, &[scope]), NOW).await.unwrap_err();
        assert!(matches!(error, AccessError::FirstToken), "{error}");
        assert!(error.to_string().contains("lovage token add --scope admin"), "{error}");
    }
    assert!(access.identify(None, Scope::Admin, NOW).is_ok(), "nobody is locked out");
    access.issue(new("default", &[Scope::Admin, Scope::Read]), NOW).await.unwrap();
    access.issue(new("acme", &[Scope::Submit]), NOW).await.unwrap();
}

#[tokio::test]
async fn the_first_start_of_a_daemon_that_needs_tokens_issues_one() {
    let access = access(true).await;
    assert_eq!(access.identify(None, Scope::Read, NOW), Err(Denied::Missing));
    let first = access.bootstrap(NOW).await.unwrap().unwrap();
    assert_eq!(first.view.scopes, [Scope::Admin].into());
    assert!(first.token.starts_with("lovage_") && first.token.len() == 7 + 12 + 1 + 43, "{}", first.token.len());
}

#[tokio::test]
async fn a_token_is_of_its_tenant_and_good_for_its_scopes() {
    let access = access(true).await;
    access.set_tenant(TenantId::new("acme").unwrap(), TenantPolicy::default(), NOW).await.unwrap();
    let token = access.issue(new("acme", &[Scope::Submit]), NOW).await.unwrap();
    let caller = access.identify(Some(&token.token), Scope::Submit, NOW).unwrap();
    assert_eq!((caller.tenant.as_str(), caller.token), ("acme", Some(token.view.id.clone())));
    let denied = access.identify(Some(&token.token), Scope::Read, NOW).unwrap_err();
    assert!(denied.to_string().ends_with("is good for submit, and this needs read"), "{denied}");
}

#[tokio::test]
async fn what_is_not_quite_a_token_is_none() {
    let access = access(true).await;
    let (one, other) = (new("default", &[Scope::Read]), new("default", &[Scope::Admin]));
    let (one, other) = (access.issue(one, NOW).await.unwrap(), access.issue(other, NOW).await.unwrap());
    let secret = |issued: &IssuedToken| issued.token.rsplit_once('_').unwrap().1.to_owned();
    let mut shorter = one.token.clone();
    shorter.pop();
    let swapped = format!("lovage_{}_{}", other.view.id, one.token.splitn(3, '_').nth(2).unwrap());
    let hashed = format!("lovage_{}_{}", one.view.id, hash(&secret(&one)));
    for bad in ["", "lovage_", "lovage__", "Bearer", &shorter, &format!("{}x", one.token), &swapped, &hashed] {
        assert_eq!(access.identify(Some(bad), Scope::Read, NOW), Err(Denied::Unknown), "{bad}");
    }
}

#[tokio::test]
async fn no_secret_is_kept() {
    let store = Arc::new(MemoryStore::new());
    let access = Access::open(Arc::clone(&store) as Arc<dyn Store>, true).await.unwrap();
    let issued = access.issue(new("default", &[Scope::Read]), NOW).await.unwrap();
    let secret = issued.token.splitn(3, '_').nth(2).unwrap();
    use crate::store::Access as _;
    let kept = serde_json::to_string(&store.tokens().await.unwrap()).unwrap();
    assert!(kept.contains(issued.view.id.as_str()) && !kept.contains(secret));
}

#[tokio::test]
async fn a_token_ends_by_itself() {
    let access = access(true).await;
    let token = NewToken { expires_seconds: Some(60), ..new("default", &[Scope::Read]) };
    let token = access.issue(token, NOW).await.unwrap().token;
    let identify = |now| access.identify(Some(&token), Scope::Read, now);
    let caller = identify(NOW).unwrap();
    let after = |seconds| {
        let now = NOW.after(Duration::from_secs(seconds));
        (identify(now), access.is_barred(&caller, now))
    };
    assert_eq!(after(59), (Ok(caller.clone()), false));
    assert_eq!(after(60), (Err(Denied::Unknown), true));
}

#[tokio::test]
async fn who_listens_is_barred_when_its_token_is_revoked() {
    let access = access(true).await;
    let token = access.issue(new("default", &[Scope::Read]), NOW).await.unwrap();
    let other = access.issue(new("default", &[Scope::Read]), NOW).await.unwrap();
    let caller = access.identify(Some(&token.token), Scope::Read, NOW).unwrap();
    let barred = access.barred(&caller);
    tokio::pin!(barred);
    access.revoke(&other.view.id, NOW).await.unwrap();
    assert!(tokio::time::timeout(Duration::ZERO, barred.as_mut()).await.is_err(), "another one is not its own");
    access.revoke(&token.view.id, NOW).await.unwrap();
    barred.await;
}

#[tokio::test]
async fn another_host_hears_of_it_from_the_store() {
    let store = Arc::new(MemoryStore::new());
    let open = || Access::open(Arc::clone(&store) as Arc<dyn Store>, true);
    let (here, there) = (open().await.unwrap(), open().await.unwrap());
    let token = here.issue(new("default", &[Scope::Read]), NOW).await.unwrap();
    there.refresh().await.unwrap();
    assert!(there.identify(Some(&token.token), Scope::Read, NOW).is_ok());
    there.revoke(&token.view.id, NOW).await.unwrap();
    here.refresh().await.unwrap();
    assert_eq!(here.identify(Some(&token.token), Scope::Read, NOW), Err(Denied::Unknown));
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_its_field() {
    let access = access(true).await;
    let base = || new("default", &[Scope::Read]);
    for (wrong, says) in [
        (NewToken { scopes: BTreeSet::new(), ..base() }, "scopes is empty"),
        (NewToken { note: "a\nb".to_owned(), ..base() }, "note must"),
        (NewToken { expires_seconds: Some(0), ..base() }, "expires_seconds must"),
        (NewToken { expires_seconds: Some(u64::MAX), ..base() }, "expires_seconds must"),
        (new("nobody", &[Scope::Read]), "lovage tenant add nobody"),
    ] {
        let error = access.issue(wrong, NOW).await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let wrong = TenantPolicy { weight: Some(0), ..TenantPolicy::default() };
    let error = access.set_tenant(TenantId::new("acme").unwrap(), wrong, NOW).await.unwrap_err();
    assert!(error.to_string().starts_with("weight is 0"), "{error}");
    let error = access.revoke(&TokenId::new("t9").unwrap(), NOW).await.unwrap_err().to_string();
    assert!(error.contains("lovage token list"), "{error}");
}

#[tokio::test]
async fn those_whose_share_is_their_own_are_known_apart() {
    let access = access(true).await;
    for (name, policy) in [
        ("plain", TenantPolicy { streams: Some(1), ..TenantPolicy::default() }),
        ("heavy", TenantPolicy { weight: Some(2), ..TenantPolicy::default() }),
        ("frugal", TenantPolicy { fuel_per_day: Some(5), ..TenantPolicy::default() }),
        ("single", TenantPolicy { running_tasks: Some(1), ..TenantPolicy::default() }),
    ] {
        access.set_tenant(TenantId::new(name).unwrap(), policy, NOW).await.unwrap();
    }
    let limited = access.limited();
    let names: Vec<_> = limited.iter().map(|tenant| tenant.name.as_str()).collect();
    assert_eq!(names, ["frugal", "heavy", "single"]);
}

#[tokio::test]
async fn of_several_tenants_none_has_all_uploads() {
    let access = access(true).await;
    let acme = TenantId::new("acme").unwrap();
    let alone: Vec<_> = (0..9).map(|_| access.open_upload(&acme, 4)).collect();
    assert!(alone.iter().all(Result::is_ok));
    drop(alone);
    access.set_tenant(acme.clone(), TenantPolicy::default(), NOW).await.unwrap();
    let _two = [access.open_upload(&acme, 4).unwrap(), access.open_upload(&acme, 4).unwrap()];
    assert_eq!(access.open_upload(&acme, 4).unwrap_err(), TooMany { most: 2 });
    assert!(access.open_upload(&TenantId::default(), 4).is_ok());
}

/// A task of the tenant's has run to its end, and a group is saved.
async fn leave_something(store: &MemoryStore, tenant: &TenantId) {
    use crate::store::Groups as _;
    run_one(store, tenant, NOW).await;
    let group = lovage_model::ResultTuple::of("g".parse().unwrap());
    assert!(store.save_group(tenant, &group.id, &group, u64::MAX, NOW).await.unwrap());
}

/// A task ends, `b`.
async fn run_one(store: &MemoryStore, tenant: &TenantId, now: Timestamp) {
    use crate::store::{Ask, Broker as _, Shares};
    use lovage_model::{Json, Message, Plan, Room, Settlement, Verdict};
    let plans = vec![Plan::of(Message::new("b".parse().unwrap(), "t.a".parse().unwrap()))];
    store.submit(tenant, plans, now, Room::UNLIMITED).await.unwrap();
    let until = now.after(Duration::from_secs(60));
    let ask = Ask { worker: "w".to_owned(), queues: None, max: 1, shares: Shares::default(), now, until };
    let lease = store.lease(ask).await.unwrap().leases.remove(0);
    let verdict = Verdict::Success { result: Json::parse("1".to_owned()).unwrap() };
    store.commit(lease.key, Settlement { worker: "w".to_owned(), ..Settlement::of(verdict, now) }).await.unwrap();
}

#[tokio::test]
async fn what_a_clock_that_was_ahead_has_counted_keeps_no_name_from_being_given() {
    use crate::store::Results as _;
    let store = Arc::new(MemoryStore::new());
    let access = Access::open(Arc::clone(&store) as Arc<dyn Store>, true).await.unwrap();
    let acme = TenantId::new("acme").unwrap();
    run_one(&store, &acme, NOW.after(Duration::from_secs(30 * 86_400))).await;
    store.forget(&acme, &"b".parse().unwrap()).await.unwrap();
    assert!(access.set_tenant(acme, TenantPolicy::default(), NOW).await.unwrap().1);
}

#[tokio::test]
async fn a_tenant_is_taken_away_with_its_tokens_once_it_has_nothing_left() {
    let store = Arc::new(MemoryStore::new());
    let access = Access::open(Arc::clone(&store) as Arc<dyn Store>, true).await.unwrap();
    let acme = TenantId::new("acme").unwrap();
    let weighty = TenantPolicy { weight: Some(5), ..TenantPolicy::default() };
    assert!(access.set_tenant(acme.clone(), TenantPolicy::default(), NOW).await.unwrap().1);
    assert!(!access.set_tenant(acme.clone(), weighty, NOW.after(Duration::from_secs(1))).await.unwrap().1);
    assert_eq!((access.tenants()[0].created_at, access.policy(&acme).weight()), (NOW, 5));
    {
        use crate::store::{Modules, Upload};
        let (name, digest) = (|| "m".parse().unwrap(), lovage_model::Digest::from_bytes(&[1; 32]));
        let upload = Upload { name: name(), digest, component: "m".into(), tasks: vec![] };
        Modules::push(&*store, &acme, upload, NOW).await.unwrap();
        let error = access.remove_tenant(&acme, NOW).await.unwrap_err().to_string();
        assert!(error.contains("acme has 1 module: remove"), "{error}");
        assert!(Modules::remove(&*store, &acme, &name()).await.unwrap());
    }
    let token = access.issue(new("acme", &[Scope::Submit]), NOW).await.unwrap();
    let message = lovage_model::Message::new("a".parse().unwrap(), "t.a".parse().unwrap());
    use crate::store::Broker as _;
    let plans = vec![lovage_model::Plan::of(message)];
    store.submit(&acme, plans, NOW, lovage_model::Room::UNLIMITED).await.unwrap();
    let error = access.remove_tenant(&acme, NOW).await.unwrap_err().to_string();
    assert!(error.contains("tasks that have not ended"), "{error}");
    let secret = || crate::store::Place::of_secret(acme.clone(), &"m".parse().unwrap(), &"s".parse().unwrap());
    use crate::store::Values as _;
    store.keep_value(secret(), "hush".into(), u64::MAX).await.unwrap().unwrap();
    store.purge(&acme, &lovage_model::QueueName::default(), NOW).await.unwrap();
    leave_something(&store, &acme).await;
    use crate::store::{Periodic, Schedules as _};
    let entry = serde_json::from_value(serde_json::json!({"task": "t.a", "every": 10})).unwrap();
    let periodic = Periodic {
        tenant: acme.clone(),
        name: "nightly".parse().unwrap(),
        entry,
        of_config: false,
        declared_by: BTreeSet::new(),
        since: NOW,
        last_run: None,
        total_run_count: 0,
    };
    store.set_periodic(periodic).await.unwrap();
    use crate::store::{Groups as _, Metering as _, Orders as _, Results as _};
    let slow = "slow".parse().unwrap();
    store.pause(&acme, &slow, true).await.unwrap();
    access.remove_tenant(&acme, NOW).await.unwrap();
    assert!(!store.queues(&acme, NOW).await.unwrap().iter().any(|queue| queue.paused), "nor has its queues paused");
    assert_eq!(store.periodic(None).await.unwrap(), [], "nor has it sent");
    assert_eq!(store.value(secret()).await.unwrap(), None, "who gets the name next does not find it");
    assert_eq!(store.group(&acme, &"g".parse().unwrap()).await.unwrap(), None, "nor what it has saved");
    assert_eq!(access.identify(Some(&token.token), Scope::Submit, NOW), Err(Denied::Unknown));
    assert!(access.tenants().is_empty() && access.policy(&acme) == TenantPolicy::default());
    assert!(matches!(access.remove_tenant(&acme, NOW).await, Err(AccessError::UnknownTenant(_))));
    // Its last results are still there, and are nobody else's.
    let error = access.set_tenant(acme.clone(), TenantPolicy::default(), NOW).await.unwrap_err().to_string();
    assert!(error.contains("results of one that had its name before"), "{error}");
    for id in ["a", "b"] {
        store.forget(&acme, &id.parse().unwrap()).await.unwrap();
    }
    // Nor does anybody pay for what it has used today.
    let error = access.set_tenant(acme.clone(), TenantPolicy::default(), NOW).await.unwrap_err().to_string();
    assert!(error.contains("usage of today"), "{error}");
    let tomorrow = NOW.after(Duration::from_secs(86_400));
    assert!(access.set_tenant(acme.clone(), TenantPolicy::default(), tomorrow).await.unwrap().1);
    assert_eq!(access.created(&acme), Some(tomorrow), "it sees its own days");
    assert_eq!(store.metered(&acme, NOW).await.unwrap().len(), 1, "and the operator all");
}
