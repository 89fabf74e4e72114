use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    Elements, FromJson, Located, Malformed, Millis, Number, Present, Raw, Reader, Seconds, Text,
    TextOr, Values, number::digits, object, parse, parse_head, parse_into, parse_value, read_value,
    text::utc_time,
};

#[path = "../../examples/fuzz_json/lines.rs"]
mod lines;
#[path = "../../examples/fuzz_json/model.rs"]
mod model;

object! {
    /// An object with members of all types.
    struct Tree<'a> {
        b"name" => name: Text<'a>,
        b"b" | b"count" => count: u64,
        b"number" => number: Number<'a>,
        b"flag" => flag: bool,
        b"raw" => raw: Raw<'a>,
        b"text" => text: Located<'a, Text<'a>>,
        b"located" => located: Located<'a, Child>,
        b"old" => old: Present,
        b"names" => names: Vec<Text<'a>>,
        b"by_name" => by_name: Values<'a, u64>,
        b"child" => child: Box<Tree<'a>>,
        b"children" => children: Vec<Tree<'a>>,
    }
}

object! {
    struct Child {
        b"count" => count: u64,
    }
}

/// Reads a whole text with the methods of the reader.
fn read(text: &[u8]) -> Result<Value, Malformed> {
    fn value(reader: &mut Reader<'_>) -> Result<Value, Malformed> {
        match reader.peek()? {
            b'{' => {
                let mut res = serde_json::Map::new();
                reader.object(|reader, key| {
                    let key = Text::new(key).read().into_owned();
                    let value = value(reader)?;
                    res.entry(key).or_insert(value);
                    Ok(())
                })?;
                Ok(Value::Object(res))
            }
            b'[' => {
                let mut res = Vec::new();
                reader.array(|reader| {
                    res.push(value(reader)?);
                    Ok(())
                })?;
                Ok(Value::Array(res))
            }
            b'"' => Ok(reader.text()?.map_or(Value::Null, |it| it.read().into_owned().into())),
            _ => {
                let raw = reader.raw()?;
                Ok(serde_json::from_slice(raw).unwrap_or_default())
            }
        }
    }
    let mut reader = Reader::new(text);
    let res = value(&mut reader)?;
    reader.end()?;
    Ok(res)
}

/// Decodes a string character by character.
fn naive_read(raw: &[u8]) -> String {
    let unit = |text: &str| {
        let digits = text.get(..4).filter(|it| it.bytes().all(|b| b.is_ascii_hexdigit()))?;
        u16::from_str_radix(digits, 16).ok()
    };
    let text = String::from_utf8_lossy(raw);
    let (mut units, mut rest) = (Vec::new(), &*text);
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '\\' {
            units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
            continue;
        }
        let escape = rest.chars().next();
        rest = &rest[escape.map_or(0, char::len_utf8)..];
        let unit = match escape {
            Some('n') => u16::from(b'\n'),
            Some('t') => u16::from(b'\t'),
            Some('r') => u16::from(b'\r'),
            Some('b') => 8,
            Some('f') => 12,
            Some('"') => u16::from(b'"'),
            Some('\\') => u16::from(b'\\'),
            Some('/') => u16::from(b'/'),
            Some('u') => {
                let unit = unit(rest);
                rest = &rest[unit.map_or(0, |_| 4)..];
                unit.unwrap_or(0xfffd)
            }
            _ => 0xfffd,
        };
        units.push(unit);
    }
    String::from_utf16_lossy(&units)
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "(\\PC|[\"\\\\\n\t\u{0}])*".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("(\\PC|\")*", inner, 0..4)
                .prop_map(|it| Value::Object(it.into_iter().collect())),
        ]
    })
}

#[test]
fn reads_the_notations_of_numbers_that_agents_use() {
    for (text, expected) in [
        ("7", Some(7)),
        ("7.0", Some(7)),
        ("\"7\"", Some(7)),
        ("1e3", Some(1000)),
        ("18446744073709551615", Some(u64::MAX)),
        ("-5", None),
        ("1e400", None),
        ("null", None),
        ("\"\"", None),
        ("[7]", None),
    ] {
        assert_eq!(read_value(&mut Reader::new(text.as_bytes())), Ok(expected), "{text}");
    }
}

