"""The exceptions of the package."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from watchkeeper._watchkeeper import Diagnostic, Finding

__all__ = ["PolicyError", "RunStopped"]


class PolicyError(ValueError):
    """A policy that cannot be read or is invalid.

    The message shows every mistake with its source line. `diagnostics` has the locations.
    """

    diagnostics: tuple[Diagnostic, ...]

    def __init__(self, message: str, diagnostics: Iterable[Diagnostic] = ()) -> None:
        super().__init__(message)
        self.diagnostics = tuple(diagnostics)

    def __reduce__(self) -> tuple[type[PolicyError], tuple[str, tuple[Diagnostic, ...]]]:
        return type(self), (str(self), self.diagnostics)


class RunStopped(Exception):  # noqa: N818 - the run was stopped on purpose
    """The run of an agent was stopped because of a finding.

    `finding` is the cause; `None` for a stop that the program requested, and after a copy by
    `pickle`, because a finding belongs to its process.
    """

    finding: Finding | None

    def __init__(self, message: str, finding: Finding | None = None) -> None:
        super().__init__(message)
        self.finding = finding

    def __reduce__(self) -> tuple[type[RunStopped], tuple[str]]:
        return type(self), (str(self),)
