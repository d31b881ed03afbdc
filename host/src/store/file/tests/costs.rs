//! What must cost no more than what it moves or shows.

use futures_util::future::join_all;
use lovage_model::{Arrival, Join, Message, Planned, Settlement, Then};

use super::*;
use crate::store::suite::{ask_of, ids, in_queue, json, queue};
use crate::store::{Ask, Filter, Metering, Orders, Page, Paused};

#[tokio::test]
async fn a_push_reads_no_older_versions() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    push(&store, b"one").await;
    let two = push(&store, b"two").await;
    store.inject("UPDATE module SET tasks = '{' WHERE version = 1").await.unwrap();
    push(&store, b"three").await;
    let tour = ModuleName::new("tour").unwrap();
    let now = store.rollback(&tenant(), &tour).await.unwrap().unwrap();
    assert_eq!((now.version, &now.digest, now.active), (2, &two, true));
    assert!(check(dir.path()).unwrap().is_sound());
    assert!(store.remove(&tenant(), &tour).await.unwrap());
    assert!(steps_of(modules::ACTIVE)[0].contains("module_active"));
    assert!(steps_of(modules::OLDER)[0].contains("version<?"));
}

#[test]
fn what_is_given_back_costs_what_was_leased_however_many_tasks_there_are() {
    for sql in schema::GIVE_BACK.split(';') {
        let steps = steps_of(sql);
        assert!(!steps.iter().any(|step| step.starts_with("SCAN task")), "{sql}: {steps:?}");
    }
}

/// What SQLite does for a statement.
fn steps_of(sql: &str) -> Vec<String> {
    let db = Connection::open_in_memory().unwrap();
    schema::STEPS.iter().for_each(|step| db.execute_batch(step).unwrap());
    let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let nothing = vec![rusqlite::types::Null; plan.parameter_count()];
    let steps = plan.query_map(rusqlite::params_from_iter(nothing), |row| row.get("detail")).unwrap();
    steps.map(std::result::Result::unwrap).collect()
}

#[test]
fn the_parts_of_a_join_are_read_one_by_one() {
    let sorts = |sql| steps_of(sql).iter().any(|step| step.contains("TEMP B-TREE"));
    assert!(sorts(joins::PARTS) && !joins::PARTS.contains("arrival"), "their keys are sorted");
    assert!(!sorts(joins::PART));
}

#[test]
fn lists_are_read_in_order() {
    for sql in [waiting::SCHEDULED, results::QUEUES, values::KEYS, values::KEYS_AFTER] {
        let steps = steps_of(sql);
        assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE") || step.starts_with("SCAN")), "{steps:?}");
    }
}

#[tokio::test]
async fn many_queues_are_listed_part_by_part() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    let name = |n: usize| format!("q{n:04}");
    let queued = |n: usize| Plan::of(in_queue(&name(n), &name(n)));
    store.submit(&tenant(), (0..2000).map(queued).collect(), at(0), Room::UNLIMITED).await.unwrap();
    for paused in [500, 2000, 2001] {
        store.pause(&tenant(), &queue(&name(paused)), true).await.unwrap();
    }
    let all = store.queues(&tenant(), at(1)).await.unwrap();
    assert_eq!(all.iter().map(|view| view.name.clone()).collect::<Vec<_>>(), (0..2002).map(name).collect::<Vec<_>>());
    let paused: Vec<_> = all.iter().filter(|view| view.paused).map(|view| (view.name.as_str(), view.ready)).collect();
    assert_eq!(paused, [("q0500", 1), ("q2000", 0), ("q2001", 0)]);
    let reads = |db: &Connection| Ok(db.prepare_cached(results::QUEUES)?.reset_status(rusqlite::StatementStatus::Run));
    assert_eq!(store.lists.run(reads).await.unwrap(), 3, "1,000 at once");
}

#[test]
fn a_task_is_forgotten_without_a_look_at_others() {
    let steps = steps_of(settle::UNCOUNT);
    assert!(steps[0].contains("tenant=? AND root=?"), "{steps:?}");
}

#[tokio::test]
async fn of_a_join_as_much_is_kept_as_fits_into_memory() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    let part = |index: u32| {
        let then = Some(Then::Part { group: id("g"), index });
        Planned { message: Message { then, ..message(&format!("t{index}")) }, awaits: None }
    };
    let join = Join { group: id("g"), size: 3, then: Then::Next };
    let plan = Plan { tasks: (0..3).map(part).collect(), joins: vec![join] };
    store.submit(&tenant(), vec![plan], at(0), Room::UNLIMITED).await.unwrap();
    let large = json(&format!("\"{}\"", "x".repeat(33 << 20)));
    for lease in store.lease(ask(9, at(0))).await.unwrap().leases {
        let arrival = Some(Arrival::Value(large.clone()));
        store.commit(lease.key, Settlement { arrival, ..settlement(success("1"), at(1)) }).await.unwrap();
    }
    let kept = |db: &Connection| {
        let mut statement = db.prepare("SELECT octet_length(arrival) > 0 FROM part ORDER BY place")?;
        statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<bool>>>()
    };
    assert_eq!(store.readers.run(kept).await.unwrap(), [true, false, false]);
    assert_eq!(check(dir.path()).unwrap().problems, Vec::<String>::new());
}

