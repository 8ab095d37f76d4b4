"""The state of a job from its facts and a queue's answer: who is believed, and that nobody is believed beyond what they know."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from library.bounded import bounded

from remotejobs.queues import read_queue
from remotejobs.records import Evidence, JobKey, JobRecord, JobState, JobStatus
from remotejobs.states import GRACE, LOST_WATCH, SETTLING, derive, is_open

KEY = JobKey("0123456789abcdef0123456789abcdef", 1)
NOW = 100_000.0
ID = {"scheduler": "slurm", "cluster": "alps", "host": "login1", "id": "7", "submitted": "90000"}
PROCESS = {"scheduler": "process", "cluster": "desk", "host": "desk", "id": "4711", "submitted": "90000"}
START = {"time": "91000", "host": "n1", "pid": "5"}


@dataclass
class Queue:
    """As an answer has it."""

    lines: list[str] = field(default_factory=list)
    complete: bool = True
    accounting: str = "complete"
    scheduler: str = "slurm"
    cluster: str = "alps"
    host: str = "login1"
    at: float = NOW


def q(state: str, attempt: int = 1, submit: int = 90000, reason: str = "None", job: int = 7) -> str:
    return f"q|w|{job}|{attempt}|{submit}|{state}|0|91000|N/A|10:00|main|n1|{reason}"


def a(state: str, attempt: int = 1, submit: int = 90000, code: str = "0:0", note: str = "") -> str:
    return f"a|w|7|{attempt}|{submit}|{state}|{code}|91000|95000|00:10:00|main|n1|{note}"


def kept(line: str) -> dict[str, str]:
    return {"source": "accounting", "line": line.replace("|w|", "|", 1), "time": "95010"}


def exit_(code: int) -> dict[str, str]:
    return {"code": str(code), "time": "94990"}


def record(identity: dict[str, str] | None = ID, **facts: dict[str, str]) -> JobRecord:
    named = {name.replace("_", "."): fact for name, fact in facts.items()}
    return JobRecord(KEY, {}, named if identity is None else {"id": identity, **named})


def told(status: JobStatus) -> tuple[Any, ...]:
    settling = "settling" if status.settling else ""
    return (
        status.state.value,
        status.evidence.value,
        status.attempt,
        status.reason,
        status.exit_code,
        settling,
    )


ABSENT = "n|w|7|90000"
SAID = [
    # facts, lines of a complete answer, what is told: state, evidence, attempt, reason, exit code, settling
    ("queued", {}, [q("PENDING", reason="Priority")], ("queued", "queue", 1, "priority", None, "")),
    ("held", {}, [q("PENDING", reason="JobHeldUser")], ("held", "queue", 1, "held_by_user", None, "")),
    ("running", {"start_1": START}, [q("RUNNING")], ("running", "queue", 1, "", None, "")),
    (
        "an exit file beside a living row is no end",
        {"exit_1": exit_(143)},
        [q("COMPLETING")],
        ("finishing", "queue", 1, "", None, ""),
    ),
    (
        "a requeue opens the job again, although its exit file looks like a cancel",
        {"start_1": START, "exit_1": exit_(143)},
        [q("PENDING", 2, 94991, "BeginTime")],
        ("queued", "queue", 2, "begin_time", None, ""),
    ),
    (
        "a requeue opens also what accounting had closed",
        {"sched_1": kept(a("NODE_FAIL"))},
        [q("RUNNING", 2, 94991)],
        ("running", "queue", 2, "", None, ""),
    ),
    (
        "accounting decides the state, the exit file the code",
        {"exit_1": exit_(7)},
        [ABSENT, a("TIMEOUT")],
        ("failed", "accounting", 1, "time_limit", 7, ""),
    ),
    (
        "accounting alone knows a job that was killed with its wrapper",
        {"start_1": START},
        [ABSENT, a("FAILED", code="0:9")],
        ("failed", "accounting", 1, "signal", 137, ""),
    ),
    ("done", {"exit_1": exit_(0)}, [ABSENT, a("COMPLETED")], ("done", "accounting", 1, "", 0, "")),
    (
        "cancelled by its owner",
        {},
        [ABSENT, a("CANCELLED by 1000", note="mine")],
        ("cancelled", "accounting", 1, "by_user", None, ""),
    ),
    (
        "cancelled by root",
        {},
        [ABSENT, a("CANCELLED by 0")],
        ("cancelled", "accounting", 1, "by_admin", None, ""),
    ),
    (
        "our cancel is proved, and accounting still silent",
        {"exit_1": exit_(143), "cancel_1": {"action": "u", "time": "95000"}},
        [ABSENT],
        ("cancelled", "action", 1, "by_user", 143, ""),
    ),
    (
        "it ended by itself before our cancel came, says accounting",
        {"exit_1": exit_(0), "cancel_1": {"action": "u", "time": "95000"}},
        [ABSENT, a("COMPLETED")],
        ("done", "accounting", 1, "", 0, ""),
    ),
    (
        "it ended well beside our cancel, and accounting has yet to say which came first",
        {"exit_1": exit_(0), "cancel_1": {"action": "u", "time": "95000"}},
        [ABSENT],
        ("cancelled", "action", 1, "by_user", 0, ""),
    ),
    (
        "the queue's word for an end, before accounting has it",
        {},
        [q("TIMEOUT"), a("RUNNING")],
        ("failed", "queue", 1, "time_limit", None, ""),
    ),
    (
        "an exit file, once the queue has let it go",
        {"exit_1": exit_(3)},
        [ABSENT],
        ("failed", "exit_file", 1, "exit_code", 3, ""),
    ),
    (
        "a signal, by the exit file",
        {"exit_1": exit_(137)},
        [ABSENT],
        ("failed", "exit_file", 1, "signal", 137, ""),
    ),
    (
        "an exit file counts for its own attempt",
        {"exit_1": exit_(0), "start_2": START},
        [ABSENT],
        ("running", "inferred", 2, "", None, "settling"),
    ),
    (
        "gone just now",
        {"start_1": START},
        [ABSENT],
        ("running", "inferred", 1, "", None, "settling"),
    ),
    (
        "gone for a minute",
        {"gone_1": {"time": str(int(NOW) - 60)}},
        [ABSENT],
        ("submitted", "action", 1, "", None, "settling"),
    ),
    (
        "gone for three minutes",
        {"gone_1": {"time": str(int(NOW) - 180)}},
        [ABSENT],
        ("lost", "inferred", 1, "no_trace", None, ""),
    ),
    (
        "gone with the reason that was noted then",
        {"gone_1": {"time": "1", "reason": "rebooted"}},
        [],
        ("lost", "inferred", 1, "rebooted", None, ""),
    ),
    (
        "gone counts until the queue lists it",
        {"gone_1": {"time": "1"}},
        [q("RUNNING")],
        ("running", "queue", 1, "", None, ""),
    ),
    (
        "lost opens when evidence appears",
        {"gone_1": {"time": "1"}},
        [ABSENT, a("COMPLETED")],
        ("done", "accounting", 1, "", 0, ""),
    ),
    (
        "accounting that believes it runs does not keep it alive",
        {"gone_1": {"time": "1"}},
        [ABSENT, a("RUNNING")],
        ("lost", "inferred", 1, "no_trace", None, ""),
    ),
    ("a word that nobody knows", {}, [q("DREAMING")], ("unknown", "queue", 1, "", None, "")),
    (
        "the id belongs to another job now",
        {"exit_1": exit_(0)},
        [ABSENT, q("RUNNING", submit=99000)],
        ("done", "exit_file", 1, "", 0, ""),
    ),
    ("no row at all: it was not asked about", {}, [], ("submitted", "action", 1, "", None, "")),
]


@pytest.mark.parametrize(("facts", "lines", "expected"), [s[1:] for s in SAID], ids=[s[0] for s in SAID])
def test_a_complete_answer_is_weighed_against_the_facts(
    facts: dict[str, dict[str, str]], lines: list[str], expected: tuple[Any, ...]
) -> None:
    assert told(derive(record(**facts), [Queue(lines)], NOW)) == expected


BY_FACTS = [
    ("its submission is under way", None, {}, ("submitted", "action", 1, "", None, "")),
    ("submitted, and no more is known", ID, {}, ("submitted", "action", 1, "", None, "")),
    ("it has started", ID, {"start_1": START}, ("running", "inferred", 1, "", None, "")),
    (
        "its script has ended, and the queue may hold it still",
        ID,
        {"exit_1": exit_(0)},
        ("finishing", "exit_file", 1, "", 0, ""),
    ),
    (
        "its script has ended, and the queue lacked it",
        ID,
        {"exit_1": exit_(0), "gone_1": {"time": "95000"}},
        ("done", "exit_file", 1, "", 0, ""),
    ),
    (
        "nobody else will ever say more",
        ID,
        {"exit_1": exit_(4), "sched_1": {"source": "none", "line": "", "time": "96000"}},
        ("failed", "exit_file", 1, "exit_code", 4, ""),
    ),
    (
        "accounting, kept",
        ID,
        {"exit_1": exit_(0), "sched_1": kept(a("OUT_OF_MEMORY"))},
        ("failed", "accounting", 1, "memory", 0, ""),
    ),
    (
        "an ending of the queue, kept",
        ID,
        {"sched_1": {"source": "queue", "line": q("COMPLETED").replace("|w|", "|"), "time": "1"}},
        ("done", "queue", 1, "", 0, ""),
    ),
    (
        "a kept line of another job is not believed",
        ID,
        {"sched_1": kept(a("FAILED", submit=1))},
        ("submitted", "action", 1, "", None, ""),
    ),
    (
        "a kept line that is none is not believed",
        ID,
        {"sched_1": {"source": "accounting", "line": "a|7|COMPLETED", "time": "1"}},
        ("submitted", "action", 1, "", None, ""),
    ),
    (
        "it ended well before our cancel came, and accounting was given up",
        ID,
        {
            "exit_1": exit_(0),
            "cancel_1": {"action": "u", "time": "95000"},
            "sched_1": {"source": "none", "line": "", "time": "96000"},
        },
        ("done", "exit_file", 1, "", 0, ""),
    ),
    (
        "a process that ended well before our cancel came",
        PROCESS,
        {"exit_1": exit_(0), "cancel_1": {"action": "u", "time": "95000"}},
        ("done", "exit_file", 1, "", 0, ""),
    ),
    (
        "a process that ended does not come back",
        PROCESS,
        {"exit_1": exit_(0)},
        ("done", "exit_file", 1, "", 0, ""),
    ),
    (
        "a scheduler that nobody knows",
        {**ID, "scheduler": "pbs"},
        {"start_1": START},
        ("running", "inferred", 1, "", None, ""),
    ),
]


@pytest.mark.parametrize(
    ("identity", "facts", "expected"), [s[1:] for s in BY_FACTS], ids=[s[0] for s in BY_FACTS]
)
@pytest.mark.parametrize(
    "queues",
    [
        [],
        [Queue([q("RUNNING"), ABSENT, a("FAILED")], complete=False)],
        [Queue([q("RUNNING"), ABSENT, a("FAILED")], cluster="eiger")],
        [Queue([q("RUNNING"), ABSENT, a("FAILED")], cluster="")],
        [Queue([f"q|w|{KEY}|gone|rebooted|90000"], scheduler="process", cluster="eiger", host="eiger")],
    ],
    ids=["no answer", "a cut answer", "another cluster's", "a nameless cluster's", "another machine's"],
)
def test_where_no_answer_speaks_of_it_the_facts_alone_do(
    queues: list[Queue],
    identity: dict[str, str] | None,
    facts: dict[str, dict[str, str]],
    expected: tuple[Any, ...],
) -> None:
    assert told(derive(record(identity, **facts), queues, NOW)) == expected


PROCESSES = [
    ("alive", {}, "alive|running", ("running", "queue", 1, "", None, "")),
    ("stopped", {}, "alive|stopped", ("suspended", "queue", 1, "stopped", None, "")),
    ("gone, noted", {"exit_1": exit_(0)}, "gone|vanished", ("done", "exit_file", 1, "", 0, "")),
    (
        "ended, though a child of it lives on",
        {"exit_1": exit_(0)},
        "alive|orphaned",
        ("done", "exit_file", 1, "", 0, ""),
    ),
    (
        "cancelled",
        {"exit_1": exit_(143), "cancel_1": {"action": "u", "time": "95000"}},
        "gone|vanished",
        ("cancelled", "action", 1, "by_user", 143, ""),
    ),
    (
        "gone just now",
        {"start_1": START},
        "gone|vanished",
        ("running", "inferred", 1, "", None, "settling"),
    ),
    (
        "gone without a trace",
        {"start_1": START, "gone_1": {"time": "1"}},
        "gone|vanished",
        ("lost", "inferred", 1, "vanished", None, ""),
    ),
    (
        "the machine restarted",
        {"start_1": START},
        "gone|rebooted",
        ("lost", "inferred", 1, "rebooted", None, ""),
    ),
]


@pytest.mark.parametrize(
    ("facts", "fate", "expected"), [s[1:] for s in PROCESSES], ids=[s[0] for s in PROCESSES]
)
def test_a_process_ends_by_its_exit_file_or_is_lost(
    facts: dict[str, dict[str, str]], fate: str, expected: tuple[Any, ...]
) -> None:
    answer = Queue([f"q|w|{KEY}|{fate}|90000"], True, "none", "process", "desk", "desk")
    assert told(derive(record(PROCESS, **facts), [answer], NOW)) == expected


GONE = {"gone_1": {"time": str(int(NOW))}}


@pytest.mark.parametrize(
    "queues",
    [
        [],
        [Queue([ABSENT], accounting="failed")],
        [Queue([ABSENT], complete=False)],
        [Queue([ABSENT], cluster="eiger")],
    ],
    ids=["no answer", "accounting is silent", "a cut answer", "another cluster's"],
)
def test_a_job_is_not_lost_while_nobody_could_look_again(queues: list[Queue]) -> None:
    for later in (0, SETTLING, LOST_WATCH - 1):
        status = derive(record(start_1=START, **GONE), queues, NOW + later)
        assert (status.state, status.settling) == (JobState.RUNNING, True)
    assert derive(record(**GONE), queues, NOW + LOST_WATCH).state is JobState.LOST


@pytest.mark.parametrize("accounting", ["complete", "none"])
def test_a_job_is_lost_once_queue_and_accounting_lacked_it_for_two_minutes(accounting: str) -> None:
    answer = Queue([ABSENT], accounting=accounting)
    assert derive(record(**GONE), [answer], NOW + SETTLING - 1).settling
    assert derive(record(**GONE), [answer], NOW + SETTLING).state is JobState.LOST


@pytest.mark.parametrize(("code", "state"), [(0, "done"), (143, "cancelled"), (1, "cancelled")])
def test_where_there_is_no_accounting_only_a_good_end_stands_against_our_cancel(
    code: int, state: str
) -> None:
    job = record(exit_1=exit_(code), cancel_1={"action": "u", "time": "95000"})
    status = derive(job, [Queue([ABSENT], accounting="none")], NOW)
    assert (status.state.value, status.exit_code) == (state, code)
    assert derive(job, [], NOW, status) == status, "a later answer that says nothing leaves it"


@pytest.mark.parametrize("before", ["RUNNING", "PENDING"])
def test_a_job_is_lost_in_time_also_where_its_leaving_cannot_be_noted(before: str) -> None:
    """A registry that cannot be written gets no `gone` fact: every sync sees the job missing for the first time."""
    last = derive(record(), [Queue([q(before)])], NOW - 60)
    first = derive(record(), [Queue([ABSENT])], NOW, last)
    assert (first.settling, first.updated) == (True, NOW)
    between = derive(record(), [Queue([ABSENT])], NOW + SETTLING - 1, first)
    assert between == first, "nothing has changed, so nothing is written"
    lost = derive(record(), [Queue([ABSENT])], NOW + SETTLING, between)
    assert (lost.state, lost.updated) == (JobState.LOST, NOW)
    later = derive(record(), [Queue([ABSENT])], NOW + 9999, lost)
    assert later == lost
    assert is_open(record(), later, NOW + LOST_WATCH - 1) and not is_open(record(), later, NOW + LOST_WATCH)


def test_the_time_at_which_an_attempt_left_is_not_that_of_the_next() -> None:
    settling = derive(record(), [Queue([ABSENT])], NOW - 9999)
    again = derive(record(start_2=START), [Queue([ABSENT])], NOW, settling)
    assert (again.settling, again.attempt, again.updated) == (True, 2, NOW)


@pytest.mark.parametrize("last", ["done", "lost"])
def test_a_final_state_is_not_shown_as_settling(last: str) -> None:
    before = JobStatus(JobState(last), Evidence.INFERRED)
    assert derive(record(), [Queue([ABSENT])], NOW, before).state is JobState.SUBMITTED


def test_settling_stands_beside_the_last_state() -> None:
    last = derive(record(), [Queue([q("PENDING", reason="Resources")])], NOW - 10)
    status = derive(record(), [Queue([ABSENT])], NOW, last)
    assert (status.state, status.reason, status.settling) == (JobState.QUEUED, "resources", True)


def test_what_was_known_stays_where_the_answer_says_nothing() -> None:
    last = derive(record(), [Queue([q("SUSPENDED")])], NOW)
    for queues in ([], [Queue([ABSENT], complete=False)], [Queue([])]):
        assert derive(record(start_1=START), queues, NOW + 60, last) == last


def test_facts_that_say_more_than_was_known_count_also_without_an_answer() -> None:
    last = derive(record(), [Queue([q("RUNNING")])], NOW)
    assert derive(record(exit_1=exit_(0)), [], NOW, last).state is JobState.FINISHING
    assert derive(record(start_2=START), [], NOW, last).attempt == 2
    assert derive(record(sched_1=kept(a("COMPLETED"))), [], NOW, last).state is JobState.DONE


def test_lost_does_not_replace_an_outcome_that_somebody_told() -> None:
    gone = record(gone_1={"time": "1"})
    done = derive(gone, [Queue([ABSENT, a("COMPLETED")])], NOW)
    lost = derive(gone, [Queue([ABSENT])], NOW)
    assert derive(gone, [], NOW + LOST_WATCH, done) == done
    assert derive(record(gone_1={"time": "1"}, exit_1=exit_(0)), [], NOW, lost).state is JobState.DONE


def test_the_latest_of_several_answers_counts() -> None:
    early, late = Queue([q("RUNNING")], at=NOW - 5), Queue([q("COMPLETING")])
    for queues in ([early, late], [late, early]):
        assert derive(record(), queues, NOW).state is JobState.FINISHING


def test_a_cut_answer_does_not_hide_an_earlier_one_that_is_whole() -> None:
    queues = [Queue([q("RUNNING")], at=NOW - 5), Queue([], complete=False)]
    assert derive(record(), queues, NOW).state is JobState.RUNNING


def test_a_row_of_an_attempt_that_is_over_says_nothing_of_the_next() -> None:
    status = derive(record(start_2=START), [Queue([q("PENDING")])], NOW)
    assert (status.state, status.attempt, status.evidence) == (JobState.RUNNING, 2, Evidence.INFERRED)


def test_a_requeued_job_that_was_submitted_before_ours_is_another() -> None:
    status = derive(record(), [Queue([q("RUNNING", 2, 89999)])], NOW)
    assert (status.state, status.attempt) == (JobState.SUBMITTED, 1)


def test_an_answer_that_was_read_before_says_the_same() -> None:
    answer = Queue([ABSENT, a("COMPLETED")])
    assert derive(record(), [read_queue(answer)], NOW) == derive(record(), [answer], NOW)


def test_times_nodes_and_limits_come_along() -> None:
    running = derive(record(start_1=START), [Queue([q("RUNNING")])], NOW)
    assert (running.started, running.updated, running.ended) == (91000, 91000, None)
    assert (running.nodes, running.partition, running.limit) == ("n1", "main", 600)
    done = derive(record(start_1=START, exit_1=exit_(0)), [Queue([a("COMPLETED")])], NOW)
    assert (done.started, done.ended, done.updated) == (91000, 94990, 94990)
    queued = derive(record(), [Queue([q("PENDING", reason="Priority")])], NOW)
    assert (queued.started, queued.expected_start, queued.updated) == (None, 91000, 90000)


@pytest.mark.parametrize(
    ("notes", "times"),
    [
        ({"start_1": {"time": "87000"}}, (91000, 95000)),
        ({"exit_1": exit_(9)}, (91000, 95000)),
        ({"start_1": {"time": "87000"}, "exit_1": {"code": "9", "time": "90990"}}, (87000, 90990)),
    ],
    ids=["its end was not noted", "its start was not noted", "both were"],
)
def test_a_duration_is_by_one_clock_though_the_nodes_is_an_hour_late(
    notes: dict[str, dict[str, str]], times: tuple[int, int]
) -> None:
    status = derive(record(**notes), [Queue([ABSENT, a("FAILED", code="0:9")])], NOW)
    assert (status.started, status.ended) == times


OPEN = [
    ("queued", {}, [q("PENDING")], 0, True),
    ("unknown", {}, [q("DREAMING")], 0, True),
    ("settling", {}, [ABSENT], 0, True),
    ("done by accounting", {}, [ABSENT, a("COMPLETED")], 0, False),
    ("done by an accounting that was kept", {"sched_1": kept(a("COMPLETED"))}, [], 0, False),
    ("done by its exit file, accounting not read", {"exit_1": exit_(0)}, [ABSENT], 0, True),
    ("ended for the queue alone", {}, [q("FAILED")], 0, True),
    ("cancelled by us, accounting not read", {"cancel_1": {"time": "99000"}}, [ABSENT], 0, True),
    (
        "accounting was given up",
        {"exit_1": exit_(0), "sched_1": {"source": "none", "line": "", "time": "1"}},
        [ABSENT],
        0,
        False,
    ),
    ("preempted a minute ago", {"sched_1": kept(a("PREEMPTED"))}, [ABSENT], 95060, True),
    ("preempted long ago", {"sched_1": kept(a("PREEMPTED"))}, [ABSENT], 95000 + GRACE, False),
    ("its node failed", {"sched_1": kept(a("NODE_FAIL"))}, [ABSENT], 95060, True),
    ("lost", {"gone_1": {"time": "95000"}}, [ABSENT], 96000, True),
    ("lost for a week", {"gone_1": {"time": "95000"}}, [ABSENT], 95000 + LOST_WATCH, False),
]


@pytest.mark.parametrize(
    ("facts", "lines", "now", "expected"), [s[1:] for s in OPEN], ids=[s[0] for s in OPEN]
)
def test_a_job_is_watched_until_its_last_witness_was_heard(
    facts: dict[str, dict[str, str]], lines: list[str], now: float, expected: bool
) -> None:
    job = record(**facts)
    status = derive(job, [Queue(lines)], now or NOW)
    assert is_open(job, status, now or NOW) is expected


def test_a_process_is_not_watched_after_its_exit_file() -> None:
    job = record(PROCESS, exit_1=exit_(0))
    assert not is_open(job, derive(job, [], NOW), NOW)


# ---- whatever a server may send ----
WORDS = st.sampled_from(
    ["", "7", "0", "1", "90000", "slurm", "process", "alps", "none", "accounting", "-1", "9" * 40, "٣", "nan"]
    + [line.replace("|w|", "|", 1) for line in (q("COMPLETED"), a("COMPLETED"), a("CANCELLED by 0"))]
) | st.text(max_size=20)
NAMES = st.sampled_from(
    [f"{fact}.{n}" for fact in ("start", "exit", "sched", "gone", "cancel") for n in (1, 2, 99999, "01")]
    + ["id", "cleaned", "exit.", "exit.٣", "exit." + "9" * 30]
) | st.text(max_size=10)
FACT_WORDS = ["scheduler", "cluster", "host", "id", "submitted", "time", "code", "source", "line"]
FACTS = st.dictionaries(NAMES, st.dictionaries(st.sampled_from(FACT_WORDS), WORDS, max_size=9), max_size=6)
WHOLE_ID = st.sampled_from([ID, PROCESS])
LINES = st.lists(
    st.sampled_from(
        [
            q("RUNNING"),
            q("COMPLETED"),
            q("RUNNING", 2, 95000),
            a("FAILED"),
            a("REQUEUED"),
            ABSENT,
            q("x"),
            f"q|w|{KEY}|alive|running|1",
            f"q|w|{KEY}|gone|vanished|1",
            f"q|w|{KEY}|gone|rebooted|1",
            "|",
            "q",
        ]
    )
    | st.lists(WORDS, max_size=14).map("|".join)
    | st.text(max_size=60),
    max_size=8,
)
QUEUES = st.lists(
    st.builds(
        Queue,
        LINES,
        st.booleans(),
        st.sampled_from(["complete", "none", "failed", "unasked", "?"]),
        st.sampled_from(["slurm", "process", "pbs"]),
        st.sampled_from(["alps", "desk", "", "-"]),
    ),
    max_size=3,
)


TOLD = st.tuples(FACTS, st.none() | WHOLE_ID, QUEUES)


def a_state_has_evidence(told: tuple[dict[str, dict[str, str]], dict[str, str] | None, list[Queue]]) -> None:
    facts, identity, queues = told
    job = JobRecord(KEY, {}, {**facts, "id": identity} if identity else facts)
    with bounded(1 << 20):
        status = derive(job, queues, NOW)
        is_open(job, status, NOW)
    assert 1 <= status.attempt <= 99999
    assert status.exit_code is None or 0 <= status.exit_code <= 255
    derive(job, queues, NOW + 1, status)
    if not status.state.is_final:
        return
    lines = [line for queue in queues if queue.complete for line in queue.lines]
    names = {name.partition(".")[0] for name in facts}
    allowed = {
        Evidence.ACCOUNTING: "sched" in names or any(line.startswith("a|") for line in lines),
        Evidence.QUEUE: "sched" in names or any(line.startswith("q|") for line in lines),
        Evidence.EXIT_FILE: "exit" in names,
        Evidence.ACTION: "cancel" in names,
        Evidence.INFERRED: "gone" in names or any("|gone|rebooted|" in line for line in lines),
    }
    assert allowed[status.evidence]
    assert (status.state is JobState.LOST) == (status.evidence is Evidence.INFERRED)


@settings(max_examples=1000, deadline=None)
@given(TOLD)
def test_nothing_that_a_server_sends_makes_it_raise_or_end_a_job_without_evidence(
    told: tuple[dict[str, dict[str, str]], dict[str, str] | None, list[Queue]],
) -> None:
    a_state_has_evidence(told)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_part_of_an_answer_is_no_answer(data: st.DataObject) -> None:
    """Cut at any byte, without its closing line: nothing changes, and above all nothing is gone."""
    text = "\n".join([ABSENT, q("RUNNING", job=8), a("FAILED", code="1:0")])
    part = text[: data.draw(st.integers(0, len(text)))]
    cut = Queue(part.split("\n"), complete=False)
    assert derive(record(start_1=START), [cut], NOW) == derive(record(start_1=START), [], NOW)
