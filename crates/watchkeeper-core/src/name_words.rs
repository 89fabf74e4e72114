//! The words of a tool's name.

/// Returns a name without the server in front, as in `mcp__github__get_issue`.
pub(crate) fn without_server(name: &str) -> &str {
    name.rsplit_once("__").map_or(name, |(_, tool)| tool)
}

/// Returns the words of a name in camel case or with separators, in order.
pub(crate) fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !c.is_ascii_alphanumeric()).flat_map(|part| {
        let mut rest = part;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let bytes = rest.as_bytes();
            let is_upper = |idx: usize| bytes.get(idx).is_some_and(u8::is_ascii_uppercase);
            let is_lower = |idx: usize| bytes.get(idx).is_some_and(u8::is_ascii_lowercase);
            // `getIssue`, `APIKey`
            let starts_word =
                |idx: &usize| is_upper(*idx) && (is_lower(idx - 1) || is_lower(idx + 1));
            let end = (1..bytes.len()).find(starts_word).unwrap_or(bytes.len());
            let (word, after) = rest.split_at(end);
            rest = after;
            Some(word)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{without_server, words};

    #[test]
    fn splits_names() {
        for (name, expected) in [
            ("get_job_status", &["get", "job", "status"][..]),
            ("getJobStatus", &["get", "Job", "Status"]),
            ("API-patch-block", &["API", "patch", "block"]),
            ("APIKeyList", &["API", "Key", "List"]),
            ("pods.list", &["pods", "list"]),
            ("webfetch", &["webfetch"]),
            ("a1b2", &["a1b2"]),
            ("é_x", &["x"]),
            ("", &[]),
        ] {
            assert_eq!(words(name).collect::<Vec<_>>(), expected, "{name}");
        }
        assert_eq!(without_server("mcp__a__b_c"), "b_c");
        assert_eq!(without_server("b_c"), "b_c");
    }
}
