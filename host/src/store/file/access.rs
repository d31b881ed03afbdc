//! Tenants and tokens, in tables of their own.

use async_trait::async_trait;
use lovage_model::{TenantId, TenantView};
use rusqlite::types::Type;
use rusqlite::{Connection, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::FileStore;
use super::writer::Need;
use crate::store::{Access, Result, StoreError, Token};

#[async_trait]
impl Access for FileStore {
    async fn registered(&self) -> Result<Vec<TenantView>> {
        self.readers.run(|db| all(db, "SELECT body FROM registered ORDER BY name")).await
    }

    async fn register(&self, tenant: TenantView) -> Result<()> {
        let body = text(&tenant)?;
        let sql = "INSERT INTO registered (name, body) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET body = ?2";
        self.writer.run(Need::DURABLE, move |ledger| ledger.run(sql, params![tenant.name.as_str(), body])).await
    }

    async fn unregister(&self, tenant: &TenantId) -> Result<bool> {
        let tenant = tenant.clone();
        let sql = "DELETE FROM registered WHERE name = ?1";
        self.writer.run(Need::DURABLE, move |ledger| Ok(ledger.count(sql, [tenant.as_str()])? > 0)).await
    }

    async fn tokens(&self) -> Result<Vec<Token>> {
        self.readers.run(|db| all(db, "SELECT body FROM token ORDER BY id")).await
    }

    async fn keep_token(&self, token: Token) -> Result<()> {
        let body = text(&token)?;
        let sql = "INSERT INTO token (id, body) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET body = ?2";
        self.writer.run(Need::DURABLE, move |ledger| ledger.run(sql, params![token.view.id.as_str(), body])).await
    }
}

fn text(it: &impl Serialize) -> Result<String> {
    serde_json::to_string(it).map_err(|error| StoreError::Failed(error.to_string()))
}

fn all<T: DeserializeOwned>(db: &Connection, sql: &str) -> rusqlite::Result<Vec<T>> {
    let broken = |error: serde_json::Error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error.into());
    let mut statement = db.prepare_cached(sql)?;
    statement.query_map([], |row| serde_json::from_str(&row.get::<_, String>(0)?).map_err(broken))?.collect()
}
