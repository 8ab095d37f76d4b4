"""Values read from untrusted bytes: what cannot be is refused or cleaned, and nothing raises."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from library.bounded import bounded

from remotejobs import BadInput
from remotejobs.cursor import Cursor
from remotejobs.records import JobKey, JobRecord, clean, parse_file_name, read_fact, read_settings

HASH = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "x",
            HASH,
            f"{HASH}_",
            f"{HASH}_0",
            f"{HASH}_01",
            f"{HASH}_1234567",
            f"{HASH}_-1",
            f"{HASH}_1\n",
        ),
        *(
            f"{HASH.upper()}_1",
            f"{HASH[1:]}_1",
            f"{HASH}_1_1",
            f" {HASH}_1",
            f"{HASH}_\u0661",
            f"../{HASH}_1",
        ),
    ],
)
def test_what_is_no_key_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(BadInput, match="is not a job key"):
        JobKey.parse(text)


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("json", "json"),
        ("id", "id"),
        ("cleaned", "cleaned"),
        ("exit.1", "exit.1"),
        ("sched.99999", "sched.99999"),
    ],
)
def test_the_files_of_a_record_are_known_by_name(name: str, fact: str) -> None:
    assert parse_file_name(f"{HASH}_7.{name}") == (JobKey(HASH, 7), fact)


@pytest.mark.parametrize(
    "name", ["", "exit", "exit.0", "exit.01", "exit.100000", "id.1", "exit.1.2", "exit.\u0661", "json\n"]
)
def test_another_file_is_none_of_a_record(name: str) -> None:
    assert parse_file_name(f"{HASH}_7.{name}") is None


def test_a_fact_counts_from_its_end_line_on() -> None:
    assert read_fact("code=0\ntime=5\nend\n" + " " * 100) == {"code": "0", "time": "5"}
    assert read_fact("code=0\ntime=5\nen") is None
    assert read_fact("end\ncode=0\n") == {}
    assert read_fact(f"{'x' * 41}=1\na b=1\n\u0430=1\n=1\nlast=1=2\nend\n") == {"last": "1=2"}
    many = read_fact("".join(f"w{n}={'x' * 9999}\n" for n in range(200)) + "end\n")
    assert many is not None and len(many) == 64 and {len(value) for value in many.values()} == {4000}


@pytest.mark.parametrize("depth", [10, 100, 450, 990, 5000, 100_000])
def test_nesting_of_any_depth_is_cut_or_refused(depth: int) -> None:
    found = read_settings('{"name": "n", "a": ' + '{"a":' * depth + "1" + "}" * depth + "}")
    assert found is None or found["name"] == "n"
    json.dumps(found)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
).map(json.dumps)


@given(st.text() | JSON)
def test_whatever_settings_say_a_database_can_keep(text: str) -> None:
    found = read_settings(text)
    assert found is None or isinstance(found, dict)
    json.dumps(found, ensure_ascii=False, allow_nan=False).encode()


LINES = st.lists(
    st.sampled_from(
        ["end", "code=0", "time=1700000000", "=", "x" * 50 + "=1", "line=a|b|c", "\x1b=\x9b", "end "]
    )
    | st.builds("{}={}".format, st.text(max_size=8), st.text(max_size=40))
    | st.text(max_size=12),
    max_size=90,
).map("\n".join)
NAMES = st.builds(
    "{}{}_{}.{}".format,
    st.sampled_from([HASH, HASH[1:], HASH.upper(), ""]),
    st.text("0a/.\n\0", max_size=2),
    st.integers(-1, 10**7) | st.text(max_size=3),
    st.sampled_from(
        ["json", "id", "exit.1", "exit.99999", "exit.100000", "sched.0", "gone.\u0661", "cleaned\n"]
    ),
)
# What may stand in a file of a record, or be its name.
RECORD_TEXTS = LINES | NAMES | JSON | st.text()


def a_record_is_read_or_is_none(text: str) -> None:
    with bounded((1 << 20) + 100 * len(text)):
        found, fact, named = read_settings(text), read_fact(text), parse_file_name(text)
        try:
            assert str(JobKey.parse(text)) == text
        except BadInput as error:
            assert "is not a job key" in str(error)
    json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    assert fact is None or len(fact) <= 64
    for word, value in (fact or {}).items():
        assert word.isidentifier() and word.isascii() and len(value) <= 4000 and clean(value) == value
    assert named is None or f"{named[0]}.{named[1]}" == text


@settings(max_examples=500, deadline=None)
@given(RECORD_TEXTS)
def test_whatever_a_file_of_a_record_says_it_is_read_or_is_none(text: str) -> None:
    a_record_is_read_or_is_none(text)


@given(st.text())
def test_cleaned_text_cannot_deceive_and_stays_as_long(text: str) -> None:
    assert len(clean(text)) == len(text)
    assert not set(clean(text)) & set("\0\x1b\x7f\x9b\u202e\u2066\ufeff\ud800")


def test_a_record_is_the_union_of_what_was_ever_read() -> None:
    key = JobKey(HASH, 1)
    early = JobRecord(key, {"name": "n"}, {"id": {"id": "1"}})
    late = JobRecord(key, {}, {"exit.2": {"code": "0"}})
    assert (
        early.union(late) == late.union(early) == JobRecord(key, {"name": "n"}, {**early.facts, **late.facts})
    )
    assert early.union(late).attempt == 2


@given(st.text() | st.none())
def test_any_text_is_some_cursor(text: str | None) -> None:
    cursor = Cursor.parse(text)
    assert all(cursor.fields())
    assert Cursor.parse(str(cursor)) == cursor


def test_a_cursor_survives_its_text() -> None:
    cursor = Cursor().with_bucket("a", "1-2").with_batch("b1.gz").with_batch("b1.gz").with_total("3-4", 5)
    assert Cursor.parse(str(cursor)) == cursor
    assert cursor.fields() == ("3-4", "a:1-2", "b1.gz")
    assert cursor.with_bucket("a", "").with_bucket("b", "").fields() == ("-", "-", "b1.gz")
