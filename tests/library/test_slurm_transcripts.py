"""What Slurm printed, through slurm.sh and slurm.py: the same lines, the same endings, the same states, in every shell."""

import itertools
from pathlib import Path

import pytest
from library.slurm_shell import AWKS, CASES, SHELLS, TRANSCRIPTS, WORD, Recorded, run

from remotejobs.records import JobState
from remotejobs.schedulers.base import Row
from remotejobs.schedulers.slurm import STATES, Slurm

LONG_AFTER = 4000000000


def lines_of(case: str) -> list[str]:
    return (TRANSCRIPTS / case / "query").read_text().splitlines()


def rows_of(case: str) -> list[Row]:
    return [row for rows in Slurm().read_queue(lines_of(case)).values() for row in rows]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("shell", "awk"), list(itertools.product(SHELLS, AWKS)), ids=lambda value: str(value).strip("[]'")
)
def test_every_shell_makes_the_same_lines_of_a_transcript(
    case: str, shell: list[str], awk: str, tmp_path: Path
) -> None:
    answer = Recorded(tmp_path, case, awk).query(shell)
    assert answer.stdout == (TRANSCRIPTS / case / "query").read_text()
    assert (answer.returncode, answer.stderr) == (0, "")


@pytest.mark.parametrize("case", CASES)
def test_the_lines_are_read_into_the_states_that_a_person_expects(case: str) -> None:
    """`states`: id attempt evidence state reason exit-code, for every line of the query."""
    expected = [
        line.partition("#")[0].split() for line in (TRANSCRIPTS / case / "states").read_text().splitlines()
    ]
    assert sorted(map(_as_words, rows_of(case))) == sorted(filter(None, expected))


def _as_words(row: Row) -> list[str]:
    state = "absent" if row.absent else row.state.value
    code = "-" if row.exit_code is None else str(row.exit_code)
    return [row.id, str(row.attempt), row.evidence.value, state, row.reason.replace(" ", "_") or "-", code]


@pytest.mark.parametrize("case", CASES)
def test_sh_and_python_agree_on_which_lines_are_endings(case: str) -> None:
    text = (TRANSCRIPTS / case / "query").read_text()
    printed = run("slurm_endings", data=text, now=LONG_AFTER).stdout.splitlines()
    kept = {line.split(" ", 3)[3] for line in printed}
    complete = "accounting complete" in text
    tops: dict[str, int] = {}
    for line in kept:
        row = Slurm().read_ending(line)
        if row is not None:
            tops[row.id] = max(row.attempt, tops.get(row.id, 0))
    for line in lines_of(case):
        bare = line.replace(f"|{WORD}", "", 1)
        row = Slurm().read_ending(bare)
        if line.startswith("q|") and complete:
            assert bare not in kept
        elif row is not None:
            assert bare in kept
        elif bare in kept:  # an attempt that a later one followed, which has ended
            fields = bare.split("|")
            assert fields[0] == "a"
            assert int(fields[2]) < tops[fields[1]]


@pytest.mark.parametrize("case", CASES)
def test_sh_and_python_agree_on_which_jobs_the_queue_lists_as_living(case: str) -> None:
    printed = run("slurm_live", data=(TRANSCRIPTS / case / "query").read_text()).stdout.splitlines()
    rows = [row for row in rows_of(case) if row.listed]
    assert sorted(printed) == sorted(f"{row.id} {row.attempt} {row.first or row.submitted}" for row in rows)


def test_sh_and_python_know_the_same_words() -> None:
    """Every documented state as a queue's and as an accounting's word, and one that nobody knows."""
    words = [*STATES, "SOMETHING_NEW"]
    queue = "".join(f"q|{WORD}|{n}|1|5|{w}|0|5|6|1:00|main|n1|None\n" for n, w in enumerate(words, 1))
    accounting = queue.replace("q|", "a|").replace("|None", "|")
    living = run("slurm_live", data=queue).stdout.splitlines()
    over = run("slurm_endings", data=accounting + "accounting complete\n", now=LONG_AFTER).stdout
    rows = Slurm().read_queue(queue.splitlines())
    assert {line.split()[0] for line in living} == {id for id, (row,) in rows.items() if row.listed}
    assert {line.split()[0] for line in over.splitlines()} == {
        id for id, (row,) in rows.items() if row.state.is_final
    }
    assert rows[str(len(words))][0].state is JobState.UNKNOWN
    assert rows[str(len(words))][0].raw == "SOMETHING_NEW"


