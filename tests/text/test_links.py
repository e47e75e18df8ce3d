from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redshank.text import find_links, normalize_host, normalize_link

PIECES = st.sampled_from(
    ["http", "hxxps", "://", ":", "//", "/", "\\", "[", "]", "[.]", "(.)", ".", "..", "@", "?", "#", "#!", "&", "=", "url=",
     "utm_x=1", "%", "%41", "%2e", "%zz", "+", "www.", "example", "org", "bücher", "例え", "❤", "xn--a", "0x7f", "1", "256",
     ":80", ":99999", " ", "\t", "\u200b", "\u3002", "(", ")", ",", "‘", "\ud800", "℀", "*", "http://example.org/a?u="]
)  # fmt: skip
GARBAGE = st.lists(PIECES | st.text(max_size=3), max_size=25).map("".join)


@given(GARBAGE)
def test_normalizing_never_raises_and_is_done_once(text):
    link = normalize_link(text)
    if link is not None:
        again = normalize_link(link.url)
        assert again is not None
        assert again.url == link.url
        assert link.url.isascii()
        assert normalize_host(link.host) == link.host
        assert len(link.inner) <= 10


@given(GARBAGE)
def test_what_is_found_stands_there_and_does_not_overlap(text):
    end_before = 0
    for start, end, url in find_links(text):
        assert end_before <= start < end
        assert text[start:end] == url
        end_before = end


@given(
    st.lists(
        st.sampled_from(["example.org", "https://a.example/x?y=1", "www.b.example", "hxxp://c[.]example"]), max_size=9
    )
)
def test_links_among_words_are_found(links):
    assert [url for _, _, url in find_links(" and ".join(["so", *links, "on"]))] == links


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("See https://a.example/x_(y)).", ["https://a.example/x_(y)"]),
        ("(https://a.example/x), \"http://b.example\"; c.example!", ["https://a.example/x", "http://b.example", "c.example"]),
        ("[here](https://a.example/b) <http://c.example>", ["https://a.example/b", "http://c.example"]),
        ("hxxps[:]//bad[.]example/p and bad(dot)example", ["hxxps[:]//bad[.]example/p", "bad(dot)example"]),
        ("http://a.example,http://b.example", ["http://a.example", "http://b.example"]),
        ("https://archive.example/web/https://a.example/", ["https://archive.example/web/https://a.example/"]),
        ("mail me@a.example or @me@b.example", []),
        ("e.g. this...that 3.14 1.2.3.4 a.b", []),
        ("http://192.0.2.7/x 192.0.2.7:80", ["http://192.0.2.7/x", "192.0.2.7:80"]),
        ("请看example.com吧 看https://a.example看", ["example.com", "https://a.example"]),
        ("http://bücher.example/ü", ["http://bücher.example/ü"]),
        ("http:// https://. ://", []),
    ],
)  # fmt: skip
def test_found(text, links):
    assert [url for _, _, url in find_links(text)] == links


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("HTTP://WWW.Example.ORG:80/%7euser/./a/../b/?b=2&a=1#part", "https://example.org/~user/b?a=1&b=2"),
        ("example.org", "https://example.org/"),
        ("//example.org./", "https://example.org/"),
        ("http:\\\\example.org\\x", "https://example.org/x"),
        ("https://name:word@example.org:8443/", "https://example.org:8443/"),
        ("example.org:8080/x", "https://example.org:8080/x"),
        ("https://example.org/?utm_source=a&%75tm_medium=b&fbclid=c&id=7", "https://example.org/?id=7"),
        ("https://example.org/a+b?q=a+b%20c&&r", "https://example.org/a+b?q=a%20b%20c&r"),
        ("https://example.org/100%/%c3%bc/ü", "https://example.org/100%25/%C3%BC/%C3%BC"),
        ("https://example.org/#/room/7", "https://example.org/#/room/7"),
        ("https://example.org/#!abc", "https://example.org/#!abc"),
        ("http://bücher.example/", "https://xn--bcher-kva.example/"),
        ("http://BÜCHER。example/", "https://xn--bcher-kva.example/"),
        ("http://i❤.example/", "https://xn--i-7iq.example/"),
        ("http://ex\u200bam\u00adple.org/", "https://example.org/"),
        ("http://ex%61mple.org/", "https://example.org/"),
        ("hxxp://example[.]org/x", "https://example.org/x"),
        ("http://0x7f.1/", "https://127.0.0.1/"),
        ("http://3232235777/", "https://192.168.1.1/"),
        ("http://[2001:DB8:0::1]:443/x", "https://[2001:db8::1]/x"),
    ],
)
def test_one_form(url, canonical):
    link = normalize_link(url)
    assert link is not None
    assert link.url == canonical


@pytest.mark.parametrize(
    "url",
    ["", " ", "word", "mailto:a@example.org", "javascript:alert(1)", "tg://x", "http://", "http://a..b/", "http://a b/",
     "http://256.1.1.1/", "http://[::g]/", "http://example.org:x/", "http://example.org:70000/", "http://" + "a" * 64 + ".org",
     "http://" + "a." * 200 + "org", "http://℀.org", "\ud800", "http://\ud800.org/", "http://1.2.3.4.5/"],
)  # fmt: skip
def test_no_link(url):
    assert normalize_link(url) is None


def test_redirects_are_unwrapped_three_deep():
    url = "http://end.example/"
    for at in range(6):
        url = f"http://r{at}.example/go?u={quote(url, safe='')}"
    link = normalize_link(url)
    assert link is not None
    assert [inner.host for inner in link.inner] == ["r4.example", "r3.example", "r2.example"]


@pytest.mark.parametrize(
    "url",
    [
        "https://l.example/?u=https%3A%2F%2Fwww.bad.example%2Fx%3Futm_id%3D1",
        "https://l.example/out?whatever=http://bad.example/x",
        "https://l.example/?target=bad.example/x",
        "https://l.example/?target=//bad.example/x",
        "https://l.example/web/2020/https://bad.example/x",
        "https://l.example/web/https%3A%2F%2Fbad.example%2Fx",
    ],
)
def test_a_link_carries_the_one_it_leads_to(url):
    link = normalize_link(url)
    assert link is not None
    assert [inner.url for inner in link.inner] == ["https://bad.example/x"]


@pytest.mark.parametrize(
    "text",
    [
        "a" * 100_000, "a." * 50_000, "a[.]" * 25_000 + "@", "http://" * 15_000, "http://a.example/" + ")(" * 50_000,
        "http://r.example/?u=" * 5_000, "请.a" * 30_000, ":// " * 25_000, "[:" * 50_000, "a@b.example " * 8_000,
        "http://a.example/?" + "u=http%3A//b.example&" * 5_000, "%" * 100_000, "http://a.example/" + "/.." * 30_000,
    ],
)  # fmt: skip
def test_a_text_that_only_wants_to_cost_time(text):
    for _, _, url in find_links(text):
        normalize_link(url)
    normalize_link(text)
    normalize_link("http://x.example/" + text)


def test_ten_thousand_links():
    links = find_links("see http://a.example/c " * 10_000)
    assert len(links) == 10_000
    assert {url for _, _, url in links} == {"http://a.example/c"}


def test_domains_of_a_link():
    link = normalize_link("http://a.b.example.org/")
    assert link is not None
    assert list(link.domains()) == ["a.b.example.org", "b.example.org", "example.org", "org"]
    address = normalize_link("http://192.0.2.7/")
    assert address is not None
    assert list(address.domains()) == ["192.0.2.7"]
