"""The values under the pages: groups, durations, and the words that are said of them."""

import pytest

from remotejobs.records import JobState
from remoteweb.groups import ASKS_FOR_SECONDS, Group, group_of
from remoteweb.jobs.filters import Cursor, Filter
from remoteweb.jobs.times import duration
from remoteweb.jobs.words import LOOKS, known

pytestmark = pytest.mark.sqlite

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("state", "known", "group"),
    [
        ("submitted", {}, Group.WAITING),
        ("queued", {}, Group.WAITING),
        ("held", {}, Group.WAITING),
        ("running", {}, Group.RUNNING),
        ("suspended", {}, Group.RUNNING),
        ("finishing", {}, Group.RUNNING),
        ("done", {}, Group.ENDED),
        ("cancelled", {}, Group.ENDED),
        ("failed", {}, Group.NEEDS_YOU),
        ("lost", {}, Group.NEEDS_YOU),
        ("unknown", {}, Group.NEEDS_YOU),
        ("unknown", {"replaced": True}, Group.NEEDS_YOU),
        ("a_word_of_tomorrow", {}, Group.NEEDS_YOU),
        ("queued", {"settling": True}, Group.RUNNING),
        ("failed", {"replaced": True}, Group.ENDED),
        ("failed", {"ended": NOW - ASKS_FOR_SECONDS + 1}, Group.NEEDS_YOU),
        ("failed", {"ended": NOW - ASKS_FOR_SECONDS - 1}, Group.ENDED),
        ("lost", {"ended": NOW - ASKS_FOR_SECONDS - 1}, Group.ENDED),
    ],
)
def test_a_job_is_in_the_group_that_tells_what_it_asks_of_a_person(
    state: str, known: dict[str, float], group: Group
) -> None:
    assert group_of(state, now=NOW, **known) is group  # type: ignore[arg-type]


def test_every_state_has_a_look_of_its_own_and_the_unknown_one_shows_its_word() -> None:
    assert set(LOOKS) == {state.value for state in JobState} - {"unknown"}
    assert len({look.word for look in LOOKS.values()}) == len(LOOKS)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (6720, "1 h 52"),
        (3660, "1 h 01"),
        (86400, "1 d"),
        (187200, "2 d 4 h"),
        (None, ""),
    ],
)
def test_a_duration_is_said_in_two_units_at_most(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said.replace(" ", "\u00a0"), "no line breaks within"


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        ("accounting", "Known from accounting"),
        ("exit_file", "Known from its own note"),
        ("inferred", "Known by inference"),
    ],
)
def test_who_knows_it_is_said_as_a_sentence_begins(evidence: str, said: str) -> None:
    assert known(evidence) == said


@pytest.mark.parametrize("text", ["", "4.1.1", "1.2", "1.2.3.4", "1.-2.3", "1.2.٣", "1.2.3\n", "9" * 40])
def test_a_place_that_no_page_gave_is_no_place(text: str) -> None:
    assert Cursor.parse(text) is None


def test_a_place_survives_its_address() -> None:
    assert Cursor.parse(str(Cursor(3, 17, 42))) == Cursor(3, 17, 42)


def test_an_address_holds_what_was_chosen_and_nothing_else() -> None:
    assert Filter().query() == ""
    assert (
        Filter("running", 2, "a&b c").query(after="1.2.3") == "?view=running&server=2&q=a%26b+c&after=1.2.3"
    )
