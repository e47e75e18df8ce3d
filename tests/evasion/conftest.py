"""Models of either scorer, fitted once."""

import pytest

from redshank.evasion import Model, SuspensionIndex, encode
from tests.evasion.worlds import PEOPLE, fitted_on


@pytest.fixture(scope="session")
def index() -> SuspensionIndex:
    """The suspended of `PEOPLE`."""
    return SuspensionIndex.build(encode(PEOPLE))


@pytest.fixture(scope="session", params=["additive", "gbt"])
def fitted(index: SuspensionIndex, request: pytest.FixtureRequest) -> Model:
    """A model of either scorer."""
    return fitted_on(index, request.param)
