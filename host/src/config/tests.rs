//! Settings as written and as proven: precedence, every fault at once, the sample.

use std::io;

use super::read::load;
use super::*;

fn with(file: Option<&str>, environment: &[(&str, &str)], mut flags: Flags) -> Result<Config, Faults> {
    flags.config = file.map(|_| PathBuf::from("lovage.toml"));
    let environment = environment.iter().map(|(name, text)| (name.into(), text.into()));
    load(&flags, environment, |_| Ok(file.expect("asked for").to_owned()))
}

fn from_file(text: &str) -> Result<Config, Faults> {
    with(Some(text), &[], Flags::default())
}

fn faults(result: Result<Config, Faults>) -> Vec<String> {
    result.expect_err("it is wrong").0
}

#[test]
fn nothing_written_is_the_defaults() {
    let config = with(None, &[("LOVAGE_URL", "http://x"), ("PATH", "/bin")], Flags::default()).unwrap();
    assert_eq!(config.store, StoreUrl::File("./lovage-data".into()));
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:7380");
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    assert_eq!(config.worker.hostname, format!("lovage@{machine}"));
    assert_eq!((config.worker.queues, config.limits.fuel), (None, None));
    assert!(config.entries.iter().all(|entry| entry.origin.to_string() == "default"));
}

#[test]
fn flags_go_before_the_environment_and_that_before_the_file() {
    let file = "[worker]\nconcurrency = 1\nhostname = \"f\"\nqueues = [\"f\"]\n[log]\nlevel = \"warn\"";
    let environment =
        [("LOVAGE__WORKER__CONCURRENCY", "2"), ("LOVAGE__WORKER__HOSTNAME", "e@%h"), ("LOVAGE__WORKER__QUEUES", "a,b")];
    let flags = Flags { concurrency: Some("3".to_owned()), ..Flags::default() };
    let config = with(Some(file), &environment, flags).unwrap();
    assert_eq!(config.worker.concurrency, 3);
    assert!(config.worker.hostname.starts_with("e@"));
    assert_eq!(config.worker.queues.as_ref().unwrap().len(), 2);
    assert_eq!(config.log.level, "warn");
    let shown = config.show();
    for line in [
        "concurrency = 3  # from --concurrency",
        "hostname = \"e@%h\"  # from LOVAGE__WORKER__HOSTNAME",
        "queues = [\"a\", \"b\"]  # from LOVAGE__WORKER__QUEUES",
        "level = \"warn\"  # from lovage.toml",
        "#format = \"text\"",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} in\n{shown}");
    }
}

#[test]
fn every_fault_is_told_at_once_with_where_and_cure() {
    let file =
        "[store]\nulr = \"memory:\"\n[worker]\nconcurrency = \"many\"\n[limits]\nmemory_bytes = 5\n[nonsense]\na = 1";
    let told = faults(with(Some(file), &[("LOVAGE__LOG__LEVL", "info")], Flags::default()));
    assert_eq!(told.len(), 5, "{told:#?}");
    let holds = |parts: &[&str]| told.iter().any(|fault| parts.iter().all(|part| fault.contains(part)));
    assert!(holds(&["store.ulr", "lovage.toml", "store.url"]), "{told:#?}");
    assert!(holds(&["worker.concurrency", "many", "whole number"]), "{told:#?}");
    assert!(holds(&["limits.memory_bytes", "is 5", "1048576"]), "{told:#?}");
    assert!(holds(&["LOVAGE__LOG__LEVL", "LOVAGE__LOG__LEVEL"]), "{told:#?}");
    assert!(holds(&["nonsense.a"]), "{told:#?}");
}

#[test]
fn what_is_wrong_together_is_told_beside_what_is_wrong_alone() {
    let file = "log.level = \"loud\"\nlimits.default_time_limit_seconds = 9999\nhttp.listen = \"0.0.0.0:1\"";
    let told = faults(from_file(file));
    assert_eq!(told.len(), 3, "{told:#?}");
    for cure in ["one of error, warn", "limits.time_limit_seconds, which is 3600", "http.tokens must be"] {
        assert!(told.iter().any(|fault| fault.contains(cure)), "{cure}: {told:#?}");
    }
}

