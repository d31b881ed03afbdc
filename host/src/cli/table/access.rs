//! How tenants and tokens look.

use lovage_model::{DailyUsage, TenantView, TokenView};

use super::{cell, table, text_of, when};

pub(crate) fn tenants(all: &[TenantView]) -> String {
    let mut shown = table(&["NAME", "ADDED", "MAY USE"]);
    for tenant in all {
        let policy = serde_json::to_value(&tenant.policy).unwrap_or_default();
        let limits = policy.as_object().into_iter().flatten().map(|(name, value)| format!("{name}={value}"));
        let limits = limits.collect::<Vec<_>>().join(" ");
        let limits = if limits.is_empty() { "what the daemon's settings allow".to_owned() } else { limits };
        shown.add_row([cell(tenant.name.as_str()), cell(when(tenant.created_at)), cell(limits)]);
    }
    text_of(shown)
}

pub(crate) fn usage(all: &[DailyUsage]) -> String {
    let mut shown = table(&["DAY", "ATTEMPTS", "CPU SECONDS", "MEMORY GIB SECONDS", "FUEL"]);
    for day in all {
        shown.add_row([
            cell(&day.day),
            cell(day.attempts.to_string()),
            cell(format!("{:.3}", day.cpu_seconds)),
            cell(format!("{:.6}", day.memory_gib_seconds)),
            cell(day.fuel.to_string()),
        ]);
    }
    text_of(shown)
}

pub(crate) fn tokens(all: &[TokenView]) -> String {
    let mut shown = table(&["ID", "TENANT", "SCOPES", "MADE", "ENDS", "NOTE"]);
    for token in all {
        let scopes: Vec<_> = token.scopes.iter().map(|scope| scope.name()).collect();
        let ends = match (token.revoked_at, token.expires_at) {
            (Some(at), _) => format!("revoked {}", when(at)),
            (None, Some(at)) => when(at),
            (None, None) => "never".to_owned(),
        };
        shown.add_row([
            cell(token.id.as_str()),
            cell(token.tenant.as_str()),
            cell(scopes.join(",")),
            cell(when(token.created_at)),
            cell(ends),
            cell(&token.note),
        ]);
    }
    text_of(shown)
}

#[cfg(test)]
mod tests {
    use lovage_model::{Scope, TenantPolicy, Timestamp};

    use super::*;

    #[test]
    fn limits_and_ends_are_shown() {
        let created_at = Timestamp::from_micros(1_800_000_000_000_000);
        let policy = TenantPolicy { weight: Some(3), fuel: Some(9), ..TenantPolicy::default() };
        let tenant = |name: &str, policy| TenantView { name: name.parse().unwrap(), created_at, policy };
        let shown = tenants(&[tenant("acme", policy), tenant("b", TenantPolicy::default())]);
        assert!(shown.contains("fuel=9 weight=3") && shown.contains("daemon's settings"), "{shown}");
        let token = TokenView {
            id: "t1".parse().unwrap(),
            tenant: "acme".parse().unwrap(),
            scopes: [Scope::Submit, Scope::Read].into(),
            note: "\u{1b}[31mci".to_owned(),
            created_at,
            expires_at: None,
            revoked_at: Some(created_at),
        };
        let shown = tokens(std::slice::from_ref(&token));
        assert!(shown.contains("read,submit") && shown.contains("revoked 2027-01-15"), "{shown}");
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }
}
