//! What may be shown of what has a password in it?

use lovage_model::without_password;

/// The URL of a store as it may be shown, once it is known to be one: without a password.
pub(super) fn shown(url: &str) -> String {
    let url = without_pass(url);
    let Some((scheme, rest)) = url.split_once("://") else { return url };
    match rest.rsplit_once('@') {
        Some((user, host)) => format!("{scheme}://{}:***@{host}", user.split(':').next().unwrap_or_default()),
        None => url,
    }
}

/// What may have been meant as the URL of a store, as an error may quote it: without anything that stands where a password may.
pub(super) fn masked(text: &str) -> String {
    without_password(&without_pass(text))
}

/// The same without the value of `pass`.
fn without_pass(text: &str) -> String {
    let Some((path, query)) = text.split_once('?').filter(|(_, query)| query.contains("pass=")) else {
        return text.to_owned();
    };
    let hide = |pair: &str| if pair.starts_with("pass=") { "pass=***".to_owned() } else { pair.to_owned() };
    format!("{path}?{}", query.split('&').map(hide).collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_what_may_be_a_password() {
        for (written, expected) in [
            ("rediss://:hunter2@host/0", "rediss://***@host/0"),
            ("redis://hunter2@host", "redis://***@host"),
            ("redis:/u:hunter2@host", "redis:/***@host"),
            ("redis:hunter2@host", "***@host"),
            ("redis://:hun@ter2@host", "redis://***@host"),
            ("redis://:hun?ter2@host", "redis://***@host"),
            ("unix:///s?db=1&pass=hun@ter2", "unix:///s?db=1&pass=***"),
            ("[\"redis://:hunter2@host\"]", "[\"redis://***@host\"]"),
            ("file:", "file:"),
        ] {
            assert_eq!(masked(written), expected, "{written}");
        }
    }
}
