use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use insta::assert_snapshot;
use proptest::{collection::vec, option, prelude::*, sample::select};
use watchkeeper_core::{
    Context, Detector, DetectorKind, Engine, EngineConfig, Event, EventKind, Json, NamedDetector,
    Options, SignedDuration, Timestamp, ToolCall,
};
use watchkeeper_testing::{detector, laws, play};

use crate::{Pattern, automaton::Tree, parse};

const EDIT_FAIL: &str = "
    symbols.E = { event = 'tool_result', class = 'write', ok = true }
    symbols.F = { event = 'tool_result', class = 'run', ok = false }
    pattern = '(E+ F){3,}'
    within = '20m'
";

#[test]
fn changes_that_do_not_help_are_found() {
    let trace = "
        0s   prompt fix it
        1s   repeat 5 every 1m: call Edit {} ;; result ok ;; message now? ;; call Bash {} ;; result fail no
        +5s  call Bash {}
        +1s  result ok
        +20m call Bash {}
        +1s  result fail no
    ";
    assert_snapshot!(play::<Pattern>(EDIT_FAIL, trace), @"
    2m1s    medium    `(E+ F){3,}` happened, in 2m
    24m1s   resolved  no more after 3 matches: none in 20m
    ");
}

#[test]
fn what_fits_no_symbol_is_passed_over_and_what_fits_one_must_fit() {
    let options = "
        symbols.A = { event = 'tool_call', tool = 'a' }
        symbols.B = { event = 'tool_call', tool = 'b' }
        pattern = 'A A'
        resets_on = ['B', 'prompt']
    ";
    let passed_over = "0s call a\n1s call c\n2s message hm\n3s synthetic go on\n4s call a";
    assert_snapshot!(play::<Pattern>(options, passed_over), @"4s      medium    `A A` happened, in 4s");
    for reset in ["call b", "prompt stop"] {
        let trace = format!("0s call a\n1s {reset}\n2s call a");
        assert_eq!(play::<Pattern>(options, &trace), "", "{reset}");
    }
    let options = options.replace("'A A'", "'A B? A B'").replace("'B', ", "");
    assert_eq!(play::<Pattern>(&options, "0s call a\n1s call b\n2s call b\n3s call a"), "");
    assert_snapshot!(play::<Pattern>(&options, "0s call a\n1s call b\n2s call a\n3s call b"), @"3s      medium    `A B? A B` happened, in 3s");
}

#[test]
fn a_match_has_to_fit_into_its_time_and_no_shorter_one_is_missed() {
    let options = "
        symbols.A = { event = 'tool_call', tool = 'a' }
        symbols.B = { event = 'tool_call', tool = 'b' }
        pattern = 'A+ B'
        within = '10s'
    ";
    // The run that began first is too old; that which began last is not.
    let trace = "0s call a\n5s call a\n15s call b\n20s call a\n31s call b";
    assert_snapshot!(play::<Pattern>(options, trace), @"
    15s     medium    `A+ B` happened, in 10s
    25s     resolved  no more after 1 match: none in 10s
    ");
}

#[test]
fn where_runs_meet_the_latest_goes_on() {
    for (pattern, trace) in [
        ("A? B C", "0s call a\n5s call ab\n12s call c"),
        ("(A A | B) C", "0s call a\n5s call ab\n12s call c"),
        ("(B | A A) C", "0s call a\n5s call ab\n12s call c"),
        ("A+ B C", "0s call a\n5s call a\n6s call b\n12s call c"),
        ("(A A A | B) C+ B", "0s call a\n5s call ab\n6s call ac\n7s call c\n12s call b"),
    ] {
        let options = format!(
            "
            symbols.A = {{ event = 'tool_call', tool = '*a*' }}
            symbols.B = {{ event = 'tool_call', tool = '*b*' }}
            symbols.C = {{ event = 'tool_call', tool = '*c*' }}
            pattern = '{pattern}'
            within = '10s'
            "
        );
        let found = play::<Pattern>(&options, trace);
        assert!(found.starts_with("12s     medium"), "{pattern}: {found}");
    }
}

#[test]
fn each_value_is_watched_by_itself() {
    let options = "
        symbols.E = { event = 'tool_result', class = 'write' }
        symbols.F = { event = 'tool_result', class = 'run', ok = false }
        pattern = 'E F E'
        by = 'arguments.path'
        resets_on = ['prompt']
        message = '{by} was written again in {took}, by {first.tool} and {last.tool} in {session.cwd}'
    ";
    let trace = r#"
        0s   session_start cwd=/work
        1s   call Bash {"command":"make"}
        2s   result fail no
        3s   call Edit {"path":"a.rs"}
        4s   result ok
        5s   call Write {"path":"b.rs"}
        6s   result ok
        7s   call Bash {"command":"make"}
        8s   result fail no
        9s   call Write {"path":"a.rs"}
        10s  result ok
        11s  call Edit {"path":"c.rs"}
        12s  result ok
        13s  prompt stop
        14s  call Edit {"path":"b.rs"}
        15s  result ok
    "#;
    assert_snapshot!(play::<Pattern>(options, trace), @"
    10s     medium    `a.rs` was written again in 6s, by `Edit` and `Write` in `/work`
    13s     resolved  no more after 1 match for `a.rs`: reset by prompt
    ");
}

#[test]
fn of_very_many_values_the_quietest_is_forgotten() {
    let options = "
        symbols.A = { event = 'tool_call' }
        pattern = 'A A'
        by = 'tool'
    ";
    let others: Vec<String> = (0..64).map(|n| format!("+1s call t{n}")).collect();
    let trace = format!("0s call a\n1s call a\n{}\n+1s call a", others.join("\n"));
    assert_snapshot!(play::<Pattern>(options, &trace), @"
    1s      medium    `A A` happened for `a`, in 1s
    1m5s    resolved  no more after 1 match for `a`: there are more than 64 others
    ");
}

#[test]
fn every_field_can_be_asked_for() {
    let said = |symbol: &str, event: &str| {
        let options = format!("symbols.S = {{ {symbol} }}\npattern = 'S'\nmessage = '{{event}}'");
        let trace =
            format!("0s call #c Bash {{\"command\":\"git push -f\",\"n\":[1]}}\n1s {event}");
        !play::<Pattern>(&options, &trace).is_empty()
    };
    for (symbol, fits, does_not) in [
        ("event = 'prompt', synthetic = false", "prompt a", "synthetic a"),
        ("event = ['prompt', 'message'], text = '*a'", "message ba", "message ab"),
        ("event = 'prompt', text = { regex = '(?i)^A.$' }", "prompt Ab", "prompt aé"),
        ("event = 'thinking', text = ['b', { regex = 'c' }]", "thinking xcx", "thinking bb"),
        ("event = 'error', text = '*', retry = '> 1'", "error retry=2 no", "error no"),
        ("event = 'model_call', model = 'gpt*'", "usage model=gpt-5", "usage input=1"),
        ("input_tokens = '>= 100'", "usage input=100", "usage input=99"),
        ("output_tokens = '< 100'", "usage output=99", "usage output=100"),
        ("cache_read_tokens = 7", "usage cache_read=7", "usage cache_read=8"),
        ("model = 'm', event = 'session_start'", "session_start model=m", "session_start cwd=m"),
        (
            "before_tokens = '> 9', after_tokens = '<= 3'",
            "compaction before=10 after=3",
            "compaction before=10",
        ),
        ("to = 'rev*'", "handoff reviewer", "handoff coder"),
        ("event = 'waiting', for = 'person'", "wait person", "wait permission"),
        ("event = 'resumed', for = 'person'", "resume person", "wait person"),
        ("event = 'tool_result', ok = false", "result fail no", "result ok"),
        ("tool = 'B*', ok = true", "result ok", "result fail no"),
        ("class = 'run', text = 'yes'", "result ok yes", "result ok no"),
        ("cause = ['declined', 'timeout']", "result timeout", "result fail no"),
        ("exit_code = '!= 0'", "result fail exit 2 no", "result fail no"),
        (
            "event = 'tool_result', arguments = { command = 'git push*' }, ok = false",
            "result fail no",
            "result ok",
        ),
        ("event = 'tool_result', arguments = { n = '[1]' }", "result ok", "result #other ok"),
        (
            "event = 'tool_call', arguments = { command = ['ls', { regex = ' -l\\b' }] }",
            r#"call Bash {"command":"x -l"}"#,
            "call Bash -l",
        ),
        ("event = 'turn_end'", "turn_end", "agent_start"),
        ("event = 'session_end'", "session_end", "agent_end"),
    ] {
        assert!(said(symbol, fits), "{symbol}: {fits}");
        assert!(!said(symbol, does_not), "{symbol}: {does_not}");
    }
}

#[test]
fn an_answer_that_is_told_twice_is_one_event_for_each_symbol() {
    let options = "
        symbols.M = { event = 'model_call' }
        symbols.big = { event = 'model_call', output_tokens = '>= 100' }
        pattern = 'M big M'
    ";
    let trace = "0s usage id=a output=1\n1s usage id=a output=1\n2s usage id=a output=500\n3s usage id=a output=600";
    assert_eq!(play::<Pattern>(options, trace), "");
    let trace = format!("{trace}\n4s usage id=b output=1");
    assert_snapshot!(play::<Pattern>(options, &trace), @"4s      medium    `M big M` happened, in 4s");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let said = |options: &str| {
        let built = Options::parse(options).and_then(|it| it.build(Pattern::new));
        built.err().map_or_else(|| "accepted".to_owned(), |it| it.to_string())
    };
    let pattern = |pattern: &str| {
        said(&format!(
            "pattern = '{pattern}'\nsymbols.E = {{ event = 'error' }}\nsymbols.Fail = {{ event = 'turn_end' }}"
        ))
    };
    assert_snapshot!(pattern("E Fail"), @"accepted");
    assert_snapshot!(pattern(" "), @"invalid value for `pattern`: it is empty; name the symbols in the order they come in");
    assert_snapshot!(pattern("E fial"), @"invalid value for `pattern`: column 3: no symbol is called `fial`; did you mean `Fail`?");
    assert_snapshot!(pattern("E Fial"), @"invalid value for `pattern`: column 3: no symbol is called `Fial`; did you mean `Fail`?");
    assert_snapshot!(pattern("e X Fail"), @"invalid value for `pattern`: column 1: no symbol is called `e`; did you mean `E`?");
    assert_snapshot!(pattern("X Fail"), @"invalid value for `pattern`: column 1: no symbol is called `X`; there are `E`, `Fail`");
    assert_snapshot!(pattern("EE Fail"), @"invalid value for `pattern`: column 1: no symbol is called `EE`; write `E E`");
    assert_snapshot!(pattern("E"), @"invalid value for `symbols.Fail`: `Fail` is used neither in `pattern` nor in `resets_on`; use it or take it out");
    assert_snapshot!(pattern("E* Fail?"), @"invalid value for `pattern`: it fits where nothing happens: all of it may be left out; use `+` for `*` or take away a `?`");
    assert_snapshot!(pattern("(E Fail"), @"invalid value for `pattern`: column 1: this `(` is not closed; add a `)`");
    assert_snapshot!(pattern("E Fail)"), @"invalid value for `pattern`: column 7: this `)` closes nothing; take it out");
    assert_snapshot!(pattern("E (|Fail)"), @"invalid value for `pattern`: column 4: a symbol is missing here; put a `?` after what may be left out");
    assert_snapshot!(pattern("E | "), @"invalid value for `pattern`: column 5: a symbol is missing here; put a `?` after what may be left out");
    assert_snapshot!(pattern("E +* Fail"), @"invalid value for `pattern`: column 4: a repetition is repeated by `*`; put what it repeats in parentheses");
    assert_snapshot!(pattern("+ E Fail"), @"invalid value for `pattern`: column 1: there is nothing before this `+` to repeat");
    assert_snapshot!(pattern("E . Fail"), @"invalid value for `pattern`: column 3: no `.` stands for any event: events that satisfy no symbol of the pattern are passed over anyway");
    assert_snapshot!(pattern("E ; Fail"), @"invalid value for `pattern`: column 3: `;` means nothing here; there are names, spaces, `( ) | ? * +` and `{m,n}`");
    assert_snapshot!(pattern("E{3,2} Fail"), @"invalid value for `pattern`: column 2: `{3,2}` is the wrong way round; write `{2,3}`");
    assert_snapshot!(pattern("E{0} Fail"), @"invalid value for `pattern`: column 2: what comes 0 times can be taken out");
    assert_snapshot!(pattern("E{,2} Fail"), @"invalid value for `pattern`: column 2: `{,2}` is no number of times; write `{m}`, `{m,}` or `{m,n}`");
    assert_snapshot!(pattern("E{2 Fail"), @"invalid value for `pattern`: column 2: this `{` is not closed; write `{m}`, `{m,}` or `{m,n}`");
    assert_snapshot!(pattern("E ((E Fail){500}){40}"), @"invalid value for `pattern`: column 18: with counted repetitions written out, the pattern has 40000 positions, and 1024 are the most; repeat less, or let levels count the matches");
    assert_snapshot!(pattern("E{600} Fail{600}"), @"invalid value for `pattern`: with counted repetitions written out, the pattern has 1200 positions, and 1024 are the most; repeat less, or let levels count the matches");
    assert_snapshot!(pattern(&format!("{}E Fail{}", "(".repeat(65), ")".repeat(65))), @"invalid value for `pattern`: column 65: parentheses are nested deeper than 64; write it flatter");
    assert_snapshot!(pattern(&"E ".repeat(5000)), @"invalid value for `pattern`: it has 10000 bytes, and 8192 are the most; repeat what recurs with `{m,n}`");

    let symbol = |fields: &str| said(&format!("pattern = 'S'\nsymbols.S = {{ {fields} }}"));
    assert_snapshot!(symbol(""), @"this symbol would be every event; name at least an `event`");
    assert_snapshot!(symbol("evnt = 'error'"), @"unknown field `evnt`, expected one of `event`, `tool`, `class`, `arguments`, `ok`, `cause`, `exit_code`, `text`, `synthetic`, `model`, `input_tokens`, `output_tokens`, `cache_read_tokens`, `cache_write_tokens`, `reasoning_tokens`, `cost_usd`, `retry`, `before_tokens`, `after_tokens`, `to`, `for`");
    assert_snapshot!(symbol("event = 'tool_calls'"), @"unknown variant `tool_calls`, expected one of `session_start`, `prompt`, `message`, `thinking`, `model_call`, `tool_call`, `tool_result`, `waiting`, `resumed`, `turn_end`, `error`, `compaction`, `handoff`, `agent_start`, `agent_end`, `session_end`");
    assert_snapshot!(symbol("event = []"), @"an empty list is satisfied by nothing; name something, or leave it out");
    assert_snapshot!(symbol("event = 3"), @"invalid type: integer `3`, expected a text, or a list of which any will do");
    assert_snapshot!(symbol("event = 'prompt', tool = 'Bash'"), @"no event satisfies this: `prompt` has no `tool`, which is a field of tool_call and tool_result");
    assert_snapshot!(symbol("event = ['tool_call', 'tool_result'], ok = true"), @"no event satisfies this: `tool_call` has no `ok`, which is a field of tool_result");
    assert_snapshot!(symbol("tool = 'Bash', retry = 1"), @"no event satisfies this: none has both `tool` and `retry`");
    assert_snapshot!(symbol("ok = true, cause = 'declined'"), @"no event satisfies this: a result that is ok has no `cause`");
    assert_snapshot!(symbol("input_tokens = '< 0'"), @"no event satisfies this: `input_tokens` is never `< 0`");
    assert_snapshot!(symbol("retry = 1.5"), @"no event satisfies this: `retry` is never `== 1.5`");
    assert_snapshot!(symbol("cost_usd = '<= -1'"), @"no event satisfies this: `cost_usd` is never `<= -1`");
    assert_snapshot!(symbol("exit_code = 0.5"), @"no event satisfies this: `exit_code` is never `== 0.5`");
    assert_snapshot!(symbol("exit_code = '=> 1'"), @r#"invalid value: string "=> 1", expected a number, or a comparison with one such as ">= 100" or "!= 0""#);
    assert_snapshot!(symbol("exit_code = true"), @r#"invalid type: boolean `true`, expected a number, or a comparison with one such as ">= 100" or "!= 0""#);
    assert_snapshot!(symbol("arguments = {}"), @"`arguments` names no key; name one, or leave it out");
    assert_snapshot!(symbol("arguments = 'ls'"), @r#"invalid type: string "ls", expected texts by the keys of arguments, such as { command = "git push*" }"#);
    assert_snapshot!(symbol("text = { regex = '(a' }"), @"`(a` is no regular expression: unclosed group; mend it, or write a glob");
    assert_snapshot!(symbol("text = { regex = '(a{1000}){1000}' }"), @"the regular expression takes more than 256 KiB; repeat less in it");
    assert_snapshot!(symbol("text = { regexp = 'a' }"), @"unknown field `regexp`, expected `regex`");
    assert_snapshot!(symbol("text = [1]"), @r#"invalid type: integer `1`, expected a glob such as "git push*", or { regex = "…" }"#);

    let rest = |options: &str| {
        said(&format!("pattern = 'S'\nsymbols.S = {{ event = 'error' }}\n{options}"))
    };
    assert_snapshot!(rest("symbols.2x = { event = 'error' }"), @"invalid value for `symbols.2x`: `2x` cannot stand in a pattern; name it with ASCII letters, digits and `_`, a letter first");
    assert_snapshot!(rest("symbols.prompt = { event = 'error' }"), @"invalid value for `symbols.prompt`: `prompt` is the name of an event; name the symbol otherwise");
    assert_snapshot!(rest("symbols.X = { event = 'error' }"), @"invalid value for `symbols.X`: `X` is used neither in `pattern` nor in `resets_on`; use it or take it out");
    assert_snapshot!(rest("resets_on = ['promt']"), @"invalid value for `resets_on`: `promt` is neither a symbol nor an event; did you mean `prompt`?");
    assert_snapshot!(rest("resets_on = ['person']"), @"invalid value for `resets_on`: `person` is neither a symbol nor an event; name symbols of this detector, or events such as `prompt`");
    assert_snapshot!(rest("by = 'tool'"), @"invalid value for `by`: no symbol that a match begins with has `tool`, so none begins; begin with a symbol that has it, or leave `by` out");
    assert_snapshot!(rest("by = 'arguments.'"), @r#"invalid value: string "arguments.", expected "tool", "class", "model" or an argument such as "arguments.file_path""#);
    assert_snapshot!(rest("message = '{by}'"), @"invalid value for `message`: `{by}` is unknown without `by`; add that, or take it out");
    assert_snapshot!(rest("message = '{cuont} times'"), @"a match has no field `cuont`; did you mean `count`?");
    assert_snapshot!(rest("message = '{session.user}'"), @"a match has no field `session.user`; it has `count`, `took`, `by`, `event`, `tool`, `class`, `first.event`, `first.tool`, `first.class`, `last.event`, `last.tool`, `last.class`, `session.cwd`, `session.id`, `session.model`, `session.source`");
    assert_snapshot!(rest("message = 'a } b'"), @"`}` stands alone; write `}}` to say `}`");
    assert_snapshot!(rest("message = 'that is {tool'"), @"`{` stands alone; write `{{` to say `{`");
    assert_snapshot!(rest("message = 'bad.'"), @"a message ends without a full stop; take it out");
    assert_snapshot!(rest("message = ' '"), @"it says nothing; leave it out for the usual message");
    assert_snapshot!(rest(r#"message = "a\u001bb""#), @"it has control characters; a message is one line of plain text");
    assert_snapshot!(rest("within = 20"), @r#"invalid type: integer `20`, expected a length of time such as "30s", "5m" or "1h 30m""#);
    assert_snapshot!(said("pattern = 'S'\nsymbols = {}"), @r#"invalid value for `symbols`: name at least one, as in `symbols.F = { event = "error" }`"#);
    let many: Vec<String> =
        (0..65).map(|n| format!("symbols.S{n} = {{ event = 'error' }}")).collect();
    let many = many.join("\n");
    assert_snapshot!(said(&format!("pattern = 'S1'\n{many}")), @"invalid value for `symbols`: there are 65, and 64 are the most; a symbol may name several events, tools and texts");
}

#[test]
fn braces_can_be_said_and_long_messages_are_cut() {
    let of = |message: &str, tool: &str| {
        let options =
            format!("symbols.S = {{ event = 'tool_call' }}\npattern = 'S'\nmessage = '{message}'");
        play::<Pattern>(&options, &format!("0s call {tool}"))
    };
    assert_snapshot!(of("{{{count}}} {class} {event} {session.source}", "Bash"), @"0s      medium    {1} run tool_call unknown");
    let long = of(&"{tool}".repeat(80), &"\u{10ffff}".repeat(80));
    assert!(long.ends_with("…\n") && long.len() < 2000, "{}", long.len());
}

#[test]
fn it_obeys_the_laws_of_detectors() {
    laws::check::<Pattern>(EDIT_FAIL);
    laws::check::<Pattern>(
        "
        symbols.C = { event = 'tool_call', arguments = { command = '*' } }
        symbols.R = { event = 'tool_result', arguments = { command = { regex = 'm' } } }
        symbols.E = { event = ['error', 'message'] }
        pattern = '(C | R)+ E?'
        by = 'arguments.command'
        message = '{first.tool} {by} {tool} {session.cwd} {count}'
        ",
    );
    laws::check::<Pattern>(
        "
        symbols.C = { event = ['tool_call', 'tool_result'] }
        symbols.P = { event = 'prompt' }
        pattern = 'C{2,5}'
        by = 'tool'
        within = '1m'
        resets_on = ['P', 'compaction']
        ",
    );
}

/// A tool call as the properties have it: the letters of its tool are the
/// symbols that it satisfies.
#[derive(Clone, Debug)]
struct Letter {
    tool: &'static str,
    value: Option<&'static str>,
    gap: i64,
}

fn letters() -> impl Strategy<Value = Vec<Letter>> {
    // Where one event may stand in several places, runs meet.
    let tool = select(&["a", "b", "c", "ab", "ac", "bc", "abc", "abc", "x", "ax"][..]);
    let value = option::of(select(&["v", "w"][..]));
    let letter = (tool, value, select(&[0_i64, 1, 1, 2, 5][..]));
    vec(letter.prop_map(|(tool, value, gap)| Letter { tool, value, gap }), 0..16)
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = (0..3_u8).prop_map(Tree::Symbol);
    leaf.prop_recursive(4, 12, 3, |inner| {
        let bounds = prop_oneof![
            Just((0, Some(1))),
            Just((0, None)),
            Just((1, None)),
            (0..3_u32, 0..3_u32).prop_map(|(m, n)| (m, Some((m + n).max(1)))),
            (0..3_u32).prop_map(|m| (m, None)),
        ];
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(Tree::Sequence),
            vec(inner.clone(), 2..4).prop_map(Tree::Choice),
            (inner, bounds).prop_map(|(inner, (min, max))| {
                Tree::Repeat { inner: Box::new(inner), min, max }
            }),
        ]
    })
    .prop_filter("it fits where nothing happens", |it| !it.is_nullable())
}

/// Writes a tree as a policy does.
fn written(tree: &Tree) -> String {
    let all = |parts: &[Tree], with: &str| parts.iter().map(written).collect::<Vec<_>>().join(with);
    match tree {
        Tree::Symbol(idx) => ["A", "B", "C"][usize::from(*idx)].to_owned(),
        Tree::Sequence(parts) => format!("({})", all(parts, " ")),
        Tree::Choice(parts) => format!("({})", all(parts, "|")),
        Tree::Repeat { inner, min, max } => {
            let times = match (min, max) {
                (0, Some(1)) => "?".to_owned(),
                (0, None) => "*".to_owned(),
                (1, None) => "+".to_owned(),
                (min, None) => format!("{{{min},}}"),
                (min, Some(max)) if min == max => format!("{{{min}}}"),
                (min, Some(max)) => format!("{{{min},{max}}}"),
            };
            format!("({}){times}", written(inner))
        }
    }
}

/// Whether a stretch of events fits, tried with every split there is.
fn fits(tree: &Tree, events: &[&Letter]) -> bool {
    match tree {
        Tree::Symbol(idx) => {
            events.len() == 1 && events[0].tool.contains(['a', 'b', 'c'][usize::from(*idx)])
        }
        Tree::Choice(parts) => parts.iter().any(|it| fits(it, events)),
        Tree::Sequence(parts) => match parts.split_first() {
            None => events.is_empty(),
            Some((first, rest)) => (0..=events.len()).any(|at| {
                fits(first, &events[..at]) && fits(&Tree::Sequence(rest.to_vec()), &events[at..])
            }),
        },
        Tree::Repeat { inner, min, max } => {
            if *max == Some(0) {
                return events.is_empty();
            }
            if events.is_empty() {
                return *min == 0 || inner.is_nullable();
            }
            let less = Tree::Repeat {
                inner: inner.clone(),
                min: min.saturating_sub(1),
                max: max.map(|it| it - 1),
            };
            // A round that takes nothing changes nothing but the count.
            let start = usize::from(!inner.is_nullable() || *min == 0);
            (start..=events.len()).any(|at| {
                let is_progress = 0 < at || 0 < *min;
                is_progress && fits(inner, &events[..at]) && fits(&less, &events[at..])
            })
        }
    }
}

/// What else a policy says.
#[derive(Clone, Copy, Debug)]
struct Rest {
    within: Option<i64>,
    by: bool,
    /// Whether a tool with an `x` in its name resets.
    resets: bool,
}

fn rests() -> impl Strategy<Value = Rest> {
    let within = option::of(1..8_i64);
    (within, any::<bool>(), any::<bool>()).prop_map(|(within, by, resets)| Rest {
        within,
        by,
        resets,
    })
}

/// For each event, the values whose matches end there.
type Ends = Vec<Vec<Option<&'static str>>>;

/// Tries every beginning.
fn naive(tree: &Tree, letters: &[Letter], rest: Rest) -> Ends {
    let Rest { within, by, resets } = rest;
    let values = if by { vec![Some("v"), Some("w")] } else { vec![None] };
    // What satisfies no symbol of the pattern is passed over.
    let used = written(tree).to_ascii_lowercase();
    let counts = |it: &Letter| it.tool.chars().any(|c| used.contains(c));
    let mut times = Vec::new();
    let mut now = 0;
    for it in letters {
        now += it.gap;
        times.push(now);
    }
    let ends_at = |end: usize, value: Option<&str>| {
        let belongs = |idx: usize| !by || letters[idx].value.is_none_or(|it| Some(it) == value);
        let begins = |idx: usize| !by || letters[idx].value == value;
        let is_reset = |idx: usize| resets && letters[idx].tool.contains('x') && belongs(idx);
        let start = (0..=end).rfind(|it| is_reset(*it)).unwrap_or_default();
        let seen: Vec<usize> =
            (start..=end).filter(|it| counts(&letters[*it]) && belongs(*it)).collect();
        seen.last() == Some(&end)
            && (0..seen.len()).any(|from| {
                let stretch: Vec<&Letter> = seen[from..].iter().map(|it| &letters[*it]).collect();
                begins(seen[from])
                    && within.is_none_or(|it| times[end] - times[seen[from]] <= it)
                    && fits(tree, &stretch)
            })
    };
    (0..letters.len())
        .map(|end| values.iter().copied().filter(|it| ends_at(end, *it)).collect())
        .collect()
}

/// A detector, and what it counted at each event.
#[derive(Clone, Debug)]
struct Watched {
    inner: Pattern,
    resets: bool,
    log: Arc<Mutex<Ends>>,
}

impl Watched {
    fn counts(&self) -> BTreeMap<Option<&'static str>, u64> {
        let of = |it: &crate::Matcher| {
            let value = it.value.as_ref().map(|it| if &*it.shown == "`v`" { "v" } else { "w" });
            (value, it.found.map_or(0, |it| it.count))
        };
        self.inner.matchers.iter().map(of).collect()
    }
}

impl Detector for Watched {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        let EventKind::ToolCall(call) = &event.kind else { return };
        let mut before = self.counts();
        if self.resets && call.tool.contains('x') {
            let arguments = call.arguments.as_str();
            let is_for = |it: &str| arguments == "null" || arguments.contains(&format!("{it:?}"));
            before.retain(|value, _| !value.is_none_or(is_for));
        }
        self.inner.observe(event, cx);
        let more = self
            .counts()
            .into_iter()
            .filter(|(value, count)| before.get(value).copied().unwrap_or_default() < *count);
        self.log.lock().unwrap().push(more.map(|it| it.0).collect());
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        self.inner.wake(cx);
    }
}

fn observed(tree: &Tree, letters: &[Letter], rest: Rest) -> Ends {
    let Rest { within, by, resets } = rest;
    let pattern = written(tree);
    let mut options = vec![format!("pattern = '{pattern}'")];
    for (name, tool) in [("A", "*a*"), ("B", "*b*"), ("C", "*c*"), ("X", "*x*")] {
        if pattern.contains(name) || name == "X" && resets {
            let event = format!("event = 'tool_call', tool = '{tool}'");
            options.push(format!("symbols.{name} = {{ {event} }}"));
        }
    }
    options.extend(within.map(|it| format!("within = '{it}s'")));
    options.extend(by.then(|| "by = 'arguments.k'".to_owned()));
    options.extend(resets.then(|| "resets_on = ['X']".to_owned()));
    let options = options.join("\n");
    let log = Arc::default();
    let inner = Options::parse(&options).and_then(|it| it.build(Pattern::new)).unwrap();
    let watched = Box::new(Watched { inner, resets, log: Arc::clone(&log) });
    let named = NamedDetector { detector: watched, ..detector::<Pattern>(&options) };
    let mut engine = Engine::new(vec![named], EngineConfig::default());
    let mut at = Timestamp::UNIX_EPOCH;
    for it in letters {
        at += SignedDuration::from_secs(it.gap);
        let arguments = it.value.map_or(Json::default(), |it| {
            Json::parse_or_text(&format!(r#"{{"j": [0], "k": "{it}"}}"#))
        });
        let call = ToolCall::new("c", it.tool, arguments);
        engine.observe(&Event::new(at, "s", EventKind::ToolCall(call)), &mut Vec::new());
    }
    log.lock().unwrap().clone()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_agrees_with_a_matcher_that_tries_every_split(
        tree in trees(),
        letters in letters(),
        rest in rests(),
    ) {
        prop_assert_eq!(
            observed(&tree, &letters, rest),
            naive(&tree, &letters, rest),
            "{}", written(&tree)
        );
    }

    #[test]
    fn no_pattern_is_too_odd_to_be_read_or_refused(text in "[AB ?*+{}(),|0-9.é-]{0,40}") {
        if let Err(err) = parse::parse(&text, &["A", "B"]) {
            prop_assert!(!err.to_string().is_empty());
        }
    }
}
