//! How do things look to people? Pure: things in, text out; every text of a guest is made harmless on its way.

mod access;
mod hosts;

use comfy_table::{Cell, Color, ColumnConstraint, ContentArrangement, Table, presets};
use lovage_model::api::{Health, QueueView};
use lovage_model::{ModuleVersion, Parameter, ParameterKind, ResultMeta, State, TaskDefinition, Timestamp};

use super::escape;
use crate::daemon::CheckReport;
pub(crate) use access::{tenants, tokens, usage};
pub(crate) use hosts::{beat, inspected, workers};

/// The longest argument list or result in a table, in characters.
const LONGEST: usize = 200;
/// What is copied from a table, to be given to another command: never broken, however narrow the terminal is. The others are.
const WHOLE: [&str; 5] = ["ID", "NAME", "MODULE", "QUEUE", "HOST"];

/// Of a table with a header, the first column says what a line is about.
fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if !header.is_empty() {
        table.set_header(header.iter().copied());
    }
    if let (Some(true), Some(column)) = (header.first().map(|name| WHOLE.contains(name)), table.column_mut(0)) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    table
}

fn text_of(mut table: Table) -> String {
    table.column_iter_mut().for_each(|column| _ = column.set_padding((0, 2)));
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn cell(text: impl AsRef<str>) -> Cell {
    Cell::new(escape::line(text.as_ref()))
}

fn state(state: &State, colour: bool) -> Cell {
    let hue = match state {
        State::Success => Color::Green,
        State::Failure => Color::Red,
        State::Revoked | State::Rejected | State::Retry => Color::Yellow,
        State::Started | State::Received | State::Custom(_) => Color::Cyan,
        State::Pending | State::Ignored => Color::DarkGrey,
    };
    if colour { cell(state.as_str()).fg(hue) } else { cell(state.as_str()) }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// To the second: enough to tell tasks apart by eye.
fn when(at: Timestamp) -> String {
    at.to_string().get(..19).map(|text| format!("{}Z", text.replace('T', " "))).unwrap_or_default()
}

fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// Many tasks.
pub(crate) fn tasks(tasks: &[ResultMeta], colour: bool) -> String {
    let mut table = table(&["ID", "NAME", "STATE", "QUEUE", "RETRIES", "SUBMITTED", "RAN"]);
    for task in tasks {
        table.add_row([
            cell(task.task_id.as_str()),
            cell(task.shadow.as_deref().unwrap_or(task.name.as_str())),
            state(&task.status, colour),
            cell(&task.queue),
            cell(task.retries.to_string()),
            cell(when(task.submitted_at)),
            cell(task.usage.map(|usage| seconds(usage.wall_seconds)).unwrap_or_default()),
        ]);
    }
    text_of(table)
}

/// One task; what is not known has no line.
pub(crate) fn task(task: &ResultMeta, colour: bool) -> String {
    let mut table = table(&[]);
    table.add_row([cell("state"), state(&task.status, colour)]);
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            table.add_row([cell(name), cell(short(&value))]);
        }
    };
    row("id", Some(task.task_id.to_string()));
    row("name", Some(task.name.to_string()));
    row("shadow", task.shadow.clone());
    row("waiting for", task.waiting_for.clone());
    row("args", Some(task.args.to_string()));
    row("kwargs", Some(task.kwargs.to_string()));
    row("result", Some(task.result.to_string()));
    row("fault", task.fault.clone());
    row("queue", Some(task.queue.clone()));
    row("retries", Some(task.retries.to_string()));
    row("deliveries", Some(task.deliveries.to_string()));
    row("submitted", Some(when(task.submitted_at)));
    row("eta", task.eta.map(when));
    row("done", task.date_done.map(when));
    row("worker", task.worker.clone());
    row("parent", task.parent_id.as_ref().map(ToString::to_string));
    row("children", (!task.children.is_empty()).then(|| task.children.len().to_string()));
    row("ran", task.usage.map(|usage| seconds(usage.wall_seconds)));
    row("cpu", task.usage.map(|usage| seconds(usage.cpu_seconds)));
    row("memory", task.usage.map(|usage| bytes(usage.peak_memory_bytes)));
    row("fuel", task.usage.and_then(|usage| usage.fuel).map(|fuel| fuel.to_string()));
    let traceback = task.traceback.as_deref().map(|text| format!("\n\n{}", escape::text(text))).unwrap_or_default();
    format!("{}{traceback}", text_of(table))
}

