//! What may be shown of an address that may have a password in it?

/// An address, or what was meant as one, without anything that stands where a password may: before the last `@`.
pub fn without_password(text: &str) -> String {
    let Some((before, host)) = text.rsplit_once('@') else { return text.to_owned() };
    let after_scheme = |at: usize| before.len() - before[at + 1..].trim_start_matches('/').len();
    let scheme = before.find(":/").map_or(0, after_scheme);
    format!("{}***@{host}", &before[..scheme])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_the_host_is_not_shown() {
        for (written, shown) in [
            ("http://user:hunter2@host:1/", "http://***@host:1/"),
            ("http:/u:hunter2@host", "http:/***@host"),
            ("u:hun@ter2@host", "***@host"),
            ("http://host", "http://host"),
        ] {
            assert_eq!(without_password(written), shown, "{written}");
        }
    }
}
