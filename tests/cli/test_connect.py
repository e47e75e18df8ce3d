"""`redshank connect` prints what the platform needs, once, and never stores it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from click.testing import CliRunner, Result

from redshank.cli import main
from redshank.enforcement.models import Connector
from redshank.intake.models import ApiKey


def run(*args: str) -> Result:
    return CliRunner().invoke(main, ["connect", *args])


@pytest.mark.django_db
def test_connecting_changing_and_a_new_secret() -> None:
    first = run(
        "marsh", "--name", "Marsh", "--url", "http://127.0.0.1:8091/redshank", "--verb", "remove", "--verb", "restore"
    )
    assert first.exit_code == 0, first.output
    key = re.findall(r"API key +(rsk_\S+)", first.stdout)
    secret = re.findall(r"Webhook secret +(whsec_\S+)", first.stdout)
    assert (len(key), len(secret)) == (1, 1)
    assert ApiKey.objects.get().network == "marsh"
    again = run("marsh", "--url", "https://marsh.example/hook")
    assert again.exit_code == 0, again.output
    assert "rsk_" not in again.output
    assert "whsec_" not in again.output
    connector = Connector.objects.get()
    assert (connector.name, connector.url, connector.verbs) == (
        "Marsh",
        "https://marsh.example/hook",
        ["remove", "restore"],
    )
    new = re.findall(r"whsec_\S+", run("marsh", "--rotate-secret").stdout)
    assert len(new) == 1
    assert new != secret


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("marsh",), "marsh: not connected yet"),
        (("marsh", "--rotate-secret"), "marsh: not connected"),
        (("Marsh!", "--url", "http://a/", "--verb", "remove"), "Marsh!: not a network"),
        (("marsh", "--url", "file:///etc/passwd", "--verb", "remove"), "not an address of http or https"),
        (("marsh", "--rotate-secret", "--url", "http://a/"), "--rotate-secret"),
    ],
)
def test_what_is_wrong_is_said_and_leaves_nothing(args: Any, said: str) -> None:
    done = run(*args)
    assert done.exit_code == 1
    assert said in done.output
    assert not Connector.objects.exists()
    assert not ApiKey.objects.exists()
