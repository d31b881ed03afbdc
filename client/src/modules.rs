//! The routes of modules.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use lovage_model::{ModuleName, ModuleVersion};
use reqwest::header::{CONTENT_TYPE, HeaderName};
use reqwest::{Method, StatusCode};
use sha2::{Digest as _, Sha256};

use crate::http::PROMPT;
use crate::{Client, Result};

/// A push compiles the module before it answers.
const COMPILING: Duration = Duration::from_secs(600);

/// What a push did.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// The version that is active now, or would be.
    pub version: ModuleVersion,
    /// Whether it is a new one; false if the component is the active version's, and for a dry run.
    pub is_new: bool,
    /// Whether its component was missing from the daemon's store, or damaged there, and is there again.
    pub is_restored: bool,
}

impl Client {
    /// Pushes a component under a name and makes it the active version. A dry run checks it and stores nothing.
    pub async fn push_module(&self, name: &ModuleName, component: Bytes, dry_run: bool) -> Result<Pushed> {
        let digest = STANDARD.encode(Sha256::digest(&component));
        let mut request = self
            .request(Method::PUT, self.route(&["v1", "modules", name.as_str()])?)
            .header(CONTENT_TYPE, "application/wasm")
            .header(HeaderName::from_static("content-digest"), format!("sha-256=:{digest}:"))
            .timeout(COMPILING)
            .body(component);
        if dry_run {
            request = request.query(&[("dry_run", "true")]);
        }
        let response = self.send(request).await?;
        let is_new = response.status() == StatusCode::CREATED;
        let is_restored = response.headers().contains_key("lovage-restored");
        Ok(Pushed { version: self.json(response).await?, is_new, is_restored })
    }

    /// The active version of every module.
    pub async fn modules(&self) -> Result<Vec<ModuleVersion>> {
        self.get(&["v1", "modules"]).await
    }

    /// The versions of one module, the newest first.
    pub async fn module_versions(&self, name: &ModuleName) -> Result<Vec<ModuleVersion>> {
        self.get(&["v1", "modules", name.as_str()]).await
    }

    /// Makes the version before the active one active.
    pub async fn rollback_module(&self, name: &ModuleName) -> Result<ModuleVersion> {
        self.call(Method::POST, &["v1", "modules", name.as_str(), "rollback"], None::<&()>).await
    }

    /// Drops a module with all its versions.
    pub async fn remove_module(&self, name: &ModuleName) -> Result<()> {
        let request = self.request(Method::DELETE, self.route(&["v1", "modules", name.as_str()])?).timeout(PROMPT);
        self.send(request).await.map(drop)
    }
}
