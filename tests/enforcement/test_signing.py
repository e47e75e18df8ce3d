"""Our signatures are those of Standard Webhooks, and nothing else passes for one."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redshank.core import BadInput
from redshank.enforcement import signing

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
SECRET = signing.derive_secret("the installation's key", "marsh", 1)


def test_the_signature_is_the_one_that_the_specification_shows() -> None:
    # The example of standardwebhooks.com's own libraries' tests: secret, id, time, payload and signature.
    headers = signing.sign(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        datetime.fromtimestamp(1614265330, UTC),
        b'{"test": 2432232314}',
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.binary(max_size=200), st.integers(-300, 300))
def test_what_we_sign_verifies_within_five_minutes(body: bytes, seconds: int) -> None:
    headers = signing.sign([SECRET], "act_1", NOW, body)
    assert signing.verify(SECRET, headers, body, now=NOW + timedelta(seconds=seconds)) == "act_1"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"webhook-id": "act_2"}, "webhook-signature"),
        ({"webhook-timestamp": str(int(NOW.timestamp()) + 1)}, "webhook-signature"),
        ({"webhook-timestamp": str(int(NOW.timestamp()) - 301)}, "webhook-timestamp"),
        ({"webhook-timestamp": "-1"}, "webhook-timestamp"),
        ({"webhook-timestamp": ""}, "webhook-timestamp"),
        ({"webhook-id": ""}, "webhook-id"),
        ({"webhook-signature": ""}, "webhook-signature"),
        ({"webhook-signature": "v1,"}, "webhook-signature"),
        ({"webhook-signature": "v1a,AAAA v2,é"}, "webhook-signature"),
    ],
)
def test_anything_else_is_refused_by_name(change: dict[str, str], where: str) -> None:
    headers = {**signing.sign([SECRET], "act_1", NOW, b"{}"), **change}
    with pytest.raises(BadInput) as caught:
        signing.verify(SECRET, headers, b"{}", now=NOW)
    assert caught.value.where == where


def test_a_secret_is_of_one_network_and_one_version() -> None:
    secrets = {signing.derive_secret(k, n, v) for k in ("a", "b") for n in ("marsh", "marsh2") for v in (1, 12)}
    assert len(secrets) == 8
    headers = signing.sign([SECRET, signing.derive_secret("a", "marsh", 1)], "act_1", NOW, b"{}")
    assert signing.verify(signing.derive_secret("a", "marsh", 1), headers, b"{}", now=NOW) == "act_1"
    with pytest.raises(BadInput):
        signing.verify(signing.derive_secret("b", "marsh", 1), headers, b"{}", now=NOW)
