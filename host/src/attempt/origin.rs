//! Where may a request go? One scheme, one host or all below a domain, one port: `https://api.example.com`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// Servers that a module may send requests to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origins {
    scheme: String,
    host: Host,
    /// Whether it stands for every name below it as well, and not for itself.
    below: bool,
    port: u16,
}

impl Origins {
    /// Whether a request to this URL is allowed by it.
    pub fn admit(&self, url: &Url) -> bool {
        let Some(host) = url.host() else { return false };
        let is_host = match (&self.host, host) {
            (Host::Domain(domain), Host::Domain(name)) if self.below => {
                name.strip_suffix(domain.as_str()).is_some_and(|first| first.len() > 1 && first.ends_with('.'))
            }
            (own, other) => *own == other.to_owned(),
        };
        is_host && url.scheme() == self.scheme && url.port_or_known_default() == Some(self.port)
    }

    /// Whether it stands for one server, not for as many as there are names.
    pub fn is_of_one(&self) -> bool {
        !self.below
    }
}

impl FromStr for Origins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{text:?} {why}: write one such as \"https://api.example.com\"");
        let (plain, below) = match text.split_once("://*.") {
            Some((scheme, domain)) => (format!("{scheme}://{domain}"), true),
            None => (text.to_owned(), false),
        };
        let url = Url::parse(&plain).map_err(|error| wrong(&format!("is no origin ({error})")))?;
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(wrong("has no host"));
        };
        if !["http", "https"].contains(&url.scheme()) {
            return Err(wrong("is neither http nor https"));
        }
        let has_more = url.path() != "/" || url.query().is_some() || url.fragment().is_some();
        if has_more || !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("has more than scheme, host and port"));
        }
        if host.to_string().contains('*') || below && !matches!(host, Host::Domain(_)) {
            return Err(wrong("has a * that does not stand for the first part of a name"));
        }
        Ok(Self { scheme: url.scheme().to_owned(), host: host.to_owned(), below, port })
    }
}

impl TryFrom<String> for Origins {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Origins> for String {
    fn from(origins: Origins) -> Self {
        origins.to_string()
    }
}

impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, below, port } = self;
        write!(f, "{scheme}://{}{host}:{port}", if *below { "*." } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_goes_where_scheme_host_and_port_are_those_of_the_grant() {
        let cases = [
            ("https://api.example.com", "https://api.example.com/a?b", true),
            ("https://api.example.com", "https://API.EXAMPLE.COM:443/", true),
            ("https://api.example.com", "http://api.example.com/", false),
            ("https://api.example.com", "https://api.example.com:444/", false),
            ("https://api.example.com", "https://api.example.com.evil.org/", false),
            ("https://api.example.com", "https://example.com/", false),
            ("https://*.example.com", "https://a.b.example.com/", true),
            ("https://*.example.com", "https://example.com/", false),
            ("https://*.example.com", "https://evilexample.com/", false),
            ("https://*.example.com", "https://.example.com/", false),
            ("http://10.0.0.5:8080", "http://10.0.0.5:8080/", true),
            ("http://10.0.0.5:8080", "http://167772165:8080/", true),
            ("http://10.0.0.5:8080", "http://10.0.0.6:8080/", false),
            ("http://[::1]:80", "http://[0:0:0:0:0:0:0:1]/", true),
            ("http://127.0.0.1", "http://[::ffff:127.0.0.1]/", false),
            ("https://api.example.com", "https://user@api.example.com@evil.org/", false),
        ];
        for (grant, url, allowed) in cases {
            let origins: Origins = grant.parse().unwrap();
            assert_eq!(Url::parse(url).is_ok_and(|url| origins.admit(&url)), allowed, "{grant} {url}");
            assert_eq!(origins.is_of_one(), !grant.contains('*'));
            assert_eq!(origins.to_string().parse(), Ok(origins));
        }
    }

    #[test]
    fn what_is_no_origin_is_said_to_be_none() {
        for (text, why) in [
            ("api.example.com", "is no origin"),
            ("ftp://example.com", "neither http nor https"),
            ("https://example.com/path", "more than scheme"),
            ("https://user@example.com", "more than scheme"),
            ("https://*", "has a *"),
            ("https://a.*.com", "has a *"),
            ("https://*.1.2.3.4", "has a *"),
            ("https://", "is no origin"),
        ] {
            let told = text.parse::<Origins>().unwrap_err();
            assert!(told.contains(why) && told.contains(text), "{told}");
        }
    }
}