def test_what_may_come_back_counts_as_over_only_after_a_while() -> None:
    line = f"a|{WORD}|7|1|1000|PREEMPTED|0:0|1000|2000|1:00|main|n1|\naccounting complete\n"
    assert run("slurm_endings", data=line, now=2000 + 60).stdout == ""
    assert run("slurm_endings", data=line, now=2000 + 901).stdout.startswith("7 1 1000 a|7|1|1000|PREEMPTED|")


@pytest.mark.parametrize("command", ["squeue", "sacct"])
@pytest.mark.parametrize("case", ["ended", "requeued", "waiting"])
def test_output_that_was_cut_anywhere_never_says_that_a_job_is_gone(
    case: str, command: str, tmp_path: Path
) -> None:
    recorded = Recorded(tmp_path, case)
    whole = (TRANSCRIPTS / case / command).read_text()
    full = set(lines_of(case))
    for length in sorted({0, 1, *range(0, len(whole), 97), *_ends(whole), len(whole)}):
        recorded.says(command, whole[:length], status=124)
        answer = recorded.query()
        said = answer.stdout.splitlines()
        assert {line for line in said if line.startswith("n|")} <= full
        if command == "squeue":
            assert answer.returncode == 1, length
            assert said[-1] == "accounting unasked"
        else:
            assert answer.returncode == 0
            assert said[-1] in ("accounting failed", "accounting unasked")


def _ends(text: str) -> list[int]:
    return [at for at, character in enumerate(text) if character == "\n"]


def test_a_row_that_cannot_be_read_makes_the_answer_incomplete(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path, "waiting")
    recorded.says("squeue", (TRANSCRIPTS / "waiting" / "squeue").read_text() + "CLUSTER: other\n")
    assert recorded.query().returncode == 1


def test_accounting_is_asked_for_what_the_queue_does_not_list_alone_and_from_the_day_before(
    tmp_path: Path,
) -> None:
    recorded = Recorded(tmp_path, "left_the_queue")
    recorded.query()
    (asked,) = [line.split() for line in recorded.asked.read_text().splitlines() if line.startswith("sacct")]
    ids = sorted(line.split()[0] for line in recorded.open.splitlines())
    assert sorted(asked[asked.index("-j") + 1].split(",")) == ids
    assert asked[asked.index("-S") + 1] == "2026-11-23"  # the jobs are of the 24th


def test_ids_go_to_accounting_two_hundred_at_a_time(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path, "left_the_queue")
    recorded.says("squeue", "")
    recorded.says("sacct", "")
    data = "".join(f"{n} 1795544516 1 k\n" for n in range(1, 452))
    answer = run("slurm_query", data=data, env=recorded.env)
    asked = [line.split() for line in recorded.asked.read_text().splitlines() if line.startswith("sacct")]
    assert [len(words[words.index("-j") + 1].split(",")) for words in asked] == [200, 200, 51]
    assert answer.stdout.count("\nn|") + answer.stdout.startswith("n|") == 451
    assert answer.stdout.endswith("\naccounting complete\n")


def test_a_cluster_without_accounting_is_told_from_one_whose_accounting_is_silent(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path, "left_the_queue")
    recorded.says("sacct", "", status=1)
    recorded.says("scontrol", "x is UP\nAccountingStorageType   = accounting_storage/slurmdbd\n")
    assert recorded.query().stdout.endswith("\naccounting failed\n")
    for word in ("accounting_storage/none", "(null)"):
        recorded.says("scontrol", f"x is UP\nAccountingStorageType   = {word}\n")
        assert recorded.query().stdout.endswith("\naccounting none\n")


