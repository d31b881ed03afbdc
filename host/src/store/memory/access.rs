//! Tenants and tokens, in memory.

use async_trait::async_trait;
use lovage_model::{TenantId, TenantView};

use super::MemoryStore;
use crate::store::{Access, Result, Token};

#[async_trait]
impl Access for MemoryStore {
    async fn registered(&self) -> Result<Vec<TenantView>> {
        Ok(self.open()?.tenants.values().cloned().collect())
    }

    async fn register(&self, tenant: TenantView) -> Result<()> {
        self.open()?.tenants.insert(tenant.name.clone(), tenant);
        Ok(())
    }

    async fn unregister(&self, tenant: &TenantId) -> Result<bool> {
        Ok(self.open()?.tenants.remove(tenant).is_some())
    }

    async fn tokens(&self) -> Result<Vec<Token>> {
        Ok(self.open()?.tokens.values().cloned().collect())
    }

    async fn keep_token(&self, token: Token) -> Result<()> {
        self.open()?.tokens.insert(token.view.id.clone(), token);
        Ok(())
    }
}
