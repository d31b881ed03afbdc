//! How much is read, and done, in one step, whatever there is and whoever put it there?

use lovage_model::{Arrival, Join, Planned, TaskId, Then};

use super::*;
use crate::store::record::MAX_LEASED_BYTES;
use crate::store::redis::script::Script;
use crate::store::{Completed, Ended, FollowUp, Joins, Orders, Quota, Revoked, Schedules, Submitted, Waiting};

fn value(text: &str) -> Arrival {
    Arrival::Value(Json::parse(text.to_owned()).unwrap())
}

/// How many scripts a server has run that is the bench's own.
async fn scripts(bench: &Bench) -> u64 {
    let mut asked = redis::cmd("INFO");
    let said: String = asked.arg("commandstats").query_async(&mut bench.client.clone()).await.unwrap();
    let calls = |line: &str| -> Option<u64> {
        line.strip_prefix("cmdstat_eval")?.split("calls=").nth(1)?.split(',').next()?.parse().ok()
    };
    said.lines().filter_map(calls).sum()
}

/// Tasks that are the parts of a group.
async fn submit_group(bench: &Bench, group: &str, parts: &[&str]) {
    let part = |(index, name): (usize, &&str)| {
        let then = Then::Part { group: group.parse().unwrap(), index: u32::try_from(index).unwrap() };
        Planned { message: Message { then: Some(then), ..message(name) }, awaits: None }
    };
    let size = u32::try_from(parts.len()).unwrap();
    let joins = vec![Join { group: group.parse().unwrap(), size, then: Then::Next }];
    let plan = Plan { tasks: parts.iter().enumerate().map(part).collect(), joins };
    bench.store.submit(&tenant(), vec![plan], at(0), Room::UNLIMITED).await.unwrap();
}

/// Ends whatever can run, with 1.
async fn run_all(bench: &Bench) {
    for lease in bench.lease(99, at(1)).await {
        let end = Settlement { arrival: Some(value("1")), ..success("1", at(1)) };
        bench.commit(lease.key, end).await;
    }
}

async fn ended(bench: &Bench) -> Vec<Ended> {
    bench.store.ended(9).await.unwrap()
}

fn parts(ended: &Ended) -> &[Arrival] {
    let Completed::Join { parts, .. } = &ended.outcome else { panic!("no join: {ended:?}") };
    parts
}

#[tokio::test]
async fn of_results_that_do_not_fit_into_memory_that_alone_is_kept_and_told() {
    let bench = Bench::new().await;
    submit_group(&bench, "g", &["a", "b"]).await;
    // As if those before had been so large.
    let by = (MAX_LEASED_BYTES - 20).to_string();
    bench.ask::<u64>("HSET", "lovage:join:g", &["by", &by]).await;
    run_all(&bench).await;
    let ended = ended(&bench).await;
    assert!(
        matches!(parts(&ended[0]), [Arrival::Failed { exception, .. }] if exception.message().contains("return less")),
        "{ended:?}"
    );
    let mut kept: Vec<String> = bench.ask("HVALS", "lovage:parts:g", &[]).await;
    kept.sort_unstable();
    assert!(kept[0].ends_with("{\"value\":1}") && kept[1].ends_with('\0'), "{kept:?}");
}

/// Of such a join it is not known how large it is.
#[tokio::test]
async fn a_join_of_an_older_version_is_followed() {
    let bench = Bench::new().await;
    submit_group(&bench, "g", &["a", "b"]).await;
    bench.ask::<u64>("HDEL", "lovage:join:g", &["by"]).await;
    run_all(&bench).await;
    assert_eq!(parts(&ended(&bench).await[0]), [value("1"), value("1")]);
}

#[tokio::test]
async fn what_does_not_fit_beside_others_is_asked_for_once_they_are_dealt_with() {
    let bench = Bench::new().await;
    submit_group(&bench, "g", &["a"]).await;
    submit_group(&bench, "h", &["b"]).await;
    for group in ["g", "h"] {
        let by = (MAX_LEASED_BYTES / 3 * 2).to_string();
        bench.ask::<u64>("HSET", &format!("lovage:join:{group}"), &["by", &by]).await;
    }
    run_all(&bench).await;
    let first = ended(&bench).await;
    assert_eq!((first.len(), parts(&first[0])), (1, &[value("1")][..]));
    bench.store.follow(first[0].key, FollowUp::last(vec![]), at(2)).await.unwrap();
    let second = ended(&bench).await;
    assert_eq!((second.len(), second[0].id != first[0].id), (1, true));
}

