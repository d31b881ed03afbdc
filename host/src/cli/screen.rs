//! Where does which output go? Data to standard output, everything else to standard error; what guests wrote is made
//! harmless where a terminal would obey it.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use super::escape;

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Jsonl,
}

/// Standard output and error, and what is behind them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    /// What was asked for.
    pub(crate) format: Format,
    stdout_is_terminal: bool,
    stderr_is_terminal: bool,
    stdin_is_terminal: bool,
    /// Whether colours are welcome on standard output.
    pub(crate) colour: bool,
}

impl Screen {
    /// As the process was started.
    pub(crate) fn of_process(format: Format) -> Self {
        let stdout_is_terminal = io::stdout().is_terminal();
        let colour = stdout_is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let [stdin_is_terminal, stderr_is_terminal] = [io::stdin().is_terminal(), io::stderr().is_terminal()];
        Self { format, stdout_is_terminal, stderr_is_terminal, stdin_is_terminal, colour }
    }

    /// Whether somebody sits there who sees a moving bar.
    pub(crate) fn is_live(&self) -> bool {
        self.stderr_is_terminal
    }

    /// Whether somebody sits there who can answer.
    pub(crate) fn can_ask(&self) -> bool {
        self.stdin_is_terminal
    }

    /// Data that we made, or made harmless.
    pub(crate) fn data(&self, text: &str) -> anyhow::Result<()> {
        Ok(writeln!(io::stdout().lock(), "{text}")?)
    }

    /// Data that a guest made.
    pub(crate) fn guest_data(&self, text: &str) -> anyhow::Result<()> {
        if self.stdout_is_terminal { self.data(&escape::text(text)) } else { self.data(text) }
    }

    /// JSON as it came.
    pub(crate) fn raw_json(&self, text: &str) -> anyhow::Result<()> {
        if self.stdout_is_terminal { self.data(&escape::json(text)) } else { self.data(text) }
    }

    /// A thing: the table for people, or its JSON.
    pub(crate) fn one<T: Serialize>(&self, item: &T, table: impl FnOnce() -> String) -> anyhow::Result<()> {
        match self.format {
            Format::Table => self.data(&table()),
            Format::Json => self.raw_json(&serde_json::to_string_pretty(item)?),
            Format::Jsonl => self.raw_json(&serde_json::to_string(item)?),
        }
    }

    /// Things: the table for people, a JSON array, or a line each.
    pub(crate) fn list<T: Serialize>(&self, items: &[T], table: impl FnOnce() -> String) -> anyhow::Result<()> {
        match self.format {
            Format::Jsonl => items.iter().try_for_each(|item| self.raw_json(&serde_json::to_string(item)?)),
            _ => self.one(&items, table),
        }
    }

    /// Anything that is not data. What a guest made may be in it.
    pub(crate) fn note(&self, text: &str) {
        let text = if self.stderr_is_terminal { escape::text(text) } else { text.into() };
        // Nobody reads what could not be said.
        _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Where whoever is to answer sees it: what goes elsewhere than to a terminal he does not.
    fn ask(&self, question: &str) -> io::Result<()> {
        if !self.stderr_is_terminal
            && let Ok(mut terminal) = std::fs::File::options().write(true).open("/dev/tty")
        {
            return terminal.write_all(question.as_bytes());
        }
        io::stderr().lock().write_all(question.as_bytes())
    }

    /// Asks, if somebody can answer; then only a yes is a yes. Nobody there: whoever wrote the script has decided.
    pub(crate) fn confirm(&self, question: &str) -> anyhow::Result<bool> {
        if !self.can_ask() {
            return Ok(true);
        }
        self.ask(&format!("{} [y/N] ", escape::line(question)))?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_sits_there_is_asked_wherever_the_rest_goes() {
        let screen = |stdin_is_terminal, stderr_is_terminal| Screen {
            format: Format::Table,
            stdout_is_terminal: false,
            stderr_is_terminal,
            stdin_is_terminal,
            colour: false,
        };
        assert!(screen(true, true).can_ask() && screen(true, false).can_ask());
        assert!(!screen(false, true).can_ask());
        assert!(screen(false, true).confirm("Drop it?").unwrap(), "who wrote a script has decided");
    }
}
