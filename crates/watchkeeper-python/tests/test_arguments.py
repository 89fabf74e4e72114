"""Arguments and texts of any kind."""

import collections
import dataclasses
import decimal
import enum
import json
import math
import pathlib
import random
import types
from collections.abc import Callable
from typing import Any

import pytest

import watchkeeper
from watchkeeper._watchkeeper import arguments_to_json


@dataclasses.dataclass
class Point:
    x: int
    label: str


class Color(str, enum.Enum):
    RED = "red"


class Named:
    def __str__(self) -> str:
        return "<named at 0x7f00deadbeef>"


class Model:
    def model_dump(self) -> dict[str, Any]:
        return {"field": [1, Named()]}


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError

    def __repr__(self) -> str:
        raise RuntimeError


def cyclic() -> dict[str, Any]:
    cycle: dict[str, Any] = {}
    cycle["self"] = [cycle]
    return cycle


def wide_cycle() -> list[Any]:
    cycle: list[Any] = []
    cycle.extend([cycle, cycle, {"a": cycle}])
    return cycle


class Changing:
    """Changes the dictionary that contains it when it is converted."""

    def __init__(self, parent: dict[str, Any]) -> None:
        self.parent = parent

    def __str__(self) -> str:
        self.parent.clear()
        self.parent.update({str(n): n for n in range(100)})
        return "changed"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (None, None),
        ({}, {}),
        ({"a": [1, -2, 2.5, True, None, "x"], "b": {"c": ()}}, None),
        ({"a": 'tab\t quote" back\\ line\n null\0 bell\a é 🚀'}, None),
        ([10**18, 2**63, 2**64 - 1, -(2**63)], None),
        ([2**64, -(2**70)], [str(2**64), str(-(2**70))]),
        ([math.nan, math.inf, -math.inf], ["NaN", "inf", "-inf"]),
        ([1e300, 5e-324, 0.1], None),
        ("\ud800x", "\ufffd" * 3 + "x"),
        ({"\udc80": "\udc80"}, {"\ufffd" * 3: "\ufffd" * 3}),
        (
            {1: "a", None: "b", 2.5: "c", b"d": "e", (1, 2): "f"},
            {"1": "a", "None": "b", "2.5": "c", "d": "e", "(1, 2)": "f"},
        ),
        (b"\xffbytes", "\ufffdbytes"),
        (bytearray(b"x"), "x"),
        (Point(1, "p"), {"x": 1, "label": "p"}),
        ([Color.RED, pathlib.PurePosixPath("/a"), decimal.Decimal("1.50")], ["red", "/a", "1.50"]),
        ({3, 1, 2}, [1, 2, 3]),
        (collections.OrderedDict(a=1), {"a": 1}),
        (types.MappingProxyType({"a": [1]}), {"a": [1]}),
        (Named(), "<named>"),
        (Model(), {"field": [1, "<named>"]}),
        (Hostile(), "<Hostile>"),
        ({Hostile(): Hostile()}, {"<Hostile>": "<Hostile>"}),
        (range(3), "range(0, 3)"),
    ],
)
def test_arguments_become_json(arguments: object, expected: object) -> None:
    text = arguments_to_json(arguments)
    if expected is None:
        expected = json.loads(json.dumps(arguments))
    assert json.loads(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"command": "make"}', {"command": "make"}),
        ("make all", "make all"),
        ('{"command": ', '{"command": '),
        ("", ""),
        ("\0", "\0"),
        ("12", 12),
    ],
)
def test_a_string_is_json_or_plain_text(text: str, expected: object) -> None:
    assert json.loads(arguments_to_json(text)) == expected


def test_an_integer_of_any_size_is_text() -> None:
    text = json.loads(arguments_to_json([10**10_000]))[0]
    assert text.startswith("0x")
    assert int(text, 16) == 10**10_000


@pytest.mark.parametrize("arguments", [cyclic(), wide_cycle()])
def test_a_cycle_is_cut(arguments: object) -> None:
    text = arguments_to_json(arguments)
    json.loads(text)
    assert "…" in text
    assert len(text) < 2_000_000