#[tokio::test]
async fn a_revoke_by_stamp_takes_many_small_steps() {
    let server = Server::start(&[]);
    let bench = Bench::on(&server).await;
    let job = [Json::of("x").unwrap()];
    let name = |n: usize| format!("t{n:04}");
    let stamped = |n| Message { stamps: [("job".to_owned(), job[0].clone())].into(), ..message(&name(n)) };
    bench.submit((0..1_200).map(stamped).collect()).await;
    bench.store.revoke_stamped(&tenant(), "job", &[], at(1)).await.unwrap();
    let before = scripts(&bench).await;
    let found = bench.store.revoke_stamped(&tenant(), "job", &job, at(1)).await.unwrap();
    assert_eq!(scripts(&bench).await - before, 3);
    let expected: Vec<(TaskId, Revoked)> = (0..1_200).map(|n| (name(n).parse().unwrap(), Revoked::Waiting)).collect();
    assert!(found == expected, "each once, the older first");
}

#[tokio::test]
async fn a_batch_is_stored_in_pieces_and_answered_in_order() {
    let server = Server::start(&[]);
    let bench = Bench::on(&server).await;
    bench.submit(vec![message("t1500")]).await;
    let before = scripts(&bench).await;
    let plans = (0..2_500).map(|n| Plan::of(message(&format!("t{n}")))).collect();
    let room = Room { queued_tasks: 2_400, ..Room::UNLIMITED };
    let answers = bench.store.submit(&tenant(), plans, at(0), room).await.unwrap();
    assert!(scripts(&bench).await - before >= 3);
    let expected = |n| match n {
        1_500 => Submitted::Exists,
        0..2_400 => Submitted::Stored,
        _ => Submitted::Full(Quota::QueuedTasks),
    };
    assert!(answers == (0..2_500).map(expected).collect::<Vec<_>>(), "counted exactly");
    let large = Json::of(&["x".repeat(600_000)]).unwrap();
    let plans = ["u", "v", "w"].map(|name| Plan::of(Message { args: large.clone(), ..message(name) }));
    let before = scripts(&bench).await;
    let answers = bench.store.submit(&tenant(), plans.to_vec(), at(0), Room::UNLIMITED).await.unwrap();
    assert_eq!(scripts(&bench).await - before, 3, "no two of them fit into one piece");
    assert_eq!(answers, [Submitted::Stored, Submitted::Stored, Submitted::Stored]);
}

#[tokio::test]
async fn what_is_stored_of_a_batch_is_told_when_the_rest_fails() {
    let bench = Bench::new().await;
    // Where the last one would have to wait for its time somebody has put something else.
    bench.ask::<()>("SET", "lovage:later:celery", &["x"]).await;
    let mut messages: Vec<Message> = (0..1_500).map(|n| message(&format!("t{n}"))).collect();
    messages[1_499].eta = Some(at(100));
    let plans = messages.into_iter().map(Plan::of).collect();
    let answers = bench.store.submit(&tenant(), plans, at(0), Room::UNLIMITED).await.unwrap();
    let stored = answers.iter().take_while(|answer| **answer == Submitted::Stored).count();
    assert!((1..1_500).contains(&stored) && answers.len() == 1_500, "{stored}");
    assert!(answers[stored..].iter().all(|answer| matches!(answer, Submitted::Failed(_))), "{answers:?}");
    assert_eq!(bench.ask::<usize>("LLEN", "celery", &[]).await, stored, "what was said to be stored is there");
}

/// A task, and others that wait for it.
async fn submit_followers(bench: &Bench, followers: &[&str]) {
    let follower = |name: &&str| Planned { message: message(name), awaits: Some("a".parse().unwrap()) };
    let mut plan = Plan::of(Message { then: Some(Then::Next), ..message("a") });
    plan.tasks.extend(followers.iter().map(follower));
    bench.store.submit(&tenant(), vec![plan], at(0), Room::UNLIMITED).await.unwrap();
}

/// Makes the message of a task so long, whatever that is then.
async fn lengthen(bench: &Bench, name: &str, bytes: usize) {
    let script = "redis.call('HSET', KEYS[1], 'm', redis.call('HGET', KEYS[1], 'm') .. string.rep(' ', ARGV[1]))";
    bench.eval(script, &[&format!("lovage:task:{name}")], bytes).await;
}

#[tokio::test]
async fn a_long_message_is_not_read_in_the_step_that_ends_what_it_waits_for() {
    for (bytes, is_kept) in [(0, false), (64 << 10, true)] {
        let bench = Bench::new().await;
        submit_followers(&bench, &["b"]).await;
        lengthen(&bench, "b", bytes).await;
        run_all(&bench).await;
        let ended = ended(&bench).await;
        assert_eq!(ended.len(), usize::from(is_kept), "{ended:?}");
        assert_eq!(bench.lease(9, at(2)).await.len(), usize::from(!is_kept));
    }
}