#[test]
fn what_the_file_may_have_said_is_not_missed_in_one_that_cannot_be_read() {
    let environment = [("LOVAGE__HTTP__LISTEN", "0.0.0.0:1")];
    let told = faults(with(Some("http.tokens = \"required"), &environment, Flags::default()));
    assert!(matches!(told.as_slice(), [fault] if fault.contains("line 1")), "{told:#?}");
    assert!(faults(with(None, &environment, Flags::default()))[0].contains("http.tokens must be"));
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let cases = [
        ("store.url = \"rediss://localhost/0\"", "TLS is not supported"),
        ("store.url = \"redis:\"", "redis://HOST:PORT/DB"),
        ("store.url = \"redis://h:1/abc\"", "the database must be a number"),
        ("store.url = \"redis://h:1/-1\"", "the database must be a number"),
        ("store.url = \"unix:///run/redis.sock?db=abc\"", "the database must be a number"),
        ("store.url = \"redis://h:port/0\"", "redis://HOST:PORT/DB: invalid port"),
        ("store.url = \"redis:///0\"", "the host of a server"),
        ("store.url = \"redis://0.0.0.0/0\"", "the host of a server"),
        ("store.url = \"redis://h:1/0?protocol=9\"", "the protocol must be 2 or 3"),
        ("store.url = \"unix:///s?db=0&db=abc\"", "the database must be a number"),
        ("redis.priority_steps = \"3,6\"", "ascending from 0"),
        ("redis.priority_steps = \"0,6,6\"", "ascending from 0"),
        ("redis.sep = \"\"", "1 to 200 bytes"),
        ("store.url = \"file:\"", "file:DIR"),
        ("store.url = 5", "text in quotes"),
        ("http.listen = \"0.0.0.0:7380\"", "http.tokens must be \"required\""),
        ("http.listen = \"192.168.1.1:7380\"", "whoever reaches the port"),
        ("http.tokens = \"no\"", "one of auto, required"),
        ("http.listen = \"somewhere\"", "127.0.0.1:7380"),
        ("worker.hostname = \"a b\"", "without spaces"),
        ("worker.hostname = \"%n\"", "%h"),
        ("worker.queues = [\"a b\"]", "queue name"),
        ("worker.queues = \"a\"", "list"),
        ("worker.concurrency = -1", "from 1"),
        ("log.level = \"loud\"", "one of error, warn"),
        ("limits.default_time_limit_seconds = 9999", "limits.time_limit_seconds, which is 3600"),
        ("store = 1", "no such setting"),
        ("store.url = ", "line 1"),
    ];
    for (text, cure) in cases {
        let told = faults(from_file(text)).join("\n");
        assert!(told.contains(cure), "{text}: {told}");
    }
    let absent = Flags { config: Some("absent.toml".into()), ..Flags::default() };
    let told = load(&absent, [], |_| Err(io::ErrorKind::NotFound.into())).unwrap_err().to_string();
    assert!(told.starts_with("absent.toml: cannot be read"), "{told}");
}

#[test]
fn the_whole_network_may_reach_it_if_tokens_are_required() {
    let config = from_file("http.listen = \"0.0.0.0:7380\"\nhttp.tokens = \"required\"").unwrap();
    assert!(config.http.tokens && !config.http.listen.ip().is_loopback());
}

#[test]
fn loopback_has_several_spellings() {
    for own in ["localhost:1", "[::1]:1", "127.0.0.2:0"] {
        assert!(from_file(&format!("http.listen = \"{own}\"")).unwrap().http.listen.ip().is_loopback(), "{own}");
    }
}

