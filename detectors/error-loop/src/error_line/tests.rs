use super::error_line;

#[test]
fn prefers_the_line_that_identifies_the_error() {
    for (expected, output) in [
        (
            "E   ValueError: bad row",
            "===== test session starts =====\ntests/test_errors.py ..F [100%]\n===== FAILURES =====\nE   ValueError: bad row\n1 failed in 2s",
        ),
        (
            "FAILED a.py::test_total - assert 3 == 4",
            "=== FAILURES ===\nE   assert 3 == 4\nFAILED a.py::test_total - assert 3 == 4",
        ),
        (
            "src/a.ts(3,5): error TS2322: wrong type",
            "Found 3 errors.\nsrc/a.ts(3,5): error TS2322: wrong type",
        ),
        (
            "[ERROR] A.java:[3,5] cannot find symbol",
            "[ERROR] COMPILATION ERROR :\n[ERROR] A.java:[3,5] cannot find symbol",
        ),
        (
            "A.java:3: error: missing return",
            "> Task :compileJava FAILED\nA.java:3: error: missing return\nBUILD FAILED in 3s",
        ),
        (
            "TypeError: x is undefined",
            "npm ERR! code ELIFECYCLE\nnpm ERR! errno 1\nTypeError: x is undefined",
        ),
        (
            "test parser::adds ... FAILED",
            "test errors::fails ... ok\ntest parser::adds ... FAILED\nfailures:",
        ),
        (
            "undefined reference to `main_loop'",
            "collect2: error: ld returned 1 exit status\nundefined reference to `main_loop'",
        ),
        (
            "error: no rule to make it",
            "make: *** [Makefile:3: app] Error 2\nerror: no rule to make it",
        ),
        (
            "Module not found: ./menu",
            "> Build error occurred\nFailed to compile.\nModule not found: ./menu",
        ),
        (
            "worker crashed: segmentation fault",
            "worker crashed: segmentation fault\nmake: *** [run] Error 139",
        ),
        (
            "[  FAILED  ] Cart.Adds (3 ms)",
            "[       OK ] Cart.ErrorsAreKept (1 ms)\n[  FAILED  ] Cart.Adds (3 ms)",
        ),
    ] {
        assert_eq!(error_line(output), Some(expected), "{output}");
    }
}

#[test]
fn falls_back_to_a_summary() {
    for output in [
        "===== FAILURES =====",
        "1 failed, 40 passed in 2s",
        "make: *** [run] Error 139",
        "npm error code ELIFECYCLE",
        "BUILD FAILED in 3s",
    ] {
        assert_eq!(error_line(output), Some(output), "{output}");
    }
}