#[test]
fn reads_numbers_and_times_of_a_type() {
    fn read<'a, T: FromJson<'a>>(text: &'a str) -> Option<T> {
        parse_value(text.as_bytes()).expect("the text is JSON")
    }
    assert_eq!((read("-1"), read("\"7\"")), (Some(-1), Some(7)));
    assert_eq!(
        (read::<i32>("1.5"), read::<i32>("4000000000"), read::<i32>("[]")),
        (None, None, None)
    );
    assert_eq!((read("0.25"), read("1e-2"), read("-3")), (Some(0.25), Some(0.01), Some(-3.0)));
    assert_eq!(read::<f64>("null"), None);
    let at = |text: &str| text.parse::<Timestamp>().expect("the text is a time");
    assert_eq!(read("1767261600123"), Some(Millis(at("2026-01-01T10:00:00.123Z"))));
    assert_eq!(read("1767261600.5"), Some(Seconds(at("2026-01-01T10:00:00.5Z"))));
    assert_eq!((read::<Millis>("18446744073709551615"), read::<Millis>("-1")), (None, None));
    assert_eq!((read::<Seconds>("1e300"), read::<Seconds>("{}")), (None, None));
}

#[test]
fn reads_values_of_two_types() {
    let read = |text: &'static str| -> Option<TextOr<'static, bool>> {
        parse_value(text.as_bytes()).expect("the text is JSON")
    };
    assert!(matches!(read(" \"a\""), Some(TextOr::Text(text)) if text.is("a")));
    assert!(matches!(read("true"), Some(TextOr::Other(true))));
    assert!(read("[\"a\"]").is_none());
}

#[test]
fn keeps_the_positions_of_elements() {
    let read = |text: &'static str| -> Option<Vec<u64>> {
        let elements: Option<Elements<u64>> =
            parse_value(text.as_bytes()).expect("the text is JSON");
        elements.map(|elements| elements.0)
    };
    assert_eq!(read("[7, null, {}, 8]"), Some(vec![7, 0, 0, 8]));
    assert_eq!((read("[]"), read("{}")), (Some(vec![]), None));
}

