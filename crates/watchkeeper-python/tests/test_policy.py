import pickle
import time
from pathlib import Path

import pytest

import watchkeeper

INVALID = """\
version = 1

[detectors.errors]
kind = "eror-loop"
of = "failure"

[detectors.time]
kind = "timeout"
of = "naps"
"""


def test_a_policy_file_is_used(tmp_path: Path, policy: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(policy)
    with watchkeeper.Monitor(path) as monitor:
        assert monitor.is_running


def test_a_built_in_policy_is_used_by_its_name() -> None:
    with watchkeeper.Monitor("builtin:default", on_finding=lambda _: None) as monitor:
        assert monitor.is_running


def test_all_mistakes_are_raised_with_their_places(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(INVALID)
    with pytest.raises(watchkeeper.PolicyError) as caught:
        watchkeeper.Monitor(path).start()
    error = caught.value
    assert isinstance(error, ValueError)
    assert "eror-loop" in str(error)
    assert [(it.path, it.line, it.column, it.level) for it in error.diagnostics] == [
        (str(path), 4, 8, "error"),
        (str(path), 7, 1, "error"),
        (str(path), 9, 6, "error"),
    ]
    assert "eror-loop" in error.diagnostics[0].message
    assert error.diagnostics[0].fix == '"error-loop"'
    assert error.diagnostics[1].fix is None
    assert repr(error.diagnostics[0]).startswith(f"Diagnostic({path}:4:8: error: ")


def test_columns_count_characters() -> None:
    with pytest.raises(watchkeeper.PolicyError) as caught:
        watchkeeper.Monitor(policy_text='version = 1\nlabels = { "größe" = 1 }\n').start()
    assert [(it.path, it.line, it.column) for it in caught.value.diagnostics] == [
        ("<policy>", 2, 22)
    ]


def test_a_missing_file_is_an_error_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "missing.toml"
    with pytest.raises(watchkeeper.PolicyError, match=r"missing\.toml") as caught:
        watchkeeper.Monitor(path).start()
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.path, diagnostic.line, diagnostic.column) == (str(path), None, None)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_an_unknown_built_in_policy_is_an_error() -> None:
    with pytest.raises(watchkeeper.PolicyError, match="builtin:other"):
        watchkeeper.Monitor("builtin:other").start()


def test_a_policy_error_can_be_pickled() -> None:
    with pytest.raises(watchkeeper.PolicyError) as caught:
        watchkeeper.Monitor(policy_text=INVALID).start()
    error = pickle.loads(pickle.dumps(caught.value))
    assert (str(error), error.diagnostics) == (str(caught.value), caught.value.diagnostics)
    error = pickle.loads(pickle.dumps(watchkeeper.PolicyError("invalid")))
    assert (str(error), error.diagnostics) == ("invalid", ())


def test_a_diagnostic_is_made_from_its_fields() -> None:
    diagnostic = watchkeeper.Diagnostic("a.toml", "no such kind", line=4, notes=["see b.toml"])
    assert (diagnostic.level, diagnostic.line, diagnostic.column) == ("error", 4, None)
    assert diagnostic.notes == ["see b.toml"]
    with pytest.raises(ValueError, match='unknown level "hint"; use error or warning'):
        watchkeeper.Diagnostic("a.toml", "m", level="hint")  # type: ignore[arg-type]


def test_a_misspelt_built_in_policy_has_a_suggestion() -> None:
    with pytest.raises(
        watchkeeper.PolicyError, match="did you mean `builtin:safe-session`"
    ) as caught:
        watchkeeper.Monitor("builtin:safe-sesion").start()
    assert "`builtin:default`" in str(caught.value)


@pytest.mark.parametrize(("n_mistakes", "n_reported"), [(900, 51), (3000, 1)])
def test_many_mistakes_are_refused_in_a_short_time(n_mistakes: int, n_reported: int) -> None:
    mistake = '[detectors.d{}]\nkind = "nope"\n'
    text = "version = 1\n" + "".join(mistake.format(n) for n in range(n_mistakes))
    before = time.monotonic()
    with pytest.raises(watchkeeper.PolicyError) as caught:
        watchkeeper.Monitor(policy_text=text).start()
    # The last of 51 is that there are more. With too many detectors there is no other mistake.
    assert len(caught.value.diagnostics) == n_reported
    # A time quadratic in the number of detectors would be two minutes.
    assert time.monotonic() - before < 20
