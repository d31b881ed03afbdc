//! The routes of periodic tasks.

use lovage_model::api::{PeriodicView, SubmitReply};
use lovage_model::{EntryName, PeriodicTask};
use reqwest::Method;

use crate::http::PROMPT;
use crate::{Client, Result};

impl Client {
    /// Every periodic task, by name.
    pub async fn beat(&self) -> Result<Vec<PeriodicView>> {
        self.get(&["v1", "beat"]).await
    }

    /// One periodic task.
    pub async fn periodic(&self, name: &EntryName) -> Result<PeriodicView> {
        self.get(&["v1", "beat", name.as_str()]).await
    }

    /// Declares a periodic task; one of the same name is replaced.
    pub async fn set_periodic(&self, name: &EntryName, entry: &PeriodicTask) -> Result<PeriodicView> {
        self.call(Method::PUT, &["v1", "beat", name.as_str()], Some(entry)).await
    }

    /// Takes a periodic task away. What it has sent stays.
    pub async fn remove_periodic(&self, name: &EntryName) -> Result<()> {
        let request = self.request(Method::DELETE, self.route(&["v1", "beat", name.as_str()])?).timeout(PROMPT);
        self.send(request).await.map(drop)
    }

    /// Sends a periodic task now, beside its times.
    pub async fn run_periodic(&self, name: &EntryName) -> Result<SubmitReply> {
        self.call(Method::POST, &["v1", "beat", name.as_str(), "run"], None::<&()>).await
    }
}
