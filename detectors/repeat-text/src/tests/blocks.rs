//! Repeated paragraphs, blocks of lines and code.

use insta::assert_snapshot;
use watchkeeper_core::Severity;
use watchkeeper_testing::render;

use super::{cut, streamed, whole};

/// Returns `n` texts in a row.
fn generated(n: usize, text: impl Fn(usize) -> String) -> String {
    (0..n).map(text).collect()
}

/// Returns about `n_bytes` of lines that all differ.
fn lines(n_bytes: usize) -> String {
    let line = |n: usize| format!("    row[{}] = blend(input[{n}], {});\n", n % 7, n * 7919 % 1000);
    generated(n_bytes / 34 + 1, line)
}

/// Returns a paragraph of about `n_bytes` on one line.
fn paragraph(n_bytes: usize) -> String {
    lines(n_bytes).replace(";\n", " and")
}

/// Returns a code block that is not closed.
fn fence(code: &str) -> String {
    format!("Here it is:\n```text\n{code}")
}

#[test]
fn reports_blocks_of_any_length() {
    for n_bytes in [200, 300, 500, 700, 1500, 4000, 10_000, 30_000] {
        for separator in [" ", "\n", "\n\n"] {
            let text = (paragraph(n_bytes) + separator).repeat(12);
            for found in [streamed([&*text]), whole([&*text])] {
                assert_eq!(found.last().map(|it| it.severity), Some(Severity::High), "{n_bytes}");
            }
        }
    }
}

#[test]
fn reports_a_block_after_a_few_rounds() {
    let prose = |n_rounds| render(&streamed([&*paragraph(1500).repeat(n_rounds)]));
    assert_snapshot!(prose(4), @"");
    assert_snapshot!(prose(6), @"0s      high      the agent wrote the same 1693 bytes 4 times in a row: `and    row[4] = blend(input[4], 676) and    row[5] = blend(input[5], 595) and   …`");
    let code = |n_rounds| render(&streamed([&*fence(&paragraph(600).repeat(n_rounds))]));
    assert_snapshot!(code(7), @"");
    assert_snapshot!(code(10), @"0s      medium    the agent wrote the same 671 bytes 8 times in a row: `and    row[4] = blend(input[4], 676) and    row[5] = blend(input[5], 595) and   …`");
}

#[test]
fn reports_repetition_in_any_text() {
    let list = "- first\n- second\n\n```sh\nmake all\n```\n\n";
    for (name, text) in [
        ("line in code", fence(&"    print(\"hello world\")\n".repeat(200))),
        ("short line in code", fence(&"    count = count + step\n".repeat(1000))),
        ("lines in code", fence(&lines(5000).repeat(9))),
        ("lines in closed code", fence(&lines(500).repeat(12)) + "```\nDone."),
        ("small code block", "Run it:\n```sh\nmake all && make check\n```\n".repeat(200)),
        ("answer with lists", format!("## Plan\n\n{}\n\n{list}", paragraph(1500)).repeat(9)),
        ("long list item", format!("- {}\n", paragraph(1500)).repeat(9)),
        ("paragraph", format!("{}\n\n", paragraph(600)).repeat(8)),
        ("lines", format!("{}\n", lines(600)).repeat(8)),
        ("paragraph after a list", format!("- a\n- b\n\n{}", paragraph(400).repeat(8))),
        ("no spaces", "他们又一次检查了文件并且继续工作，然后他们看到2个错误。".repeat(40)),
        (
            "long text without spaces",
            generated(90, |n| format!("第{n}行的错误又一次出现了，")).repeat(9),
        ),
    ] {
        assert_ne!(streamed([&*text]), [], "{name}");
    }
}

#[test]
fn ignores_text_that_repeats_by_design() {
    let signs = |n: usize| ["+", "-", "*", "/"][((n * 0x9e37_79b9) >> 16) % 4];
    let key = "c3j27xdcg2lMLzgeonyLGcTJFiz4soCmZ9cpvnpKnA1hEDCM4PmBxdUcl1Mh".repeat(9);
    for (name, text) in [
        ("zeros", fence(&"    0x00, 0x00, 0x00, 0x00,\n".repeat(2000))),
        ("padding", fence(&"A".repeat(20_000))),
        ("rules", fence(&"=================================\n".repeat(300))),
        ("NUL bytes", fence(&"\0".repeat(20_000))),
        ("drawing", fence(&"|     |     |\n+-----+-----+\n".repeat(300))),
        ("imports", fence(&"from harbor import anchor\n".repeat(20))),
        ("log", fence(&"WARN retrying the connection to the harbor in 5s\n".repeat(40))),
        ("seven rounds", fence(&lines(5000).repeat(7))),
        ("match arms", fence(&generated(900, |n| format!("    Blue{n} => \"blue {n}\",\n")))),
        ("table of tests", fence(&generated(900, |n| format!("(+{n}, -{}),\n", n % 3)))),
        ("signs", fence(&generated(900, |n| format!("total {}= anchor;\n", signs(n))))),
        ("styles", fence(&generated(900, |n| format!(".m-{n} {{\n  margin: {n}px;\n}}\n")))),
        ("objects", fence(&generated(900, |n| format!("  {{\"id\": {n}, \"ok\": true}},\n")))),
        ("diff", fence(&generated(300, |n| format!("-    old({n})\n+    new({n})\n")))),
        ("list items", "- the same item again, with a few words more\n".repeat(300)),
        ("numbered items", generated(300, |n| format!("{n}. the same item again\n"))),
        ("table rows", "| harbor | anchor | 0 |\n".repeat(500)),
        ("three copies of a license", lines(2000).repeat(3)),
        (
            "refrain",
            generated(12, |n| format!("{n} ships came home {n} days late\n{}", lines(300))),
        ),
        ("base64", format!("The key: {key} ").repeat(9)),
    ] {
        assert_eq!(streamed([&*text]), [], "{name}");
    }
}

#[test]
fn pieces_of_any_length_give_the_same_findings() {
    for text in [
        paragraph(700).repeat(12),
        fence(&lines(700).repeat(12)) + "```\nDone.",
        format!("# A\n{}\n- b\n", paragraph(1500)).repeat(12),
    ] {
        let found = |len: usize| render(&streamed(cut(&text, &[len])));
        assert_ne!(found(text.len()), "");
        assert_eq!(found(1), found(text.len()));
        assert_eq!(found(7), found(text.len()));
    }
}

#[test]
fn reads_hostile_text() {
    let random = |n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40).to_string();
    let random: String = (0..150_000).map(random).collect();
    assert_eq!(streamed([&*random]), []);
    assert_eq!(streamed([&*fence(&random)]), []);
    assert_eq!(streamed([&*fence(&"\n".repeat(1 << 20))]), []);
    assert_eq!(streamed([&*"`".repeat(1 << 20)]), []);
    assert_eq!(streamed([&*"a".repeat(1 << 20)]).len(), 2);
}
