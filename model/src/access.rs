//! Who may do what: tenants with what they may use, and tokens that say which tenant asks.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{TenantId, Timestamp, TokenId};

/// What a token lets its holder do, within its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Look at tasks, results, logs, events, queues and modules.
    Read,
    /// Send tasks, and revoke, repeat and forget them.
    Submit,
    /// Push modules, declare periodic tasks, change limits of tasks, pause and purge queues.
    Deploy,
    /// Everything, also what concerns the host and all tenants: tenants, tokens, draining. For operators.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Submit, Self::Deploy, Self::Admin];

    /// Its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Submit => "submit",
            Self::Deploy => "deploy",
            Self::Admin => "admin",
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scope| scope.name() == text);
        found.ok_or_else(|| format!("{text:?} is no scope: read, submit, deploy or admin"))
    }
}

/// A token, without what proves that somebody has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenView {
    /// The part of it that may be shown.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: TokenId,
    /// Whose requests it stands for.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub tenant: TenantId,
    /// What it is good for.
    pub scopes: BTreeSet<Scope>,
    /// What people call it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// When it was made.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When it ends by itself; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked; none: it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub revoked_at: Option<Timestamp>,
}

impl TokenView {
    /// Whether it is good for anything at a time.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    /// Whether it is good for this. Admin is good for everything.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }
}

/// `POST /v1/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Whose requests it stands for.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub tenant: TenantId,
    /// What it is good for: at least one.
    pub scopes: BTreeSet<Scope>,
    /// What people call it.
    #[serde(default)]
    pub note: String,
    /// After how many seconds it ends by itself; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_seconds: Option<u64>,
}

/// The answer to it: the only time that the whole token is told.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IssuedToken {
    /// What is sent as `Authorization: Bearer`.
    pub token: String,
    /// What is known of it from now on.
    #[serde(flatten)]
    pub view: TokenView,
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedToken").field("token", &"***").field("view", &self.view).finish()
    }
}

/// What a tenant may use. What is not said is as the operator's settings say for everybody; what is said holds where it is
/// less than that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TenantPolicy {
    /// Its share of the processors beside others that want them, 1 to 1,000; 1 if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Tasks that may wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_tasks: Option<u64>,
    /// Of them, those that may wait for their `eta` or `countdown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_tasks: Option<u64>,
    /// Tasks that may run at once on each host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_tasks: Option<u32>,
    /// Tasks that may be sent over HTTP in a second to each host, after a burst of as many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submits_per_second: Option<u32>,
    /// Memory of one attempt, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The longest an attempt may take, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit_seconds: Option<u64>,
    /// Fuel of one attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Fuel of all attempts of a day, by UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel_per_day: Option<u64>,
    /// Arguments and headers of one message, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_bytes: Option<u64>,
    /// One result, progress meta or signature, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_bytes: Option<u64>,
    /// Kept of what an attempt writes to stdout, and of its stderr and log records together, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// Calls that one attempt may send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtasks: Option<u64>,
    /// Event streams that may be open at once on each host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<u32>,
    /// What its tasks keep in buckets, its secrets and its saved groups, keys included, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_value_bytes: Option<u64>,
    /// Modules, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modules: Option<u64>,
    /// Components of all versions of its modules together, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_bytes: Option<u64>,
}

/// The largest weight.
pub const MAX_WEIGHT: u32 = 1000;

impl TenantPolicy {
    /// Its share of the processors.
    pub fn weight(&self) -> u32 {
        self.weight.unwrap_or(1).clamp(1, MAX_WEIGHT)
    }

