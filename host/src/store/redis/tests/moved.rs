//! What one call looks at and moves is bounded, whatever there is.

use serde_json::json;

use super::*;
use crate::store::{Orders, Waiting};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Number, time, microseconds, command, address and name of a client.
type Logged = (u64, u64, u64, Vec<Vec<u8>>, String, String);

/// Arguments of two of which as much goes back to a line as one call moves.
fn large() -> Json {
    Json::parse(format!("[\"{}\"]", "x".repeat(1 << 20))).unwrap()
}

/// A client's message that has such.
fn large_one(id: &str) -> String {
    let mut body = plain_body();
    body[0] = json!(["x".repeat(1 << 20)]);
    envelope(id, &json!({}), &body)
}

async fn sent_by_clients(bench: &Bench) {
    for id in NAMES {
        bench.ask::<u64>("LPUSH", "celery", &[&large_one(id)]).await;
    }
}

async fn on_the_list(bench: &Bench) -> u64 {
    bench.ask("LLEN", "celery", &[]).await
}

fn names(leases: &[Lease]) -> Vec<&str> {
    leases.iter().map(|lease| lease.message.id.as_str()).collect()
}

#[tokio::test]
async fn what_stands_for_nothing_is_left_out_a_page_at_a_time() {
    let many = vec!["{\"lovage\": \"1/default/x\"".to_owned(); 1_001];
    let large = vec![format!("{{\"lovage\": \"1/default/x\", \"y\": \"{}\"", "y".repeat(600_000)); 3];
    for worthless in [many, large] {
        let bench = Bench::new().await;
        let elements: Vec<&str> = worthless.iter().map(String::as_str).collect();
        bench.ask::<u64>("LPUSH", "celery", &elements).await;
        bench.ask::<u64>("LPUSH", "celery", &[&plain("good")]).await;
        let first = lease(&bench.store, 9, at(0)).await;
        assert_eq!((first.leases.len(), first.next_due), (0, Some(at(0))), "the rest is due at once");
        assert_eq!(on_the_list(&bench).await, 2);
        assert_eq!(names(&bench.lease(9, at(0)).await), ["good"]);
    }
}

#[tokio::test]
async fn a_lease_reads_what_it_takes_and_few_more() {
    let server = Server::start(&["--slowlog-log-slower-than", "0", "--slowlog-max-len", "100000"]);
    let bench = Bench::on(&server).await;
    for number in 0..300 {
        bench.ask::<u64>("LPUSH", "celery", &[&plain(&format!("task-{number}"))]).await;
    }
    assert_eq!(bench.lease(200, at(0)).await.len(), 200);
    let mut ask = redis::cmd("SLOWLOG");
    ask.arg("GET").arg(100_000);
    let log: Vec<Logged> = ask.query_async(&mut bench.client.clone()).await.unwrap();
    let number = |text: &[u8]| String::from_utf8_lossy(text).parse::<i64>().unwrap();
    let mut read = 0;
    for (_, _, _, command, _, _) in log {
        if command[0] == b"LRANGE" {
            read += number(&command[3]) - number(&command[2]) + 1;
        }
    }
    assert!((200..=208).contains(&read), "{read}");
}

#[tokio::test]
async fn what_lapses_goes_back_a_few_bytes_at_a_time_and_each_to_its_place() {
    let bench = Bench::new().await;
    sent_by_clients(&bench).await;
    assert_eq!(names(&bench.lease(9, at(0)).await), NAMES);
    for there in [2, 4] {
        let next_due = lease(&bench.store, 0, at(60)).await.next_due;
        assert_eq!((on_the_list(&bench).await, next_due.is_some()), (there, there < 4), "what is left is due");
    }
    assert_eq!(names(&bench.lease(9, at(61)).await), NAMES);
}

#[tokio::test]
async fn what_a_host_had_that_comes_back_is_not_all_moved_at_once() {
    let bench = Bench::new().await;
    sent_by_clients(&bench).await;
    assert_eq!(bench.lease(9, at(0)).await.len(), 4);
    let Bench { store, options, client } = bench;
    drop(store);
    let bench = Bench { store: Arc::new(RedisStore::open(options.clone(), at(1)).await.unwrap()), options, client };
    assert_eq!(on_the_list(&bench).await, 2);
    assert_eq!(names(&bench.lease(9, at(1)).await), NAMES, "the rest lapses with the next lease");
}

#[tokio::test]
async fn what_a_time_has_come_for_goes_to_its_line_a_few_bytes_at_a_time() {
    let bench = Bench::new().await;
    let due = |name: &str| Message { args: large(), eta: Some(at(50)), ..message(name) };
    bench.submit(NAMES.map(due).to_vec()).await;
    for (there, next_due) in [(2, Some(at(50))), (4, None)] {
        assert_eq!(lease(&bench.store, 0, at(50)).await.next_due, next_due);
        assert_eq!(on_the_list(&bench).await, there);
    }
}

#[tokio::test]
async fn what_is_hastened_goes_to_its_line_a_few_bytes_at_a_time() {
    let bench = Bench::new().await;
    let of = |name: &str| Message { args: large(), ..message(name) };
    bench.submit(NAMES.map(of).to_vec()).await;
    let mut postponed = Vec::new();
    for lease in bench.lease(9, at(0)).await {
        bench.store.postpone(lease.key, at(99)).await.unwrap();
        postponed.push((lease.key.task, at(99)));
    }
    assert_eq!(bench.store.hasten(postponed, at(1)).await.unwrap(), 4);
    assert_eq!(on_the_list(&bench).await, 2);
    assert_eq!(bench.lease(9, at(1)).await.len(), 4, "the rest is due");
}

#[tokio::test]
async fn what_a_celery_worker_lost_is_put_back_a_few_bytes_at_a_time() {
    let bench = Bench::new().await;
    for id in NAMES {
        let held = format!("[{}, \"\", \"celery\"]", large_one(id));
        bench.ask::<u64>("HSET", "unacked", &[id, &held]).await;
        bench.ask::<u64>("ZADD", "unacked_index", &["5", id]).await;
    }
    for there in [2, 4] {
        lease(&bench.store, 0, at(0)).await;
        assert_eq!(on_the_list(&bench).await, there);
    }
    let element: String = bench.ask("LINDEX", "celery", &["0"]).await;
    let read: Value = serde_json::from_str(&element).unwrap();
    assert_eq!(read["properties"]["delivery_info"]["redelivered"], true);
}

#[tokio::test]
async fn a_place_in_a_line_is_looked_for_behind_so_many_and_so_much() {
    for (older, bytes, before) in [(10, 0, 10), (40, 0, 32), (3, 150_000, 1)] {
        let bench = Bench::new().await;
        let args = Json::parse(format!("[\"{}\"]", "x".repeat(bytes))).unwrap();
        let of = |number: usize| Message { args: args.clone(), ..message(&format!("older-{number}")) };
        let late = Message { eta: Some(at(50)), ..message("late") };
        bench.submit((0..older).map(of).chain([late]).collect()).await;
        lease(&bench.store, 0, at(50)).await;
        let line: Vec<String> = bench.ask("LRANGE", "celery", &["0", "-1"]).await;
        let place = line.iter().rev().position(|element| element.contains("/late\""));
        assert_eq!(place, Some(before), "behind {older} of {bytes} bytes");
    }
}
