//! Rounds of change and check: errors that move, and errors that remain.

use std::fmt::Write as _;

use watchkeeper_core::Fingerprint;

use super::opens;
use crate::error_line::error_line;

/// Outputs of compilers, linters and tests with a first line that does not identify the error.
/// `FILE`, `NAME` and `CODE` are words, `LINE` and `COUNT` are numbers; `TIME` differs each time.
const OUTPUTS: &[(&str, &str)] = &[
    (
        "pytest",
        "===== test session starts =====\nplatform linux -- Python 3.12\ncollected 40 items\n\n\
         tests/test_errors.py ..F [100%]\n\n===== FAILURES =====\n_____ test_NAME _____\n\n\
         >       assert NAME(3) == 4\nE       assert 3 == 4\n\ntests/test_FILE.py:LINE: AssertionError\n\
         ===== short test summary info =====\nFAILED tests/test_FILE.py::test_NAME - assert 3 == 4\n\
         ===== COUNT failed, 39 passed in TIMEs =====",
    ),
    (
        "python -m unittest",
        "..F\n======================================================================\n\
         FAIL: test_NAME (tests.FILE.Case)\n----------------------------------------------------------------------\n\
         Traceback (most recent call last):\n  File \"/w/tests/FILE.py\", line LINE, in test_NAME\n    \
         CODE\nAssertionError: 3 != 4\n\nRan 40 tests in TIMEs\n\nFAILED (failures=COUNT)",
    ),
    (
        "cargo check",
        "error[E0308]: mismatched types\n  --> src/FILE.rs:LINE:9\n   |\nLINE |    CODE\n   |    ^^^^ expected `u8`, found `u16`\n\n\
         error: could not compile `app` (lib) due to COUNT previous errors",
    ),
    (
        "cargo test",
        "running 40 tests\ntest errors::fails_well ... ok\ntest FILE::NAME ... FAILED\n\nfailures:\n\n---- FILE::NAME stdout ----\n\
         thread 'FILE::NAME' panicked at src/FILE.rs:LINE:5:\nassertion `left == right` failed\n  left: 3\n right: 4\n\n\
         test result: FAILED. 39 passed; COUNT failed; finished in TIMEs\n\nerror: test failed, to rerun pass `--lib`",
    ),
    (
        "go test ./...",
        "--- FAIL: TestNAME (TIMEs)\n    FILE_test.go:LINE: got 3, want 4\nFAIL\nFAIL\tacme/app\tTIMEs\nFAIL",
    ),
    ("go build ./...", "# acme/app\n./FILE.go:LINE:9: cannot use NAME as int value in argument"),
    (
        "npx tsc --noEmit",
        "src/FILE.ts(LINE,5): error TS2345: Argument of type 'string' is not assignable.\n\nFound COUNT errors in 9 files.",
    ),
    (
        "npx tsc --noEmit --pretty",
        "src/FILE.ts:LINE:5 - error TS2345: Argument of type 'string' is not assignable.\n\nLINE     CODE\n         ~~~~\n\nFound COUNT errors.",
    ),
    (
        "npx jest",
        "FAIL src/FILE.test.ts\n  \u{25cf} FILE \u{203a} adds NAME\n\n    expect(received).toBe(expected)\n\n    Expected: 4\n    Received: 3\n\n\
         Tests: COUNT failed, 39 passed, 40 total\nTime: TIME s",
    ),
    (
        "npx vitest run",
        "\u{23af}\u{23af}\u{23af} Failed Tests COUNT \u{23af}\u{23af}\u{23af}\n\n FAIL  src/FILE.test.ts > FILE > adds NAME\n\
         AssertionError: expected 3 to be 4\n \u{276f} src/FILE.test.ts:LINE:9\n\n Tests  COUNT failed | 39 passed",
    ),
    (
        "npm test",
        "> app@1.0.0 test\n> mocha\n\n  COUNT failing\n\n  1) FILE adds NAME:\n     AssertionError [ERR_ASSERTION]: 3 == 4\n      \
         at Context.<anonymous> (test/FILE.js:LINE:12)\n\nnpm ERR! code ELIFECYCLE\nnpm ERR! errno 1",
    ),
    (
        "npx eslint src",
        "/w/src/FILE.ts\n  LINE:7  error  Unexpected any. Specify a different type  no-explicit-any\n\n\u{2716} COUNT problems (COUNT errors, 0 warnings)",
    ),
    ("ruff check .", "src/FILE.py:LINE:1: F821 Undefined name\n    CODE\nFound COUNT errors."),
    (
        "mypy src",
        "src/FILE.py:LINE: error: Incompatible return value type  [return-value]\nFound COUNT errors in 9 files (checked 40 source files)",
    ),
    (
        "mvn -q test",
        "[ERROR] Tests run: 30, Failures: COUNT, Errors: 0, Skipped: 0, Time elapsed: TIME s <<< FAILURE!\n\
         [ERROR] FILETest.testNAME:LINE expected:<4> but was:<3>\n[ERROR] Failed to execute goal org.apache.maven.plugins:maven-surefire-plugin:3.2:test",
    ),
    (
        "mvn -q compile",
        "[ERROR] COMPILATION ERROR :\n[ERROR] /w/src/FILE.java:[LINE,9] cannot find symbol\n  symbol:   class NAME\n\
         [ERROR] Failed to execute goal org.apache.maven.plugins:maven-compiler-plugin:3.8:compile",
    ),
    (
        "gradle build",
        "> Task :compileJava FAILED\n/w/src/FILE.java:LINE: error: cannot find symbol\n    CODE\n        ^\n  symbol: class NAME\n\
         COUNT errors\n\nFAILURE: Build failed with an exception.\n\n* What went wrong:\nExecution failed for task ':compileJava'.",
    ),
    (
        "make",
        "cc -c -o app.o app.c\nFILE.c:LINE:9: error: incompatible types when assigning to type 'int'\n   LINE |     CODE\n      |     ^~~~\nmake: *** [Makefile:3: app.o] Error 1",
    ),
    (
        "dotnet test",
        "  Failed Shop.Tests.FILE.NAME [TIME ms]\n  Error Message:\n   Assert.Equal() Failure: Values differ\n  Stack Trace:\n     \
         at Shop.Tests.FILE.NAME() in /w/tests/FILE.cs:line LINE\n\nFailed!  - Failed:     COUNT, Passed:    39, Skipped:     0",
    ),
    (
        "bundle exec rspec",
        "Failures:\n\n  1) FILE adds NAME\n     Failure/Error: CODE\n\n       expected: 4\n            got: 3\n     # ./spec/FILE_spec.rb:LINE:in `block'\n\n\
         40 examples, COUNT failures",
    ),
    (
        "vendor/bin/phpunit",
        "There were COUNT failures:\n\n1) Tests\\FILETest::testNAME\nFailed asserting that 3 matches expected 4.\n\n/w/tests/FILETest.php:LINE\n\nFAILURES!\n\
         Tests: 40, Assertions: 90, Failures: COUNT.",
    ),
    (
        "python app.py",
        "Traceback (most recent call last):\n  File \"/w/FILE.py\", line LINE, in NAME\n    CODE\n    ~~~~^^^\nTypeError: unsupported operand type(s)",
    ),
    (
        "python -m compileall .",
        "  File \"./FILE.py\", line LINE\n    CODE\n    ^^^^\nSyntaxError: Missing parentheses in call to 'print'. Did you mean print(...)?",
    ),
    (
        "npx playwright test",
        "  1) [chromium] \u{203a} tests/FILE.spec.ts:LINE:5 \u{203a} adds NAME\n\n    Error: expect(locator).toBeVisible() failed\n\n  COUNT failed\n    39 passed (TIMEs)",
    ),
];

