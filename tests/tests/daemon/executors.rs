//! The processes that tasks run in: what they have, and what happens when they die.

use std::fs;

use lovage_model::{EventKind, State};
use lovage_tests::daemon::{Daemon, PATIENCE, run, runs, until};
use lovage_tests::guests;
use lovage_tests::peers::echo;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

fn kill(executors: &[Pid], signal: Signal) {
    executors.iter().for_each(|pid| kill_process(*pid, signal).expect("it was there"));
}

/// Waits until so many are left: one that was started for a question goes in its own time.
async fn left(daemon: &Daemon, count: usize) -> Vec<Pid> {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let executors = daemon.executors();
        if executors.len() == count {
            return executors;
        }
        assert!(std::time::Instant::now() < deadline, "{executors:?}, not {count}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_executor_that_dies_costs_its_tasks_one_delivery() {
    let daemon = Daemon::configured(&[guests::walls(), guests::tour()], "[worker]\nexecutors = 1\n");
    // A third one would be one too many for the module.
    for signal in [Signal::ABORT, Signal::KILL] {
        let id = format!("it-{}", signal.as_raw());
        daemon.lovage(["task", "submit", "walls.wait_once", "--id", &id]).ok();
        until(&daemon.task(&id), |kind| matches!(kind, EventKind::Progress { .. })).await;
        kill(&daemon.executors(), signal);
        assert_eq!(daemon.lovage(["task", "wait", &id]).json(), "redelivered");
        assert_eq!(daemon.task(&id).meta().await.unwrap().deliveries, 2);
        assert_eq!(daemon.lovage(["task", "run", "tour.add", "2", "3"]).ok(), "5");
    }
}

#[tokio::test]
async fn what_was_compiled_and_is_gone_is_compiled_again() {
    let daemon = Daemon::start(&[guests::tour()], &[]);
    assert_eq!(daemon.lovage(["task", "run", "tour.add", "2", "3"]).ok(), "5");
    for file in fs::read_dir(daemon.store().join("cache/code")).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    kill(&left(&daemon, std::thread::available_parallelism().unwrap().get()).await, Signal::KILL);
    assert_eq!(daemon.lovage(["task", "run", "tour.add", "2", "3"]).ok(), "5");
}

#[tokio::test]
async fn an_executor_that_dies_takes_no_task_of_another_along() {
    let daemon = Daemon::configured(&[guests::walls()], "[worker]\nexecutors = 2\n");
    for id in ["one", "other"] {
        daemon.lovage(["task", "submit", "walls.wait_visibly", "--id", id]).ok();
        until(&daemon.task(id), |kind| matches!(kind, EventKind::Progress { .. })).await;
    }
    let mut events = [daemon.task("one").events(), daemon.task("other").events()];
    for of in &mut events {
        of.next().await.unwrap();
    }
    kill(&daemon.executors()[..1], Signal::KILL);
    let [one, other] = &mut events;
    // One of them starts again: which, is for its executor to say.
    tokio::select! { _ = one.next() => {} _ = other.next() => {} }
    let mut deliveries = Vec::new();
    for id in ["one", "other"] {
        daemon.lovage(["task", "revoke", id, "--terminate"]).ok();
        let ended = daemon.task(id).wait(None).await.unwrap();
        assert_eq!(ended.status, State::Revoked);
        deliveries.push(ended.deliveries);
    }
    deliveries.sort();
    assert_eq!(deliveries, [1, 2]);
}

#[tokio::test]
async fn a_module_that_kills_its_executors_is_not_run_for_ever() {
    let daemon = Daemon::start(&[guests::walls(), guests::tour()], &[]);
    // Who begins to listen while it runs may be told of its state twice: as what is known, and as what happens.
    daemon.lovage(["queue", "pause", "celery"]).ok();
    daemon.lovage(["task", "submit", "walls.wait_visibly", "--id", "it"]).ok();
    let mut events = daemon.task("it").events();
    events.next().await.unwrap();
    daemon.lovage(["queue", "resume", "celery"]).ok();
    let mut deaths = 0;
    while let Some(event) = events.next().await.unwrap() {
        match event.kind {
            EventKind::Progress { .. } => {
                deaths += 1;
                kill(&daemon.executors(), Signal::KILL);
            }
            kind if kind.is_terminal() => break,
            _ => {}
        }
    }
    assert_eq!(deaths, 3);
    let told = daemon.lovage(["task", "wait", "it"]);
    assert!(told.code == Some(1) && told.stderr.contains("fault: poison"), "{told:?}");
    let told = daemon.lovage(["task", "run", "walls.wait_once"]);
    assert!(told.code == Some(1) && told.stderr.contains("push one that does not"), "{told:?}");
    // Its neighbours run.
    assert_eq!(daemon.lovage(["task", "run", "tour.add", "2", "3"]).ok(), "5");
}

#[tokio::test]
async fn an_executor_has_its_door_and_nothing_else() {
    let daemon = Daemon::start(&[guests::tour()], &[]);
    assert_eq!(daemon.lovage(["task", "run", "tour.add", "2", "3"]).ok(), "5");
    for executor in left(&daemon, std::thread::available_parallelism().unwrap().get()).await {
        let proc = std::path::PathBuf::from(format!("/proc/{}", executor.as_raw_nonzero()));
        assert_eq!(fs::read(proc.join("environ")).unwrap(), b"");
        let status = fs::read_to_string(proc.join("status")).unwrap();
        assert!(status.contains("NoNewPrivs:\t1\n") && status.contains("Seccomp:\t2\n"), "{status}");
        for file in fs::read_dir(proc.join("fd")).unwrap() {
            let file = file.unwrap().path();
            let to = fs::read_link(&file).unwrap().to_string_lossy().into_owned();
            let own =
                ["socket:", "pipe:", "anon_inode:", "/dev/null", "/memfd:"].iter().any(|kind| to.starts_with(kind));
            let artifact = to.starts_with(&*daemon.store().join("cache").to_string_lossy());
            assert!(own || artifact || to.ends_with("/pagemap"), "{file:?} -> {to}");
        }
    }
}

/// What was granted gets through the walls of the process, for every call that it takes; what was not does not.
#[test]
fn grants_hold_in_an_executor() {
    let (granted, shown, other) = (TempDir::new().unwrap(), TempDir::new().unwrap(), echo());
    let peer = echo();
    fs::write(shown.path().join("file"), "shown").unwrap();
    let [granted_at, shown_at] = [&granted, &shown].map(|directory| directory.path().display());
    let daemon = Daemon::configured(
        &[guests::reaching()],
        &format!(
            "[grants.reaching]\ntcp = [\"{peer}\"]\ndirectories = [{{host = \"{granted_at}\", guest = \"/granted\", \
             write = true}}, {{host = \"{shown_at}\", guest = \"/shown\"}}]\n"
        ),
    );
    let run = |task: &str, args: &[&str]| daemon.lovage([&["task", "run", task], args].concat());
    run("reaching.write", &["/granted/file"]).ok();
    run("reaching.append", &["/granted/file", "; more"]).ok();
    assert_eq!(run("reaching.read", &["/granted/file"]).json(), "written; more");
    assert_eq!(run("reaching.read", &["/shown/file"]).json(), "shown");
    assert_eq!(run("reaching.say", &[&peer.to_string(), "hello"]).json(), "hello");
    for (task, args) in [
        ("reaching.write", ["/shown/file", ""].as_slice()),
        ("reaching.read", &["/granted/../etc/passwd"]),
        ("reaching.say", &[&other.to_string(), "hello"]),
    ] {
        let args: Vec<_> = args.iter().copied().filter(|arg| !arg.is_empty()).collect();
        assert_eq!(run(task, &args).code, Some(1), "{task} {args:?}");
    }
}

#[test]
fn what_an_executor_lacks_is_in_the_log_of_its_daemon() {
    let granted = TempDir::new().unwrap();
    let granted_at = granted.path().display().to_string();
    let settings = format!("[grants.reaching]\ndirectories = [{{host = \"{granted_at}\", guest = \"/granted\"}}]\n");
    let mut daemon = Daemon::configured(&[guests::reaching()], &settings);
    granted.close().unwrap();
    assert_eq!(daemon.lovage(["task", "run", "reaching.read", "/granted/file"]).code, Some(1));
    let said = daemon.process().wait_for("a directory that was granted cannot be opened");
    assert!(said.contains(&granted_at) && said.contains("executor="), "{said}");
}

/// Nothing of it has run before, so nobody else is where it runs first; and it waits for nobody's end.
#[tokio::test]
async fn a_module_is_asked_for_its_tasks_where_nobody_else_is() {
    let settings = "[worker]\nexecutors = 1\nconcurrency = 1\n";
    let daemon = Daemon::configured(&[guests::walls()], settings);
    daemon.lovage(["task", "submit", "walls.wait_visibly", "--id", "it"]).ok();
    until(&daemon.task("it"), |kind| matches!(kind, EventKind::Progress { .. })).await;
    let before = left(&daemon, 1).await;
    let push = daemon.command(["module", "push", "restless", &guests::restless().to_string_lossy()]);
    let push = std::thread::spawn(move || run(push));
    // It loops there until it is stopped, so there is time to look.
    let own = loop {
        let more: Vec<Pid> = daemon.executors().into_iter().filter(|pid| !before.contains(pid)).collect();
        if !more.is_empty() {
            break more;
        }
        assert!(!push.is_finished(), "it had no process of its own");
    };
    kill(&own, Signal::KILL);
    let refused = push.join().unwrap().fails(2);
    assert!(refused.contains("could not be asked"), "{refused}");
    assert_eq!(left(&daemon, 1).await, before);
    assert_eq!(daemon.task("it").meta().await.unwrap().deliveries, 1);
}

#[tokio::test]
async fn sandboxes_can_be_in_the_daemon_itself() {
    let daemon = Daemon::configured(&[guests::tour()], "[worker]\nisolation = \"in-process\"\n");
    assert_eq!(daemon.lovage(["task", "run", "tour.add", "2", "3"]).ok(), "5");
    assert_eq!(daemon.executors(), []);
}

#[tokio::test]
async fn executors_go_with_their_daemon_however_it_goes() {
    let mut daemon = Daemon::start(&[guests::walls()], &[]);
    daemon.lovage(["task", "submit", "walls.spin", "--id", "it"]).ok();
    until(&daemon.task("it"), runs).await;
    let executors = daemon.executors();
    daemon.kill9();
    for executor in executors {
        // It is nobody's child any more, so only this can be waited for.
        let proc = format!("/proc/{}/environ", executor.as_raw_nonzero());
        let deadline = std::time::Instant::now() + PATIENCE;
        while fs::read(&proc).is_ok() {
            assert!(std::time::Instant::now() < deadline, "{executor:?} stays");
            tokio::task::yield_now().await;
        }
    }
}
