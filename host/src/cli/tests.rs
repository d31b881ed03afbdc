//! The command line as a whole: which lines are understood, what help and completions hold.

use super::*;

fn parse(line: &str) -> Result<Cli, String> {
    Cli::try_parse_from(line.split(' ')).map_err(|error| error.to_string())
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_is_understood() {
    let lines = [
        "lovage serve --config f.toml --store file:./d --listen 127.0.0.1:0 --concurrency 2 --queues a,b --hostname h",
        "lovage dev",
        "lovage dev a.wasm b.wasm --listen 127.0.0.1:0",
        "lovage exec m.wasm add 1 -2 x --kwargs {} --time-limit 5 --soft-time-limit 4 --fuel 100 --memory-bytes 1000",
        "lovage module push tour tour.wasm --dry-run",
        "lovage module list -o json",
        "lovage -o jsonl module list",
        "lovage module show tour",
        "lovage module rollback tour",
        "lovage module rm tour --yes",
        "lovage task submit add 1 2 --queue q --url http://h:1 --token t",
        "lovage task run add 1 2 --logs --timeout 5 --priority 0",
        "lovage task run --canvas @f.json",
        "lovage task get id",
        "lovage task result id",
        "lovage task wait id --timeout 0.5",
        "lovage task wait [[\"g\",null],[\"a\"]]",
        "lovage task graph id --dot",
        "lovage task logs id -f",
        "lovage task list --state FAILURE --name a.b --queue q --limit 3",
        "lovage task revoke id --terminate",
        "lovage task forget id",
        "lovage task retry id",
        "lovage queue list",
        "lovage queue purge celery -y",
        "lovage beat set n t --crontab *\t*\t*\t*\t* --timezone Europe/Berlin",
        "lovage status",
        "lovage store check --store file:./d",
        "lovage store check --config f.toml",
        "lovage store backup copy",
        "lovage config check --config f.toml",
        "lovage config show",
        "lovage completions zsh",
    ];
    for line in lines {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn nonsense_is_refused() {
    let lines = [
        ("lovage", "Usage"),
        ("lovage tsk", "task"),
        ("lovage task", "Usage"),
        ("lovage task run", "TASK"),
        ("lovage task get", "<ID>"),
        ("lovage task get a b", "unexpected argument 'b'"),
        ("lovage task list --limit 0", "--limit"),
        ("lovage task wait id --timeout never", "--timeout"),
        ("lovage task wait [1", "<ID>"),
        ("lovage module push UPPER f", "module name"),
        ("lovage queue purge", "<QUEUE>"),
        ("lovage -o yaml status", "table, json, jsonl"),
        ("lovage completions tcsh", "possible values"),
        ("lovage beat set n t --every 5 --timezone Europe/Berlin", "cannot be used with"),
        ("lovage beat set n t --timezone Europe/Berlin", "--crontab"),
    ];
    for (line, says) in lines {
        let error = parse(line).expect_err(line);
        assert!(error.contains(says), "{line}: {error}");
    }
}

#[test]
fn where_a_daemon_is_has_no_place_beside_a_verb_that_asks_none() {
    let refused = |line: &str| typed(line.split(' ').map(str::to_owned)).err().map(|error| error.to_string());
    for line in [
        "lovage exec m.wasm add --url http://h:1",
        "lovage --token t serve",
        "lovage dev --token t",
        "lovage store check --url http://h:1",
        "lovage config show --token t",
    ] {
        let told = refused(line).expect(line);
        assert!(told.contains("asks no daemon: leave out --") && told.contains("Usage"), "{line}: {told}");
    }
    for line in ["lovage --url http://h:1 task list", "lovage status --token t", "lovage exec m.wasm add -o json"] {
        assert_eq!(refused(line), None, "{line}");
    }
}

#[test]
fn an_address_without_a_scheme_is_http() {
    assert_eq!(with_scheme("localhost:7380"), "http://localhost:7380");
    assert_eq!(with_scheme("https://h"), "https://h");
}

#[test]
fn help_shows_the_verbs_and_the_exit_codes() {
    let help = Cli::command().render_long_help().to_string();
    for verb in ["serve", "dev", "exec", "module", "task", "queue", "status", "store", "config", "completions"] {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb}: {help}");
    }
    assert!(help.ends_with(&format!("{}\n", exit::TABLE)), "{help}");
    assert!(help.contains("[env: LOVAGE_URL]"), "{help}");
}

#[test]
fn every_verb_has_its_help() {
    fn check(command: &clap::Command, path: &str) {
        for sub in command.get_subcommands() {
            let path = format!("{path} {}", sub.get_name());
            assert!(sub.get_about().is_some(), "{path} says nothing");
            for argument in sub.get_arguments().filter(|argument| !argument.is_hide_set()) {
                assert!(argument.get_help().is_some(), "{path} {} says nothing", argument.get_id());
            }
            check(sub, &path);
        }
    }
    check(&Cli::command(), "lovage");
}

#[test]
fn completions_hold_the_verbs() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let script = completions(shell);
        for word in ["serve", "rollback", "revoke", "terminate", "purge", "completions", "soft-time-limit", "jsonl"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        assert!(!script.contains("-child"), "{shell}: what nobody types");
    }
}