const WORDS: &[&str] = &[
    "alpha", "bravo", "delta", "echo", "golf", "hotel", "india", "kilo", "lima", "mike", "oscar",
    "papa", "quebec", "romeo", "sierra", "tango", "uniform", "victor", "whiskey", "xray", "yankee",
    "zulu", "amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath",
];

/// The values in an output.
struct Values<'a> {
    file: &'a str,
    name: &'a str,
    line: usize,
    count: usize,
}

impl Values<'_> {
    fn fill(&self, output: &str, round: usize) -> String {
        let Self { file, name, line, count } = self;
        let code = format!("let {name} = find_{name}(rows)");
        output
            .replace("FILE", file)
            .replace("NAME", name)
            .replace("CODE", &code)
            .replace("LINE", &line.to_string())
            .replace("COUNT", &count.to_string())
            .replace("TIME", &format!("1.{round}"))
    }
}

/// Returns a trace of rounds that change a file and then run a command.
fn rounds(
    command: &str,
    output: &str,
    n: usize,
    values: impl Fn(usize) -> Values<'static>,
) -> String {
    let mut trace = "0s prompt make it pass\n".to_owned();
    for round in 0..n {
        let output = values(round).fill(output, round);
        writeln!(
            trace,
            "+9s call Bash {{\"command\":{command:?}}}\n+5s result fail {output:?}\n\
             +9s call Edit lib.rs {round}\n+1s result the file is updated"
        )
        .expect("writing to a string succeeds");
    }
    trace
}

