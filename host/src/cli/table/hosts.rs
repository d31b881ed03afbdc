//! Workers, what hosts say, and periodic tasks.

use std::collections::BTreeMap;

use lovage_model::api::{PeriodicView, WorkerView};
use lovage_model::{Crontab, Json, Schedule};

use super::{cell, table, text_of, when};
use crate::cli::escape;

/// Workers.
pub(crate) fn workers(workers: &[WorkerView]) -> String {
    let mut table = table(&["HOST", "STATUS", "ACTIVE", "RESERVED", "SLOTS", "QUEUES", "UP", "VERSION"]);
    for worker in workers {
        table.add_row([
            cell(&worker.hostname),
            cell(&worker.status),
            cell(worker.active.to_string()),
            cell(worker.reserved.to_string()),
            cell(worker.concurrency.to_string()),
            cell(worker.queues.as_ref().map_or("all".to_owned(), |names| names.join(","))),
            cell(format!("{} s", worker.uptime_seconds)),
            cell(&worker.version),
        ]);
    }
    text_of(table)
}

/// What hosts say: each, and below it an item a line.
pub(crate) fn inspected(says: &BTreeMap<String, Json>) -> String {
    let mut lines = Vec::new();
    for (host, said) in says {
        lines.push(format!("{}:", escape::line(host)));
        let item = |item: &serde_json::Value| match item {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match said.read::<serde_json::Value>().unwrap_or_default() {
            serde_json::Value::Array(items) if items.is_empty() => lines.push("  - empty -".to_owned()),
            serde_json::Value::Array(items) => lines.extend(items.iter().map(|it| format!("  {}", item(it)))),
            serde_json::Value::Object(fields) => {
                lines.extend(fields.iter().map(|(name, value)| format!("  {name}: {}", item(value))));
            }
            other => lines.push(format!("  {other}")),
        }
    }
    lines.iter().map(|line| escape::line(line).into_owned()).collect::<Vec<_>>().join("\n")
}

/// Periodic tasks.
pub(crate) fn beat(all: &[PeriodicView]) -> String {
    let mut table = table(&["NAME", "TASK", "SCHEDULE", "NEXT", "LAST", "RUNS", "NOTE"]);
    for one in all {
        let PeriodicView { entry, last_error, .. } = one;
        let notes = [
            (!entry.enabled).then(|| "disabled".to_owned()),
            one.of_config.then(|| "of the configuration".to_owned()),
            last_error.clone(),
        ];
        table.add_row([
            cell(one.name.as_str()),
            cell(entry.task.as_str()),
            cell(schedule(&entry.schedule)),
            cell(one.next_run_at.map(when).unwrap_or_default()),
            cell(one.last_run_at.map(when).unwrap_or_default()),
            cell(one.total_run_count.to_string()),
            cell(notes.into_iter().flatten().collect::<Vec<_>>().join(", ")),
        ]);
    }
    text_of(table)
}

/// As cron has it.
fn schedule(schedule: &Schedule) -> String {
    match schedule {
        Schedule::Every(every) => format!("every {} s", every.get()),
        Schedule::Crontab { crontab, timezone } => {
            let Crontab { minute, hour, day_of_week, day_of_month, month_of_year } = crontab;
            let fields = format!("{minute} {hour} {day_of_month} {month_of_year} {day_of_week}");
            format!("{fields} {}", timezone.as_deref().unwrap_or("UTC"))
        }
    }
}

#[cfg(test)]
mod tests {
    use lovage_model::Timestamp;

    use super::*;

    #[test]
    fn periodic_tasks_show_their_schedule_and_what_is_wrong() {
        let view = |entry: &str| PeriodicView {
            name: "a".parse().unwrap(),
            entry: serde_json::from_str(entry).unwrap(),
            of_config: true,
            last_run_at: None,
            next_run_at: Some(Timestamp::parse("2026-11-21T07:30:00Z").unwrap()),
            total_run_count: 3,
            last_error: Some("no\u{1b}".to_owned()),
        };
        let all = [
            view(r#"{"task": "t.u", "crontab": "30 7 * * mon-fri", "timezone": "Europe/Rome"}"#),
            view(r#"{"task": "t.v", "every": 1.5, "enabled": false}"#),
        ];
        let expected = "\
NAME  TASK  SCHEDULE                      NEXT                  LAST  RUNS  NOTE
a     t.u   30 7 * * mon-fri Europe/Rome  2026-11-21 07:30:00Z        3     of the configuration, no\\u{1b}
a     t.v   every 1.5 s                   2026-11-21 07:30:00Z        3     disabled, of the configuration, no\\u{1b}";
        assert_eq!(beat(&all), expected);
    }

    #[test]
    fn hosts_say_an_item_a_line() {
        let says = [
            ("a@h".to_owned(), Json::of(&["tour.add [rate_limit=1/s]", "x\u{1b}"]).unwrap()),
            ("b@h".to_owned(), Json::parse(r#"{"ok": "pong", "n": [1]}"#.to_owned()).unwrap()),
            ("c@h".to_owned(), Json::empty_array()),
        ];
        let expected = "\
a@h:
  tour.add [rate_limit=1/s]
  x\\u{1b}
b@h:
  n: [1]
  ok: pong
c@h:
  - empty -";
        assert_eq!(inspected(&says.into()), expected);
    }
}
