//! Who may do what, as it is kept: tenants with their policies, and tokens.

use async_trait::async_trait;
use lovage_model::{Digest, TenantId, TenantView, TokenView};
use serde::{Deserialize, Serialize};

use super::Result;

/// A token as it is kept: not itself, only what it can be known by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// What may be shown of it.
    pub view: TokenView,
    /// SHA-256 of its secret part.
    pub hash: Digest,
}

/// Tenants and tokens. All hosts of a store know the same.
#[async_trait]
pub trait Access: Send + Sync {
    /// The tenants that were added, by name.
    async fn registered(&self) -> Result<Vec<TenantView>>;

    /// Adds a tenant, or changes what it may use.
    async fn register(&self, tenant: TenantView) -> Result<()>;

    /// Takes a tenant away; whether there was one. What it has stays.
    async fn unregister(&self, tenant: &TenantId) -> Result<bool>;

    /// Every token there ever was, by id: also those that hold no more.
    async fn tokens(&self) -> Result<Vec<Token>>;

    /// Keeps a token, instead of the one of the same id.
    async fn keep_token(&self, token: Token) -> Result<()>;

    /// Returns when another host may have changed any of it since the last call returned. (Never, where there is no other.)
    async fn access_changed(&self) {
        std::future::pending().await
    }
}
