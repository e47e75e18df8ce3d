from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redshank.core import Problem
from redshank.core.sealed import seal, unseal


@given(st.text(), st.binary(), st.text(max_size=20), st.data())
def test_what_is_sealed_opens_under_its_own_key_and_label_alone(
    key: str, secret: bytes, label: str, data: st.DataObject
) -> None:
    key, label = (one.encode("utf-8", "replace").decode() for one in (key, label))
    sealed = seal(key, secret, label=label)
    assert unseal(key, sealed, label=label) == secret
    assert seal(key, secret, label=label) != sealed
    at = data.draw(st.integers(0, len(sealed) - 1))
    damaged = sealed[:at] + bytes([sealed[at] ^ data.draw(st.integers(1, 255))]) + sealed[at + 1 :]
    for other_key, other, other_label in (
        (key + "x", sealed, label),
        (key, sealed, label + "x"),
        (key, damaged, label),
        (key, sealed[:at], label),
    ):
        with pytest.raises(Problem, match="here: its secret cannot be read"):
            unseal(other_key, other, label=other_label, where="here")
