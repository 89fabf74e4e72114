//! The plugin with which opencode calls this program: it has no hooks that are commands.

/// The first words of the plugin.
const MARK: &str = "// Written by `watchkeeper install opencode`";
const TEMPLATE: &str = include_str!("../templates/install/opencode.js");

/// Returns the plugin that runs a command line.
pub(crate) fn text(command: &str) -> String {
    TEMPLATE.replace("\"#COMMAND#\"", &serde_json::Value::from(command).to_string())
}

/// Returns whether a plugin was written by this program.
pub(crate) fn is_own(text: &str) -> bool {
    text.starts_with(MARK)
}

/// Returns the command line of a plugin of this program; `None` for another plugin.
pub(crate) fn command(text: &str) -> Option<String> {
    let start = text.strip_prefix(MARK)?.split_once("\nconst COMMAND = ")?.1;
    let line = start.split_once('\n')?.0;
    serde_json::from_str(line.trim_end_matches(';')).ok()
}

#[cfg(test)]
mod tests {
    use super::{command, is_own, text};

    #[test]
    fn the_command_is_quoted_in_the_plugin() {
        for line in ["watchkeeper hook opencode", "'/a \"b\\/watchkeeper' hook opencode"] {
            let text = text(line);
            assert!(is_own(&text));
            assert_eq!(command(&text).as_deref(), Some(line));
        }
        assert!(!is_own("export const Plugin = {}"));
        assert_eq!(command("\nconst COMMAND = \"watchkeeper hook opencode\";\n"), None);
    }
}
