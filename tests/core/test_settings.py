"""Settings: from the environment, else from the file, else the default; a wrong one is named."""

import pytest

from redshank.core import Problem, Settings, load_settings
from redshank.core.settings import documented_settings, environment_name


def test_the_environment_wins_over_the_file_and_the_file_over_the_default() -> None:
    toml = 'port = 1\nhost = "a"\n[media]\nmax_pixels = 5'
    found = load_settings(toml, {"REDSHANK_PORT": "2", "REDSHANK_ALLOWED_HOSTS": "x, y", "REDSHANK_HTTPS": "yes"})
    assert (found.port, found.host, found.media.max_pixels) == (2, "a", 5)
    assert (found.allowed_hosts, found.https, found.workers) == (("x", "y"), True, Settings().workers)


@pytest.mark.parametrize(
    ("toml", "environ", "words"),
    [
        ("port = 'x", {}, ["not valid TOML", "settings"]),
        ("prot = 1", {}, ["prot"]),
        ("", {"REDSHANK_PROT": "1"}, ["REDSHANK_PROT", "Did you mean REDSHANK_PORT?"]),
        ("", {"REDSHANK_PORT": "many"}, ["int", "port"]),
        ("", {"REDSHANK_PORT": "70000"}, ["65535", "port"]),
        ("[media]\npdq_limit = 32", {}, ["31", "media.pdq_limit"]),
        ("", {"REDSHANK_HTTPS": "maybe"}, ["bool", "https"]),
    ],
)
def test_a_wrong_setting_is_named(toml: str, environ: dict[str, str], words: list[str]) -> None:
    with pytest.raises(Problem) as caught:
        load_settings(toml, environ)
    for word in words:
        assert word in str(caught.value)


def test_every_setting_has_a_sentence_and_its_default_reads_back() -> None:
    rows = documented_settings()
    assert len(rows) > 20
    for path, _, default, sentence in rows:
        assert sentence.endswith("."), path
        text = ",".join(default) if isinstance(default, tuple) else str(default)
        assert load_settings("", {environment_name(path): text}) == Settings(), path