/// Module versions.
pub(crate) fn modules(versions: &[ModuleVersion]) -> String {
    let mut table = table(&["MODULE", "VERSION", "ACTIVE", "SIZE", "PUSHED", "DIGEST", "TASKS"]);
    for version in versions {
        let names: Vec<_> = version.tasks.iter().map(|task| task.name.as_str()).collect();
        table.add_row([
            cell(version.name.as_str()),
            cell(version.version.to_string()),
            cell(if version.active { "yes" } else { "" }),
            cell(bytes(version.size_bytes)),
            cell(when(version.pushed_at)),
            cell(&version.digest.as_str()[..12]),
            cell(names.join(" ")),
        ]);
    }
    text_of(table)
}

/// The tasks of a module, as one calls them.
pub(crate) fn definitions(tasks: &[TaskDefinition]) -> String {
    let mut table = table(&["TASK", "LIMITS", "RETRIES", "ABOUT"]);
    for task in tasks {
        let parameters: Vec<_> = task.parameters.iter().map(parameter).collect();
        let limits = [task.options.soft_time_limit, task.options.time_limit].map(|limit| limit.map(|l| l.get()));
        table.add_row([
            cell(format!("{}({})", task.name, parameters.join(", "))),
            cell(limits.iter().flatten().map(|limit| format!("{limit} s")).collect::<Vec<_>>().join("/")),
            cell(task.options.max_retries.map_or("for ever".to_owned(), |most| most.to_string())),
            cell(task.doc.lines().next().unwrap_or_default()),
        ]);
    }
    text_of(table)
}

/// Queues.
pub(crate) fn queues(queues: &[QueueView]) -> String {
    let mut table = table(&["QUEUE", "READY", "SCHEDULED", "BLOCKED", "RUNNING", "OLDEST", "STATE"]);
    for queue in queues {
        table.add_row([
            cell(&queue.name),
            cell(queue.ready.to_string()),
            cell(queue.scheduled.to_string()),
            cell(queue.blocked.to_string()),
            cell(queue.leased.to_string()),
            cell(queue.oldest_seconds.map(seconds).unwrap_or_default()),
            cell(if queue.paused { "paused" } else { "" }),
        ]);
    }
    text_of(table)
}

/// A daemon.
pub(crate) fn health(health: &Health) -> String {
    let mut table = table(&["STATUS", "HOST", "VERSION", "RUNNING", "SLOTS"]);
    table.add_row([
        cell(&health.status),
        cell(&health.hostname),
        cell(&health.version),
        cell(health.running.to_string()),
        cell(health.concurrency.to_string()),
    ]);
    text_of(table)
}

/// What a check of a store found.
pub(crate) fn store(found: &CheckReport) -> String {
    let mut table = table(&["TASKS", "UNFINISHED", "COMPONENTS", "PROBLEMS"]);
    let problems = found.problems.len() as u64;
    table.add_row([found.tasks, found.unfinished, found.components, problems]);
    text_of(table)
}