    /// What is wrong with it: which field, its value, and what it may be.
    pub fn check(&self) -> Result<(), String> {
        let numbers = [
            ("weight", self.weight.map(u64::from), u64::from(MAX_WEIGHT)),
            ("queued_tasks", self.queued_tasks, u64::MAX >> 1),
            ("scheduled_tasks", self.scheduled_tasks, u64::MAX >> 1),
            ("running_tasks", self.running_tasks.map(u64::from), 100_000),
            ("submits_per_second", self.submits_per_second.map(u64::from), 1_000_000),
            ("memory_bytes", self.memory_bytes, 4 << 30),
            ("time_limit_seconds", self.time_limit_seconds, 366 * 86_400),
            ("fuel", self.fuel, u64::MAX >> 1),
            ("fuel_per_day", self.fuel_per_day, u64::MAX >> 1),
            ("message_bytes", self.message_bytes, 1 << 30),
            ("result_bytes", self.result_bytes, 1 << 30),
            ("output_bytes", self.output_bytes, 1 << 30),
            ("subtasks", self.subtasks, 100_000),
            ("streams", self.streams.map(u64::from), 1_000_000),
            ("key_value_bytes", self.key_value_bytes, 1 << 50),
            ("modules", self.modules, u64::MAX >> 1),
            ("module_bytes", self.module_bytes, u64::MAX >> 1),
        ];
        match numbers.into_iter().find(|(_, number, most)| number.is_some_and(|number| !(1..=*most).contains(&number)))
        {
            Some((field, number, most)) => {
                Err(format!("{field} is {}: must be from 1 to {most}", number.unwrap_or_default()))
            }
            None => Ok(()),
        }
    }
}

/// A tenant: `GET /v1/tenants`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TenantView {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: TenantId,
    /// When it was added.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// What it may use.
    pub policy: TenantPolicy,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(scopes: &[Scope], expires: Option<i64>) -> TokenView {
        TokenView {
            id: TokenId::new("t1").unwrap(),
            tenant: TenantId::default(),
            scopes: scopes.iter().copied().collect(),
            note: String::new(),
            created_at: Timestamp::from_micros(0),
            expires_at: expires.map(Timestamp::from_micros),
            revoked_at: None,
        }
    }

    #[test]
    fn a_token_is_good_for_what_it_says_until_it_ends() {
        let submits = view(&[Scope::Submit], Some(10));
        assert!(submits.allows(Scope::Submit) && !submits.allows(Scope::Read) && !submits.allows(Scope::Admin));
        assert!(submits.holds(Timestamp::from_micros(9)) && !submits.holds(Timestamp::from_micros(10)));
        let revoked = TokenView { revoked_at: Some(Timestamp::from_micros(1)), ..view(&[Scope::Admin], None) };
        assert!(!revoked.holds(Timestamp::from_micros(0)));
        assert!(Scope::ALL.into_iter().all(|scope| revoked.allows(scope)));
    }

    #[test]
    fn an_issued_token_is_not_written_into_a_log() {
        let issued = IssuedToken { token: "lovage_t1_c0ffee".to_owned(), view: view(&[Scope::Read], None) };
        let text = format!("{issued:?}");
        assert!(text.contains("t1") && text.contains("***") && !text.contains("c0ffee"), "{text}");
    }

    #[test]
    fn scopes_go_by_their_names() {
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse(), Ok(scope));
            assert_eq!(serde_json::to_string(&scope).unwrap(), format!("\"{scope}\""));
        }
        assert!("root".parse::<Scope>().unwrap_err().contains("read, submit"));
    }

    #[test]
    fn a_policy_says_which_number_is_wrong() {
        assert_eq!(TenantPolicy::default().check(), Ok(()));
        assert_eq!(TenantPolicy::default().weight(), 1);
        let wrong = TenantPolicy { weight: Some(0), ..TenantPolicy::default() };
        assert_eq!(wrong.check(), Err("weight is 0: must be from 1 to 1000".to_owned()));
        let wrong = TenantPolicy { memory_bytes: Some(u64::MAX), ..TenantPolicy::default() };
        assert!(wrong.check().unwrap_err().starts_with("memory_bytes is"));
        assert!(serde_json::from_str::<TenantPolicy>(r#"{"colour": 1}"#).is_err());
    }
}