#[tokio::test]
async fn a_filter_that_few_pass_is_walked_in_pieces_and_finds_all_of_them() {
    const OTHERS: usize = 20_100;
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    let of = |id: String, name: &str| Plan::of(Message::new(id.parse().unwrap(), name.parse().unwrap()));
    let mut plans: Vec<_> = (0..3).map(|n| of(format!("rare{n}"), "t.rare")).collect();
    plans.extend((0..OTHERS).map(|n| of(format!("o{n}"), "t.often")));
    store.submit(&tenant(), plans, at(0), Room::UNLIMITED).await.unwrap();
    let rare = Filter { name: Some("t.rare".parse().unwrap()), limit: 2, ..Filter::default() };
    let page = store.list(&tenant(), rare.clone()).await.unwrap();
    let names = |page: &Page| page.tasks.iter().map(|meta| meta.task_id.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&page), ["rare2", "rare1"]);
    let rest = store.list(&tenant(), Filter { before: page.next, ..rare.clone() }).await.unwrap();
    assert_eq!((names(&rest), rest.next), (vec!["rare0".to_owned()], None));
    let all = store.list(&tenant(), Filter { limit: 4, ..rare.clone() }).await.unwrap();
    assert_eq!((all.tasks.len(), all.next), (3, None));
    let gone = Filter { state: Some(State::Success), ..rare };
    assert!(store.list(&tenant(), gone).await.unwrap().tasks.is_empty());
}

#[test]
fn a_list_of_what_runs_looks_at_what_runs() {
    let running = Filter { state: Some(State::Started), limit: 1, ..Filter::default() };
    let values = [(":tenant", "1"), (":before", "9"), (":state", "'STARTED'"), (":limit", "1")];
    let sql = values.iter().fold(results::rows_of(&running), |sql, (name, value)| sql.replace(name, value));
    let steps = steps_of(&sql);
    assert!(steps.iter().any(|step| step.starts_with("SEARCH t USING INTEGER PRIMARY KEY")), "{steps:?}");
}

#[tokio::test]
async fn what_a_batch_has_used_is_one_row_and_goes_with_the_batch() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    submit(&store, &["a", "b", "c"]).await.unwrap();
    let leases = store.lease(ask(9, at(0))).await.unwrap().leases;
    let batch: Vec<_> = leases.iter().map(|lease| (lease.key, settlement(success("1"), at(1)))).collect();
    let failed = |ledger: &mut Ledger| {
        ledger.meter(1, at(1), crate::store::metering::Used { attempts: 9, ..Default::default() });
        Err::<(), _>(rusqlite::Error::InvalidQuery)
    };
    assert!(store.writer.run(Need::BRIEF, failed).await.is_err());
    assert_eq!(store.commit_all(&batch).await.unwrap(), [Fenced::Applied, Fenced::Applied, Fenced::Applied]);
    let written =
        |ledger: &mut Ledger| Ok(ledger.db.prepare_cached(metering::ADD)?.reset_status(rusqlite::StatementStatus::Run));
    assert_eq!(store.writer.run(Need::BRIEF, written).await.unwrap(), 1);
    let days = store.metered(&tenant(), at(0)).await.unwrap();
    assert_eq!(days.iter().map(|day| (day.attempts, day.fuel)).collect::<Vec<_>>(), [(3, 21)]);
}

#[tokio::test]
async fn a_lease_is_renewed_without_a_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    submit(&store, &["a"]).await.unwrap();
    let key = store.lease(ask(1, at(0))).await.unwrap().leases[0].key;
    let changes = async || store.writer.run(Need::BRIEF, |ledger| Ok(ledger.db.total_changes())).await.unwrap();
    let before = changes().await;
    assert!(store.renew(vec![key], at(60)).await.unwrap().is_empty());
    assert_eq!(changes().await, before);
    assert!(store.lease(ask(1, at(50))).await.unwrap().leases.is_empty(), "it holds");
    assert_eq!(ids(&store.lease(ask(1, at(60))).await.unwrap().leases), ["a"], "as long as it was renewed for");
}

