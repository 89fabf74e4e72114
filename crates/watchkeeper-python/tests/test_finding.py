import copy
import datetime
import json
import pickle

import pytest

import watchkeeper
from recording import record_failing_calls


@pytest.fixture
def finding(policy: str) -> watchkeeper.Finding:
    findings: list[watchkeeper.Finding] = []
    with watchkeeper.Monitor(policy_text=policy, on_finding=findings.append) as monitor:
        record_failing_calls(monitor.session("s", labels={"team": "search"}), 3)
    return findings[0]


def test_the_fields_are_those_of_the_json(finding: watchkeeper.Finding) -> None:
    fields = finding.to_dict()
    assert json.loads(finding.to_json()) == fields
    at = datetime.datetime.fromisoformat(fields.pop("at").replace("Z", "+00:00")[:26] + "+00:00")
    assert finding.at is not None
    assert finding.at.utcoffset() == datetime.timedelta(0)
    assert abs(finding.at - at) < datetime.timedelta(milliseconds=1)
    assert finding.class_ == fields.pop("class") == "runaway"
    evidence = fields.pop("evidence")
    assert [it.event for it in finding.evidence] == [it["event"] for it in evidence]
    assert {name: getattr(finding, name) for name in fields} == fields
    assert fields["detector"] == "errors"
    assert fields["kind"] == "error-loop"
    # JSON has no field for an action that the policy does not suggest.
    assert (finding.action, "action" in fields) == (None, False)


def test_a_finding_is_immutable(finding: watchkeeper.Finding) -> None:
    with pytest.raises(AttributeError):
        finding.severity = "low"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        finding.note = "x"  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        finding.data["x"] = 1  # type: ignore[index]
    with pytest.raises(TypeError):
        finding.labels["x"] = "y"  # type: ignore[index]
    with pytest.raises(TypeError):
        watchkeeper.Finding()
    finding.to_dict()["message"] = ""
    assert finding.message


def test_a_stopped_run_can_be_pickled_without_its_finding(finding: watchkeeper.Finding) -> None:
    stopped = pickle.loads(pickle.dumps(watchkeeper.RunStopped("over the limit", finding)))
    assert (str(stopped), stopped.finding) == ("over the limit", None)


def test_equal_findings_are_equal(finding: watchkeeper.Finding) -> None:
    assert finding == copy.copy(finding) == copy.deepcopy(finding)
    assert {finding: 1}[copy.copy(finding)] == 1
    assert finding != 1  # type: ignore[comparison-overlap]
    assert repr(finding).startswith("Finding(medium open, errors, ")
