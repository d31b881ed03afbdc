//! What is outside is reached by grant, and not beyond it.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use lovage::attempt::{Capabilities, Directory, FaultKind, Outcome};
use lovage_tests::guests;
use lovage_tests::peers::echo;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lab::{Run, admit};

async fn run(task: &str, args: Value, capabilities: &Capabilities) -> Result<Value, String> {
    admit(guests::reaching()).await;
    let run = Run::of(guests::reaching(), &format!("reaching.{task}"), &args);
    let report = run.with(|grants| grants.capabilities = Arc::new(capabilities.clone())).report().await;
    match report.outcome {
        Outcome::Returned(value) => Ok(value.read().unwrap()),
        Outcome::Raised(exception, _) => Err(exception.message()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_peer_is_reached_by_grant_and_no_other() {
    let (granted, other) = (echo(), echo());
    let capabilities = Capabilities { tcp: vec![granted], ..Capabilities::default() };
    let say = |peer: String| json!([peer, "hello"]);
    assert_eq!(run("say", say(granted.to_string()), &capabilities).await, Ok(json!("hello")));
    let mapped = format!("[::ffff:{}]:{}", granted.ip(), other.port());
    for peer in [other.to_string(), mapped, format!("[::1]:{}", granted.port()), "169.254.169.254:80".to_owned()] {
        assert!(run("say", say(peer.clone()), &capabilities).await.is_err(), "{peer}");
    }
    assert_eq!(
        run("say", say(granted.to_string()), &Capabilities::default()).await,
        Err("permission denied".to_owned())
    );
    for (task, args) in [
        ("listen", json!(["127.0.0.1:0"])),
        ("listen", json!(["0.0.0.0:0"])),
        ("datagram", json!([granted])),
        ("resolve", json!(["localhost"])),
    ] {
        assert!(run(task, args.clone(), &capabilities).await.is_err(), "{task} {args}");
    }
}

#[tokio::test]
async fn who_waits_for_a_peer_has_no_more_time_than_others() {
    // Nobody ever accepts: the connection is made, and nothing comes.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = silent.local_addr().unwrap();
    admit(guests::reaching()).await;
    let run = Run::of(guests::reaching(), "reaching.say", &json!([peer, "hello"]));
    let report = run
        .with(|grants| {
            grants.capabilities = Arc::new(Capabilities { tcp: vec![peer], ..Capabilities::default() });
            grants.hard_limit = Duration::from_millis(200);
        })
        .report()
        .await;
    let Outcome::Faulted(fault) = report.outcome else { panic!("{:?}", report.outcome) };
    assert_eq!(fault.kind, FaultKind::TimeLimit);
}

#[tokio::test]
async fn a_directory_is_used_by_grant_and_not_left() {
    let home = TempDir::new().unwrap();
    let (inside, outside) = (home.path().join("inside"), home.path().join("outside"));
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(inside.join("own"), "mine").unwrap();
    std::fs::write(&outside, "secret").unwrap();
    std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
    let granted = |write| {
        let directory = Directory { host: inside.clone(), guest: "/data".to_owned(), write };
        Capabilities { directories: vec![directory], ..Capabilities::default() }
    };
    let (reads, writes) = (granted(false), granted(true));
    assert_eq!(run("read", json!(["/data/own"]), &reads).await, Ok(json!("mine")));
    assert!(run("read", json!(["/data/own"]), &Capabilities::default()).await.is_err());
    assert!(run("write", json!(["/data/new"]), &reads).await.is_err());
    assert_eq!(run("write", json!(["/data/new"]), &writes).await, Ok(json!("written")));
    let real = outside.to_string_lossy();
    for path in ["/data/../outside", "/data/link", "/data/./../outside", "/outside", "/etc/passwd", &real] {
        for capabilities in [&reads, &writes] {
            assert!(run("read", json!([path]), capabilities).await.is_err(), "{path}");
            assert!(run("write", json!([path]), capabilities).await.is_err(), "{path}");
        }
    }
    for to in ["../outside", &real] {
        assert!(run("escape", json!(["/data", to]), &writes).await.is_err(), "{to}");
        // Whether the link was made or not.
        let _ = std::fs::remove_file(inside.join("way-out"));
    }
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "secret");
}

#[tokio::test]
async fn the_environment_is_what_was_granted() {
    assert_eq!(run("variables", json!([]), &Capabilities::default()).await, Ok(json!([])));
    let env = [("PLACE".to_owned(), "here".to_owned())].into();
    let capabilities = Capabilities { env, ..Capabilities::default() };
    assert_eq!(run("variables", json!([]), &capabilities).await, Ok(json!(["PLACE=here"])));
}

#[tokio::test]
async fn clocks_are_coarse_unless_finer_ones_are_granted() {
    let is_fine = async |fine_clock| {
        run("is_clock_fine", json!([]), &Capabilities { fine_clock, ..Capabilities::default() }).await
    };
    assert_eq!((is_fine(false).await, is_fine(true).await), (Ok(json!(false)), Ok(json!(true))));
}