#[test]
fn reads_strings_with_any_content() {
    for (raw, expected) in [
        (&br#"a\n\t\r\b\f\/\\\"\u0041"#[..], "a\n\t\r\u{8}\u{c}/\\\"A"),
        (br"\ud83d\ude00!", "😀!"),
        (br"\ud83d!", "\u{fffd}!"),
        (br"\ud83d\u0041", "\u{fffd}A"),
        (br"\udc00", "\u{fffd}"),
        (br"\u00e", "\u{fffd}00e"),
        (br"\x", "\u{fffd}"),
        (b"\xff", "\u{fffd}"),
        (b"\xe2\x82\\n\xff", "\u{fffd}\n\u{fffd}"),
        (b"\\\xe2\x82a", "\u{fffd}a"),
        (b"\\\x80\x80", "\u{fffd}\u{fffd}"),
        ("\\éa".as_bytes(), "\u{fffd}a"),
        (b"a\\", "a\u{fffd}"),
    ] {
        assert_eq!(Text::new(raw).read(), expected);
    }
}

#[test]
fn reports_why_a_text_is_not_json() {
    let check = |text: &str, expected: Result<Value, Malformed>| {
        assert_eq!(read(text.as_bytes()), expected, "{text}");
    };
    check(r#"{"a":1,"a":2}"#, Ok(json!({"a": 1})));
    check(r#"{"a":{"b":"#, Err("ends in the middle of JSON"));
    check(r#"{"a":"b"#, Err("ends in the middle of JSON"));
    check("", Err("ends in the middle of JSON"));
    check("{} {}", Err("something follows the JSON"));
    check(r#"{"a" 1}"#, Err("not JSON"));
    check("// note", Err("not JSON"));
}

#[test]
fn refuses_values_that_are_not_json() {
    let check = |value: &[u8], expected: Result<bool, Malformed>| {
        for key in ["name", "count", "child"] {
            let text = [b"{\"", key.as_bytes(), b"\":", value, b"}"].concat();
            let tree: Result<Tree<'_>, Malformed> = parse(&text);
            let is_read = tree.map(|tree| tree.name.is_some() || tree.count.is_some());
            let is_string = value.starts_with(b"\"");
            // Strings are not read as other types.
            let expected = if is_string && key != "name" { Ok(false) } else { expected };
            assert_eq!(is_read, expected, "{}", text.escape_ascii());
        }
    };
    let check_name = |text: &[u8], expected: Result<&str, Malformed>| {
        let text = [b"{\"name\":\"", text, b"\"}"].concat();
        let tree: Result<Tree<'_>, Malformed> = parse(&text);
        let name = tree.map(|tree| tree.name.expect("there is a string").boxed());
        assert_eq!(name.as_deref().map_err(|reason| *reason), expected, "{}", text.escape_ascii());
    };
    for text in ["01", "-", "1.", ".5", "1e", "1e+", "+1", "0x1", "1_000", "nul", "True", "NaN"] {
        check(text.as_bytes(), Err("not JSON"));
    }
    check(br#""\x""#, Err("invalid escape in a string"));
    for text in [&br"\x"[..], br"\u12", br"\u00g0", br"0123456789abcdef\ ", br"\n\\\u+123"] {
        check_name(text, Err("invalid escape in a string"));
    }
    for text in [&b"\xff"[..], b"\xe2\x82", b"0123456789abcdef\x80\\n"] {
        check_name(text, Err("not UTF-8"));
    }
    // Agents write these.
    check_name(br"cut \ud83d", Ok("cut \u{fffd}"));
    check_name(b"red \x1b[31m\t", Ok("red \x1b[31m\t"));
    assert!(parse::<Tree<'_>>(br#"{"other":"\x \u12","x":[01,nul,"\x"]}"#).is_ok());
    let labels = br#"{"by_name":{"\x":1}}"#;
    assert_eq!(parse::<Tree<'_>>(labels).err(), Some("invalid escape in a string"));
}

#[test]
fn reads_as_serde_json_does() {
    let found: &[&[u8]] = &[];
    for line in found {
        assert_eq!(model::compare(line), Ok(()), "{}", line.escape_ascii());
    }
    let mut dice = watchkeeper_testing::Dice::new(1);
    for _ in 0..5_000 {
        let line = lines::line(&mut dice);
        assert_eq!(model::compare(&line), Ok(()), "{}", line.escape_ascii());
    }
}

#[test]
fn skips_deeply_nested_values_without_recursion() {
    let deep = "[".repeat(1_000_000);
    let closed = format!("{{\"a\":{deep}{},\"b\":1}}", "]".repeat(1_000_000));
    let parsed: Result<Tree<'_>, Malformed> = parse(closed.as_bytes());
    assert_eq!(parsed.map(|tree| tree.count), Ok(Some(1)));
    assert_eq!(Reader::new(deep.as_bytes()).raw(), Err("ends in the middle of JSON"));
}

#[test]
fn reads_the_declared_members() {
    let text = br#"{"x": [1], "name": 7, "name": "a", "name": "b", "count": "3", "number": -1.5,
        "flag": false, "raw":  [1, {}] , "old": null, "text": "t", "located": {"count":
8} , "names": ["c", 1, "d"],
        "by_name": {"e": 4, "f": null}, "child": {"names": ["g"]}, "children": [{"b": 5}, 6, {}]}"#;
    let tree: Tree<'_> = parse(text).expect("the text is JSON");
    assert_eq!(tree.name, Some(Text::new(b"a")));
    assert_eq!(tree.count, Some(3));
    assert_eq!(tree.number.and_then(Number::parse), Some(-1.5));
    assert_eq!(tree.flag, Some(false));
    assert_eq!(tree.raw, Some(Raw(b"[1, {}]")));
    let located = tree.text.as_ref().expect("there is a string");
    assert_eq!((located.raw, located.value), (&b"\"t\""[..], Text::new(b"t")));
    assert!(text[located.at..].starts_with(located.raw));
    let located = tree.located.as_ref().expect("there is an object");
    assert_eq!((located.raw, located.value.count), (&b"{\"count\":\n8}"[..], Some(8)));
    assert!(text[located.at..].starts_with(located.raw));
    assert_eq!(tree.old, Some(Present));
    let names = |tree: &Tree<'_>| tree.names.as_ref().map(Vec::len);
    assert_eq!(names(&tree), Some(2));
    let by_name = tree.by_name.as_ref().expect("there is an object");
    assert_eq!(by_name.0, [(Text::new(b"e"), 4)]);
    assert_eq!(tree.child.as_deref().and_then(names), Some(1));
    let counts = tree.children.iter().flatten().map(|child| child.count);
    assert_eq!(counts.collect::<Vec<_>>(), [Some(5), None]);
    assert_eq!(parse::<Tree<'_>>(b"[]").err(), Some("not a JSON object"));
}

#[test]
fn reads_the_members_before_the_end_of_an_incomplete_text() {
    let mut tree = Tree::default();
    let result = parse_into(&mut tree, br#"{"count":1,"name":"a","flag":tr"#);
    assert_eq!((tree.count, tree.name), (Some(1), Some(Text::new(b"a"))));
    assert_eq!(result, Err("ends in the middle of JSON"));
    let tree: Tree<'_> = parse_head(br#"{"children":[{"count":1},{"count":2"#);
    assert_eq!(tree.children.map(|children| children.len()), Some(2));
}

#[test]
fn rejects_lists_with_too_many_elements() {
    let list = |n: usize| format!("[{}]", vec!["{}"; n].join(","));
    let parsed = |text: String| {
        let tree: Result<Tree<'_>, Malformed> = parse(text.as_bytes());
        tree.map(|tree| tree.children.map_or(0, |children| children.len()))
    };
    assert_eq!(parsed(format!("{{\"children\":{}}}", list(1 << 16))), Ok(1 << 16));
    let too_many = list((1 << 16) + 1);
    let reason = Err("too many elements in a list");
    assert_eq!(parsed(format!("{{\"children\":{too_many}}}")), reason);
    assert_eq!(parsed(format!("{{\"other\":{too_many}}}")), Ok(0));
}

#[test]
fn a_number_ends_where_another_token_begins() {
    for text in [r#"{"count":1{"x":2}}"#, r#"{"count":1"x":2}"#, r#"{"flag":t"r","count":1}"#] {
        assert_eq!(parse::<Tree<'_>>(text.as_bytes()).err(), Some("not JSON"), "{text}");
    }
}

#[test]
fn skips_objects_below_a_fixed_depth() {
    let deep = "{\"count\":1,\"child\":".repeat(100_000);
    let text = format!("{deep}null{}", "}".repeat(100_000));
    let tree: Tree<'_> = parse(text.as_bytes()).expect("the text is JSON");
    let children = std::iter::successors(Some(&tree), |tree| tree.child.as_deref());
    assert_eq!(children.count(), 16);
}

const PARTS: &[&[u8]] = &[
    b"\\",
    b"\\n",
    b"\\/",
    b"\\x",
    b"\\u00e9",
    b"\\u12",
    b"\\ud83d",
    b"\\ude00",
    b"\\uD83D\\uDE00",
    b"\xe2\x82",
    b"\xff",
    b"\x80",
    b"0123456789abcdef",
];

proptest! {
    #[test]
    fn reads_the_value_that_was_written(value in any_json(), pretty in any::<bool>()) {
        let text = if pretty {
            serde_json::to_string_pretty(&value).unwrap()
        } else {
            value.to_string()
        };
        prop_assert_eq!(read(text.as_bytes()), Ok(value));
        let mut reader = Reader::new(text.as_bytes());
        prop_assert_eq!(reader.raw(), Ok(text.as_bytes()));
    }

    #[test]
    fn reads_counts_as_a_parser_does(number in "[0-9]{1,22}|[-0-9a.]{0,3}") {
        let expected = number.parse::<u64>().ok();
        let count = digits(number.as_bytes());
        prop_assert!(count == expected || count.is_none() && 19 < number.len(), "{:?}", count);
    }

    #[test]
    fn reads_times_as_a_parser_does(
        secs in -62_167_219_200..253_402_207_200_i64,
        millis in 0..1000_i32,
        replaced in prop::option::of((0..24_usize, "[0-9TZ:.+ -]")),
    ) {
        let time = Timestamp::new(secs, if secs < 0 { 0 } else { millis * 1_000_000 }).unwrap();
        let mut text = format!("{time:.3}");
        if let Some((at, c)) = &replaced && *at < text.len() {
            text.replace_range(at..&(at + 1), c);
        }
        let expected = text.parse::<Timestamp>().ok();
        let fast = utc_time(text.as_bytes());
        prop_assert!(fast == expected || fast.is_none() && replaced.is_some(), "{}", text);
        prop_assert_eq!(Text::new(text.as_bytes()).time(), expected);
    }

    #[test]
    fn decodes_escapes_as_a_parser_does(text in "(\\PC|[\"\\\\\n\t\u{0}]|[a-z]{20}){0,20}") {
        let quoted = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(Text::new(&quoted.as_bytes()[1..quoted.len() - 1]).read(), text);
    }

    #[test]
    fn decodes_any_bytes_as_a_naive_search_does(parts in prop::collection::vec(
        prop_oneof![
            prop::sample::select(PARTS).prop_map(<[u8]>::to_vec),
            "\\PC{0,3}".prop_map(String::into_bytes),
        ],
        0..20,
    )) {
        let raw = parts.concat();
        prop_assert_eq!(Text::new(&raw).read(), naive_read(&raw));
    }

    #[test]
    fn reads_any_bytes_without_a_panic(text in prop::collection::vec(
        prop_oneof![prop::sample::select(b"{}[]\",:\\0-n u".as_slice()), any::<u8>()], 0..60,
    )) {
        // This reader accepts every text that a strict reader accepts.
        let strict = serde_json::from_slice::<Value>(&text);
        let lenient = read(&text);
        prop_assert!(lenient.is_ok() || strict.is_err(), "{:?}", lenient);
    }
}
