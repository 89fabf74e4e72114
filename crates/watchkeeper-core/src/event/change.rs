//! The change of a text that a call makes.

use std::borrow::Cow;

use memchr::memmem::Finder;

use super::command_arguments::text_of;
use crate::{
    Fingerprint, Json,
    json::{decode, members},
};

/// The change of a text that a tool call makes, if the call succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Equal for calls that make the same change. Replacements of one text whose new texts
    /// begin to differ from the old one with the same word are the same change.
    pub fingerprint: Fingerprint,
    /// Whether the call replaces a text by one that does not contain it. If the same change
    /// succeeds again, then something has restored the old text.
    pub is_replacement: bool,
}

/// The argument names that contain the text to replace, in most agents.
const OLD_KEYS: [&str; 5] = ["old_string", "oldString", "old_str", "old_text", "oldText"];
/// The argument names that contain the new text.
const NEW_KEYS: [&str; 5] = ["new_string", "newString", "new_str", "new_text", "newText"];
/// The shortest argument that is a text and not a name, in bytes.
const SHORTEST_TEXT: usize = 32;
/// The least number of white-space characters in a text. A path has fewer.
const MIN_SPACES: usize = 2;

impl Change {
    /// Reads the change from the arguments of a tool that writes; `None` if they contain no
    /// text. `fingerprint` is the call's fingerprint.
    pub(super) fn of(tool: &str, arguments: &Json, fingerprint: Fingerprint) -> Option<Self> {
        let texts = Texts::of(arguments);
        if let (Some(old), Some(new)) = (&texts.old, &texts.new)
            && !contains(new, old)
        {
            let unchanged = Fingerprint::of_json(arguments.as_str(), &NEW_KEYS);
            let first_word = Fingerprint::of(first_new_word(old, new));
            let fingerprint = Fingerprint::of(tool).and(unchanged).and(first_word);
            return Some(Self { fingerprint, is_replacement: true });
        }
        texts.has_text.then_some(Self { fingerprint, is_replacement: false })
    }
}

/// Returns the new text from its first difference to the end of the first word with a letter or
/// a digit.
fn first_new_word<'a>(old: &str, new: &'a str) -> &'a str {
    let n_same = new.bytes().zip(old.bytes()).take_while(|(new, old)| new == old).count();
    let start = (0..=n_same).rev().find(|at| new.is_char_boundary(*at)).unwrap_or_default();
    let added = new[start..].trim_start();
    let word = added.find(char::is_alphanumeric).unwrap_or(added.len());
    let end = added[word..].find(char::is_whitespace).map_or(added.len(), |len| word + len);
    &added[..end]
}

/// Returns true if a text contains a part, which may be long.
///
/// The preparation of a search for a long part takes longer than the search. Most texts do not
/// even contain the beginning of the part.
fn contains(text: &str, part: &str) -> bool {
    const BEGINNING: usize = 32;
    /// The largest number of beginnings that are compared, so that the time stays linear.
    const MAX_BEGINNINGS: usize = 8;
    let (bytes, part_bytes) = (text.as_bytes(), part.as_bytes());
    let beginning = Finder::new(&part_bytes[..part.len().min(BEGINNING)]);
    let mut from = 0;
    for _ in 0..MAX_BEGINNINGS {
        let Some(at) = beginning.find(&bytes[from..]) else { return false };
        if bytes[from + at..].starts_with(part_bytes) {
            return true;
        }
        from += at + 1;
    }
    text.contains(part)
}

/// The texts among the arguments of a call, at the top level of an object.
#[derive(Debug, Default)]
struct Texts<'a> {
    old: Option<Cow<'a, str>>,
    new: Option<Cow<'a, str>>,
    has_text: bool,
}

impl<'a> Texts<'a> {
    fn of(arguments: &'a Json) -> Self {
        let has_text = arguments.as_str().starts_with('"') && is_text_in_json(arguments.as_str());
        let mut texts = Self { has_text, ..Self::default() };
        for (key, value) in members(arguments.as_str()) {
            let Some(key) = decode(key) else { continue };
            let is_old = OLD_KEYS.contains(&&*key);
            if !is_old && !NEW_KEYS.contains(&&*key) {
                texts.has_text |= is_text_in_json(value);
                continue;
            }
            let Some(value) = text_of(value) else { continue };
            texts.has_text |= is_text(&value);
            if is_old {
                texts.old = Some(value).filter(|text| !text.is_empty());
            } else {
                texts.new = Some(value);
            }
        }
        texts
    }
}

/// Returns true if an argument is a text, and not a name or a path.
fn is_text(argument: &str) -> bool {
    let mut spaces = argument.bytes().filter(u8::is_ascii_whitespace);
    SHORTEST_TEXT <= argument.len() && spaces.nth(MIN_SPACES - 1).is_some()
}

/// Returns true if a JSON value is a text, or a list of words that are a text together.
fn is_text_in_json(value: &str) -> bool {
    begins_with_text(value) || text_of(value).is_some_and(|text| is_text(&text))
}