#[tokio::test]
async fn of_those_who_wait_as_many_are_read_as_fit_into_memory_and_never_all_but_one() {
    for (followers, read) in [(&["b", "c", "d", "e", "f", "g"][..], 4), (&["b", "c", "d", "e", "f"][..], 5)] {
        let server = Server::start(&[]);
        let bench = Bench::on(&server).await;
        submit_followers(&bench, followers).await;
        for name in followers {
            lengthen(&bench, name, 5 << 20).await;
        }
        assert_eq!(bench.store.followers(&tenant(), &"a".parse().unwrap(), 9).await.unwrap().len(), read);
    }
}

#[tokio::test]
async fn all_that_a_task_has_counts_in_a_list() {
    #[derive(serde::Serialize)]
    struct Args {
        tenant: TenantId,
        limit: usize,
        page: usize,
    }
    #[derive(serde::Deserialize)]
    struct Rows {
        rows: Vec<serde::de::IgnoredAny>,
    }
    let of_its_own = "redis.call('HSET', KEYS[1], 'ownm', large)";
    let children = "redis.call('HSET', KEYS[1], 'ch', 1); redis.call('RPUSH', KEYS[2], large)";
    for change in [of_its_own, children] {
        let server = Server::start(&[]);
        let bench = Bench::on(&server).await;
        let names = ["a", "b", "c", "d"];
        bench.submit(names.map(message).to_vec()).await;
        for name in names {
            let script = format!("local large = string.rep('x', ARGV[1]); {change}");
            let keys = [format!("lovage:task:{name}"), format!("lovage:children:{name}")];
            bench.eval(&script, &[&keys[0], &keys[1]], 9 << 20).await;
        }
        let args = Args { tenant: tenant(), limit: 9, page: 50 };
        let found: Rows = bench.store.link.call(Script::Tasks, &args).await.unwrap();
        assert_eq!(found.rows.len(), 2, "16 MiB, and what goes beyond them: {change}");
    }
}

#[tokio::test]
async fn what_others_have_scheduled_costs_a_tenant_nothing() {
    let server = Server::start(&[]);
    let bench = Bench::on(&server).await;
    let other = TenantId::new("other").unwrap();
    let due = |name: &str, seconds| Message { eta: Some(at(seconds)), ..message(name) };
    let theirs = (0..1_200).map(|n| Plan::of(due(&format!("t{n}"), 10))).collect();
    bench.store.submit(&other, theirs, at(0), Room::UNLIMITED).await.unwrap();
    let elsewhere = Message { queue: "x".parse().unwrap(), ..due("soon", 20) };
    bench.submit(vec![due("late", 50), elsewhere, due("later", 60)]).await;
    bench.store.scheduled(&other, 1).await.unwrap();
    let before = scripts(&bench).await;
    let found = bench.store.scheduled(&tenant(), 2).await.unwrap();
    assert_eq!(scripts(&bench).await - before, 1);
    let found: Vec<_> = found.iter().map(|(until, message)| (message.id.as_str(), *until)).collect();
    assert_eq!(found, [("soon", at(20)), ("late", at(50))], "the earliest, of whichever queue");
}

#[tokio::test]
async fn what_waits_in_several_queues_is_listed_by_its_time() {
    let bench = Bench::new().await;
    let name = |n: i64| format!("t{n}");
    let due = |n| Message { eta: Some(at(n)), queue: format!("q{}", n % 3).parse().unwrap(), ..message(&name(n)) };
    bench.submit((1..=60).rev().map(due).collect()).await;
    let found = bench.store.scheduled(&tenant(), 50).await.unwrap();
    let times: Vec<Timestamp> = found.into_iter().map(|(until, _)| until).collect();
    assert_eq!(times, (1..=50).map(at).collect::<Vec<_>>(), "several pieces of each queue");
}

#[tokio::test]
async fn the_periodic_tasks_of_others_are_passed_over_in_pieces() {
    let server = Server::start(&[]);
    let bench = Bench::on(&server).await;
    bench.store.set_periodic(crate::store::suite::periodic("own")).await.unwrap();
    let script = "for i = 1, ARGV[1] do redis.call('HSET', KEYS[1], 'other\\0' .. i, string.rep('x', 100)) end";
    bench.eval(script, &["lovage:periodic"], 3_000).await;
    let before = scripts(&bench).await;
    let found = bench.store.periodic(Some(&tenant())).await.unwrap();
    assert!(scripts(&bench).await - before > 1);
    assert_eq!(found.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["own"]);
}
