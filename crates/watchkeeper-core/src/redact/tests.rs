use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    bytes::Set,
    names::{NAMES, Name},
    redact,
    shapes::{SHAPES, Shape},
};

/// A generator of invented tokens, the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, n: usize) -> usize {
        // The generator of D. Knuth's MMIX.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % n
    }

    fn text(&mut self, set: Set, len: usize) -> String {
        // The padding of base64 is at the end.
        let is_used = |byte: &u8| set.has(*byte) && *byte != b'=';
        let chars: Vec<char> = (0..128).filter(is_used).map(char::from).collect();
        (0..len).map(|_| chars[self.roll(chars.len())]).collect()
    }

    /// Returns a token that does not end with punctuation.
    fn token(&mut self, Shape { prefix, set, min, .. }: &Shape) -> String {
        let last = if *set == Set::HEX || set.has(b'0') { "7" } else { "a" };
        format!("{prefix}{}{last}", self.text(*set, min - 1))
    }
}

/// Returns tokens of all services with a prefix, and of those with another shape.
fn tokens(dice: &mut Dice) -> Vec<String> {
    let mut tokens: Vec<String> = SHAPES.iter().map(|shape| dice.token(shape)).collect();
    let mut text = |set, len| dice.text(set, len);
    tokens.extend([
        format!("{}:A{}", text(Set::DIGIT, 10), text(Set::WORD, 34)),
        format!("M{}.{}.{}", text(Set::ALNUM, 23), text(Set::WORD, 6), text(Set::WORD, 38)),
        format!("{}8Q~{}", text(Set::ALNUM, 3), text(Set::WORD, 34)),
        format!("{}.atlasv1.{}", text(Set::ALNUM, 14), text(Set::WORD, 67)),
        format!("pat{}.{}", text(Set::ALNUM, 14), text(Set::HEX, 64)),
        format!("{}-us21", text(Set::HEX, 32)),
        format!("{}_{}_mmk", text(Set::ALNUM, 6), text(Set::ALNUM, 29)),
    ]);
    tokens
}

/// Checks the redacted form of each text, and names all mistakes.
#[track_caller]
fn check(expected: impl IntoIterator<Item = (String, String)>) {
    let redacted = |(text, expected): (String, String)| {
        let redacted = redact(&text).into_owned();
        (redacted != expected).then_some((text, redacted, expected))
    };
    let mistakes: Vec<_> = expected.into_iter().filter_map(redacted).collect();
    assert!(mistakes.is_empty(), "{mistakes:#?}");
}

#[test]
fn finds_every_token_of_a_planted_corpus() {
    const PLACES: &[&str] = &[
        "export X=$",
        "curl -H 'X: $' https://a.example",
        "{\"x\": \"$\"}",
        "- $\n",
        "https://a.example/$",
        "x = \"$\";",
        "é$é",
        "\\n$\\n",
        "($)",
        "<$>",
        "%20$",
        "`$`",
        "a.example?x=$&y=1",
        "x:$",
    ];
    let mut dice = Dice(7);
    let (first, second) = (tokens(&mut dice), tokens(&mut dice));
    let tokens: Vec<String> = first.into_iter().chain(second).collect();
    assert!(300 <= tokens.len(), "{}", tokens.len());
    check(tokens.iter().zip(PLACES.iter().cycle()).map(|(token, place)| {
        // Telegram's token is a part of other texts with colons.
        let place = if token.contains(':') { "x=$" } else { place };
        (place.replace('$', token), place.replace('$', "[redacted]"))
    }));
}

#[test]
fn finds_passwords_by_their_names() {
    let mut dice = Dice(11);
    check(NAMES.iter().filter(|(_, kind)| matches!(kind, Name::Any | Name::Word)).flat_map(
        |(name, _)| {
            let password = dice.text(Set::ALNUM, 9) + "!4";
            let texts = [
                format!("{}=$ run", name.to_ascii_uppercase()),
                format!("MY_{}='$'", name.to_ascii_uppercase()),
                format!("{{\"{name}\": \"$\"}}"),
                format!("{{\\\"{name}\\\":\\\"$\\\"}}"),
                format!("config['{name}'] = '$'"),
                format!("{name}: $\n"),
                format!("{name} = \"$\"\n"),
                format!("run --{name} $ --now"),
                format!("run --{name}=$"),
                format!("<{name}>$</{name}>"),
                format!("https://a.example/?{name}=$&b=1"),
                format!("https://a.example/?{name}%3D$&b=1"),
                format!("{name}＝$"),
                format!("{name}：$"),
                format!("{name}=\\\n$ run"),
                format!("{{\"cmd\": \"{name}=\\\\\\n$\"}}"),
            ];
            texts.map(|text| (text.replace('$', &password), text.replace('$', "[redacted]")))
        },
    ));
}