#[test]
fn the_sample_uncommented_says_what_the_defaults_say() {
    let defaults = with(None, &[], Flags::default()).unwrap();
    let sample = defaults.show();
    assert!(from_file(&sample).unwrap().entries.iter().all(|entry| entry.origin.to_string() == "default"));
    let lines = sample.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => setting,
        _ => line,
    });
    let set = from_file(&lines.collect::<Vec<_>>().join("\n")).unwrap();
    assert_eq!(set.entries.len(), KEYS.len());
    for (default, set) in defaults.entries.iter().zip(&set.entries) {
        assert_eq!((default.key.name, &default.value), (set.key.name, &set.value));
        assert_eq!(set.origin.to_string(), "lovage.toml", "{} is in the sample", set.key.name);
    }
}

#[test]
fn every_key_can_be_set_by_its_variable() {
    for key in KEYS {
        let default = key.check(&key.default_value()).unwrap();
        let (value, text) = match &default {
            Value::Text(text) => (default.clone(), text.clone()),
            Value::Number(number) => (default.clone(), number.to_string()),
            // That of all queues is written by leaving it out.
            Value::Names(_) => (Value::Names(vec!["a".to_owned(), "b".to_owned()]), "a,b".to_owned()),
        };
        let config = with(None, &[(&key.variable(), &text)], Flags::default()).unwrap();
        let entry = config.entries.iter().find(|entry| entry.key.name == key.name).unwrap();
        assert_eq!((&entry.value, entry.origin.to_string()), (&value, key.variable()), "{}", key.name);
    }
    let json = with(None, &[], Flags::default()).unwrap().json();
    assert_eq!(json.as_array().unwrap().len(), KEYS.len());
    assert_eq!(json[0]["name"], "store.url");
}

#[test]
fn periodic_tasks_are_tables_with_names() {
    let file = "[beat.nightly]\ntask = \"a.b\"\ncrontab = { hour = 7, minute = \"*/30\" }\ntimezone = \"Europe/Rome\"\n\
                [beat.\"every.ten\"]\ntask = \"a.c\"\nevery = 10\nargs = [1, 2.5, 1979-05-27]\noptions = { queue = \"slow\" }\n\
                [beat]\nshort = { task = \"a.d\", every = 1.5, enabled = false }";
    let config = from_file(file).unwrap();
    let beat = config.beat();
    let names: Vec<_> = beat.keys().map(EntryName::as_str).collect();
    assert_eq!(names, ["every.ten", "nightly", "short"]);
    let ten = beat.values().next().unwrap();
    assert_eq!((ten.args.as_str(), ten.options.queue.as_ref().unwrap().as_str()), ("[1,2.5,\"1979-05-27\"]", "slow"));
    assert_eq!(config.json().as_array().unwrap().len(), KEYS.len() + 3);
    assert_eq!(from_file(&config.show()).unwrap().beat(), beat, "{}", config.show());

    let file = "[beat.a]\ntask = \"a\"\n[beat.b]\ntask = \"a\"\nevery = 1\nevry = 2\n[beat.\"c d\"]\n\
                [beat.e]\ntask = \"a\"\ncrontab = \"99 * * * *\"\n[beat.g]\ntask = \"a\"\nevery = \"5\"\n[beat]\nf = 1";
    let told = faults(from_file(file));
    for (name, says) in [
        ("beat.a (lovage.toml): ", "every or crontab is missing"),
        ("beat.b", "unknown field `evry`"),
        ("beat.c d", "name of a periodic task"),
        ("beat.e", "crontab.minute is \"99\""),
        ("beat.f", "must be a table"),
        ("beat.g", "every: invalid type: string"),
        ("beat.g", "expected a number"),
    ] {
        assert!(told.iter().any(|fault| fault.starts_with(name) && fault.contains(says)), "{name}: {told:#?}");
    }
}

#[test]
fn a_password_is_never_shown() {
    for (url, expected) in [
        ("redis://u:hunter2@host:6379/1", "redis://u:***@host:6379/1"),
        ("redis://:hunter2@host", "redis://:***@host"),
        ("redis+unix:///s?db=1&pass=hunter2", "redis+unix:///s?db=1&pass=***"),
        ("redis://host/0", "redis://host/0"),
    ] {
        let flags = Flags { store: Some(url.to_owned()), ..Flags::default() };
        let config = with(None, &[], flags).unwrap();
        assert_eq!(config.store, StoreUrl::Redis(url.to_owned()));
        assert!(config.show().contains(&format!("url = \"{expected}\"")), "{}", config.show());
        assert!(!config.json().to_string().contains("hunter2"));
    }
}