/// Returns true if the beginning of a JSON string is a text by itself. Most texts are long, and
/// need not be decoded.
fn begins_with_text(value: &str) -> bool {
    let Some(string) = value.strip_prefix('"') else { return false };
    let mut bytes = string.bytes();
    let (mut len, mut n_spaces) = (0, 0);
    while let Some(byte) = bytes.next() {
        let is_space = match byte {
            b'"' => return false,
            b'\\' => match bytes.next() {
                // Such an escape may be a space or not.
                Some(b'u') => return false,
                escape => matches!(escape, Some(b'n' | b't' | b'r' | b'f')),
            },
            byte => byte == b' ',
        };
        len += 1;
        n_spaces += usize::from(is_space);
        if SHORTEST_TEXT <= len && MIN_SPACES <= n_spaces {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use serde_json::json;

    use super::{Change, contains, is_text, is_text_in_json};
    use crate::{Json, ToolCall};

    fn of(tool: &str, arguments: &serde_json::Value) -> Option<Change> {
        ToolCall::new("1", tool, Json::from(arguments)).change
    }

    fn edit(old: &str, new: &str) -> Option<Change> {
        of("Edit", &json!({ "file_path": "a.rs", "old_string": old, "new_string": new }))
    }

    #[test]
    fn reads_changes_of_texts_only() {
        let text = "one line of a text\nand another line";
        for (tool, arguments, is_change) in [
            ("Write", json!({ "file_path": "a.rs", "content": text }), true),
            ("edit", json!(format!("edit 1:1\n{text}\nend_of_edit")), true),
            ("apply_patch", json!({ "input": text }), true),
            ("Edit", json!({ "path": "a", "old_str": "x", "new_str": "y" }), true),
            // Rows, tabs and folders may be created again.
            ("insert_row", json!({ "sheet": 1, "at": { "row": text } }), false),
            ("create", json!("create a.py"), false),
            ("create_folder", json!({ "path": "/home/user/My Documents/of-the-year" }), false),
            ("insert_row", json!(null), false),
            // Other tools change no text that is known.
            ("Bash", json!({ "command": text }), false),
            ("Read", json!({ "file_path": text }), false),
            ("TodoWrite", json!({ "todos": text }), false),
        ] {
            assert_eq!(of(tool, &arguments).is_some(), is_change, "{tool} {arguments}");
        }
    }

    #[test]
    fn replacements_of_a_text_with_the_same_first_word_are_the_same_change() {
        let old = "// Three entries\nif n != 3 {\n    fail();";
        let change =
            edit(old, "// Three entries\nif n != 3 { // allow: the linter is wrong\n    fail();");
        assert!(change.is_some_and(|change| change.is_replacement));
        assert_eq!(
            change,
            edit(old, "// Three entries\n// allow: never null\nif n != 3 {\n    fail();")
        );
        for other in [
            edit(old, "// Three entries\nif n != 3 { // deny\n    fail();"),
            edit(old, "// Three entries\nif n <= 3 {\n    fail();"),
            edit("if n != 3 {", "if n != 3 // allow: {"),
            of("Edit", &json!({ "file_path": "b.rs", "old_string": old, "new_string": "x" })),
        ] {
            assert!(other.is_some() && change != other, "{other:?}");
        }
        // Other changes of the same place.
        let places = ["n <= 3", "n > 3", "n == 3", "m != 3", "n != 4", ""];
        let changes: Vec<_> =
            places.iter().map(|place| edit("if n != 3 {", &format!("if {place} {{"))).collect();
        for (at, change) in changes.iter().enumerate() {
            assert!(!changes[..at].contains(change), "{}", places[at]);
        }
    }

    #[test]
    fn an_insertion_is_no_replacement() {
        // The old text remains, so the change can be made again.
        let insert =
            |text: &str| edit("\n]", &format!(",\n  {text} of the entries of the list\n]\n]"));
        let first = insert("one");
        assert!(first.is_some_and(|change| !change.is_replacement), "{first:?}");
        assert_eq!(first, insert("one"));
        assert_ne!(first, insert("two"));
        assert!(
            edit("", "a new file with\nsome lines of text").is_some_and(|it| !it.is_replacement)
        );
    }

    proptest! {
        #[test]
        fn contains_the_same_as_a_naive_search(
            text in "[ab]{0,120}", part in "[ab]{0,3}|[ab]{30,40}", n in 0..60_usize,
        ) {
            let repeated = format!("{}{part}{}", part.repeat(n % 3), &part[part.len() / 2..]);
            for text in [&text, &format!("{text}{part}"), &repeated, &"a".repeat(n)] {
                prop_assert_eq!(contains(text, &part), text.contains(&part), "{} {}", text, part);
            }
        }

        #[test]
        fn recognizes_texts_without_decoding_them(
            parts in vec(prop_oneof!["[a-c ]{0,9}", Just(" ".to_owned()), "\\\\u0020|\\\\n|\\\\\"|\\\\\\\\|é"], 0..12),
        ) {
            let json = format!("\"{}\"", parts.concat());
            let decoded: String = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(is_text_in_json(&json), is_text(&decoded), "{}", json);
        }

        #[test]
        fn only_a_replacement_removes_the_old_text(old in "[a-cé ]{1,4}", new in "[a-cé ]{0,8}") {
            let is_replacement = edit(&old, &new).is_some_and(|change| change.is_replacement);
            prop_assert_eq!(is_replacement, !new.contains(&old));
        }

        #[test]
        fn any_arguments_are_read(arguments in ".{0,64}") {
            ToolCall::new("1", "Edit", Json::parse_or_text(&arguments));
        }
    }
}
