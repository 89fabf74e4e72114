//! Diagnostics of `[sinks]` and `[secrets]`.

use insta::assert_snapshot;

use crate::{check, environment, load};

#[test]
fn invalid_sinks() {
    assert_snapshot!(check("
[sinks.hook]
url = 'http://example.test'
queue_capacity = 0
[sinks.other]
kind = 'hook'
url = 7
patience = 1
"), @r#"
    error: invalid value for `url`: not an https address
     --> policy.toml:3:1
      |
    3 | url = 'http://example.test'
      | ^^^
      |
      = note: run `watchkeeper explain hook` to see the options

    error: expected a whole number, 1 or more, found the number `0`
     --> policy.toml:4:18
      |
    4 | queue_capacity = 0
      |                  ^

    error: expected a secret such as { secret = "name" }, or a string, found the number `7`
     --> policy.toml:7:7
      |
    7 | url = 7
      |       ^
      |
      = note: run `watchkeeper explain hook` to see the options

    error: expected a length of time such as "30s", "5m" or "1h 30m", found the number `1`
     --> policy.toml:8:12
      |
    8 | patience = 1
      |            ^
      |
      = note: run `watchkeeper explain hook` to see the options
    help: if the number is in seconds
      |
    8 - patience = 1
    8 + patience = "1s"
      |
    "#);
}

#[test]
fn invalid_secrets() {
    assert_snapshot!(check("
[secrets]
a = { env = 'NOT_SET' }
b = { env = 'EMPTY' }
c = { file = 'no/file' }
d = {}
e = { env = 'URL', file = 'x' }
f = { env = 'URL', optinal = true }
unused = { env = 'URL' }
[sinks]
1 = { kind = 'hook', url = { secret = 'a' } }
2 = { kind = 'hook', url = { secret = 'b' } }
3 = { kind = 'hook', url = { secret = 'c' } }
4 = { kind = 'hook', url = { secret = 'd' } }
5 = { kind = 'hook', url = { secret = 'e' } }
6 = { kind = 'hook', url = { secret = 'f' } }
7 = { kind = 'hook', url = { secret = 'unusd' } }
"), @r#"
    error: environment variable `NOT_SET` is not set
     --> policy.toml:3:13
      |
    3 | a = { env = 'NOT_SET' }
      |             ^^^^^^^^^
      |
      = note: with `optional = true`, a secret may be missing; its sinks are then disabled
      = note: use `--no-environment` to check a policy without its secrets

    error: the secret is empty
     --> policy.toml:4:13
      |
    4 | b = { env = 'EMPTY' }
      |             ^^^^^^^
      |
      = note: with `optional = true`, a secret may be missing; its sinks are then disabled
      = note: use `--no-environment` to check a policy without its secrets

    error: cannot read the secret in `no/file`: no such file
     --> policy.toml:5:14
      |
    5 | c = { file = 'no/file' }
      |              ^^^^^^^^^
      |
      = note: with `optional = true`, a secret may be missing; its sinks are then disabled
      = note: use `--no-environment` to check a policy without its secrets

    error: secret `d` has neither `env` nor `file`
     --> policy.toml:6:5
      |
    6 | d = {}
      |     ^^
      |
      = note: write `{ env = "VARIABLE" }` or `{ file = "path" }`

    error: `env` and `file` cannot be used together
     --> policy.toml:7:20
      |
    7 | e = { env = 'URL', file = 'x' }
      |                    ^^^^

    error: unknown key `optinal`
     --> policy.toml:8:20
      |
    8 | f = { env = 'URL', optinal = true }
      |                    ^^^^^^^
      |
      = note: expected one of `env`, `file`, `optional`
    help: there is one with a similar name
      |
    8 | f = { env = 'URL', optional = true }
      |                        +

    warning: secret `unused` is not used
     --> policy.toml:9:1
      |
    9 | unused = { env = 'URL' }
      | ^^^^^^

    error: unknown secret `unusd`
      --> policy.toml:17:39
       |
    17 | 7 = { kind = 'hook', url = { secret = 'unusd' } }
       |                                       ^^^^^^^
       |
       = note: define it in `[secrets]`: `unusd = { env = "VARIABLE" }`
    help: there is one with a similar name
       |
    17 - 7 = { kind = 'hook', url = { secret = 'unusd' } }
    17 + 7 = { kind = 'hook', url = { secret = "unused" } }
       |
    "#);
}

#[test]
fn secrets_are_redacted_in_messages() {
    assert_snapshot!(check("
[secrets]
text = { env = 'TEXT' }
[sinks.hook]
url = { secret = 'text' }
patience = { secret = 'text' }
"), @r#"
    error: expected a length of time such as "30s", "5m" or "1h 30m", found the string "[secret]"
     --> policy.toml:6:12
      |
    6 | patience = { secret = 'text' }
      |            ^^^^^^^^^^^^^^^^^^^
      |
      = note: run `watchkeeper explain hook` to see the options
    "#);
}

#[test]
fn missing_secrets_are_accepted_without_an_environment() {
    let text = "version = 1\n[detectors.repeat]\n[secrets]\nurl = { env = 'NOT_SET' }\n[sinks.hook]\nurl = { secret = 'url' }\n\
                patience = { secret = 'url' }\n";
    let loaded = load(&[("policy.toml", text)], None);
    assert_eq!(loaded.diagnostics, []);
    assert!(!load(&[("policy.toml", text)], Some(&environment)).diagnostics.is_empty());
}

#[test]
fn a_sink_without_its_optional_secret_is_disabled() {
    let text = "version = 1\n[detectors.repeat]\n[secrets]\nurl = { env = 'NOT_SET', optional = true }\n\
                [sinks.hook]\nurl = { secret = 'url' }\n[sinks.other]\nkind = 'hook'\nurl = 'https://x'\n\
                [[routes]]\nsinks = ['hook', 'other']\n";
    let loaded = load(&[("policy.toml", text)], Some(&environment));
    assert_eq!(loaded.diagnostics, []);
    let sinks = loaded.policy.expect("a valid policy").sinks;
    assert_eq!(sinks.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["other"]);
}

#[test]
fn secrets_come_from_the_environment_and_from_files() {
    let policy = "version = 1\n[detectors.repeat]\n[secrets]\na = { env = 'URL' }\nb = { file = 'keys/url' }\n\
                  [sinks.a]\nkind = 'hook'\nurl = { secret = 'a' }\n\
                  [sinks.b]\nkind = 'hook'\nurl = { secret = 'b' }\n";
    let files = [("team/policy.toml", policy), ("team/keys/url", "https://x\n")];
    assert_eq!(load(&files, Some(&environment)).diagnostics, []);
    let files = [("team/policy.toml", policy), ("team/keys/url", "ftp://x\n")];
    assert_eq!(load(&files, Some(&environment)).diagnostics.len(), 1);
}

#[cfg(unix)]
#[test]
fn a_secret_that_any_user_may_read_is_refused() {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    fs::write(&key, "https://x\n").unwrap();
    let key_text = key.display().to_string();
    let policy = format!(
        "version = 1\n[detectors.repeat]\n[secrets]\na = {{ file = '{key_text}' }}\n\
         [sinks.a]\nkind = 'hook'\nurl = {{ secret = 'a' }}\n"
    );
    let files = [("policy.toml", &*policy), (&*key_text, "https://x\n")];
    for (mode, is_accepted) in [(0o600, true), (0o440, true), (0o644, false), (0o602, false)] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let diagnostics = load(&files, Some(&environment)).diagnostics;
        let messages: Vec<_> = diagnostics.iter().map(|it| &*it.message).collect();
        let refused = format!(
            "any user may use the secret in `{key_text}` (mode {mode:04o}); run `chmod 600 {key_text}`"
        );
        let expected = if is_accepted { Vec::new() } else { vec![&*refused] };
        assert_eq!(messages, expected);
    }
}