#[test]
fn no_fault_quotes_a_password() {
    for file in [
        "store.url = \"rediss://:hunter2@host/0\"",
        "store.url = \"redis:/u:hunter2@host\"",
        "store.url = [\"redis://:hunter2@host\"]",
        "[store]\nurl = redis://:hunter2@host",
        "[grants.x]\nenv = \"hunter2\"",
        "[grants.x]\nenv = {PASSWORD = [\"hunter2\"]}",
        "[grants.x]\nenv = {PASSWORD = \"hunter2}",
    ] {
        let told = faults(from_file(file)).join("\n");
        assert!(!told.contains("hunter2"), "{told}");
    }
    let told = faults(from_file("[store]\nurl = redis://:hunter2@host")).join("\n");
    assert!(told.starts_with("lovage.toml: line 2, column 7: "), "{told}");
}

#[test]
fn what_is_no_text_in_the_environment_matters_if_it_is_ours() {
    use std::os::unix::ffi::OsStringExt;
    let odd = || std::ffi::OsString::from_vec(vec![b'a', 0xff]);
    let with = |name: std::ffi::OsString| load(&Flags::default(), [(name, odd())], |_| unreachable!());
    assert!(with("PATH".into()).is_ok() && with(odd()).is_ok());
    let told = with("LOVAGE__LOG__LEVEL".into()).unwrap_err().to_string();
    assert!(told.contains("LOVAGE__LOG__LEVEL") && told.contains("not UTF-8"), "{told}");
}

#[test]
fn no_queue_is_not_every_queue() {
    for empty in ["", " ", ",", " , "] {
        let flags = Flags { queues: Some(empty.to_owned()), ..Flags::default() };
        for told in [with(None, &[], flags), with(None, &[("LOVAGE__WORKER__QUEUES", empty)], Flags::default())] {
            let told = faults(told).join("\n");
            assert!(told.contains("worker.queues") && told.contains("such as a,b"), "{told}");
        }
    }
    assert_eq!(from_file("worker.queues = []").unwrap().worker.queues, None);
}

#[test]
fn a_redis_store_goes_by_celerys_defaults() {
    let redis = with(None, &[], Flags::default()).unwrap().redis;
    assert_eq!((redis.priority_steps, redis.sep.as_str()), (vec![0, 3, 6, 9], "\u{6}\u{16}"));
    assert!(redis.result_extended && redis.global_keyprefix.is_empty());
}

/// Celery's broker and its backends take a prefix each, and do not write the same one in the same way.
#[test]
fn results_have_the_prefix_that_celerys_backends_have() {
    let of = |written: &str| {
        let redis = from_file(&format!("[redis]\nglobal_keyprefix = \"app\"\n{written}")).unwrap().redis;
        (redis.global_keyprefix, redis.result_keyprefix)
    };
    for (written, results) in [
        ("", "app"),
        ("result_keyprefix = \"\"", ""),
        ("result_keyprefix = \"app\"", "app_"),
        ("result_keyprefix = \"other:\"", "other:"),
    ] {
        assert_eq!(of(written), ("app".to_owned(), results.to_owned()), "{written}");
    }
}