/// As it is called: `[y]` may be left out, `*args` takes all further ones.
fn parameter(of: &Parameter) -> String {
    match of.kind {
        ParameterKind::Args => format!("*{}", of.name),
        ParameterKind::Kwargs => format!("**{}", of.name),
        ParameterKind::One if of.required => of.name.clone(),
        ParameterKind::One => format!("[{}]", of.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(result: &str) -> ResultMeta {
        let json = serde_json::json!({
            "task_id": "t-1", "status": "FAILURE", "result": result, "traceback": "in \u{1b}[31mtour::add\nline 2",
            "children": [], "date_done": "2026-11-21T00:00:02Z", "name": "tour.add", "args": [1], "kwargs": {},
            "worker": null, "retries": 1, "queue": "celery", "fault": "trap", "root_id": "t-1",
            "submitted_at": "2026-11-21T00:00:00.5Z", "deliveries": 2,
            "usage": {"fuel": 7, "peak_memory_bytes": 1572864, "cpu_seconds": 0.0005, "wall_seconds": 1.5,
                "instantiate_seconds": 0.0},
        });
        serde_json::from_str(&json.to_string()).unwrap()
    }

    #[test]
    fn a_list_of_tasks() {
        let expected = "\
ID   NAME      STATE    QUEUE   RETRIES  SUBMITTED             RAN
t-1  tour.add  FAILURE  celery  1        2026-11-21 00:00:00Z  1.50 s";
        assert_eq!(tasks(&[meta("no")], false), expected);
    }

    #[test]
    fn what_is_copied_is_never_broken() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        let mut narrow = table(&["ID", "NAME"]);
        narrow.set_width(30).add_row([cell(id), cell("a name of several words")]);
        let shown = text_of(narrow);
        assert!(shown.contains(id) && !shown.contains("a name of several words"), "{shown}");
    }

    #[test]
    fn a_shadow_is_listed_instead_of_the_name() {
        let shadowed = ResultMeta { shadow: Some("sum\u{1b}".to_owned()), ..meta("no") };
        assert!(tasks(std::slice::from_ref(&shadowed), false).contains("t-1  sum\\u{1b}  FAILURE"));
        let one = task(&shadowed, false);
        assert!(one.contains("name        tour.add\nshadow      sum\\u{1b}\n"), "{one}");
    }

    #[test]
    fn one_task() {
        let expected = "\
state       FAILURE
id          t-1
name        tour.add
args        [1]
kwargs      {}
result      \"no\"
fault       trap
queue       celery
retries     1
deliveries  2
submitted   2026-11-21 00:00:00Z
done        2026-11-21 00:00:02Z
ran         1.50 s
cpu         500 µs
memory      1.5 MiB
fuel        7

in \\u{1b}[31mtour::add
line 2";
        assert_eq!(task(&meta("no"), false), expected);
    }

    #[test]
    fn guests_cannot_draw_and_long_values_are_cut() {
        let shown = task(&meta(&format!("\u{9b}2J{}", "x".repeat(1000))), true);
        assert!(shown.contains("\\u{9b}2J") && !shown.contains('\u{9b}'), "{shown}");
        assert!(shown.contains("x…") && shown.len() < 1000, "{shown}");
    }

    #[test]
    fn modules_and_their_tasks() {
        let version: ModuleVersion = serde_json::from_value(serde_json::json!({
            "name": "tour", "version": 3, "digest": "ab".repeat(32), "size_bytes": 2048, "active": true,
            "pushed_at": "2026-11-21T00:00:00Z",
            "tasks": [{"name": "tour.add", "doc": "Adds.\nMore.", "options": {"time_limit": 2.5, "max_retries": null},
                "parameters": [{"name": "x", "required": true}, {"name": "y", "required": false}]}],
        }))
        .unwrap();
        let expected = "\
MODULE  VERSION  ACTIVE  SIZE     PUSHED                DIGEST        TASKS
tour    3        yes     2.0 KiB  2026-11-21 00:00:00Z  abababababab  tour.add";
        assert_eq!(modules(std::slice::from_ref(&version)), expected);
        let expected = "\
TASK              LIMITS  RETRIES   ABOUT
tour.add(x, [y])  2.5 s   for ever  Adds.";
        assert_eq!(definitions(&version.tasks), expected);
    }

    #[test]
    fn queues_with_nothing_ready_have_no_age() {
        let queue = QueueView {
            name: "celery".to_owned(),
            ready: 0,
            scheduled: 2,
            blocked: 0,
            leased: 1,
            paused: true,
            oldest_seconds: None,
        };
        let expected = "\
QUEUE   READY  SCHEDULED  BLOCKED  RUNNING  OLDEST  STATE
celery  0      2          0        1                paused";
        assert_eq!(queues(&[queue]), expected);
    }
}
