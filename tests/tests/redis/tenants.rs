//! Tenants on one server: each with keys of its own, known to all hosts.

use std::process::Command;

use lovage_tests::daemon::{Daemon, run};
use lovage_tests::guests;
use lovage_tests::python::{python, root};
use lovage_tests::redis::RedisServer;

use crate::work::{BRIEF, host};

/// What docs/operating.md gives a tenant's clients.
const ACL: &str = "on >secret resetkeys ~lovage:{acme}:* resetchannels &lovage:{acme}:* +@all -@admin -@dangerous -@scripting +info -scan -randomkey -pubsub -client +client|setname +client|id";

fn token(host: &Daemon, admin: &str, args: &[&str]) -> String {
    let mut command = host.command([&["token", "add"], args].concat());
    command.env("LOVAGE_TOKEN", admin);
    run(command).ok()
}

fn asked(host: &Daemon, token: &str, args: &[&str]) -> Option<i32> {
    let mut command = host.command(args);
    command.env("LOVAGE_TOKEN", token);
    run(command).code
}

#[test]
fn a_celery_client_of_a_tenant_works_below_its_prefix_and_nowhere_else() {
    let server = RedisServer::start();
    let host = host(&server.url(), "a@test");
    host.lovage(["tenant", "add", "acme"]).ok();
    let admin = host.lovage(["token", "add", "--scope", "admin"]).ok();
    let deploy = token(&host, &admin, &["--tenant", "acme", "--scope", "deploy"]);
    assert_eq!(asked(&host, &deploy, &["module", "push", "tour", &guests::tour().to_string_lossy()]), Some(0));
    let mut acl = redis::cmd("ACL");
    acl.arg("SETUSER").arg("acme");
    ACL.split(' ').for_each(|rule| _ = acl.arg(rule));
    acl.query::<()>(&mut server.connect()).unwrap();
    let mut client = Command::new(python());
    let url = format!("redis://acme:secret@127.0.0.1:{}/0", server.port());
    client.args(["tenant.py", &url, "lovage:{acme}:"]).current_dir(root().join("tests/parity"));
    assert_eq!(run(client).ok(), "5\n[0, 2, 4]\nnot allowed: 7 of 7");
    let page = std::fs::read_to_string(root().join("docs/operating.md")).unwrap();
    assert!(page.contains(&ACL.replace(">secret", ">SECRET")), "docs/operating.md has the same rules");
}

#[test]
fn a_token_that_is_revoked_at_one_host_is_refused_by_the_other() {
    let server = RedisServer::start();
    let (a, b) = (host(&server.url(), "a@test"), Daemon::host(&server.url(), "b@test", &[], BRIEF));
    let admin = a.lovage(["token", "add", "--scope", "admin"]).ok();
    let until = |host: &Daemon, token: &str, code: i32| {
        let begun = std::time::Instant::now();
        while asked(host, token, &["task", "list"]) != Some(code) {
            assert!(begun.elapsed() < lovage_tests::daemon::PATIENCE, "{code} does not come");
        }
    };
    until(&b, &admin, 0);
    assert_eq!(asked(&b, "", &["task", "list"]), Some(4), "the other host is closed as well");
    let reader = token(&b, &admin, &["--scope", "read"]);
    until(&a, &reader, 0);
    assert_eq!(asked(&b, &admin, &["token", "revoke", reader.split('_').nth(1).unwrap()]), Some(0));
    until(&a, &reader, 4);
}

#[test]
fn a_task_of_a_tenant_is_stopped_wherever_it_runs() {
    let server = RedisServer::start();
    let (a, b) = (host(&server.url(), "a@test"), host(&server.url(), "b@test"));
    a.lovage(["tenant", "add", "acme"]).ok();
    let admin = a.lovage(["token", "add", "--scope", "admin"]).ok();
    let theirs = token(&a, &admin, &["--tenant", "acme", "--scope", "deploy", "--scope", "submit", "--scope", "read"]);
    let said = |host: &Daemon, token: &str, args: &[&str]| {
        let mut command = host.command(args);
        command.env("LOVAGE_TOKEN", token);
        run(command)
    };
    said(&a, &theirs, &["module", "push", "tour", &guests::tour().to_string_lossy()]).ok();
    // So that the first host runs it, and the other is asked.
    said(&b, &admin, &["worker", "drain"]).ok();
    let id = said(&a, &theirs, &["task", "submit", "tour.sleepy", "600"]).ok();
    let status = |host: &Daemon| said(host, &theirs, &["task", "get", &id, "-o", "json"]).json()["status"].clone();
    lovage_tests::redis::until("it runs", || (status(&a) == "STARTED").then_some(()));
    said(&b, &theirs, &["task", "revoke", "--terminate", &id]).ok();
    lovage_tests::redis::until("it is stopped", || (status(&a) == "REVOKED").then_some(()));
}
