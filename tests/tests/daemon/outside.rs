//! What tasks have done for them outside of their sandboxes.

use std::net::SocketAddr;

use lovage_tests::daemon::{Daemon, Ran};
use lovage_tests::guests;
use lovage_tests::peers::{dead_end, server, silence};
use serde_json::json;

fn granted(isolation: &str, grants: &str) -> Daemon {
    let settings = format!("[worker]\nisolation = \"{isolation}\"\n[grants.reaching]\n{grants}\n");
    Daemon::configured(&[guests::reaching()], &settings)
}

fn fetch(daemon: &Daemon, args: &[&str]) -> Ran {
    daemon.lovage([&["task", "run", "reaching.fetch"], args].concat())
}

/// What it says when it is refused.
#[track_caller]
fn refused(daemon: &Daemon, args: &[&str]) -> String {
    let told = fetch(daemon, args);
    assert_eq!(told.code, Some(1), "{told:?}");
    told.stderr
}

#[test]
fn a_server_that_was_granted_is_reached_and_no_other() {
    let (one, other) = (server(), server());
    for isolation in ["processes", "in-process"] {
        let daemon = granted(isolation, &format!("http = [\"http://{one}\"]"));
        let url = |path: &str| format!("http://{one}{path}");
        let echoed = fetch(&daemon, &["POST", &url("/echo?a=b"), "hello"]).json();
        assert_eq!(echoed[0], 200);
        assert_eq!(echoed[1], "by a server");
        let body = echoed[2].as_str().unwrap();
        assert!(body.starts_with("POST /echo?a=b HTTP/1.1\r\n") && body.ends_with("\r\n\r\nhello"), "{body}");
        assert!(body.contains("x-asked: by a task\r\n") && body.contains(&format!("host: {one}\r\n")), "{body}");
        // A redirect is the task's own business, and leads nowhere that was not granted.
        assert_eq!(fetch(&daemon, &["GET", &url(&format!("/to/{other}"))]).json()[0], 302);
        for denied in
            [format!("http://{other}/"), format!("https://{one}/"), format!("http://localhost:{}/", one.port())]
        {
            let told = refused(&daemon, &["GET", &denied]);
            assert!(told.contains("PermissionError") && told.contains("[grants.NAME]"), "{denied}: {told}");
        }
    }
}

#[test]
fn a_name_leads_to_no_private_address_unless_that_is_granted() {
    let server = server();
    let url = format!("http://localhost:{}/", server.port());
    let daemon = granted("processes", &format!("http = [\"{url}\"]"));
    let told = refused(&daemon, &["GET", &url]);
    assert!(told.contains("PermissionError") && told.contains("not public"), "{told}");
    let daemon = granted("processes", &format!("http = [\"{url}\"]\nhttp_private = true"));
    assert_eq!(fetch(&daemon, &["GET", &url]).json()[0], 200);
}

#[test]
fn servers_that_misbehave_cost_a_task_its_request_and_its_time() {
    let (large, silent, dead) = (server(), silence(), dead_end());
    let origins = [large, silent, dead].map(|peer| format!("\"http://{peer}\"")).join(", ");
    let daemon = granted("processes", &format!("http = [{origins}]\n[limits]\nresult_bytes = 100000"));
    let get =
        |peer: SocketAddr, path: &str| refused(&daemon, &["GET", &format!("http://{peer}{path}"), "--time-limit", "2"]);
    let told = get(large, "/large/100001");
    assert!(told.contains("ValueError") && told.contains("larger than one may be"), "{told}");
    assert_eq!(
        fetch(&daemon, &["GET", &format!("http://{large}/large/90000")]).json()[2].as_str().unwrap().len(),
        90000
    );
    assert!(get(large, "/short").contains("ConnectionError"));
    assert!(get(dead, "/").contains("nobody answers there"));
    assert!(get(silent, "/").contains("TimeLimitExceeded"));
    let told =
        refused(&daemon, &["GET", &format!("http://{silent}/"), "--soft-time-limit", "0.5", "--time-limit", "60"]);
    assert!(told.contains("SoftTimeLimitExceeded"), "{told}");
}

#[test]
fn a_grant_is_of_one_tenants_module() {
    let server = server();
    let settings = format!("[grants.\"acme/reaching\"]\nhttp = [\"http://{server}\"]\n");
    let daemon = Daemon::configured(&[guests::reaching()], &settings);
    let url = format!("http://{server}/");
    assert!(refused(&daemon, &["GET", &url]).contains("PermissionError"));
    daemon.lovage(["tenant", "add", "acme"]).ok();
    let token = daemon.lovage(["token", "add", "--tenant", "acme", "--scope", "read,submit,deploy"]).ok();
    let of_acme = |args: &[&str]| {
        let mut command = daemon.command(args);
        command.env("LOVAGE_TOKEN", &token);
        lovage_tests::daemon::run(command)
    };
    of_acme(&["module", "push", "reaching", &guests::reaching().to_string_lossy()]).ok();
    assert_eq!(of_acme(&["task", "run", "reaching.fetch", "GET", &url]).json()[0], json!(200));
}
