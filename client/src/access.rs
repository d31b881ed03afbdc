//! The routes of tenants and tokens, for operators.

use lovage_model::{DailyUsage, IssuedToken, NewToken, TenantId, TenantPolicy, TenantView, TokenId, TokenView};
use reqwest::Method;

use crate::http::PROMPT;
use crate::{Client, Result};

impl Client {
    /// Every tenant that was added, by name.
    pub async fn tenants(&self) -> Result<Vec<TenantView>> {
        self.get(&["v1", "tenants"]).await
    }

    /// Adds a tenant, or changes what it may use: the whole policy.
    pub async fn set_tenant(&self, name: &TenantId, policy: &TenantPolicy) -> Result<TenantView> {
        self.call(Method::PUT, &["v1", "tenants", name.as_str()], Some(policy)).await
    }

    /// Takes a tenant away that has nothing left, and revokes its tokens.
    pub async fn remove_tenant(&self, name: &TenantId) -> Result<()> {
        let request = self.request(Method::DELETE, self.route(&["v1", "tenants", name.as_str()])?).timeout(PROMPT);
        self.send(request).await.map(drop)
    }

    /// What the tenant of this client's token has used, by day, the latest first. None: the days that the daemon thinks of.
    pub async fn usage(&self, days: Option<u16>) -> Result<Vec<DailyUsage>> {
        self.usage_at(&["v1", "usage"], days).await
    }

    /// What a tenant has used: for operators.
    pub async fn usage_of(&self, name: &TenantId, days: Option<u16>) -> Result<Vec<DailyUsage>> {
        self.usage_at(&["v1", "tenants", name.as_str(), "usage"], days).await
    }

    async fn usage_at(&self, path: &[&str], days: Option<u16>) -> Result<Vec<DailyUsage>> {
        let request = self.request(Method::GET, self.route(path)?).timeout(PROMPT);
        let request = request.query(&days.map(|days| [("days", days)]));
        self.json(self.send(request).await?).await
    }

    /// Every token there ever was, the oldest first.
    pub async fn tokens(&self) -> Result<Vec<TokenView>> {
        self.get(&["v1", "tokens"]).await
    }

    /// Makes a token. The answer has it whole, and nothing else ever has.
    pub async fn issue_token(&self, new: &NewToken) -> Result<IssuedToken> {
        self.call(Method::POST, &["v1", "tokens"], Some(new)).await
    }

    /// Revokes a token: requests with it are refused from now on.
    pub async fn revoke_token(&self, id: &TokenId) -> Result<TokenView> {
        self.call(Method::DELETE, &["v1", "tokens", id.as_str()], None::<&()>).await
    }
}
