//! Secrets in the arguments of commands.

use std::ops::Range;

use memchr::{memchr_iter, memmem};

use super::{
    bytes::Set,
    names,
    values::{self, is_placeholder},
};

/// A flag of a program, whose argument contains a secret.
#[derive(Debug)]
struct Flag {
    program: &'static str,
    name: &'static str,
    argument: Argument,
}

/// The form of a secret argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Argument {
    /// A user and a password, with a colon in between.
    User,
    /// Values with names.
    Cookie,
    /// A password, in the word of the flag or after it.
    Password,
    /// A password in the word of the flag. Without one, the program asks for it.
    Glued,
}

const fn flag(program: &'static str, name: &'static str, argument: Argument) -> Flag {
    Flag { program, name, argument }
}

/// The flags whose name does not show that their argument is a secret.
const FLAGS: &[Flag] = &[
    flag("curl", "-u", Argument::User),
    flag("curl", "--user", Argument::User),
    flag("curl", "-U", Argument::User),
    flag("curl", "--proxy-user", Argument::User),
    flag("curl", "-b", Argument::Cookie),
    flag("curl", "--cookie", Argument::Cookie),
    flag("docker login", "-p", Argument::Password),
    flag("ldapsearch", "-w", Argument::Password),
    flag("mariadb", "-p", Argument::Glued),
    flag("mongosh", "-p", Argument::Password),
    flag("mysql", "-p", Argument::Glued),
    flag("podman login", "-p", Argument::Password),
    flag("redis-cli", "-a", Argument::Password),
    flag("sqlcmd", "-P", Argument::Password),
    flag("sshpass", "-p", Argument::Password),
];

/// The longest distance of a flag from the name of its program, in bytes.
const MAX_DISTANCE: usize = 512;

/// Finds the secrets in the arguments of flags.
pub(super) fn find(text: &str, found: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    let mut word_end = 0;
    for at in memchr_iter(b'-', bytes) {
        let is_start = at.checked_sub(1).is_none_or(|before| {
            matches!(bytes[before], b' ' | b'\t' | b'\n' | b'"' | b'\'' | b'[' | b',')
        });
        if at < word_end || !is_start {
            continue;
        }
        let word = at..at + Set::TOKEN.run_len(&bytes[at..]);
        word_end = word.end;
        found.extend(argument_of_name(text, &word).or_else(|| argument_of_flag(text, &word)));
    }
}

/// Returns the word after a flag with the name of a secret, such as `--password`.
fn argument_of_name(text: &str, flag: &Range<usize>) -> Option<Range<usize>> {
    let name = &text[flag.clone()];
    if !name.starts_with("--") || !names::is_name(name) {
        return None;
    }
    let argument = next_word(text, flag.end)?;
    let content = &text[argument.clone()];
    (!content.starts_with('-') && !is_placeholder(content)).then_some(argument)
}

/// Returns the secret in the argument of a known flag.
fn argument_of_flag(text: &str, word: &Range<usize>) -> Option<Range<usize>> {
    let name = &text[word.clone()];
    let is_long = name.starts_with("--");
    let flags = FLAGS
        .iter()
        .filter(|flag| if is_long { name == flag.name } else { name.starts_with(flag.name) });
    let mut flags = flags.filter(|flag| is_argument_of(flag.program, &text[..word.start]));
    let Flag { name: flag, argument, .. } = flags.next()?;
    let glued = word.start + flag.len();
    let place = match (text.as_bytes().get(glued), argument) {
        (Some(b'='), _) => values::value_at(text.as_bytes(), glued + 1).0,
        (None | Some(b' ' | b'\t' | b'"' | b'\'' | b'\n'), Argument::Glued) => return None,
        (None | Some(b' ' | b'\t' | b'"' | b'\'' | b'\n'), _) => next_word(text, glued)?,
        _ => values::value_at(text.as_bytes(), glued).0,
    };
    argument.secret(text, place)
}

/// Returns whether a command with this program is on the line before a flag. A backslash continues
/// a line.
fn is_argument_of(program: &str, before: &str) -> bool {
    let before = &before.as_bytes()[before.len().saturating_sub(MAX_DISTANCE)..];
    let Some(at) = memmem::rfind(before, program.as_bytes()) else { return false };
    let between = &before[at..];
    let ends = |at: usize| between[at] == b'\n' && !between[..at].ends_with(b"\\");
    !(0..between.len()).any(ends)
}

/// Returns the word after a flag, without its quotes. In a list of words, the flag ends with a
/// quote and a comma.
fn next_word(text: &str, flag_end: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let between = bytes[flag_end..].iter().take(8);
    let n_between = between.take_while(|byte| b" \t\"',\\".contains(byte)).count();
    let start = flag_end + n_between;
    let separator = &bytes[flag_end..start];
    let place = if separator.contains(&b',') {
        start..start + values::unquoted_len(&bytes[start..])
    } else {
        let n_spaces = separator.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        if n_spaces == 0 {
            return None;
        }
        values::value_at(bytes, flag_end + n_spaces).0
    };
    (!place.is_empty()).then_some(place)
}

impl Argument {
    /// Returns the secret in an argument.
    fn secret(self, text: &str, argument: Range<usize>) -> Option<Range<usize>> {
        let content = text.get(argument.clone())?;
        let secret = match self {
            Self::User => {
                let (user, _) = content.split_once(':')?;
                argument.start + user.len() + 1..argument.end
            }
            Self::Cookie => content.contains('=').then_some(argument)?,
            Self::Password | Self::Glued => argument,
        };
        (!is_placeholder(&text[secret.clone()])).then_some(secret)
    }
}
