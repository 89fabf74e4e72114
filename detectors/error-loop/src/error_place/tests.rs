use super::{ErrorPlace, Places, count_errors, location::Location};

#[test]
fn reads_the_locations_of_common_tools() {
    for (expected, line) in [
        (Some(("src/a.rs", 12, 5)), "  --> src/a.rs:12:5"),
        (Some(("src/a.rs", 12, 5)), "thread 'main' panicked at src/a.rs:12:5:"),
        (Some(("/w/a.py", 3, 0)), "  File \"/w/a.py\", line 3, in <module>"),
        (Some(("a.c", 7, 9)), "a.c:7:9: error: expected ';'"),
        (Some(("src/a.ts", 10, 3)), "src/a.ts(10,3): error TS2322: wrong"),
        (Some(("/w/A.java", 3, 5)), "[ERROR] /w/A.java:[3,5] cannot find symbol"),
        (Some(("Cart.java", 12, 0)), "    at shop.Cart.add(Cart.java:12)"),
        (Some(("CartTest.adds", 12, 0)), "[ERROR]   CartTest.adds:12 expected 3"),
        (Some(("/w/a.cs", 4, 0)), "  at Shop.Add() in /w/a.cs:line 4"),
        (Some(("/w/a.php", 4, 0)), "PHP Fatal error: no such class in /w/a.php on line 4"),
        (Some(("main.tf", 4, 0)), "  on main.tf line 4, in resource \"x\" \"y\":"),
        (Some(("run.sh", 4, 0)), "run.sh: line 4: x: unbound variable"),
        (Some(("/w/a.kt", 4, 9)), "e: file:///w/a.kt:4:9 Unresolved reference"),
        (None, "E   assert calc.add(3, 5) == 9"),
        (Some(("tmpl.go", 12, 5)), "tmpl.go:12:5: undefined: x"),
        (Some(("a.spec.ts", 12, 5)), "a.spec.ts:12:5 - error"),
        (None, "/tmp/tmpab12cd34.py:3: error"),
        (None, "connect ECONNREFUSED 127.0.0.1:8080"),
        (None, "dial tcp: lookup db.example.com:443: no answer"),
        (None, "GET http://localhost:3000/a failed"),
        (None, "10:00:01 no answer"),
        (None, "File \"<stdin>\", line 3, in <module>"),
        (None, "no numbers"),
    ] {
        let found = Location::of(line).map(|it| (it.file.unwrap_or_default(), it.line, it.column));
        assert_eq!(found, expected, "{line}");
    }
}

/// Adds the places of an error in some outputs. Returns true for those at a new place.
fn moves(command: &str, outputs: &[&str]) -> Vec<bool> {
    let mut places = Places::default();
    let mut adds = |output: &&str| {
        let error = output.lines().find(|line| line.contains("rror")).unwrap_or_default();
        ErrorPlace::of(output, error, Some(command)).is_some_and(|place| places.add(place))
    };
    outputs.iter().map(&mut adds).collect()
}

#[test]
fn an_error_moves_to_another_file_test_or_code() {
    let a = "error: mismatched types\n --> src/a.rs:3:5\n3 | let x = find(y)";
    for (expected, b) in [
        (true, "error: mismatched types\n --> src/b.rs:3:5\n3 | let x = find(y)"),
        (true, "error: mismatched types\n --> src/a.rs:9:5\n9 | let n = rows.len()"),
        (true, "error: mismatched types\n --> src/a.rs:9:7\n9 | let x = find(y)"),
        (false, "error: mismatched types\n --> src/a.rs:9:5\n9 | let x = find(y)"),
        (false, "error: mismatched types\n --> src/a.rs:3:5\n3 | let n = rows.len()"),
        (false, "error: mismatched types"),
    ] {
        assert_eq!(moves("make", &[a, b]), [false, expected], "{b}");
    }
    let test = |name: &str| format!("Error: 3\nFAILED tests/a.py::{name} - Error");
    let (a, b) = (test("test_a"), test("test_b"));
    assert_eq!(moves("pytest", &[&a, &b, &a, &b]), [false, true, false, false]);
}

#[test]
fn a_file_that_the_command_names_is_no_new_place() {
    let (a, b) = ("a.py:3: error: no", "b.py:9: error: no");
    assert_eq!(moves("python *.py", &[a, b]), [false, true]);
    assert_eq!(moves("python a.py; python b.py", &[a, b]), [false, false]);
    // The command names another file.
    assert_eq!(moves("pytest test_b.py", &[a, b]), [false, true]);
    let lower = "a.py:7: error: no\nlet n = rows.len()";
    assert_eq!(moves("python a.py", &[a, lower]), [false, true]);
}

#[test]
fn a_place_is_remembered_however_often_another_one_follows() {
    let (a, b) = ("a.rs:3:1: error: no", "b.rs:9:1: error: no");
    let outputs = [[a, b].as_slice(), &[a; 9], &[b]].concat();
    assert_eq!(moves("make", &outputs).iter().filter(|moves| **moves).count(), 1);
}

#[test]
fn counts_located_errors_without_a_summary() {
    let located = "a.c:3:1: error: no\na.c:9:1: error: no\nerror: other";
    assert_eq!(count_errors(located), Some(2));
    assert_eq!(count_errors(&format!("{located}\n12 errors generated.")), Some(12));
    assert_eq!(count_errors("nothing"), None);
}