#[tokio::test]
async fn many_callers_share_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(FileStore::open(dir.path(), at(0)).unwrap());
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..500 {
        let store = store.clone();
        calls.spawn(async move { submit(&store, &[&format!("t{n}")]).await.unwrap() });
    }
    assert!(calls.join_all().await.iter().all(|answer| answer == &[Submitted::Stored]));
    assert_eq!(store.queues(&tenant(), at(0)).await.unwrap()[0].ready, 500);
    // The log of a commit each would be many times longer: at least the pages of four tables, and a frame for each.
    let log = fs::metadata(dir.path().join("lovage.db-wal")).unwrap().len();
    assert!(log < 500 * 4 * 4096 / 2, "{log} bytes");
}

#[tokio::test]
async fn much_that_is_due_at_once_is_moved_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    let due = |n: usize| Plan::of(Message { eta: Some(at(5)), ..message(&format!("t{n}")) });
    for part in 0..3 {
        let plans = (0..4000).map(|n| due(part * 4000 + n)).collect();
        store.submit(&tenant(), plans, at(0), Room::UNLIMITED).await.unwrap();
    }
    let leased = store.lease(ask(1, at(6))).await.unwrap();
    assert_eq!((leased.leases.len(), leased.next_due), (1, Some(at(5))), "there is more at once");
    let counts = |views: Vec<lovage_model::api::QueueView>| (views[0].ready, views[0].scheduled, views[0].leased);
    assert_eq!(counts(store.queues(&tenant(), at(6)).await.unwrap()), (9999, 2000, 1));
    let leased = store.lease(ask(1, at(6))).await.unwrap();
    assert_eq!(leased.leases[0].message.id.as_str(), "t1");
    assert_eq!(counts(store.queues(&tenant(), at(6)).await.unwrap()), (11_998, 0, 2));
}

#[tokio::test]
async fn a_lease_reads_the_lines_that_it_takes_from_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    let queued = |n: usize| {
        let queue = format!("q{n}").parse().unwrap();
        Plan::of(Message { queue, priority: 9, ..message(&format!("t{n}")) })
    };
    store.submit(&tenant(), (0..2000).map(queued).collect(), at(0), Room::UNLIMITED).await.unwrap();
    assert_eq!(ids(&store.lease(ask(2, at(0))).await.unwrap().leases), ["t0", "t1"]);
    submit(&store, &["urgent"]).await.unwrap();
    let reads = async || {
        let count = |ledger: &mut Ledger| {
            let statement = ledger.db.prepare_cached(lease::HEAD)?;
            Ok(statement.reset_status(rusqlite::StatementStatus::Run))
        };
        store.writer.run(Need::BRIEF, count).await.unwrap()
    };
    reads().await;
    assert_eq!(ids(&store.lease(ask(2, at(0))).await.unwrap().leases), ["urgent", "t2"]);
    assert!(reads().await <= 4, "of 2,000 lines");
}

#[tokio::test]
async fn a_lease_looks_at_no_line_that_is_paused_or_not_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    let queued = |n: usize| {
        let queue = format!("q{n}").parse().unwrap();
        Plan::of(Message { queue, ..message(&format!("t{n}")) })
    };
    store.submit(&tenant(), (0..2001).map(queued).collect(), at(0), Room::UNLIMITED).await.unwrap();
    let pause = |n: usize, paused| {
        let (store, queue) = (&store, queue(&format!("q{n}")));
        async move { store.pause(&tenant(), &queue, paused).await.unwrap() }
    };
    assert!(join_all((0..1000).map(|n| pause(n, true))).await.into_iter().all(|it| it == Paused::Changed));
    let looked_at = async |ask: Ask| {
        let count = move |ledger: &mut Ledger| {
            let looked = std::cell::Cell::new(0);
            for (tenant, count, lines) in ledger.book.heads.tenants() {
                let lines = lines.inspect(|_| looked.set(looked.get() + 1));
                ledger.wanted(&ask, tenant, count, lines).1.for_each(drop);
            }
            Ok(looked.get())
        };
        store.writer.run(Need::BRIEF, count).await.unwrap()
    };
    let few = || ask_of(&["q1", "q1999", "q2000", "nowhere"], 9, at(0));
    assert_eq!(ids(&store.lease(few()).await.unwrap().leases), ["t1999", "t2000"]);
    assert_eq!(looked_at(few()).await, 0, "they are found by their names");
    assert!(looked_at(ask(9, at(0))).await <= 1001, "those that are paused are passed over");
    assert_eq!(pause(1, false).await, Paused::Changed);
    assert_eq!(ids(&store.lease(few()).await.unwrap().leases), ["t1"], "it goes on");
}
