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


@pytest.mark.parametrize("module", [watchkeeper, watchkeeper.safety])
def test_another_name_is_an_error(module: object) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Moniter'"):
        module.Moniter  # type: ignore[attr-defined]  # noqa: B018