#[test]
fn finds_secrets_by_their_place() {
    let texts = [
        ("curl -u alice:wonder https://a.example", "curl -u alice:[redacted] https://a.example"),
        ("curl -s --user 'a b:c d' x", "curl -s --user 'a b:[redacted]' x"),
        ("curl -ualice:wonder x", "curl -ualice:[redacted] x"),
        ("curl x \\\n  -u a:b", "curl x \\\n  -u a:[redacted]"),
        ("curl -b 'sid=abc; x=1' x", "curl -b '[redacted]' x"),
        ("mysql -uroot -phunter db", "mysql -uroot -p[redacted] db"),
        ("sshpass -p hunter ssh a", "sshpass -p [redacted] ssh a"),
        ("redis-cli -h a -a hunter ping", "redis-cli -h a -a [redacted] ping"),
        ("docker login -u a -p hunter", "docker login -u a -p [redacted]"),
        ("run --password hunter x", "run --password [redacted] x"),
        ("postgres://app:hunter@db/x", "postgres://app:[redacted]@db/x"),
        ("redis://:hunter@db", "redis://:[redacted]@db"),
        ("amqp://a:b%40c@h:1/", "amqp://a:[redacted]@h:1/"),
        ("https://x:p@ss@host/a", "https://x:[redacted]@host/a"),
        ("Authorization: Basic YTpi", "Authorization: Basic [redacted]"),
        ("'Authorization: token abcdef'", "'Authorization: token [redacted]'"),
        ("\"Authorization\": \"Bearer abc\"", "\"Authorization\": \"Bearer [redacted]\""),
        ("authorization: Digest username=\"a\"", "authorization: Digest [redacted]\"a\""),
        ("Proxy-Authorization: Basic YTpi\r\n", "Proxy-Authorization: Basic [redacted]\r\n"),
        ("bearer abcdef0123", "bearer [redacted]"),
        ("-H 'Cookie: sid=abc; csrf=def'", "-H 'Cookie: [redacted]'"),
        ("Set-Cookie: sid=abc; Path=/", "Set-Cookie: [redacted]"),
        ("X-Api-Key: 0123abcd", "X-Api-Key: [redacted]"),
        ("https://hooks.slack.com/services/T00/B00/abcdefgh", "https://hooks.slack.com/[redacted]"),
        (
            "https://discord.com/api/webhooks/123456/abcdefgh",
            "https://discord.com/api/webhooks/[redacted]",
        ),
        (
            "https://a.blob.core.windows.net/x?sv=1&sig=abcdefgh01234567%3D",
            "https://a.blob.core.windows.net/x?sv=1&sig=[redacted]",
        ),
        ("Server=a;User Id=b;Password=c d1;", "Server=a;User Id=b;Password=[redacted] d1;"),
        ("AccountName=a;AccountKey=abc/+=;", "AccountName=a;AccountKey=[redacted];"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY-----[redacted]-----END RSA PRIVATE KEY-----\n",
        ),
        ("-----BEGIN PRIVATE KEY-----\\nMIIE", "-----BEGIN PRIVATE KEY-----[redacted]"),
        ("machine a login b password hunter2", "machine a login b password [redacted]"),
        ("  password: correcthorse\n", "  password: [redacted]\n"),
        ("password = 'correct horse'", "password = '[redacted]'"),
    ];
    check(texts.map(|(text, redacted)| (text.to_owned(), redacted.to_owned())));
}

#[test]
fn leaves_other_text_unchanged() {
    let texts = [
        "",
        "the token, please",
        "let token = lexer.next_token();",
        "fn check(password: &str, token: Token) -> Secret",
        "struct Login { password: String, token: u64 }",
        "if token == other.token { bypass: 12345678 }",
        "PASSWORD=$PASSWORD TOKEN=${TOKEN} API_KEY=$(cat key)",
        "--token <TOKEN> --password",
        "password: ********",
        "secret: {{ secrets.token }}",
        "std::env::var(\"API_KEY\")",
        "os.environ['DB_PASS']",
        "https://user@host/path user@host",
        "http://localhost:8080/a@b",
        "git commit 3f786850e387550fdab836ed7e6dc881de23001b",
        "123e4567-e89b-12d3-a456-426614174000",
        "toolu_01A09q90qw90lq917835lq9Xy",
        "sha512-9aB8cD7eF6gH5iJ4kL3mN2oP1qR0sT",
        "a_long_name_in_snake_case_with_numbers_1234",
        "aLongNameInCamelCaseWithManyShortWords",
        "crates/watchkeeper-core/src/engine/sessions.rs",
        "task-skeleton-for-the-desk",
        "docker run -u 1000:1000 image",
        "psql -p 5432 && mysql -p",
        "-----BEGIN CERTIFICATE-----\nMIIE",
        "bearer of the ring, and authorization: required",
        "tokens=1000 max_tokens=5 tokenizer=bpe",
        "the cookie = a jar",
        "hooks.slack.com/docs",
    ];
    check(texts.map(|text| (text.to_owned(), text.to_owned())));
}

#[test]
fn a_cut_token_is_found() {
    assert_eq!(redact("ghp_0123456789abcdef"), "[redacted]");
    assert_eq!(redact("x sk-ant-api03-0123456789"), "x [redacted]");
}

#[test]
fn the_time_is_linear_in_the_length_of_a_text() {
    for part in [
        "authorization: ",
        "token:",
        "password=\"",
        "://hooks",
        "@",
        "sk-",
        "</a",
        "-b ",
        "pass: é",
    ] {
        let text = part.repeat((1 << 17) / part.len());
        assert!(redact(&text).len() <= 2 * text.len());
    }
}

proptest! {
    #[test]
    fn any_text_keeps_what_is_no_secret(
        parts in vec(
            prop_oneof![
                select(NAMES).prop_map(|(name, _)| name.to_owned()),
                select(SHAPES.iter().map(|shape| shape.prefix).collect::<Vec<_>>()).prop_map(str::to_owned),
                select(vec!["=", ": ", "\"", "'", "\\", " ", "\n", "://", "@", "curl -u ", "-----BEGIN ", "PRIVATE KEY-----", "bearer ", "é", "<", ">"])
                    .prop_map(str::to_owned),
                "[A-Za-z0-9_.~+/=-]{0,40}",
                "\\PC{0,5}",
            ],
            0..20,
        ),
    ) {
        let text = parts.concat();
        let redacted = redact(&text);
        // What is left are parts of the text, in order.
        let mut rest = &*text;
        for part in redacted.split("[redacted]") {
            let at = rest.find(part);
            prop_assert!(at.is_some(), "{:?} {:?}", text, redacted);
            rest = &rest[at.unwrap_or(0) + part.len()..];
        }
    }
}
