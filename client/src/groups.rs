//! The routes of groups.

use lovage_model::{ResultTuple, TaskId};
use reqwest::Method;

use crate::http::PROMPT;
use crate::{Client, Error, GroupResult, Result};

impl Client {
    /// Keeps the result of a group under its id, for as long as the daemon keeps results.
    pub async fn save_group(&self, group: &ResultTuple) -> Result<()> {
        let url = self.route(&["v1", "groups", group.id.as_str()])?;
        self.send(self.request(Method::PUT, url).timeout(PROMPT).json(group)).await.map(drop)
    }

    /// The result of a group that was saved; none if there is none of that id.
    pub async fn restore_group(&self, id: &TaskId) -> Result<Option<GroupResult>> {
        match self.get::<ResultTuple>(&["v1", "groups", id.as_str()]).await {
            Ok(tuple) => Ok(self.result_from_tuple(tuple).into_group()),
            Err(error) if is_unknown(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Drops the saved result of a group; whether there was one. Its members stay.
    pub async fn delete_group(&self, id: &TaskId) -> Result<bool> {
        let url = self.route(&["v1", "groups", id.as_str()])?;
        match self.send(self.request(Method::DELETE, url).timeout(PROMPT)).await {
            Ok(_) => Ok(true),
            Err(error) if is_unknown(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn is_unknown(error: &Error) -> bool {
    error.code() == Some("unknown_group")
}
