//! What does a running task look like? A bar on a terminal, plain lines elsewhere; always on standard error.

use indicatif::{ProgressBar, ProgressStyle};
use lovage_model::{EventKind, Json};

use super::escape;
use super::screen::Screen;

/// The longest meta that is shown beside a state, in characters.
const LONGEST: usize = 160;

/// What is to be shown of an event.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    /// So much of so much.
    Bar { state: String, current: u64, total: u64 },
    /// Words.
    Words(String),
}

/// `current` and `total` are the names that Celery's own examples use.
fn progress(state: &str, meta: &serde_json::Value) -> Step {
    let number = |key: &str| meta.get(key).and_then(serde_json::Value::as_f64).filter(|n| *n >= 0.0);
    match (number("current"), number("total")) {
        (Some(current), Some(total)) if total > 0.0 => {
            Step::Bar { state: state.to_owned(), current: current as u64, total: total as u64 }
        }
        _ if meta.is_null() => Step::Words(state.to_owned()),
        _ => Step::Words(format!("{state} {}", meta.to_string().chars().take(LONGEST).collect::<String>())),
    }
}

/// None: nothing to see.
fn step(kind: &EventKind) -> Option<Step> {
    Some(match kind {
        EventKind::Progress { state, meta } => progress(state, meta),
        EventKind::Sent { .. } | EventKind::Received { .. } => Step::Words("PENDING".to_owned()),
        EventKind::Started => Step::Words("STARTED".to_owned()),
        EventKind::Retried { exception, .. } => Step::Words(format!("RETRY {exception}")),
        EventKind::Replaced { by } => Step::Words(format!("replaced by {by}")),
        EventKind::Ignored => Step::Words("IGNORED".to_owned()),
        EventKind::Rejected { .. } => Step::Words("REJECTED".to_owned()),
        EventKind::Custom { .. } | EventKind::Log { .. } => return None,
        // Whoever waits is told the ending by its result, which may well come before its event.
        EventKind::Succeeded { .. } | EventKind::Failed { .. } | EventKind::Revoked { .. } => return None,
    })
}

/// The lines of somebody who is not there to watch: one for each change, and for each tenth of a bar.
#[derive(Debug, Default)]
struct Plain(Option<(String, u64)>);

impl Plain {
    fn line(&mut self, step: &Step) -> Option<String> {
        let (key, line) = match step {
            Step::Words(words) => ((words.clone(), 0), words.clone()),
            Step::Bar { state, current, total } => {
                ((state.clone(), current.saturating_mul(10) / total.max(&1)), format!("{state} {current}/{total}"))
            }
        };
        (self.0.replace(key.clone()) != Some(key)).then_some(line)
    }
}

/// One task on the screen.
#[derive(Debug)]
pub(crate) struct Live {
    screen: Screen,
    bar: Option<ProgressBar>,
    plain: Plain,
}

impl Live {
    /// Nothing to see yet.
    pub(crate) fn new(screen: Screen) -> Self {
        let bar = screen.is_live().then(|| {
            let bar = ProgressBar::new_spinner().with_style(words_style());
            bar.enable_steady_tick(std::time::Duration::from_millis(120));
            bar
        });
        Self { screen, bar, plain: Plain::default() }
    }

    /// Something happened.
    pub(crate) fn event(&mut self, kind: &EventKind) {
        if let Some(step) = step(kind) {
            self.show(&step);
        }
    }

    /// The task set a state.
    pub(crate) fn state(&mut self, state: &str, meta: &Json) {
        self.show(&progress(state, &meta.read().unwrap_or_default()));
    }

    /// A line above the bar.
    pub(crate) fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.screen.note(text)),
            None => self.screen.note(text),
        }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn show(&mut self, step: &Step) {
        match (&self.bar, step) {
            (Some(bar), Step::Bar { state, current, total }) => {
                bar.set_style(bar_style());
                bar.set_length(*total);
                bar.set_position(*current);
                bar.set_message(escape::line(state).into_owned());
            }
            (Some(bar), Step::Words(words)) => {
                bar.set_style(words_style());
                bar.set_message(escape::line(words).into_owned());
            }
            (None, step) => {
                if let Some(line) = self.plain.line(step) {
                    self.screen.note(&escape::line(&line));
                }
            }
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.clear();
    }
}

fn bar_style() -> ProgressStyle {
    ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {elapsed}").expect("a template that a test draws")
}

fn words_style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg} {elapsed}").expect("a template that a test draws")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_progress_meta_drives_the_bar_and_others_are_words() {
        let bar = |current, total| Step::Bar { state: "PROGRESS".to_owned(), current, total };
        assert_eq!(progress("PROGRESS", &json!({"current": 1, "total": 3})), bar(1, 3));
        assert_eq!(progress("PROGRESS", &json!({"current": 1.9, "total": 3.0, "note": "x"})), bar(1, 3));
        for meta in [json!({"current": 1}), json!({"current": 1, "total": 0}), json!({"current": -1, "total": 3})] {
            assert_eq!(progress("WORK", &meta), Step::Words(format!("WORK {meta}")));
        }
        assert_eq!(progress("WORK", &json!(null)), Step::Words("WORK".to_owned()));
    }

    #[test]
    fn plain_lines_come_with_changes_only() {
        let mut plain = Plain::default();
        let mut line = |current, total| plain.line(&Step::Bar { state: "PROGRESS".to_owned(), current, total });
        assert_eq!(line(0, 100).as_deref(), Some("PROGRESS 0/100"));
        assert_eq!(line(9, 100), None);
        assert_eq!(line(10, 100).as_deref(), Some("PROGRESS 10/100"));
        let started = Step::Words("STARTED".to_owned());
        assert_eq!(plain.line(&started).as_deref(), Some("STARTED"));
        assert_eq!(plain.line(&started), None);
    }

    #[test]
    fn the_templates_are_right() {
        for style in [bar_style(), words_style()] {
            ProgressBar::hidden().with_style(style).tick();
        }
    }
}
