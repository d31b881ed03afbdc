//! The routes of secrets.

use lovage_model::{ModuleName, SecretName};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;

use crate::http::PROMPT;
use crate::{Client, Result};

impl Client {
    /// Sets a secret for the tasks of a module, instead of the one of that name. Nobody but they can read it.
    pub async fn set_secret(&self, module: &ModuleName, name: &SecretName, secret: String) -> Result<()> {
        let route = self.route(&["v1", "modules", module.as_str(), "secrets", name.as_str()])?;
        let request = self.request(Method::PUT, route).header(CONTENT_TYPE, "text/plain").timeout(PROMPT).body(secret);
        self.send(request).await.map(drop)
    }

    /// Takes a secret away.
    pub async fn remove_secret(&self, module: &ModuleName, name: &SecretName) -> Result<()> {
        let route = self.route(&["v1", "modules", module.as_str(), "secrets", name.as_str()])?;
        self.send(self.request(Method::DELETE, route).timeout(PROMPT)).await.map(drop)
    }
}
