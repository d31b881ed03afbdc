//! What modules may reach outside of their sandboxes: `[grants.NAME]`, and of another tenant than the operator's own
//! `[grants."TENANT/NAME"]`.

use std::net::SocketAddr;

use lovage_model::{ModuleName, NameError, TenantId};

use super::show::Origin;
use super::tables::Declared;
use crate::attempt::{Capabilities, Directory};

/// Whose module it is, and its name.
pub(super) type Grantee = (TenantId, ModuleName);

/// For the sample.
pub(super) const SAMPLE: &str = "
# What the tasks of a module may reach outside of their sandboxes, which is nothing unless a table says so, such as
# [grants.report]
# tcp = [\"10.0.0.5:5432\"]          # peers that they may connect to
# http = [\"https://api.example.com\"]  # servers that their requests may go to; \"https://*.example.com\": all below it
# http_private = true              # also where a name stands for an address that is not public
# key_value = true                 # the tenant's key-value store
# directories = [{host = \"/srv/reports\", guest = \"/reports\", write = true}]
# env = {DATABASE = \"10.0.0.5:5432\"}
# fine_clock = true                # clocks of nanoseconds, where others have milliseconds
#
# [grants.\"acme/report\"]           # the same for a module of another tenant
";

/// The name of a table.
pub(super) fn name((tenant, module): &Grantee) -> String {
    if *tenant == TenantId::default() { module.to_string() } else { format!("{tenant}/{module}") }
}

fn grantee(name: &str) -> Result<Grantee, NameError> {
    match name.split_once('/') {
        Some((tenant, module)) => Ok((tenant.parse()?, module.parse()?)),
        None => Ok((TenantId::default(), name.parse()?)),
    }
}

/// Reads one table; the error says what it should be.
pub(super) fn read(
    name: &str,
    written: toml::Value,
    origin: Origin,
) -> Result<(Grantee, Declared<Capabilities>), String> {
    let fault = |why: String| format!("grants.{name} ({origin}): {why}");
    let grantee = grantee(name).map_err(|error| fault(error.to_string()))?;
    check_env(&written).map_err(fault)?;
    check_tcp(&written).map_err(fault)?;
    let such_as = "[grants.report] with tcp = [\"10.0.0.5:5432\"]";
    let declared = Declared::<Capabilities>::read(written, origin.clone(), such_as).map_err(fault)?;
    check(&declared.it).map_err(fault)?;
    // Such as passwords.
    Ok((grantee, declared.hide("env")))
}

fn check(
    Capabilities { tcp, directories, env, http: _, http_private: _, key_value: _, fine_clock: _ }: &Capabilities,
) -> Result<(), String> {
    if let Some(peer) = tcp.iter().find(|peer| peer.port() == 0 || peer.ip().is_unspecified()) {
        return Err(format!("tcp has {peer}: must be the address and the port of one peer"));
    }
    directories.iter().try_for_each(check_directory)?;
    match env.iter().find(|(name, value)| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')) {
        Some((name, _)) => Err(format!("env has {name:?}: a name has no =, and neither it nor its value a NUL")),
        None => Ok(()),
    }
}

/// Before it is read: what reads it quotes what it cannot take, such as a password.
fn check_env(written: &toml::Value) -> Result<(), String> {
    let Some(env) = written.get("env") else { return Ok(()) };
    match env.as_table().map(|all| all.iter().find(|(_, value)| !value.is_str())) {
        None => Err("env must be a table of texts, such as {DATABASE = \"10.0.0.5:5432\"}".to_owned()),
        Some(Some((name, _))) => Err(format!("env.{name} must be a text in quotes")),
        Some(None) => Ok(()),
    }
}

/// Before it is read: what reads it says neither which of them is none nor what would be one.
fn check_tcp(written: &toml::Value) -> Result<(), String> {
    let peers = written.get("tcp").and_then(toml::Value::as_array).into_iter().flatten();
    match peers.filter_map(toml::Value::as_str).find(|peer| peer.parse::<SocketAddr>().is_err()) {
        Some(peer) => Err(format!(
            "tcp has {peer:?}: must be an address and a port, such as 10.0.0.5:5432; names are not looked up"
        )),
        None => Ok(()),
    }
}

fn check_directory(Directory { host, guest, .. }: &Directory) -> Result<(), String> {
    let of = |what: &str| format!("directories has {{host = {:?}, guest = {guest:?}}}: {what}", host.display());
    if !host.is_absolute() || !guest.starts_with('/') {
        return Err(of("both must be absolute paths"));
    }
    match std::fs::metadata(host) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(of("the first must be a directory")),
        Err(error) => Err(of(&format!("the first cannot be used: {error}"))),
    }
}
