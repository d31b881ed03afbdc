//! Tenants and tokens, for all hosts.

use async_trait::async_trait;
use lovage_model::{TenantId, TenantView};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::RedisStore;
use super::draft::text;
use super::script::Script;
use crate::store::{Access, Result, Token};

#[derive(Serialize)]
struct Args<'a> {
    what: &'a str,
    /// Its name, or its id.
    key: Option<&'a str>,
    body: Option<String>,
}

const REGISTERED: &str = "registered";
const TOKENS: &str = "tokens";

#[async_trait]
impl Access for RedisStore {
    async fn registered(&self) -> Result<Vec<TenantView>> {
        self.all(REGISTERED).await
    }

    async fn register(&self, tenant: TenantView) -> Result<()> {
        let body = Some(text(&tenant)?);
        self.change(Args { what: REGISTERED, key: Some(tenant.name.as_str()), body }).await?;
        // This host looks into its queues from now on, too.
        self.bell.ring_ready();
        Ok(())
    }

    async fn unregister(&self, tenant: &TenantId) -> Result<bool> {
        self.change(Args { what: REGISTERED, key: Some(tenant.as_str()), body: None }).await
    }

    async fn tokens(&self) -> Result<Vec<Token>> {
        self.all(TOKENS).await
    }

    async fn keep_token(&self, token: Token) -> Result<()> {
        let body = Some(text(&token)?);
        self.change(Args { what: TOKENS, key: Some(token.view.id.as_str()), body }).await.map(drop)
    }

    async fn access_changed(&self) {
        self.bell.access_changed().await;
    }
}

impl RedisStore {
    async fn all<T: DeserializeOwned>(&self, what: &str) -> Result<Vec<T>> {
        let args = Args { what, key: None, body: None };
        let mut written: Vec<(String, String)> = self.link.ask(Script::Access, &args).await?;
        written.sort();
        let read = |(_, body): (String, String)| {
            serde_json::from_str(&body).map_err(|error| self.link.faults.garbled(&format!("one of {what}"), &error))
        };
        written.into_iter().map(read).collect()
    }

    /// Whether there was one before.
    async fn change(&self, args: Args<'_>) -> Result<bool> {
        self.link.ask(Script::Access, &args).await
    }
}
