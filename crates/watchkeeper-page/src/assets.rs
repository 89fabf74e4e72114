//! The page: one document, one style and one script without dependencies.

use std::fmt::Write as _;

use serde::Serialize;
use watchkeeper_core::author::is_unsafe;

/// The parts of the script that all pages have. Each file uses the ones before it.
const COMMON: &str = concat!(
    include_str!("../assets/dom.js"),
    include_str!("../assets/format.js"),
    include_str!("../assets/data.js"),
    include_str!("../assets/parts.js"),
    include_str!("../assets/overview.js"),
    include_str!("../assets/scale.js"),
    include_str!("../assets/layout.js"),
    include_str!("../assets/timeline.js"),
    include_str!("../assets/findings.js"),
    include_str!("../assets/session.js"),
);
/// The parts of the script that connect to a server, for the live page alone.
const LIVE: &str = concat!(
    include_str!("../assets/budgets.js"),
    include_str!("../assets/actions.js"),
    include_str!("../assets/history.js"),
    include_str!("../assets/live.js"),
);
/// The part of the script that starts it.
const FRAME: &str = include_str!("../assets/page.js");
/// The style of the page.
const STYLE: &str = include_str!("../assets/page.css");

/// The Content-Security-Policy of a report: nothing is loaded and nothing is connected to, and only
/// the script and the style of this crate are used. A test renews the hashes.
const POLICY: &str = include_str!("../assets/policy.txt").trim_ascii_end();
/// The Content-Security-Policy of the live page, which connects to its own server.
pub const LIVE_POLICY: &str = include_str!("../assets/live_policy.txt").trim_ascii_end();

/// The document, with places for the policy, the style, the script and the data.
const DOCUMENT: &str = include_str!("../assets/page.html");

/// Returns the page of a report with this data, made by [`embedded_json`].
pub(crate) fn page(data: &str) -> String {
    document(POLICY, &[COMMON, FRAME], data)
}

/// Returns the live page with this data.
pub(crate) fn live(data: &str) -> String {
    document(LIVE_POLICY, &[COMMON, LIVE, FRAME], data)
}

fn document(policy: &str, script: &[&str], data: &str) -> String {
    let mut page = String::new();
    let mut rest = DOCUMENT;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        page.push_str(before);
        match name {
            "policy" => page.push_str(policy),
            "style" => page.push_str(STYLE),
            "script" => script.iter().for_each(|part| page.push_str(part)),
            "data" => page.push_str(data),
            _ => {}
        }
        rest = after;
    }
    page.push_str(rest);
    page
}

/// Returns JSON that can stand in a `script` element of a document: no character in it starts
/// markup or controls a terminal.
pub(crate) fn embedded_json(value: &impl Serialize) -> serde_json::Result<String> {
    let json = serde_json::to_string(value)?;
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        // All of these characters are in strings.
        if matches!(c, '<' | '>' | '&') || is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    Ok(safe)
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_STANDARD};

    use super::{COMMON, FRAME, LIVE, LIVE_POLICY, POLICY, STYLE, embedded_json};

    /// With `UPDATE=1`, writes the policies.
    #[test]
    fn the_policies_have_the_hashes_of_the_scripts_and_the_style() {
        let hash = |text: &str| {
            let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
            format!("'sha256-{}'", BASE64_STANDARD.encode(digest))
        };
        for (file, policy, script, rest) in [
            ("policy", POLICY, [COMMON, FRAME].concat(), ""),
            ("live_policy", LIVE_POLICY, [COMMON, LIVE, FRAME].concat(), "; connect-src 'self'"),
        ] {
            let expected = format!(
                "default-src 'none'; script-src {}; style-src {}; img-src data:; \
                 base-uri 'none'; form-action 'none'{rest}",
                hash(&script),
                hash(STYLE)
            );
            if std::env::var_os("UPDATE").is_some() {
                let path = format!("{}/assets/{file}.txt", env!("CARGO_MANIFEST_DIR"));
                std::fs::write(path, format!("{expected}\n")).unwrap();
            } else {
                assert_eq!(policy, expected, "UPDATE=1 cargo test -p watchkeeper-page renews it");
            }
        }
    }

    #[test]
    fn embedded_text_ends_no_script_and_stays_the_same() {
        let text = "</script><!-- \u{202e}\u{2028}\u{0}\u{1f600}\u{e0041} & \" \\";
        let json = embedded_json(&text).unwrap();
        assert!(!json.contains(['<', '>', '&', '\u{202e}', '\u{2028}', '\u{e0041}']), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}
