"""The names of the package."""

import pytest

import watchkeeper
import watchkeeper.safety


@pytest.mark.parametrize("module", [watchkeeper, watchkeeper.safety])
def test_each_public_name_can_be_used(module: object) -> None:
    names = module.__all__  # type: ignore[attr-defined]
    assert sorted(names) == names
    assert set(names) <= set(dir(module))
    for name in names:
        assert getattr(module, name) is not None


def test_another_name_is_an_error_for_python_and_for_type_checkers() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Moniter'"):
        watchkeeper.Moniter  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match="has no attribute 'SafeSesion'"):
        watchkeeper.safety.SafeSesion  # type: ignore[attr-defined]  # noqa: B018
