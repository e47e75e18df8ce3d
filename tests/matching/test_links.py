from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redshank.matching import canonical_domain, canonical_url, link_forms
from redshank.text import normalize_link

URLS = {1: "https://www.known.example/page/?b=2&a=1", 2: "chat.example/wolf/*", 3: "https://all.example/*"}
DOMAINS = {11: "*.Bad.example", 12: "https://worse.bad.example/", 13: "bücher.example", 14: "192.0.2.7"}


KNOWN = {
    **{("url", canonical_url(url)): entry for entry, url in URLS.items()},
    **{("domain", canonical_domain(domain)): entry for entry, domain in DOMAINS.items()},
}


@pytest.mark.parametrize(
    ("url", "entries"),
    [
        ("http://known.example/page?a=1&utm_source=x&b=2", [1]),
        ("http://known.example/page?a=1", []),
        ("http://known.example/page/below?a=1&b=2", []),
        ("https://chat.example/wolf", [2]),
        ("https://chat.example/wolf/77?x=1", [2]),
        ("https://chat.example/wolfs", []),
        ("https://all.example/", [3]),
        ("https://all.example/x/y/z", [3]),
        ("http://bad.example:8080/x", [11]),
        ("http://www.worse.bad.example", [12, 11]),
        ("http://notbad.example", []),
        ("http://bad.example.org", []),
        ("http://xn--bcher-kva.example/", [13]),
        ("http://0xC0000207/", [14]),
        ("https://go.example/?u=http%3A%2F%2Fbad.example%2F&v=http://known.example/page?b=2%26a=1", [11, 1]),
        ("https://go.example/" + "a/" * 5_000, []),
    ],
)
def test_found(url, entries):
    link = normalize_link(url)
    assert link is not None
    forms = link_forms(link)
    assert [KNOWN[form] for form in forms if form in KNOWN] == entries
    assert len(forms) < 200


@given(st.lists(st.sampled_from(["a", "b", "ab", "example", "org"]), min_size=2, max_size=6),
       st.lists(st.sampled_from(["a", "b", "ab", "example", "org"]), min_size=2, max_size=4))  # fmt: skip
def test_a_domain_holds_exactly_what_ends_with_its_labels(host, domain):
    link = normalize_link("http://" + ".".join(host))
    assert link is not None
    assert (("domain", ".".join(domain)) in link_forms(link)) == (host[-len(domain) :] == domain)


@pytest.mark.parametrize("text", ["org", "a.example/page", "a b.example", "", "http://", "a.example?x=1", "..", "*"])
def test_no_domain(text):
    assert canonical_domain(text) is None


@pytest.mark.parametrize("text", ["word", "a.example/x?y=1/*", "mailto:a@b.example", "/*"])
def test_no_url(text):
    assert canonical_url(text) is None


@given(st.sampled_from([*URLS.values(), *DOMAINS.values(), "x.example/a?b/*", "http://[::1]/"]))
def test_canonical_values_stay(text):
    for canonical in (canonical_url, canonical_domain):
        value = canonical(text)
        assert value is None or canonical(value) == value