def test_a_large_text_is_cut_and_keeps_its_identity() -> None:
    a, b = (arguments_to_json({"content": "x" * 5_000_000 + end}) for end in "ab")
    assert len(a) < 100_000
    assert a != b
    assert "5,000,001 bytes" in a


def test_many_texts_are_cut_together() -> None:
    text = "x" * 300_000
    assert len(arguments_to_json([text] * 100)) < 2_000_000
    for many in (
        [None] * 1_000_000,
        (None,) * 1_000_000,
        dict.fromkeys(map(str, range(1_000_000))),
    ):
        assert len(arguments_to_json(many)) < 2_000_000


def test_a_dictionary_may_change_while_it_is_recorded() -> None:
    arguments: dict[str, Any] = {"a": 1, "c": 2}
    arguments["b"] = Changing(arguments)
    assert json.loads(arguments_to_json(arguments)) == {"a": 1, "c": 2, "b": "changed"}


def test_random_values_are_the_same_as_with_json() -> None:
    dice = random.Random(7)

    def value(depth: int) -> Any:
        kind = dice.randrange(8 if depth else 6)
        text = "".join(dice.choice('ab"\\\n\0é\u2028🚀') for _ in range(dice.randrange(20)))
        makers: list[Callable[[], Any]] = [
            lambda: text,
            lambda: dice.randrange(-(2**63), 2**64),
            lambda: dice.uniform(-1e6, 1e6),
            lambda: None,
            lambda: dice.random() < 0.5,
            dict,
            lambda: [value(depth - 1) for _ in range(dice.randrange(4))],
            lambda: {f"{n}{text}": value(depth - 1) for n in range(dice.randrange(4))},
        ]
        return makers[kind]()

    for _ in range(300):
        arguments = {"v": value(5)}
        assert json.loads(arguments_to_json(arguments)) == arguments


def test_hostile_text_is_recorded_everywhere(policy: str) -> None:
    text = "a\0b\ud800\x1b[31m\u202e" + "x" * 1_100_000
    with watchkeeper.Monitor(policy_text=policy) as monitor:
        session = monitor.session("s\ud800\0", labels={"\ud800": "\0"})
        agent = session.agent(text)
        for target in (session, agent):
            target.prompt(text)
            target.message(text)
            target.thinking(text)
            target.error(text)
            target.handoff(text)
            target.model_call(text, id=text)
            for output in (text, Hostile(), None, b"\xff", cyclic(), 10**10_000):
                with target.tool_call(text, text, text) as call:
                    call.fail(output)
                target.tool_result(text, output)
            target.end(text)
        assert monitor.flush()
        assert monitor.counts.dropped == 0


class Interrupted:
    def __str__(self) -> str:
        raise KeyboardInterrupt


class Left:
    def model_dump(self) -> object:
        raise SystemExit(5)


@pytest.mark.parametrize(
    ("value", "exception"), [(Interrupted(), KeyboardInterrupt), (Left(), SystemExit)]
)
def test_exceptions_that_end_the_program_pass_on(
    policy: str, value: object, exception: type[BaseException]
) -> None:
    with watchkeeper.Monitor(policy_text=policy) as monitor:
        session = monitor.session("s")
        for arguments in (value, {"a": [value]}, {value}, {value: 1}):
            with pytest.raises(exception):
                session.tool_call("Bash", arguments)
        assert monitor.flush()
        assert monitor.counts.events == 1


def test_a_result_is_recorded_if_its_output_interrupts(policy: str) -> None:
    with watchkeeper.Monitor(policy_text=policy) as monitor:
        session = monitor.session("s")
        for record in (session.prompt, session.message, session.thinking, session.error):
            with pytest.raises(KeyboardInterrupt):
                record(Interrupted())
        call = session.tool_call("Bash")
        with pytest.raises(KeyboardInterrupt):
            call.succeed(Interrupted())
        with pytest.raises(KeyboardInterrupt):
            session.tool_result("c", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            monitor.session("t", labels={"a": Interrupted()})  # type: ignore[dict-item]
        assert monitor.flush()
        # The start, the call and its result.
        assert monitor.counts.events == 3
