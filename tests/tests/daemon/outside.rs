//! What tasks have done for them outside of their sandboxes.

use std::net::SocketAddr;
use std::path::Path;

use lovage_tests::daemon::{Daemon, Ran, command, run};
use lovage_tests::guests;
use lovage_tests::peers::{dead_end, echo, server, silence, tls_server};
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

/// Another tenant, with the module, and its command line.
fn acme(daemon: &Daemon, limits: &[&str]) -> impl Fn(&[&str]) -> Ran + use<> {
    daemon.lovage([&["tenant", "add", "acme"], limits].concat()).ok();
    let admin = daemon.lovage(["token", "add", "--scope", "admin"]).ok();
    let mut add = daemon.command(["token", "add", "--tenant", "acme", "--scope", "read,submit,deploy"]);
    add.env("LOVAGE_TOKEN", admin);
    let token = run(add).ok();
    let url = daemon.url().to_owned();
    let acme = move |args: &[&str]| {
        let mut command = command(args);
        command.env("LOVAGE_TOKEN", &token).env("LOVAGE_URL", &url);
        run(command)
    };
    acme(&["module", "push", "reaching", &guests::reaching().to_string_lossy()]).ok();
    acme
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
        assert_eq!(fetch(&daemon, &["GET", &format!("http://{one}#part")]).json()[0], 200);
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
fn a_task_that_runs_without_a_daemon_has_the_grants_of_a_file() {
    let (server, file) = (server(), tempfile::NamedTempFile::new().unwrap());
    std::fs::write(file.path(), format!("[grants.reaching]\nhttp = [\"http://{server}\"]\nkey_value = true")).unwrap();
    let (module, config) =
        (guests::reaching().to_string_lossy().into_owned(), file.path().to_string_lossy().into_owned());
    let exec = |args: &[&str]| run(command([&["exec", "--config", &config, &module], args].concat()));
    assert_eq!(exec(&["fetch", "GET", &format!("http://{server}/")]).json()[0], 200);
    assert_eq!(exec(&["keep", "b", "k", "kept"]).json(), "kept");
    let without = run(command(["exec", &module, "keep", "b", "k"]));
    assert!(without.code == Some(1) && without.stderr.contains("PermissionError"), "{without:?}");
}

#[test]
fn a_server_by_tls_is_reached_if_the_system_trusts_it() {
    let ((server, certificate), no_tls, home) = (tls_server(), echo(), tempfile::tempdir().unwrap());
    let [trusted, config] = ["trusted.pem", "lovage.toml"].map(|name| home.path().join(name));
    let urls = [server, no_tls].map(|peer| format!("https://localhost:{}", peer.port()));
    std::fs::write(&trusted, certificate).unwrap();
    std::fs::write(&config, format!("[grants.reaching]\nhttp = {urls:?}\nhttp_private = true")).unwrap();
    let get = |url: &str, trusts: bool| {
        let module = guests::reaching().to_string_lossy();
        let mut exec = command(["exec", "--config", &config.to_string_lossy(), &module, "fetch", "GET", url]);
        exec.env_remove("SSL_CERT_DIR").env("SSL_CERT_FILE", if trusts { &*trusted } else { Path::new("/dev/null") });
        run(exec)
    };
    assert_eq!(get(&urls[0], true).json()[0], 200);
    for told in [get(&urls[0], false), get(&urls[1], true)] {
        assert!(told.code == Some(1) && told.stderr.contains("is not trusted, or speaks no TLS"), "{told:?}");
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
    let told = refused(&daemon, &["POST", &format!("http://{large}/echo"), &"x".repeat(120_000)]);
    assert!(told.contains("ValueError") && told.contains("larger than a request may be"), "{told}");
    assert!(get(large, "/short").contains("ConnectionError"));
    assert!(get(dead, "/").contains("nobody answers there"));
    assert!(get(silent, "/").contains("TimeLimitExceeded"));
    let told =
        refused(&daemon, &["GET", &format!("http://{silent}/"), "--soft-time-limit", "0.5", "--time-limit", "60"]);
    assert!(told.contains("SoftTimeLimitExceeded"), "{told}");
}

/// They would be in the host's memory, where no limit of the task's counts them.
#[test]
fn a_task_holds_a_few_responses_at_once() {
    let server = server();
    let daemon = granted("processes", &format!("http = [\"http://{server}\"]"));
    let held = daemon.lovage(["task", "run", "reaching.hoard", &format!("\"{server}\""), "20"]).json();
    assert_eq!(held, json!([8, true]));
}

#[test]
fn a_grant_is_of_one_tenants_module() {
    let server = server();
    let settings = format!("[grants.\"acme/reaching\"]\nhttp = [\"http://{server}\"]\n");
    let daemon = Daemon::configured(&[guests::reaching()], &settings);
    let url = format!("http://{server}/");
    assert!(refused(&daemon, &["GET", &url]).contains("PermissionError"));
    let acme = acme(&daemon, &[]);
    assert_eq!(acme(&["task", "run", "reaching.fetch", "GET", &url]).json()[0], json!(200));
}

#[test]
fn what_a_task_keeps_is_there_for_the_next_one_of_its_tenant_and_for_nobody_else() {
    let settings = "[grants.reaching]\nkey_value = true\n[grants.\"acme/reaching\"]\nkey_value = true\n\
                    [limits]\nkey_value_bytes = 150000";
    let mut daemon = Daemon::configured(&[guests::reaching()], settings);
    let run = |daemon: &Daemon, task: &str, args: &[&str]| {
        daemon.lovage([&["task", "run", &format!("reaching.{task}")], args].concat())
    };
    assert_eq!(run(&daemon, "keep", &["b", "k"]).json(), json!(null));
    assert_eq!(run(&daemon, "keep", &["b", "k", "first"]).json(), "first");
    assert_eq!(run(&daemon, "keep", &["c", "k"]).json(), json!(null));
    assert_eq!(run(&daemon, "count", &["b", "n", "2"]).json(), 2);
    daemon.kill9();
    daemon.restart();
    assert_eq!(run(&daemon, "keep", &["b", "k"]).json(), "first");
    assert_eq!(run(&daemon, "count", &["b", "n", "3"]).json(), 5);
    assert_eq!(run(&daemon, "drop_key", &["b", "k"]).json(), 1);
    // More than a page of them.
    assert_eq!(run(&daemon, "keep_many", &["many", "1500"]).json(), 1500);
    let told = run(&daemon, "count", &["many", "text", "18446744073709551615"]);
    assert!(told.stderr.contains("RuntimeError") && told.stderr.contains("no whole number"), "{told:?}");
    let told = run(&daemon, "keep", &["b", "large", &"x".repeat(50_000)]);
    assert!(told.code == Some(1) && told.stderr.contains("limits.key_value_bytes"), "{told:?}");
    let acme = acme(&daemon, &["--key-value-bytes", "100"]);
    assert_eq!(acme(&["task", "run", "reaching.keep", "b", "n"]).json(), json!(null));
    assert_eq!(acme(&["task", "run", "reaching.keep", "b", "n", &"x".repeat(28)]).json(), "x".repeat(28).as_str());
    let told = acme(&["task", "run", "reaching.keep", "b", "n", &"x".repeat(29)]);
    assert!(told.code == Some(1) && told.stderr.contains("100 bytes"), "{told:?}");
}

#[test]
fn a_module_without_the_grant_has_no_bucket() {
    let daemon = Daemon::configured(&[guests::reaching()], "[grants.other]\nkey_value = true");
    let told = daemon.lovage(["task", "run", "reaching.keep", "b", "k"]);
    assert!(told.code == Some(1) && told.stderr.contains("PermissionError"), "{told:?}");
}

#[test]
fn a_secret_is_told_to_the_tasks_of_its_module_and_to_nobody_else() {
    let daemon = Daemon::start(&[guests::reaching()], &[]);
    let secret = |daemon: &Daemon, name: &str| daemon.lovage(["task", "run", "reaching.secret", name]);
    let set = |name: &str, from: &str| daemon.lovage(["secret", "set", "reaching", name, from]);
    assert!(secret(&daemon, "DATABASE").stderr.contains("KeyError"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hunter2\n").unwrap();
    let from = format!("@{}", file.path().display());
    set("DATABASE", &from).ok();
    assert_eq!(secret(&daemon, "DATABASE").json(), "hunter2");
    set("EMPTY", "@/dev/null").fails(2);
    // Nowhere on the command line.
    set("DATABASE", "hunter3").fails(2);
    daemon.lovage(["secret", "set", "other", "OTHER", &from]).ok();
    assert!(secret(&daemon, "OTHER").stderr.contains("KeyError"));
    assert!(secret(&daemon, "../reaching/DATABASE").stderr.contains("KeyError"));
    daemon.lovage(["secret", "rm", "reaching", "DATABASE"]).ok();
    daemon.lovage(["secret", "rm", "reaching", "DATABASE"]).fails(3);
    assert!(secret(&daemon, "DATABASE").stderr.contains("KeyError"));
    set("DATABASE", &from).ok();
    let acme = acme(&daemon, &[]);
    assert!(acme(&["task", "run", "reaching.secret", "DATABASE"]).stderr.contains("KeyError"));
}
