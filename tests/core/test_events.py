"""Events at the door: what is good goes through unchanged, what is bad is named by field and reason."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redshank.core import EventError, decode_event, encode_event, event_schema, subject_of

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
GOOD = {
    "id": "evt-1",
    "type": "post.created",
    "network": "marsh",
    "at": "2026-07-01T11:59:00Z",
    "account": {"id": "a-1", "handle": "heron"},
    "post": {"id": "p-1", "text": "Good morning"},
}


def changed(**fields: object) -> str:
    return json.dumps({**GOOD, **fields})


BAD: dict[str, str | bytes] = {
    "not an object": "[1, 2]",
    "nothing": "",
    "cut off": changed()[:-20],
    "not utf-8": changed().encode().replace(b"Good", b"\xff"),
    "lone surrogate": changed().replace("Good morning", "\\ud800"),
    "unknown type": changed(type="post.exploded"),
    "unknown schema": changed(schema=2),
    "no id": json.dumps({name: value for name, value in GOOD.items() if name != "id"}),
    "empty id": changed(id=""),
    "id with a line break": changed(id="a\nb"),
    "id of 201 characters": changed(id="x" * 201),
    "network in capitals": changed(network="Marsh"),
    "misspelled field": changed(account={"id": "a-1", "handel": "heron"}),
    "raw address": changed(account={"id": "a-1", "ip": "192.0.2.1"}),
    "raw token": changed(account={"id": "a-1", "tokens": ["192.0.2.1"]}),
    "number for text": changed(post={"id": "p-1", "text": 7}),
    "post missing": json.dumps({name: value for name, value in GOOD.items() if name != "post"}),
    "year 0": changed(at="0000-01-01T00:00:00Z"),
    "year 1": changed(at="0001-01-01T00:00:00Z"),
    "year 9999": changed(at="9999-12-31T23:59:59Z"),
    "no zone": changed(at="2026-07-01T11:59:00"),
    "account of year 9999": changed(account={"id": "a-1", "created_at": "9999-01-01T00:00:00Z"}),
    "depth 10,000": changed().replace('"Good morning"', '{"a":' * 10_000 + "1" + "}" * 10_000),
    "depth 10,000 in extra": changed().replace('"id"', '"extra":' + "[" * 10_000 + "]" * 10_000 + ',"id"', 1),
    "text too long": changed(post={"id": "p-1", "text": "x" * 100_001}),
    "media not base64": changed(post={"id": "p-1", "media": [{"id": "m", "data": "%%%"}]}),
    "negative followers": changed(account={"id": "a-1", "followers": -1}),
}


def test_each_bad_event_is_named_by_field_and_reason() -> None:
    """The messages are kept whole in golden/events.txt; run with the file deleted to write them anew."""
    lines = []
    for name, raw in BAD.items():
        with pytest.raises(EventError) as caught:
            decode_event(raw, now=NOW)
        lines.append(f"{name}: {caught.value}\n")
    golden = Path(__file__).parent / "golden" / "events.txt"
    if not golden.exists():
        golden.write_text("".join(lines))
        pytest.fail("golden file written anew: read it")
    assert "".join(lines) == golden.read_text()


names = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=200)
times = st.datetimes(datetime(1990, 1, 2), datetime(2026, 7, 2), timezones=st.just(UTC))  # noqa: DTZ001
events = st.fixed_dictionaries(
    {
        "id": names,
        "type": st.sampled_from(["post.created", "post.updated", "post.deleted"]),
        "network": st.just("marsh"),
        "at": times.map(datetime.isoformat),
        "account": st.fixed_dictionaries({"id": names}, optional={"handle": texts, "bio": texts}),
        "post": st.fixed_dictionaries({"id": names}, optional={"text": texts}),
    },
    optional={"extra": st.dictionaries(texts, st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts)},
)


@given(events)
@settings(max_examples=200, deadline=None)
def test_what_is_written_reads_the_same(fields: dict[str, object]) -> None:
    event = decode_event(json.dumps(fields), now=NOW)
    assert decode_event(encode_event(event), now=NOW) == event
    subject = subject_of(event)
    assert subject is not None
    assert (subject.kind, subject.id, subject.account) == ("post", fields["post"]["id"], fields["account"]["id"])  # type: ignore[index]


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(max_examples=300, deadline=None)
def test_no_bytes_do_more_than_be_refused(raw: bytes) -> None:
    with pytest.raises(EventError):
        decode_event(raw, now=NOW)


def test_the_schema_names_every_type() -> None:
    schema, components = event_schema()
    named = {reference["$ref"].rsplit("/", 1)[1] for reference in schema["anyOf"]}
    assert "post.created" in schema["discriminator"]["mapping"]
    assert named <= set(components)
    assert components["Account"]["additionalProperties"] is False
