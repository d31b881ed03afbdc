//! May tasks be entrusted to this server? What it says of itself, looked at once, before anything is stored.

use std::collections::HashMap;

use super::link::Link;
use crate::store::{Result, StoreError};

/// The oldest server that has every command.
const OLDEST: (u32, u32) = (6, 2);

/// Refuses a server that would lose tasks without a sign, and warns of one that may lose some.
pub(super) async fn check(link: &Link) -> Result<()> {
    let info: String = link.command(redis::cmd("INFO").arg("server")).await?;
    let at = link.faults.at();
    old_enough(at, &info)?;
    if field(&info, "redis_mode") == Some("cluster") {
        return Err(StoreError::Failed(format!("redis at {at} is a cluster: point store.url at a standalone server")));
    }
    let mut settings = HashMap::new();
    for name in ["maxmemory", "maxmemory-policy", "appendonly", "appendfsync"] {
        match link.command::<HashMap<String, String>>(redis::cmd("CONFIG").arg("GET").arg(name)).await {
            Ok(found) => settings.extend(found),
            Err(_) => {
                tracing::warn!(
                    "redis at {at} does not say how it is configured (CONFIG GET is forbidden): make sure that \
                     maxmemory-policy is noeviction, appendonly yes and appendfsync always"
                );
                return Ok(());
            }
        }
    }
    for warning in judge(at, &settings)? {
        tracing::warn!("{warning}");
    }
    Ok(())
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn old_enough(at: &str, info: &str) -> Result<()> {
    let version = field(info, "redis_version").unwrap_or("an unknown version");
    let mut parts = version.split('.').map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (parts.next(), parts.next()) else { return Ok(()) };
    if (major, minor) >= OLDEST {
        return Ok(());
    }
    let (major, minor) = OLDEST;
    Err(StoreError::Failed(format!("redis at {at} is {version}: lovage needs {major}.{minor} or newer")))
}

/// What is to be warned of.
fn judge(at: &str, settings: &HashMap<String, String>) -> Result<Vec<String>> {
    let is = |name: &str, value: &str| settings.get(name).is_some_and(|set| set == value);
    let policy = settings.get("maxmemory-policy").map_or("", String::as_str);
    let mut warnings = Vec::new();
    if policy.starts_with("allkeys-") {
        return Err(StoreError::Failed(format!(
            "redis at {at} may drop any key when memory is short (maxmemory-policy {policy}), tasks among them: \
             CONFIG SET maxmemory-policy noeviction, and the same in redis.conf"
        )));
    }
    if policy.starts_with("volatile-") && !is("maxmemory", "0") {
        warnings.push(format!(
            "redis at {at} drops results before their time when memory is short (maxmemory-policy {policy}): \
             CONFIG SET maxmemory-policy noeviction"
        ));
    }
    if is("appendonly", "no") {
        warnings.push(format!(
            "redis at {at} keeps no log of its writes: tasks since its last snapshot are lost if it ends; \
             CONFIG SET appendonly yes, and appendfsync always"
        ));
    } else if !is("appendfsync", "always") {
        warnings.push(format!(
            "redis at {at} writes its log to disk once a second or less: a power cut loses what came since; \
             CONFIG SET appendfsync always"
        ));
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(policy: &str, appendonly: &str, appendfsync: &str) -> Result<Vec<String>> {
        let settings = [
            ("maxmemory", "100"),
            ("maxmemory-policy", policy),
            ("appendonly", appendonly),
            ("appendfsync", appendfsync),
        ];
        judge("here", &settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }

    #[test]
    fn what_may_be_lost_is_said_with_its_cure() {
        assert!(judged("noeviction", "yes", "always").unwrap().is_empty());
        for (policy, appendonly, appendfsync, cure) in [
            ("volatile-lru", "yes", "always", "noeviction"),
            ("noeviction", "no", "always", "appendonly yes"),
            ("noeviction", "yes", "everysec", "appendfsync always"),
        ] {
            let warnings = judged(policy, appendonly, appendfsync).unwrap();
            assert!(warnings.len() == 1 && warnings[0].contains(cure), "{warnings:?}");
        }
        let refused = judged("allkeys-lru", "yes", "always").unwrap_err().to_string();
        assert!(refused.contains("CONFIG SET maxmemory-policy noeviction"), "{refused}");
    }

    #[test]
    fn an_old_server_is_refused() {
        let info = |version: &str| format!("# Server\r\nredis_version:{version}\r\nredis_mode:standalone\r\n");
        for fine in ["6.2.0", "7.0.15", "8.4.1", "unstable"] {
            old_enough("here", &info(fine)).unwrap();
        }
        for old in ["6.0.16", "5.0.7"] {
            assert!(old_enough("here", &info(old)).unwrap_err().to_string().contains("6.2"), "{old}");
        }
    }
}