#[test]
fn an_error_that_moves_is_no_loop() {
    for (command, output) in OUTPUTS {
        let elsewhere = |round| Values {
            file: WORDS[round],
            name: WORDS[(round + 7) % WORDS.len()],
            line: 10 + 13 * round,
            count: 3,
        };
        let trace = rounds(command, output, 30, elsewhere);
        assert!(!opens("of = 'error'", 2, &trace), "{command}");
    }
}

#[test]
fn an_error_that_moves_within_a_file_is_no_loop() {
    let shows_code = |output: &str| output.contains("NAME") || output.contains("CODE");
    for (command, output) in OUTPUTS.iter().filter(|(_, output)| shows_code(output)) {
        let below =
            |round| Values { file: "parser", name: WORDS[round], line: 10 + 13 * round, count: 3 };
        let trace = rounds(command, output, 30, below);
        assert!(!opens("of = 'error'", 2, &trace), "{command}");
    }
}

#[test]
fn a_falling_number_of_errors_is_progress() {
    for (command, output) in OUTPUTS.iter().filter(|(_, output)| output.contains("COUNT")) {
        let fewer = |round| Values { file: "parser", name: "alpha", line: 7, count: 40 - round };
        let trace = rounds(command, output, 30, fewer);
        assert!(!opens("of = 'error'", 2, &trace), "{command}");
    }
}

#[test]
fn an_error_that_remains_is_found_whatever_moves_around_it() {
    for (command, output) in OUTPUTS {
        let same = |_| Values { file: "parser", name: "alpha", line: 7, count: 3 };
        assert!(opens("of = 'error'", 3, &rounds(command, output, 14, same)), "{command}");
        // Lines are inserted above the error.
        let lower = |round| Values { file: "parser", name: "alpha", line: 7 + round, count: 3 };
        assert!(opens("of = 'error'", 3, &rounds(command, output, 14, lower)), "{command}");
        // The agent goes back and forth between two errors.
        let two = |round| Values {
            file: ["parser", "lexer"][round % 2],
            name: ["alpha", "bravo"][round % 2],
            line: [7, 90][round % 2],
            count: 3,
        };
        let error = |round| {
            let output = two(round).fill(output, round);
            error_line(&output).map(Fingerprint::of_output)
        };
        if error(0) == error(1) {
            assert!(opens("of = 'error'", 3, &rounds(command, output, 20, two)), "{command}");
        }
    }
}

#[test]
fn scripts_with_one_error_are_one_loop() {
    let mut trace = "0s prompt find out\n".to_owned();
    for (n, word) in WORDS.iter().enumerate() {
        writeln!(
            trace,
            "+9s call Write try_{word}.py {n}\n+1s result the file is written\n\
             +9s call Bash {{\"command\":\"python try_{word}.py\"}}\n\
             +5s result fail \"  File \\\"/w/try_{word}.py\\\", line {n}, in main\\n    {word}()\\nOSError: device is lost\""
        )
        .expect("writing to a string succeeds");
    }
    assert!(opens("of = 'error'", 3, &trace));
}

#[test]
fn a_survey_of_failures_counts_half() {
    let mut trace = "0s prompt find out what fails\n".to_owned();
    for (n, word) in WORDS[..4].iter().enumerate() {
        writeln!(
            trace,
            "+9s call Bash {{\"command\":\"pytest -k {word}\"}}\n\
             +5s result fail \"E   ValueError: not a number\\n\\nlib.py:{n}: ValueError\\nFAILED tests/a.py::test_{word}\""
        )
        .expect("writing to a string succeeds");
    }
    assert!(!opens("of = 'error'", 3, &trace));
}