#[test]
fn grants_are_checked_and_their_secrets_are_not_shown() {
    let file = "[grants.\"acme/report\"]\nhttp = [\"https://*.example.com\"]";
    let config = from_file(file).unwrap();
    let (whose, granted) = config.grants().into_iter().next().unwrap();
    assert_eq!((whose.0.as_str(), whose.1.as_str()), ("acme", "report"));
    assert_eq!(granted.http[0].to_string(), "https://*.example.com:443");
    assert!(config.show().contains("[grants.\"acme/report\"]"), "{}", config.show());

    let file = "[grants.report]\ntcp = [\"10.0.0.5:5432\"]\nenv = {PASSWORD = \"hunter2\"}\n\
                [[grants.report.directories]]\nhost = \"/\"\nguest = \"/data\"";
    let config = from_file(file).unwrap();
    let granted = config.grants().into_values().next().unwrap();
    assert_eq!((granted.tcp[0].port(), granted.env["PASSWORD"].as_str()), (5432, "hunter2"));
    assert!(!granted.directories[0].write);
    for shown in [config.show(), config.json().to_string()] {
        assert!(shown.contains("10.0.0.5:5432") && shown.contains("PASSWORD") && !shown.contains("hunter2"), "{shown}");
    }

    let file = "[grants.a]\ntcp = [\"localhost:80\"]\n[grants.b]\ntcp = [\"0.0.0.0:80\"]\n[grants.c]\nudp = []\n\
                [grants.d]\ndirectories = [{host = \"/nowhere-at-all\", guest = \"/x\"}]\n\
                [grants.e]\ndirectories = [{host = \"tmp\", guest = \"/x\"}]\n[grants.f]\nenv = {\"a=b\" = \"c\"}\n\
                [grants.h]\nhttp = [\"ftp://example.com\"]\n[grants.i]\nkey_value = 1\n[grant.report]\nkey_value = true\n\
                [grants.\"UP/a\"]\nkey_value = true\n[grants]\ng = 1";
    let told = faults(from_file(file));
    for (name, says) in [
        ("grants.a (lovage.toml): ", "tcp has \"localhost:80\": must be an address and a port"),
        ("grants.b", "the address and the port of one peer"),
        ("grants.c", "unknown field `udp`"),
        ("grants.i", "key_value: invalid type"),
        ("grant.report", "the nearest is [grants.report]"),
        ("grants.d", "No such file"),
        ("grants.e", "absolute"),
        ("grants.f", "a name has no ="),
        ("grants.h", "neither http nor https"),
        ("grants.UP/a", "tenant"),
        ("grants.g", "must be a table"),
    ] {
        assert!(told.iter().any(|fault| fault.starts_with(name) && fault.contains(says)), "{name}: {told:#?}");
    }
}

#[test]
fn the_sample_of_grants_can_be_read_once_it_is_no_comment() {
    let lines = super::granted::SAMPLE.lines().filter(|line| !line.contains("nothing unless a table"));
    let text: Vec<_> = lines.map(|line| line.trim_start_matches(['#', ' ']).replace("/srv/reports", "/")).collect();
    let config = from_file(&text.join("\n")).unwrap();
    let granted = &config.grants()[&("default".parse().unwrap(), "report".parse().unwrap())];
    assert!(granted.key_value && granted.http_private && granted.fine_clock, "{granted:?}");
    assert_eq!((granted.tcp.len(), granted.http.len(), granted.directories.len(), granted.env.len()), (1, 1, 1, 1));
}

#[test]
fn what_does_nothing_beside_the_rest_is_told() {
    let file = "[worker]\nisolation = \"in-process\"\nexecutors = 4\ntask_events = \"yes\"
        [redis]\nsep = \"-\"\n[results]\nextended = \"yes\"
        [limits]\nmessage_bytes = 4096\nbatch_bytes = 2048";
    let told = from_file(file).unwrap().idle();
    assert_eq!(told.len(), 5, "{told:?}");
    for says in [
        "worker.executors (lovage.toml) does nothing: worker.isolation is",
        "redis.sep (lovage.toml) does nothing: store.url is no",
        "results.extended (lovage.toml) does nothing",
        "worker.task_events (lovage.toml) does nothing",
        "limits.batch_bytes is 2048, less than limits.message_bytes, 4096",
    ] {
        assert!(told.iter().any(|line| line.starts_with(says)), "{says} in {told:?}");
    }
    assert_eq!(from_file("").unwrap().idle(), [""; 0]);
    let redis = "[store]\nurl = \"redis://localhost/0\"\n[redis]\nsep = \"-\"\n[results]\ntrack_started = \"yes\"";
    assert_eq!(from_file(redis).unwrap().idle(), [""; 0]);
}
