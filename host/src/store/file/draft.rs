//! What is written of a message? All of it is made before it comes to the writer, whose time everybody waits for.

use std::collections::BTreeSet;

use lovage_model::{Message, Plan, Planned, TaskId};
use rusqlite::types::{FromSql, FromSqlResult, ToSqlOutput, ValueRef};

use super::codec::encode;
use crate::store::record::stamps;
use crate::store::{Result, StoreError};

/// What a place must know of its message, so that the end of a plain task costs nothing more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Marks(u8);

impl Marks {
    /// It has rows in `stamp`.
    pub(super) const STAMPED: Self = Self(1);
    /// Others wait for its end.
    pub(super) const AWAITED: Self = Self(2);
    /// It does not show that it runs.
    pub(super) const UNTRACKED: Self = Self(4);

    pub(super) fn has(self, one: Self) -> bool {
        self.0 & one.0 != 0
    }

    fn with(self, one: Self, set: bool) -> Self {
        if set { Self(self.0 | one.0) } else { self }
    }

    /// What is to be known of a message.
    pub(super) fn of(message: &Message) -> Self {
        Self::default()
            .with(Self::STAMPED, !message.stamps.is_empty())
            .with(Self::AWAITED, message.then.is_some())
            .with(Self::UNTRACKED, message.untracked)
    }
}

impl rusqlite::ToSql for Marks {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.into())
    }
}

impl FromSql for Marks {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        u8::column_result(value).map(Self)
    }
}

/// What rows say of a message.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) body: Vec<u8>,
    pub(super) marks: Marks,
    /// What its end is for.
    pub(super) follows: Option<String>,
    /// Its labels, each with its value.
    pub(super) stamps: BTreeSet<(String, String)>,
}

/// A message on its way into the store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draft<'a> {
    pub(super) message: &'a Message,
    pub(super) awaits: Option<&'a TaskId>,
    pub(super) text: &'a Text,
}

/// A message with its text.
#[derive(Debug, Clone)]
pub(super) struct Written {
    planned: Planned,
    text: Text,
}

/// A plan with the texts of its messages.
#[derive(Debug, Clone)]
pub(super) struct WrittenPlan {
    pub(super) plan: Plan,
    texts: Vec<Text>,
}

impl Text {
    fn of(message: &Message) -> Result<Self> {
        Ok(Self {
            body: encode(message).map_err(|error| unwritable(&error))?,
            marks: Marks::of(message),
            follows: message.then.as_ref().map(text).transpose()?,
            stamps: stamps(message),
        })
    }
}

impl Written {
    /// Fails only for a message that JSON cannot hold.
    pub(super) fn of(planned: Planned) -> Result<Self> {
        Ok(Self { text: Text::of(&planned.message)?, planned })
    }

    /// Of a message that waits for nothing else.
    pub(super) fn free(message: Message) -> Result<Self> {
        Self::of(Planned { message, awaits: None })
    }

    pub(super) fn draft(&self) -> Draft<'_> {
        draft(&self.planned, &self.text)
    }
}

impl WrittenPlan {
    /// Fails only for a message that JSON cannot hold.
    pub(super) fn of(plan: Plan) -> Result<Self> {
        let texts = plan.tasks.iter().map(|one| Text::of(&one.message)).collect::<Result<_>>()?;
        Ok(Self { plan, texts })
    }

    pub(super) fn drafts(&self) -> impl Iterator<Item = Draft<'_>> {
        self.plan.tasks.iter().zip(&self.texts).map(|(planned, text)| draft(planned, text))
    }

    /// How many messages it writes.
    pub(super) fn weight(&self) -> usize {
        self.texts.len()
    }
}

fn draft<'a>(Planned { message, awaits }: &'a Planned, text: &'a Text) -> Draft<'a> {
    Draft { message, awaits: awaits.as_ref(), text }
}

/// The JSON of what a row holds as such.
pub(super) fn text<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| unwritable(&error))
}

fn unwritable(error: &serde_json::Error) -> StoreError {
    StoreError::Failed(format!("cannot be written as JSON: {error}"))
}
