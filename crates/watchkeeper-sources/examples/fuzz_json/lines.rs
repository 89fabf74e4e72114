//! Random lines, and their mutations.

use watchkeeper_testing::{Dice, mutate};

const KEYS: &[&str] = &[
    "type",
    "uuid",
    "id",
    "input_tokens",
    "cost",
    "elapsed",
    "is_error",
    "input",
    "payload",
    "content",
    "command",
    "usage",
    "durations",
    "error",
    "message",
    "timestamp",
    "x",
    "",
    "ty\\u0070e",
    "\\n",
];

const STRINGS: &[&[u8]] = &[
    b"tool_use",
    b"2026-03-01T10:00:00.123Z",
    b"5f1c0b52-0000-4000-8000-000000000001",
    b"fn main() {\\n    println!(\\\"hi\\\");\\n}\\n",
    b"C:\\\\src\\\\a.rs",
    b"\\ud83d\\ude00 caf\xc3\xa9 \xe2\x82\xac \\u00e9",
    b"cut \\ud83d",
    b"\\udc80\\ud800\\ud83d\\ude00",
    b"\\u001b[31mred\\u001b[0m",
    b"raw \x1b[31m\ttab",
    b"7",
    b"1e3",
    b"",
    b"\\/\\b\\f\\r\\t",
    b"sixteen bytes +\\\\",
    b"a long text without any escape, so that the search continues with larger steps than before",
];

const SCALARS: &[&str] = &[
    "0",
    "-0",
    "7",
    "12345",
    "18446744073709551615",
    "18446744073709551616",
    "1e3",
    "1E+2",
    "0.25",
    "7.0",
    "-1.5",
    "1e400",
    "2e-3",
    "true",
    "false",
    "null",
];

/// Bytes that often change the meaning of a line.
const TOKENS: &[&[u8]] = &[
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b" ",
    b"\n",
    b"\0",
    b"\x7f",
    b"\xff",
    b"\xe2\x82",
    b"\xc3\xa9",
    b"\\\"",
    b"\\\\",
    b"\\u",
    b"\\u00",
    b"\\ud83d",
    b"\\ude00",
    b"\\x",
    b"0",
    b"-",
    b"+",
    b".",
    b"e",
    b"01",
    b"1.",
    b"null",
    b"tru",
    b"NaN",
    b"//",
    b"\xef\xbb\xbf",
    b"\"type\":",
    b"\"id\":",
    b"\"message\":{",
    b"\"content\":[",
    b"[[[[[[[[",
    b"}}",
];

/// Returns a line in the shape that agents write, often with mutations.
pub(crate) fn line(dice: &mut Dice) -> Vec<u8> {
    let mut line = Vec::new();
    object(dice, 0, &mut line);
    let n_mutations = dice.below(6).saturating_sub(1);
    for _ in 0..n_mutations {
        mutate(&mut line, TOKENS, dice);
    }
    line
}

fn object(dice: &mut Dice, depth: usize, out: &mut Vec<u8>) {
    let n_members = dice.below(8);
    list(dice, [b'{', b'}'], n_members, out, |dice, out| {
        let key = *dice.pick(KEYS);
        out.push(b'"');
        out.extend(key.bytes());
        out.push(b'"');
        space(dice, out);
        out.push(b':');
        space(dice, out);
        let of_type = dice.below(5) != 0;
        match key {
            "type" | "uuid" | "id" | "timestamp" if of_type => string(dice, out),
            "input_tokens" | "cost" | "elapsed" | "is_error" if of_type => scalar(dice, out),
            "command" if of_type => {
                let n_texts = dice.below(4);
                list(dice, [b'[', b']'], n_texts, out, string);
            }
            "durations" if of_type => {
                let n_counts = dice.below(4);
                list(dice, [b'[', b']'], n_counts, out, scalar);
            }
            "content" if of_type && depth < 20 => {
                let n_blocks = dice.below(3);
                list(dice, [b'[', b']'], n_blocks, out, |dice, out| object(dice, depth + 1, out));
            }
            "usage" if of_type => {
                let n_counts = dice.below(3);
                list(dice, [b'{', b'}'], n_counts, out, |dice, out| {
                    string(dice, out);
                    out.push(b':');
                    scalar(dice, out);
                });
            }
            "message" | "error" if of_type && depth < 20 => object(dice, depth + 1, out),
            _ => value(dice, depth + 1, out),
        }
    });
}

fn value(dice: &mut Dice, depth: usize, out: &mut Vec<u8>) {
    match dice.below(if depth < 6 { 5 } else { 2 }) {
        0 => string(dice, out),
        1 => scalar(dice, out),
        2 => {
            let n_elements = dice.below(4);
            list(dice, [b'[', b']'], n_elements, out, |dice, out| value(dice, depth + 1, out));
        }
        // Deeper than the reader and `serde_json` follow.
        3 if dice.below(20) == 0 => {
            let n_objects = dice.below(140);
            out.extend(b"{\"message\":".repeat(n_objects));
            string(dice, out);
            out.extend(b"}".repeat(n_objects));
        }
        _ => object(dice, depth + 1, out),
    }
}

fn list(
    dice: &mut Dice,
    [open, close]: [u8; 2],
    n_elements: usize,
    out: &mut Vec<u8>,
    mut element: impl FnMut(&mut Dice, &mut Vec<u8>),
) {
    out.push(open);
    for idx in 0..n_elements {
        if 0 < idx {
            out.push(b',');
        }
        space(dice, out);
        element(dice, out);
        space(dice, out);
    }
    out.push(close);
}

fn string(dice: &mut Dice, out: &mut Vec<u8>) {
    out.push(b'"');
    for _ in 0..=dice.below(3) {
        out.extend(dice.pick(STRINGS).iter());
    }
    out.push(b'"');
}

fn scalar(dice: &mut Dice, out: &mut Vec<u8>) {
    out.extend(dice.pick(SCALARS).bytes());
}

fn space(dice: &mut Dice, out: &mut Vec<u8>) {
    if dice.below(12) == 0 {
        out.extend(dice.pick::<&[u8]>(&[b" ", b"\t", b"\n", b"\r\n  "]).iter());
    }
}
