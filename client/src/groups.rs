//! The routes of groups.

use std::time::Duration;

use lovage_model::{ResultTuple, TaskId};
use reqwest::header::RETRY_AFTER;
use reqwest::{Method, Response};

use crate::http::PROMPT;
use crate::{Client, Error, GroupResult, Result};

/// How long it is waited until a group can be saved.
const SAVED_WITHIN: Duration = Duration::from_secs(8);
/// Between two tries, whatever the daemon says.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

impl Client {
    /// Keeps the result of a group under its id, for as long as the daemon keeps results. Its tasks have been sent by then, so where the
    /// daemon says that it may be saved in a few seconds, such as when what was just sent is all that the tenant may send in one, that is
    /// waited for.
    pub async fn save_group(&self, group: &ResultTuple) -> Result<()> {
        let url = self.route(&["v1", "groups", group.id.as_str()])?;
        let mut left = SAVED_WITHIN;
        loop {
            let request = self.request(Method::PUT, url.clone()).timeout(PROMPT).json(group);
            let response = self.send_any(request).await?;
            if response.status().is_success() {
                return Ok(());
            }
            let pause = retry_after(&response);
            let error = self.refusal(response).await;
            let Some(rest) = pause.filter(|_| error.is_retryable()).and_then(|pause| left.checked_sub(pause)) else {
                return Err(error);
            };
            tokio::time::sleep(left - rest).await;
            left = rest;
        }
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

/// When to ask again, as the daemon says it.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).max(SHORTEST_PAUSE))
}

fn is_unknown(error: &Error) -> bool {
    error.code() == Some("unknown_group")
}