def test_an_id_that_was_given_to_another_job_is_not_ours(tmp_path: Path) -> None:
    """The same ids, as if ours had been submitted a day earlier: neither queue nor accounting speaks of them."""
    recorded = Recorded(tmp_path, "ended")
    earlier = [line.split() for line in recorded.open.splitlines()]
    recorded.scripts.write_text("".join(f"{WORD}|{words[0]}|/home/me/mine.sh\n" for words in earlier))
    data = "".join(f"{words[0]} {int(words[1]) - 86400} 1 {words[3]}\n" for words in earlier)
    answer = run("slurm_query", data=data, env=recorded.env)
    kinds = [line[:2] for line in answer.stdout.splitlines()]
    assert kinds == ["n|"] * len(earlier) + ["ac"]


OLD, NEW = "a" * 32 + "_1", "b" * 32 + "_1"
SCRIPT = f"{WORD}|37|/home/me/.app/runs/{{key}}/script\n"


@pytest.mark.parametrize(("script", "whose"), [(SCRIPT.format(key=OLD), 0), (SCRIPT.format(key=NEW), 1)])
def test_of_two_jobs_that_got_the_same_id_a_later_attempt_is_of_the_one_whose_script_runs(
    script: str, whose: int, tmp_path: Path
) -> None:
    recorded = Recorded(tmp_path, "living")
    recorded.scripts.write_text(script)
    recorded.says("sacct", "")
    submits = ["1795545100", "1795545519"]
    answer = run("slurm_query", data=f"37 {submits[0]} 1 {OLD}\n37 {submits[1]} 1 {NEW}\n", env=recorded.env)
    row, absent, _accounting = answer.stdout.splitlines()
    assert row.startswith(f"q|{WORD}|37|2|") and row.endswith(f"|{submits[whose]}")
    assert absent == f"n|{WORD}|37|{submits[1 - whose]}"
    assert run("slurm_live", data=answer.stdout).stdout == f"37 2 {submits[whose]}\n"


@pytest.mark.parametrize("script", ["", f"{'f' * 16}|37|/home/me/.app/runs/{OLD}/script\n"])
def test_where_nobody_says_whose_attempt_it_is_nothing_is_said(script: str, tmp_path: Path) -> None:
    """Neither that it lives (a cancel would stop it) nor that it is gone."""
    recorded = Recorded(tmp_path, "living")
    recorded.scripts.write_text(script)
    recorded.says("sacct", "")
    answer = run("slurm_query", data=f"37 1795545519 1 {OLD}\n", env=recorded.env)
    assert answer.stdout == "accounting complete\n"


@pytest.mark.parametrize(
    "line",
    ["7|2100|COMPLETED|0:0|2100|2200|1:00|main|n1|1002", "7|2100|COMPLETED|0:0|2100|2200|1:00|main|n1|1001"],
)
def test_the_next_job_with_the_id_of_one_whose_node_failed_is_no_second_attempt(
    line: str, tmp_path: Path
) -> None:
    """Somebody else's, and another one of ours: within the time in which a second attempt would come."""
    recorded = Recorded(tmp_path, "ended")
    recorded.says("squeue", "")
    recorded.says("sacct", f"7|1000|NODE_FAIL|0:0|1000|2000|1:00|main|n1|1001\n{line}\n")
    ours = f"7 1000 1 {OLD}\n" + (f"7 2100 1 {NEW}\n" if line.endswith("1001") else "")
    rows = [line.split("|") for line in run("slurm_query", data=ours, env=recorded.env).stdout.splitlines()]
    told = [(row[3], row[4], row[5]) for row in rows if row[0] == "a"]
    assert told == [("1", "1000", "NODE_FAIL"), ("1", "2100", "COMPLETED")][: ours.count("\n")]


def test_two_jobs_that_had_the_same_id_keep_an_ending_each() -> None:
    lines = "".join(
        f"a|{WORD}|7|1|{at}|{word}|0:0|{at}|{at}|1:00|main|n1|\n"
        for at, word in ((1000, "FAILED"), (2000, "COMPLETED"))
    )
    said = run("slurm_endings", data=lines + "accounting complete\n").stdout.splitlines()
    assert [line.split("|")[0] + line.split("|")[4] for line in said] == [
        "7 1 2000 aCOMPLETED",
        "7 1 1000 aFAILED",
    ]
