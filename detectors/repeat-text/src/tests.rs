mod blocks;

use insta::assert_snapshot;
use proptest::{collection::vec, prelude::*, sample::select};
use watchkeeper_core::{Event, EventKind, Finding, Timestamp};
use watchkeeper_testing::{Trace, detector, findings, laws, play, render};

use super::RepeatText;

const MESSAGE: &str = "of = 'message'";
const SPAN: &str = "of = 'span'";
const SENTENCE: &str = "I will look at the file once more, n=1, and then ";

#[test]
fn equal_messages_are_counted() {
    let trace = "
        0s    prompt go on
        1s    message I am on it at once.
        +10s  turn_end
        +1s   synthetic call a tool
        +1s   message  I am  on it at once.
        +1s   synthetic call a tool
        +1s   message I am on it at once.
        +1s   message I am on it at once!
    ";
    assert_snapshot!(play::<RepeatText>(MESSAGE, trace), @"
    15s     medium    the agent sent the same message 3 times in a row in 14s: `I am on it at once.`
    16s     resolved  no further repetition: the text changed
    ");
}

#[test]
fn empty_messages_count_and_empty_thoughts_do_not() {
    let trace = r#"
        0s    prompt go on
        1s    repeat 3 every 1s: message "" ;; synthetic call a tool
        +1s   repeat 9 every 1s: thinking ""
    "#;
    assert_snapshot!(play::<RepeatText>(MESSAGE, trace), @"3s      medium    the agent sent 3 empty messages in a row in 2s");
}

#[test]
fn two_short_messages_count_as_one() {
    let trace = "0s repeat 7 every 1s: message Ok";
    assert_snapshot!(play::<RepeatText>(MESSAGE, trace), @"5s      medium    the agent sent the same message 6 times in a row in 5s: `Ok`");
}

#[test]
fn calls_prompts_and_other_messages_reset_the_count() {
    for between in ["call Bash ls", "prompt go on", "message let me see"] {
        let trace = format!(
            "0s repeat 5 every 1s: message the work is done ;; message the work is done ;; {between}"
        );
        assert_eq!(play::<RepeatText>(MESSAGE, &trace), "", "{between}");
    }
    for between in
        ["turn_end", "synthetic go on", "usage output=5", "thinking of it", "wait person"]
    {
        let trace = format!("0s repeat 3 every 1s: message the work is done ;; {between}");
        assert_ne!(play::<RepeatText>(MESSAGE, &trace), "", "{between}");
    }
}

#[test]
fn thoughts_are_counted_separately() {
    let trace = "
        0s    repeat 3 every 1s: thinking what is left to do ;; message well, well, well
        +1s   thinking I know
        +1s   repeat 2 every 1s: thinking what is left to do
    ";
    assert_snapshot!(play::<RepeatText>(MESSAGE, trace), @"
    2s      medium    the agent had the same thought 3 times in a row in 2s: `what is left to do`
    2s      medium    the agent sent the same message 3 times in a row in 2s: `well, well, well`
    3s      resolved  no further repetition: the text changed
    ");
}

#[test]
fn streamed_parts_form_one_message() {
    let trace = "
        0s   repeat 3 every 10s: delta I am on ;; delta it by now. ;; turn_end ;; synthetic go on
        +1s  delta I am on it by now.
        +1s  message I am on it by now.
    ";
    assert_snapshot!(play::<RepeatText>(MESSAGE, trace), @"20s     medium    the agent sent the same message 3 times in a row in 20s: `I am onit by now.`");
}

/// Returns the findings about one message that is streamed in these pieces.
fn streamed<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Vec<Finding> {
    let delta = |it: &str| EventKind::Message { text: it.into(), delta: true };
    found(pieces.into_iter().map(delta))
}

/// Returns the findings about messages that arrive as a whole.
fn whole<'a>(messages: impl IntoIterator<Item = &'a str>) -> Vec<Finding> {
    let message = |it: &str| EventKind::Message { text: it.into(), delta: false };
    found(messages.into_iter().map(message))
}

fn found(events: impl Iterator<Item = EventKind>) -> Vec<Finding> {
    let events = events.map(|it| Event::new(Timestamp::UNIX_EPOCH, "s1", it));
    findings(&detector::<RepeatText>(SPAN), &Trace::from(events.collect::<Vec<_>>()))
}

#[test]
fn reports_a_sentence_that_is_repeated_ten_times() {
    let times = |n| render(&streamed([SENTENCE].repeat(n)));
    assert_snapshot!(times(9), @"");
    assert_snapshot!(times(10), @"0s      medium    the agent wrote the same 49 bytes 9 times in a row: `once more, n=1, and then I will look at the file`");
    assert_snapshot!(times(40), @"
    0s      medium    the agent wrote the same 49 bytes 9 times in a row: `once more, n=1, and then I will look at the file`
    0s      high      the agent wrote the same 49 bytes 31 times in a row: `n=1, and then I will look at the file once more,`
    ");
}

#[test]
fn longer_spans_need_fewer_rounds() {
    let n_rounds = |round: &str| {
        (1..500).find(|n| !streamed([round].repeat(*n)).is_empty()).expect("the text repeats")
    };
    let words = |n_words: usize| {
        (0..n_words).fold(String::new(), |all, n| all + &format!("word{} ", n * 7919 % 1000))
    };
    let spans =
        ["SELEC", "ha ", "0, ", "好的。", "Working... Done.  ", SENTENCE, &words(20), &words(50)];
    let n_needed = spans.map(|it| (it.len(), n_rounds(it)));
    assert_snapshot!(format!("{n_needed:?}"), @"[(5, 94), (3, 156), (3, 156), (9, 53), (18, 26), (49, 10), (157, 4), (392, 5)]");
}

#[test]
fn ignores_code_lists_tables_and_drawn_lines() {
    for (before, after) in [
        ("```\n", "\n"),
        ("x ```sh ", ""),
        ("````\n```\n```\n", "\n"),
        ("~~~\n", "\n"),
        ("~~~~\n```\n~~~\n", "\n"),
    ] {
        let text = format!("{before}{}", format!("{SENTENCE}{after}").repeat(70));
        assert_eq!(streamed([&*text]), [], "{text}");
        assert_eq!(whole([&*text]), [], "{text}");
    }
    for line in [
        "- S",
        "* S",
        "+ S",
        "• S",
        "  - S",
        "1. S",
        "42) S",
        "# S",
        "### S",
        "> S",
        ">S",
        "| S | S |",
        "+---+---+\nS",
        "-----\nS",
        "S\n=====",
        "S\n───────",
        "S\n━━━━━━━",
        "S\n***",
        "\n___\nS",
    ] {
        let text = format!("{}\n", line.replace('S', SENTENCE)).repeat(100);
        assert_eq!(streamed([&*text]), [], "{text}");
        assert_eq!(whole([&*text]), [], "{text}");
    }
    for c in ["-", "=", "*", "_", "+", "~", "#", "─", "╭─", "━", ".", "…", "|", " ", "\n"]
    {
        assert_eq!(streamed([&*c.repeat(5000)]), [], "{c:?}");
    }
}

#[test]
fn counts_lines_with_other_marks() {
    for line in [
        "S",
        "  S\n",
        "**Bold** S\n",
        "1S\n",
        "1.5 S\n",
        "#tag S\n",
        "-v S\n",
        "`S`\n",
        "S -----",
        "→ S\n",
        "S - ",
        "```\nS\n``` S\nS\nS\nS\nS\nS\nS\nS\nS\nS\nS\n",
    ] {
        let text = line.replace('S', SENTENCE).repeat(12);
        assert_eq!(streamed([&*text]).len(), 1, "{text}");
    }
}

#[test]
fn resolves_when_other_text_or_a_call_follows() {
    let continued = (0..200).fold(SENTENCE.repeat(12), |all, n| all + &format!("then word{n} "));
    assert_snapshot!(render(&streamed([&*continued])), @"
    0s      medium    the agent wrote the same 49 bytes 9 times in a row: `once more, n=1, and then I will look at the file`
    0s      resolved  no further repetition: other text followed
    ");
    let repeated = SENTENCE.repeat(12);
    for (next, reason) in [
        ("call Bash ls", "a tool was called"),
        ("prompt stop", "a person sent a prompt"),
        ("turn_end", "the turn ended"),
        ("message done", "the next message has no repeated span"),
    ] {
        let trace = format!("0s delta {repeated:?}\n1s message {repeated:?}\n2s {next}\n3s {next}");
        let lines = play::<RepeatText>(SPAN, &trace);
        let lines: Vec<_> = lines.lines().collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(
            lines[1].starts_with("2s      resolved") && lines[1].ends_with(reason),
            "{lines:?}"
        );
    }
}

#[test]
fn reports_a_whole_message_that_ends_in_a_repeated_span() {
    let of = |text: &str| render(&whole([text]));
    assert_snapshot!(of(&format!("Let me see. {}", "try again ".repeat(6))), @"0s      medium    the agent wrote the same 10 bytes 6 times in a row: `try again`");
    assert_snapshot!(of(&format!("{}but there it is", "try again ".repeat(6))), @"");
    assert_snapshot!(of(&format!("Let me see. {}", "no ".repeat(11))), @"");
    assert_snapshot!(of(&format!("```\n{}", "no ".repeat(12))), @"");
    assert_snapshot!(of(&format!("one two three four {}", "five six seven eight nine ".repeat(3))), @"");
}

#[test]
fn reads_thoughts() {
    let trace = "0s prompt go on\n1s repeat 100 every 1s: thinking the word again.";
    assert_snapshot!(play::<RepeatText>(SPAN, trace), @"32s     medium    the agent wrote the same 15 bytes 31 times in a row: `again.the word`");
}

#[test]
fn prose_and_source_code_have_no_repeated_spans() {
    for text in [
        include_str!("tests.rs"),
        include_str!("lib.rs"),
        include_str!("spans.rs"),
        include_str!("repetitions.rs"),
        include_str!("messages.rs"),
        include_str!("segments.rs"),
        include_str!("blocks.rs"),
        include_str!("../README.md"),
        include_str!("../Cargo.toml"),
    ] {
        assert_eq!(whole([text]), []);
        assert_eq!(streamed([text]), []);
    }
}

/// Texts with many repetitions and many of their interruptions.
fn texts() -> impl Strategy<Value = String> {
    let word = || {
        select(&[
            "a",
            "is",
            "the",
            "word",
            "again",
            "implementation",
            "ÄÖÜ",
            "好的好的好的",
            "12",
            "3.",
            "e.g.",
            "-",
            "x-y",
            "**so**",
            "──",
            "—",
            "“no”",
            "```",
            "````",
            "~~~",
            "`x`",
            "SELECSELECSELEC",
            "\n",
            "\n\n",
            "\n- ",
            "\n1. ",
            "\n# ",
            "|",
        ])
    };
    let phrase = vec((word(), select(&[" ", " ", "", "\n", "  "])), 1..12)
        .prop_map(|it| it.into_iter().flat_map(|(word, space)| [word, space]).collect::<String>());
    let piece = prop_oneof![
        2 => phrase.clone(),
        1 => any::<String>(),
        3 => (phrase.clone(), 2..60_usize).prop_map(|(it, n)| it.repeat(n)),
        2 => (vec(phrase, 5..40), 4..12_usize).prop_map(|(it, n)| it.concat().repeat(n)),
    ];
    vec(piece, 1..6).prop_map(|it| it.concat())
}

/// Cuts a text into pieces of about these lengths, at character boundaries.
fn cut<'a>(mut text: &'a str, lens: &[usize]) -> Vec<&'a str> {
    let mut pieces = Vec::new();
    for len in lens.iter().cycle().take(20_000) {
        let at = (*len..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
        let (piece, rest) = text.split_at(at);
        pieces.push(piece);
        text = rest;
    }
    pieces.push(text);
    pieces
}

proptest! {
    #[test]
    fn findings_do_not_depend_on_the_parts_of_a_message(text in texts(), lens in vec(0..90_usize, 1..20)) {
        let fields = |found: &[Finding]| -> Vec<_> {
            found.iter().map(|it| (it.status, it.severity, it.message.clone(), it.data.clone())).collect()
        };
        prop_assert_eq!(fields(&streamed([&*text])), fields(&streamed(cut(&text, &lens))));
    }

    #[test]
    fn finds_any_span_that_is_repeated_often(round in vec(select(&["the", "word", "came", "again", "to", "us", "Überall"]), 1..60)) {
        let round = round.join(" ") + " ";
        let text = round.repeat(1600 / round.len() + 5);
        let found = streamed([&*text]);
        prop_assert_eq!(found.len(), 2, "{:?}", found);
        let round = found[1].data["span_bytes"].as_u64().expect("the data contain a number");
        let round = usize::try_from(round).expect("the number is small");
        prop_assert!(text.starts_with(&text[round..]), "{} {:?}", round, found);
    }
}

#[test]
fn laws_hold() {
    let message = format!("0s repeat 12 every 5s: message {SENTENCE}see");
    laws::of::<RepeatText>(MESSAGE).traces([&*message]).check();
    let span = format!("0s message {}", SENTENCE.repeat(12));
    laws::of::<RepeatText>(SPAN).traces([&*span]).check();
}

#[test]
fn state_of_a_stream_is_small() {
    assert_eq!(size_of::<RepeatText>(), 40);
}
