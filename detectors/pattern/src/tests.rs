use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use insta::assert_snapshot;
use proptest::{collection::vec, option, prelude::*, sample::select};
use watchkeeper_core::{
    Context, Detector, DetectorKind, Engine, Event, EventKind, Json, SignedDuration, Timestamp,
    ToolCall,
    author::Options,
    embed::{EngineConfig, NamedDetector},
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
fn counts_edits_that_are_followed_by_failures() {
    let trace = "
        0s   prompt fix it
        1s   repeat 5 every 1m: call Edit {} ;; result ok ;; message now? ;; call Bash {} ;; result fail no
        +5s  call Bash {}
        +1s  result ok
        +20m call Bash {}
        +1s  result fail no
    ";
    assert_snapshot!(play::<Pattern>(EDIT_FAIL, trace), @"
    2m1s    medium    `(E+ F){3,}` matched in 2m
    24m1s   resolved  no further match after 3 matches: none in 20m
    ");
}

#[test]
fn starts_of_sub_agents_are_counted_in_the_session() {
    let options = "
        symbols.S = { event = 'agent_start' }
        symbols.F = { event = 'error' }
        pattern = 'S{3,}'
        resets_on = ['F', 'prompt']
    ";
    let trace = "
        0s  prompt split the work
        1s  agent a1: agent_start
        1s  agent a1: prompt read the code
        2s  agent a2: agent_start
        3s  agent a3: agent_start
    ";
    assert_snapshot!(play::<Pattern>(options, trace), @"3s      medium    `S{3,}` matched in 2s");
    let reset = trace.replace("2s  agent a2: agent_start", "2s  agent a2: error no");
    assert_eq!(play::<Pattern>(options, &reset), "");
}

#[test]
fn skips_events_without_symbols_and_requires_all_others() {
    let options = "
        symbols.A = { event = 'tool_call', tool = 'a' }
        symbols.B = { event = 'tool_call', tool = 'b' }
        pattern = 'A A'
        resets_on = ['B', 'prompt']
    ";
    let passed_over = "0s call a\n1s call c\n2s message hm\n3s synthetic go on\n4s call a";
    assert_snapshot!(play::<Pattern>(options, passed_over), @"4s      medium    `A A` matched in 4s");
    for reset in ["call b", "prompt stop"] {
        let trace = format!("0s call a\n1s {reset}\n2s call a");
        assert_eq!(play::<Pattern>(options, &trace), "", "{reset}");
    }
    let options = options.replace("'A A'", "'A B? A B'").replace("'B', ", "");
    assert_eq!(play::<Pattern>(&options, "0s call a\n1s call b\n2s call b\n3s call a"), "");
    assert_snapshot!(play::<Pattern>(&options, "0s call a\n1s call b\n2s call a\n3s call b"), @"3s      medium    `A B? A B` matched in 3s");
}

#[test]
fn within_limits_the_time_of_a_match() {
    let options = "
        symbols.A = { event = 'tool_call', tool = 'a' }
        symbols.B = { event = 'tool_call', tool = 'b' }
        pattern = 'A+ B'
        within = '10s'
    ";
    // The first run is too old, the second is not.
    let trace = "0s call a\n5s call a\n15s call b\n20s call a\n31s call b";
    assert_snapshot!(play::<Pattern>(options, trace), @"
    15s     medium    `A+ B` matched in 10s
    25s     resolved  no further match after 1 match: none in 10s
    ");
}

#[test]
fn keeps_the_latest_of_runs_at_the_same_position() {
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
fn each_value_is_matched_separately() {
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
    13s     resolved  no further match after 1 match for `a.rs`: reset by prompt
    ");
}

#[test]
fn drops_the_value_that_is_inactive_longest() {
    let options = "
        symbols.A = { event = 'tool_call' }
        pattern = 'A A'
        by = 'tool'
    ";
    let others: Vec<String> = (0..64).map(|n| format!("+1s call t{n}")).collect();
    let trace = format!("0s call a\n1s call a\n{}\n+1s call a", others.join("\n"));
    assert_snapshot!(play::<Pattern>(options, &trace), @"
    1s      medium    `A A` matched for `a` in 1s
    1m5s    resolved  no further match after 1 match for `a`: more than 64 other values were active
    ");
}

#[test]
fn every_field_of_a_symbol_matches() {
    let matches = |symbol: &str, event: &str| {
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
        assert!(matches(symbol, fits), "{symbol}: {fits}");
        assert!(!matches(symbol, does_not), "{symbol}: {does_not}");
    }
}

#[test]
fn a_repeated_model_call_counts_once_for_each_symbol() {
    let options = "
        symbols.M = { event = 'model_call' }
        symbols.big = { event = 'model_call', output_tokens = '>= 100' }
        pattern = 'M big M'
    ";
    let trace = "0s usage id=a output=1\n1s usage id=a output=1\n2s usage id=a output=500\n3s usage id=a output=600";
    assert_eq!(play::<Pattern>(options, trace), "");
    let trace = format!("{trace}\n4s usage id=b output=1");
    assert_snapshot!(play::<Pattern>(options, &trace), @"4s      medium    `M big M` matched in 4s");
}

#[test]
fn rejects_invalid_options() {
    let error = |options: &str| {
        let built = Options::parse(options).and_then(|options| options.build(Pattern::new));
        built.err().map_or_else(|| "accepted".to_owned(), |err| err.to_string())
    };
    let pattern = |pattern: &str| {
        error(&format!(
            "pattern = '{pattern}'\nsymbols.E = {{ event = 'error' }}\nsymbols.Fail = {{ event = 'turn_end' }}"
        ))
    };
    assert_snapshot!(pattern("E Fail"), @"accepted");
    assert_snapshot!(pattern(" "), @"invalid value for `pattern`: the pattern is empty; write the symbols in the order of their events");
    assert_snapshot!(pattern("E fial"), @"invalid value for `pattern`: column 3: unknown symbol `fial`; did you mean `Fail`?");
    assert_snapshot!(pattern("E Fial"), @"invalid value for `pattern`: column 3: unknown symbol `Fial`; did you mean `Fail`?");
    assert_snapshot!(pattern("e X Fail"), @"invalid value for `pattern`: column 1: unknown symbol `e`; did you mean `E`?");
    assert_snapshot!(pattern("X Fail"), @"invalid value for `pattern`: column 1: unknown symbol `X`; use one of `E`, `Fail`");
    assert_snapshot!(pattern("EE Fail"), @"invalid value for `pattern`: column 1: unknown symbol `EE`; write `E E`");
    assert_snapshot!(pattern("E"), @"invalid value for `symbols.Fail`: `Fail` is used neither in `pattern` nor in `resets_on`; use it or remove it");
    assert_snapshot!(pattern("E* Fail?"), @"invalid value for `pattern`: the pattern matches without any event, because all parts are optional; replace `*` with `+` or remove a `?`");
    assert_snapshot!(pattern("(E Fail"), @"invalid value for `pattern`: column 1: unclosed `(`; add a `)`");
    assert_snapshot!(pattern("E Fail)"), @"invalid value for `pattern`: column 7: unmatched `)`; remove it");
    assert_snapshot!(pattern("E (|Fail)"), @"invalid value for `pattern`: column 4: missing symbol; put a `?` after an optional part");
    assert_snapshot!(pattern("E | "), @"invalid value for `pattern`: column 5: missing symbol; put a `?` after an optional part");
    assert_snapshot!(pattern("E +* Fail"), @"invalid value for `pattern`: column 4: `*` follows another repetition; put the repeated part in parentheses");
    assert_snapshot!(pattern("+ E Fail"), @"invalid value for `pattern`: column 1: missing symbol before `+`");
    assert_snapshot!(pattern("E . Fail"), @"invalid value for `pattern`: column 3: `.` is not supported; remove it: events that satisfy no symbol of the pattern are skipped");
    assert_snapshot!(pattern("E ; Fail"), @"invalid value for `pattern`: column 3: unexpected `;`; use names, spaces, `( ) | ? * +` and `{m,n}`");
    assert_snapshot!(pattern("E{3,2} Fail"), @"invalid value for `pattern`: column 2: the minimum in `{3,2}` exceeds the maximum; write `{2,3}`");
    assert_snapshot!(pattern("E{0} Fail"), @"invalid value for `pattern`: column 2: zero repetitions; remove the repeated part");
    assert_snapshot!(pattern("E{,2} Fail"), @"invalid value for `pattern`: column 2: invalid repetition `{,2}`; write `{m}`, `{m,}` or `{m,n}`");
    assert_snapshot!(pattern("E{2 Fail"), @"invalid value for `pattern`: column 2: unclosed `{`; write `{m}`, `{m,}` or `{m,n}`");
    assert_snapshot!(pattern("E ((E Fail){500}){40}"), @"invalid value for `pattern`: column 18: the pattern has 40000 positions after expanding counted repetitions, the maximum is 1024; use fewer repetitions, or count matches with levels");
    assert_snapshot!(pattern("E{600} Fail{600}"), @"invalid value for `pattern`: the pattern has 1200 positions after expanding counted repetitions, the maximum is 1024; use fewer repetitions, or count matches with levels");
    assert_snapshot!(pattern(&format!("{}E Fail{}", "(".repeat(65), ")".repeat(65))), @"invalid value for `pattern`: column 65: parentheses are nested deeper than 64; nest fewer");
    assert_snapshot!(pattern(&"E ".repeat(5000)), @"invalid value for `pattern`: the pattern has 10000 bytes, the maximum is 8192; use `{m,n}` for repetitions");

    let symbol = |fields: &str| error(&format!("pattern = 'S'\nsymbols.S = {{ {fields} }}"));
    assert_snapshot!(symbol(""), @"the symbol matches every event; set at least `event`");
    assert_snapshot!(symbol("evnt = 'error'"), @"unknown field `evnt`, expected one of `event`, `tool`, `class`, `arguments`, `ok`, `cause`, `exit_code`, `text`, `synthetic`, `model`, `input_tokens`, `output_tokens`, `cache_read_tokens`, `cache_write_tokens`, `reasoning_tokens`, `cost_usd`, `retry`, `before_tokens`, `after_tokens`, `to`, `for`");
    assert_snapshot!(symbol("event = 'tool_calls'"), @"unknown variant `tool_calls`, expected one of `session_start`, `prompt`, `message`, `thinking`, `model_call`, `tool_call`, `tool_result`, `waiting`, `resumed`, `turn_end`, `error`, `compaction`, `handoff`, `agent_start`, `agent_end`, `session_end`");
    assert_snapshot!(symbol("event = []"), @"an empty list matches no event; add a value, or remove the field");
    assert_snapshot!(symbol("event = 3"), @"invalid type: integer `3`, expected a string, or a list of strings");
    assert_snapshot!(symbol("event = 'prompt', tool = 'Bash'"), @"no event satisfies this: `prompt` has no `tool`, which is a field of tool_call and tool_result");
    assert_snapshot!(symbol("event = ['tool_call', 'tool_result'], ok = true"), @"no event satisfies this: `tool_call` has no `ok`, which is a field of tool_result");
    assert_snapshot!(symbol("tool = 'Bash', retry = 1"), @"no event satisfies this: no event has both `tool` and `retry`");
    assert_snapshot!(symbol("ok = true, cause = 'declined'"), @"no event satisfies this: the only `cause` of a successful result is `intercepted`");
    assert_snapshot!(symbol("input_tokens = '< 0'"), @"no event satisfies this: `input_tokens` is never `< 0`");
    assert_snapshot!(symbol("retry = 1.5"), @"no event satisfies this: `retry` is never `== 1.5`");
    assert_snapshot!(symbol("cost_usd = '<= -1'"), @"no event satisfies this: `cost_usd` is never `<= -1`");
    assert_snapshot!(symbol("exit_code = 0.5"), @"no event satisfies this: `exit_code` is never `== 0.5`");
    assert_snapshot!(symbol("exit_code = '=> 1'"), @r#"invalid value: string "=> 1", expected a number, or a comparison such as ">= 100" or "!= 0""#);
    assert_snapshot!(symbol("exit_code = true"), @r#"invalid type: boolean `true`, expected a number, or a comparison such as ">= 100" or "!= 0""#);
    assert_snapshot!(symbol("arguments = {}"), @"`arguments` is empty; name an argument, or remove the field");
    assert_snapshot!(symbol("arguments = 'ls'"), @r#"invalid type: string "ls", expected a table of patterns by argument, such as { command = "git push*" }"#);
    assert_snapshot!(symbol("text = { regex = '(a' }"), @"invalid regular expression `(a`: unclosed group; correct it, or use a glob");
    assert_snapshot!(symbol("text = { regex = '(a{1000}){1000}' }"), @"the compiled regular expression exceeds 256 KiB; use fewer repetitions");
    assert_snapshot!(symbol("text = { regex = '(?u:\\b)a' }"), @"the regular expression `(?u:\\b)a` has the flag `u`, but matches bytes; remove it");
    assert_snapshot!(symbol("text = { regexp = 'a' }"), @"unknown field `regexp`, expected `regex`");
    assert_snapshot!(symbol("text = [1]"), @r#"invalid type: integer `1`, expected a glob such as "git push*", or { regex = "…" }"#);

    let rest = |options: &str| {
        error(&format!("pattern = 'S'\nsymbols.S = {{ event = 'error' }}\n{options}"))
    };
    assert_snapshot!(rest("symbols.2x = { event = 'error' }"), @"invalid value for `symbols.2x`: `2x` is not a valid name; use ASCII letters, digits and `_`, starting with a letter");
    assert_snapshot!(rest("symbols.prompt = { event = 'error' }"), @"invalid value for `symbols.prompt`: `prompt` is the name of an event; use another name");
    assert_snapshot!(rest("symbols.X = { event = 'error' }"), @"invalid value for `symbols.X`: `X` is used neither in `pattern` nor in `resets_on`; use it or remove it");
    assert_snapshot!(rest("resets_on = ['promt']"), @"invalid value for `resets_on`: `promt` is neither a symbol nor an event; did you mean `prompt`?");
    assert_snapshot!(rest("resets_on = ['person']"), @"invalid value for `resets_on`: `person` is neither a symbol nor an event; use symbols of this detector, or events such as `prompt`");
    assert_snapshot!(rest("by = 'tool'"), @"invalid value for `by`: no event that can start a match has the field `tool`; start the pattern with a symbol that has the field, or remove `by`");
    assert_snapshot!(rest("by = 'arguments.'"), @r#"invalid value: string "arguments.", expected "tool", "class", "model" or an argument such as "arguments.file_path""#);
    assert_snapshot!(rest("message = '{by}'"), @"invalid value for `message`: `{by}` requires the option `by`; add the option or remove `{by}`");
    assert_snapshot!(rest("message = '{cuont} times'"), @"a match has no field `cuont`; did you mean `count`?");
    assert_snapshot!(rest("message = '{session.user}'"), @"a match has no field `session.user`; use one of `count`, `took`, `by`, `event`, `tool`, `class`, `first.event`, `first.tool`, `first.class`, `last.event`, `last.tool`, `last.class`, `session.cwd`, `session.id`, `session.model`, `session.source`");
    assert_snapshot!(rest("message = 'a } b'"), @"unmatched `}`; write `}}` for a literal `}`");
    assert_snapshot!(rest("message = 'a {tool'"), @"unmatched `{`; write `{{` for a literal `{`");
    assert_snapshot!(rest("message = 'bad.'"), @"the message ends with a full stop; remove it");
    assert_snapshot!(rest("message = ' '"), @"the message is empty; remove it to use the default message");
    assert_snapshot!(rest(r#"message = "a\u001bb""#), @"the message contains control characters; use one line of plain text");
    assert_snapshot!(rest("within = 20"), @r#"invalid type: integer `20`, expected a length of time such as "30s", "5m" or "1h 30m""#);
    assert_snapshot!(error("pattern = 'S'\nsymbols = {}"), @r#"invalid value for `symbols`: name at least one, as in `symbols.F = { event = "error" }`"#);
    let many: Vec<String> =
        (0..65).map(|n| format!("symbols.S{n} = {{ event = 'error' }}")).collect();
    let many = many.join("\n");
    assert_snapshot!(error(&format!("pattern = 'S1'\n{many}")), @"invalid value for `symbols`: 65 symbols, the maximum is 64; combine events, tools and texts in one symbol");
}

#[test]
fn messages_may_contain_braces_and_are_cut() {
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
fn laws_hold() {
    laws::of::<Pattern>(EDIT_FAIL)
        .traces(["0s repeat 4 every 5s: call Edit a ;; result ok done ;; call Bash make ;; result fail no"])
        .check();
    laws::of::<Pattern>("symbols.S = { event = 'agent_start' }\npattern = 'S{2,}'")
        .traces(["0s prompt go\n1s agent a1: agent_start\n2s agent a2: agent_start"])
        .check();
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

/// A tool call. The letters in the name of its tool are the symbols that it
/// satisfies.
#[derive(Clone, Debug)]
struct Letter {
    tool: &'static str,
    value: Option<&'static str>,
    gap: i64,
}

fn letters() -> impl Strategy<Value = Vec<Letter>> {
    // Several runs reach one position if an event satisfies several symbols.
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
    .prop_filter("the pattern matches without any event", |it| !it.is_nullable())
}

/// Returns a tree in the syntax of a policy.
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

/// Returns true if the events match the tree, by trying every split.
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
            // A repetition without events only changes the count.
            let start = usize::from(!inner.is_nullable() || *min == 0);
            (start..=events.len()).any(|at| {
                let is_progress = 0 < at || 0 < *min;
                is_progress && fits(inner, &events[..at]) && fits(&less, &events[at..])
            })
        }
    }
}

/// The other options.
#[derive(Clone, Copy, Debug)]
struct OtherOptions {
    within: Option<i64>,
    by: bool,
    /// True if a tool with an `x` in its name resets the detector.
    resets: bool,
}

fn other_options() -> impl Strategy<Value = OtherOptions> {
    let within = option::of(1..8_i64);
    (within, any::<bool>(), any::<bool>()).prop_map(|(within, by, resets)| OtherOptions {
        within,
        by,
        resets,
    })
}

/// For each event, the values with a match that ends there.
type Ends = Vec<Vec<Option<&'static str>>>;

/// Searches by trying every start of a match.
fn naive(tree: &Tree, letters: &[Letter], rest: OtherOptions) -> Ends {
    let OtherOptions { within, by, resets } = rest;
    let values = if by { vec![Some("v"), Some("w")] } else { vec![None] };
    // Events that satisfy no symbol of the pattern are skipped.
    let used = written(tree).to_ascii_lowercase();
    let counts = |it: &Letter| it.tool.chars().any(|c| used.contains(c));
    let mut times = Vec::new();
    let mut now = 0;
    for letter in letters {
        now += letter.gap;
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

/// A detector that logs the matches of each event.
#[derive(Clone, Debug)]
struct Logged {
    inner: Pattern,
    resets: bool,
    log: Arc<Mutex<Ends>>,
}

impl Logged {
    fn counts(&self) -> BTreeMap<Option<&'static str>, u64> {
        let count = |matcher: &crate::matcher::Matcher| {
            let value = matcher.value.as_ref();
            let value = value.map(|value| if &*value.quoted == "`v`" { "v" } else { "w" });
            (value, matcher.matches.map_or(0, |matches| matches.count))
        };
        self.inner.matchers.iter().map(count).collect()
    }
}

impl Detector for Logged {
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

fn observed(tree: &Tree, letters: &[Letter], rest: OtherOptions) -> Ends {
    let OtherOptions { within, by, resets } = rest;
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
    let logged = Box::new(Logged { inner, resets, log: Arc::clone(&log) });
    let named = NamedDetector { detector: logged, ..detector::<Pattern>(&options) };
    let mut engine = Engine::new(vec![named], EngineConfig::default());
    let mut at = Timestamp::UNIX_EPOCH;
    for letter in letters {
        at += SignedDuration::from_secs(letter.gap);
        let arguments = letter.value.map_or(Json::default(), |value| {
            Json::parse_or_text(&format!(r#"{{"j": [0], "k": "{value}"}}"#))
        });
        let call = ToolCall::new("c", letter.tool, arguments);
        engine.observe(&Event::new(at, "s", EventKind::ToolCall(call)), &mut Vec::new());
    }
    log.lock().unwrap().clone()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_matcher_that_tries_every_split(
        tree in trees(),
        letters in letters(),
        rest in other_options(),
    ) {
        prop_assert_eq!(
            observed(&tree, &letters, rest),
            naive(&tree, &letters, rest),
            "{}", written(&tree)
        );
    }

    #[test]
    fn parses_or_rejects_any_text(text in "[AB ?*+{}(),|0-9.é-]{0,40}") {
        if let Err(err) = parse::parse(&text, &["A", "B"]) {
            prop_assert!(!err.to_string().is_empty());
        }
    }
}
