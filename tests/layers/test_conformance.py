"""Every layer keeps the same promises."""
import pytest

from interfaces.layers.conformance import CREDIT, EVERY, EXPIRIES, checks, run


@pytest.mark.parametrize("check", EVERY + CREDIT + EXPIRIES, ids=lambda check: check.__name__)
def test_layer(harness, check, caplog):
    assert check in checks(harness)
    run(check(harness))
