//! Results: lists, pages, forgetting, expiry.

use lovage_model::State;

use super::*;
use crate::store::{Filter, Page, Redone};

for_each_backend!(
    pages_follow_each_other,
    a_page_ends_after_so_many_bytes,
    filters_narrow_a_list,
    forget_drops_what_has_ended,
    the_oldest_expire_first,
);

fn names(page: &Page) -> Vec<&str> {
    page.tasks.iter().map(|task| task.task_id.as_str()).collect()
}

async fn list(bench: &Bench, filter: Filter) -> Page {
    bench.store.list(&tenant(), filter).await.unwrap()
}

async fn pages_follow_each_other(bench: Bench) {
    bench.submit(["a", "b", "c", "d"].map(message).to_vec(), at(0)).await;
    bench.offer(&TenantId::new("other").unwrap(), vec![message("o")], at(0), 9).await;
    let mut filter = Filter { limit: 2, ..Filter::default() };
    let page = list(&bench, filter.clone()).await;
    assert_eq!(names(&page), ["d", "c"]);
    filter.before = page.next;
    assert!(filter.before.is_some());
    bench.submit(vec![message("e")], at(1)).await;
    let page = list(&bench, filter.clone()).await;
    assert_eq!((names(&page), page.next), (vec!["b", "a"], None), "a full last page is the last one");
    assert!(list(&bench, Filter::default()).await.tasks.is_empty(), "a limit of 0 lists nothing");
    let none = bench.store.list(&TenantId::new("stranger").unwrap(), filter).await.unwrap();
    assert!(none.tasks.is_empty() && none.next.is_none());
}

async fn a_page_ends_after_so_many_bytes(bench: Bench) {
    let large = |name: &str, eta| {
        let args = json(&format!("[\"{}\"]", "x".repeat(6 << 20)));
        Message { args, eta, ..message(name) }
    };
    for name in ["a", "b", "c", "d", "e"] {
        bench.submit(vec![large(name, Some(at(50)))], at(0)).await;
    }
    let mut filter = Filter { limit: 9, ..Filter::default() };
    let page = list(&bench, filter.clone()).await;
    assert_eq!(names(&page), ["e", "d", "c"], "16 MiB, and what goes beyond them");
    filter.before = page.next;
    let page = list(&bench, filter.clone()).await;
    assert_eq!((names(&page), page.next), (vec!["b", "a"], None));
    assert_eq!(bench.store.scheduled(&tenant(), 9).await.unwrap().len(), 3);
}

async fn filters_narrow_a_list(mut bench: Bench) {
    bench.run_to("done", success("1"), at(0)).await;
    bench.run_to("failed", failure(), at(0)).await;
    bench.run_to("ignored", Verdict::Ignored, at(0)).await;
    bench.submit(["started", "progress", "again"].map(message).to_vec(), at(0)).await;
    let leases = bench.lease(3, at(0)).await;
    bench.store.report(leases[1].key, "PROGRESS".to_owned(), json("1")).await.unwrap();
    let again = Message { retries: 1, task: TaskName::new("tour.flaky").unwrap(), ..in_queue("again", "slow") };
    bench.commit(leases[2].key, retry(again), at(0)).await;
    bench.submit(vec![message("waiting"), in_queue("revoked", "slow")], at(0)).await;
    bench.store.revoke(&tenant(), &id("revoked"), at(0)).await.unwrap();
    let all = |filter: Filter| Filter { limit: 99, ..filter };
    let of_state = |name: &str| all(Filter { state: Some(State::from_name(name)), ..Filter::default() });
    for (state, expected) in [
        ("SUCCESS", "done"),
        ("FAILURE", "failed"),
        ("IGNORED", "ignored"),
        ("STARTED", "started"),
        ("PROGRESS", "progress"),
        ("RETRY", "again"),
        ("PENDING", "waiting"),
        ("REVOKED", "revoked"),
    ] {
        assert_eq!(names(&list(&bench, of_state(state)).await), [expected], "{state}");
    }
    for absent in ["RECEIVED", "REJECTED", "UNHEARD"] {
        assert!(list(&bench, of_state(absent)).await.tasks.is_empty(), "{absent}");
    }
    let slow = all(Filter { queue: Some(queue("slow")), ..Filter::default() });
    assert_eq!(names(&list(&bench, slow.clone()).await), ["revoked", "again"]);
    let both = Filter { state: Some(State::Retry), ..slow };
    assert_eq!(names(&list(&bench, both).await), ["again"]);
    let flaky = all(Filter { name: Some(TaskName::new("tour.flaky").unwrap()), ..Filter::default() });
    assert_eq!(names(&list(&bench, flaky.clone()).await), ["again"]);
    bench.restart().await;
    assert_eq!(names(&list(&bench, of_state("PENDING")).await), ["waiting", "progress", "started"]);
    let lease = bench.store.lease(ask_of(&["slow"], 1, at(1))).await.unwrap();
    assert_eq!(ids(&lease.leases), ["again"]);
    assert!(list(&bench, of_state("RETRY")).await.tasks.is_empty(), "a retry that runs is STARTED");
    assert_eq!(names(&list(&bench, of_state("STARTED")).await), ["again"]);
}

async fn forget_drops_what_has_ended(mut bench: Bench) {
    bench.run_to("a", success("1"), at(0)).await;
    bench.submit(vec![message("b")], at(0)).await;
    let forget = async |bench: &Bench, name: &str| bench.store.forget(&tenant(), &id(name)).await.unwrap();
    assert_eq!(forget(&bench, "b").await, Redone::Busy(State::Pending));
    bench.lease_one(at(0)).await;
    assert_eq!(forget(&bench, "b").await, Redone::Busy(State::Started));
    assert_eq!(forget(&bench, "a").await, Redone::Done);
    assert_eq!(forget(&bench, "a").await, Redone::Unknown);
    bench.restart().await;
    assert_eq!(bench.store.task(&tenant(), &id("a")).await.unwrap(), None);
    assert_eq!(bench.store.logs(&tenant(), &id("a")).await.unwrap(), None);
    bench.submit(vec![message("a")], at(1)).await;
    assert_eq!(bench.task("a").await.status, State::Pending, "the id is free again");
}

async fn the_oldest_expire_first(mut bench: Bench) {
    for (name, ended) in [("c", 30), ("a", 10), ("b", 20)] {
        bench.run_to(name, success("1"), at(ended)).await;
    }
    bench.submit(vec![message("waiting")], at(0)).await;
    assert_eq!(bench.store.expire(at(10), 9).await.unwrap(), 0, "what ended at the time itself stays");
    assert_eq!(bench.store.expire(at(99), 1).await.unwrap(), 1);
    assert_eq!(bench.store.task(&tenant(), &id("a")).await.unwrap(), None);
    assert_eq!(bench.store.expire(at(30), 9).await.unwrap(), 1);
    bench.restart().await;
    assert_eq!(bench.task("c").await.status, State::Success);
    assert_eq!(bench.store.expire(at(99), 9).await.unwrap(), 1);
    assert_eq!(bench.task("waiting").await.status, State::Pending, "what has not ended never expires");
}
