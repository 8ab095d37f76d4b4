"""The program on the server is killed at any of its steps: the same action again settles it, and does nothing twice."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cluster.parts import wait_until
from cluster.sshd import Sshd
from cluster.steps import KILL, Steps, When
from library.machines import APP, Machine, over_ssh
from library.once import ACTIONS, ACTIONS_OF_SLURM, Place, new_token, settle, submission

from remotejobs import ActionRefused, ActionUnknown, RemoteJobsError, RemoteJobSubmitter
from remotejobs.errors import AnswerBroken

FROM, STEP = int(os.environ.get("FAULT_FROM", "1")), int(os.environ.get("FAULT_STEP", "1"))


@dataclass
class Scene(Place):
    """A place whose program can be struck at any of its steps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.steps = Steps(self.machine.home)

    @property
    def away(self) -> Path:
        """Where the registry is while it has vanished."""
        return self.machine.home / "away"


@contextmanager
def on(request: pytest.FixtureRequest, scheduler: str) -> Iterator[Scene]:
    machine: Machine = request.getfixturevalue("slurm_cluster" if scheduler == "slurm" else "server")
    scene = Scene(machine)
    yield scene
    scene.steps.disarm()


def struck(scene: Scene, action: str, at: int | str, when: When, what: str = KILL) -> list[str]:
    """The action, its program struck at that step, and then again until it is settled; the steps that it had begun."""
    token = new_token()
    act, is_so = ACTIONS_OF_SLURM[action](scene, token)
    scene.steps.arm(at, when, what)
    try:
        act(scene.jobs)
    except RemoteJobsError as error:
        assert str(error).endswith((".", "?"))
        assert not isinstance(error, ActionRefused)
    begun = scene.steps.done
    scene.steps.disarm()
    if scene.away.exists():
        scene.away.rename(scene.machine.registry())
    settle(scene, token, act)
    is_so()
    assert scene.waiting() == [], f"{action}, {when} step {at}: {begun[-1]}"
    return begun


# One command alone is killed, as by a server that is short of memory: the program goes on, and may not take that for an answer.
ALONE = "kill -s KILL $$"


# The steps of which each is the only witness of what was done before it, and what follows from it.
@pytest.mark.parametrize(
    ("scheduler", "action", "step", "when"),
    [
        ("process", "submit", "setsid", "before"),
        ("process", "resubmit", "ln actions", "after"),
        ("process", "cancel", "mkdir actions/facts", "before"),
        ("slurm", "submit", "sbatch", "after"),
        ("slurm", "resubmit with less", "ln actions", "after"),
    ],
)
def test_whatever_step_the_server_dies_at_the_same_action_again_settles_it(
    request: pytest.FixtureRequest, scheduler: str, action: str, step: str, when: When
) -> None:
    with on(request, scheduler) as scene:
        struck(scene, action, step, when)
        assert scene.steps.is_struck


@pytest.mark.parametrize(
    ("scheduler", "action", "step"),
    [
        *(("process", "submit", step) for step in ("base64 -d", 'name="job', "sed 1a", "mkdir actions")),
        *(("slurm", "resubmit with less", step) for step in ('name="header', "awk -v changes=")),
    ],
)
def test_a_command_that_is_killed_changes_nothing_in_what_was_asked_for(
    request: pytest.FixtureRequest, scheduler: str, action: str, step: str
) -> None:
    with on(request, scheduler) as scene:
        struck(scene, action, step, "before", ALONE)
        assert scene.steps.is_struck


def test_what_could_not_be_removed_is_not_written_into_again(request: pytest.FixtureRequest) -> None:
    with on(request, "process") as scene:
        scene.steps.stand_in("rm", 'case "$*" in "-f actions/"*) exit 1 ;; esac; exec "$real" "$@"')
        token = new_token()
        act, is_so = submission(scene, token)
        act(scene.jobs)
        is_so()


SWEPT = [
    *(("process", action) for action in ACTIONS),
    *(("slurm", action) for action in ACTIONS_OF_SLURM),
]


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("scheduler", "action"), SWEPT)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", [KILL, ALONE], ids=["the program", "a command"])
def test_at_every_step_the_server_may_die(
    request: pytest.FixtureRequest, scheduler: str, action: str, when: When, what: str
) -> None:
    with on(request, scheduler) as scene:
        steps = len(struck(scene, action, 0, when))
        kills, failed = 0, []
        for at in range(FROM, steps + 3, STEP):
            try:
                struck(scene, action, at, when, what)
            except (AssertionError, TimeoutError, ValueError, RemoteJobsError) as error:
                failed.append(f"{at}: {scene.steps.done[at - 1 :][:1]}: {error}")
            kills += scene.steps.is_struck
        killed = "the program" if what == KILL else "a command"
        print(f"{scheduler} {action}, {killed} {when}: {steps} steps, {kills} kills")
        assert not failed, "\n".join(failed)


VANISH = f'mv "$HOME/.{APP}" "$HOME/away"'


@pytest.mark.parametrize(
    ("scheduler", "action", "step"),
    [
        ("process", "cancel", "awk -v wrapper"),
        ("process", "resubmit", "cat settings/"),
        ("slurm", "submit", "timeout 20 sbatch"),
    ],
)
def test_a_registry_that_vanishes_between_two_steps_loses_no_action(
    request: pytest.FixtureRequest, scheduler: str, action: str, step: str
) -> None:
    with on(request, scheduler) as scene:
        struck(scene, action, step, "before", VANISH)
        assert scene.steps.is_struck


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("action", ["resubmit", "cancel"])
@pytest.mark.parametrize("scheduler", ["process", "slurm"])
def test_at_every_step_the_registry_may_vanish(
    request: pytest.FixtureRequest, scheduler: str, action: str
) -> None:
    with on(request, scheduler) as scene:
        steps = len(struck(scene, action, 0, "before"))
        scene.an_end_may_be_lost = True
        for at in range(FROM, steps + 3, STEP):
            struck(scene, action, at, "before", VANISH)


# What a submission makes by `mkdir` and `ln`, each told by a part of its command line.
MADE_ONCE = ["mkdir actions/", "mkdir runs/", "/key.", " settings/", "_1/script", " facts/"]


def test_that_a_folder_or_a_link_was_not_made_is_believed_only_where_it_is_not_there(
    slurm_scene: Scene,
) -> None:
    """A call that was repeated over NFS reports that it failed, after it has succeeded."""
    for step in MADE_ONCE:
        act, is_so = submission(slurm_scene, new_token())
        slurm_scene.steps.arm(step, "after", "status=1")
        act(slurm_scene.jobs)
        assert slurm_scene.steps.is_struck, step
        slurm_scene.steps.disarm()
        is_so()


# ---- a scheduler that does not say what it did ----

TIMED_OUT = """\
echo called >>"$steps/calls"
"$real" "$@" >/dev/null 2>&1
echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2
exit 1"""
REFUSES_SILENTLY = TIMED_OUT.replace('"$real" "$@" >/dev/null 2>&1\n', "")
SHOWS_LATE = '[ -e "$steps/hidden" ] && exit 0; exec "$real" "$@"'
# The program is killed, and its request is still on the way to the scheduler.
ON_ITS_WAY = f"""\
echo called >>"$steps/calls"
setsid sh -c ': >"$0"; sleep 1; exec "$@"' "$steps/away" "$real" "$@" >/dev/null 2>&1 </dev/null &
until [ -e "$steps/away" ]; do "$steps/real/sleep" 0.05; done
[ -s "$steps/calls" ] && [ "$(wc -l <"$steps/calls")" = 1 ] && {{ {KILL}; }}"""

# Who notes that the job is handed over does it after all others have looked whether somebody did.
ONE_BY_ONE = """\
case "$*" in *unsettled*)
  turn=2
  until mkdir "$steps/turn.$turn" 2>/dev/null; do turn=$((turn + 1)); done
  sleep "$turn" ;;
esac
exec "$real" "$@\""""


@pytest.fixture
def slurm_scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with on(request, "slurm") as scene:
        yield scene


def token_name(token: str) -> str:
    """Under which a job of that action waits held."""
    letters = token.replace("-", "").translate(str.maketrans("0123456789abcdef", "abcdefghijklmnop"))
    return f"sh.{letters[:10]}"


def calls(scene: Scene) -> int:
    return len((scene.steps.folder / "calls").read_text().splitlines())


def test_a_job_that_was_taken_though_sbatch_timed_out_and_shows_late_is_not_submitted_again(
    slurm_scene: Scene,
) -> None:
    token = new_token()
    act, is_so = submission(slurm_scene, token)
    slurm_scene.steps.stand_in("sbatch", TIMED_OUT)
    for name in ("squeue", "sacct"):
        slurm_scene.steps.stand_in(name, SHOWS_LATE)
    hidden = slurm_scene.steps.folder / "hidden"
    hidden.touch()
    for _again in range(2):
        with pytest.raises(ActionUnknown, match="not submitted again before"):
            act(slurm_scene.jobs)
    assert calls(slurm_scene) == 1
    hidden.unlink()
    act(slurm_scene.jobs)
    assert calls(slurm_scene) == 1
    is_so()


def test_a_job_that_was_not_taken_is_submitted_again_after_five_minutes(slurm_scene: Scene) -> None:
    token = new_token()
    act, is_so = submission(slurm_scene, token)
    slurm_scene.steps.stand_in("sbatch", REFUSES_SILENTLY)
    for _again in range(2):
        with pytest.raises(ActionUnknown):
            act(slurm_scene.jobs)
    assert calls(slurm_scene) == 1
    slurm_scene.wait_over(token)
    with pytest.raises(ActionUnknown):
        act(slurm_scene.jobs)
    assert calls(slurm_scene) == 2
    slurm_scene.steps.no_stand_in("sbatch")
    slurm_scene.wait_over(token)
    act(slurm_scene.jobs)
    is_so()


def test_a_submission_whose_request_outlives_its_sender_leaves_no_twin(slurm_scene: Scene) -> None:
    token = new_token()
    act, is_so = submission(slurm_scene, token)
    slurm_scene.steps.stand_in("sbatch", ON_ITS_WAY)
    with pytest.raises(AnswerBroken):
        act(slurm_scene.jobs)
    with pytest.raises(ActionUnknown):
        act(slurm_scene.jobs)
    wait_until(lambda: slurm_scene.waiting(), "the request has arrived")
    act(slurm_scene.jobs)
    is_so()
    assert (calls(slurm_scene), slurm_scene.waiting()) == (1, [])


@pytest.mark.parametrize("once_before", [False, True], ids=["the first time", "after five minutes"])
def test_of_two_tries_at_once_one_hands_the_job_over(
    slurm_scene: Scene, sshd: Sshd, once_before: bool
) -> None:
    token = new_token()
    act, is_so = submission(slurm_scene, token)
    if once_before:
        slurm_scene.steps.stand_in("sbatch", REFUSES_SILENTLY)
        with pytest.raises(ActionUnknown):
            act(slurm_scene.jobs)
        slurm_scene.wait_over(token)
        for name in ("ln", "mv"):
            slurm_scene.steps.stand_in(name, ONE_BY_ONE)
    slurm_scene.steps.stand_in("sbatch", 'echo called >>"$steps/calls"; sleep 0.5; exec "$real" "$@"')

    def attempt(_: int) -> str:
        with over_ssh(sshd, slurm_scene.machine.home.owner()) as shell:
            try:
                act(RemoteJobSubmitter(APP, shell=shell))
            except ActionUnknown as error:
                return str(error)
        return ""

    with ThreadPoolExecutor(3) as pool:
        said = list(pool.map(attempt, range(3)))
    assert "" in said
    assert calls(slurm_scene) == 1 + once_before
    act(slurm_scene.jobs)
    is_so()


def hand_over_a_twin(scene: Scene, token: str) -> None:
    twin = f"sbatch --hold --job-name={token_name(token)} --output=/dev/null --wrap 'touch ~/twin-ran'"
    assert scene.machine.shell.run(twin).status == 0


def test_a_held_twin_of_an_overlapping_try_is_cancelled_by_the_next_one(slurm_scene: Scene) -> None:
    token = new_token()
    act, is_so = submission(slurm_scene, token)
    slurm_scene.steps.arm("scontrol release")
    with pytest.raises(AnswerBroken):
        act(slurm_scene.jobs)
    slurm_scene.steps.disarm()
    hand_over_a_twin(slurm_scene, token)
    act(slurm_scene.jobs)
    is_so()
    assert slurm_scene.waiting() == []


def test_a_job_that_was_handed_over_is_found_again_also_if_its_name_could_not_be_read_meanwhile(
    slurm_scene: Scene,
) -> None:
    token = new_token()
    act, is_so = submission(slurm_scene, token)
    slurm_scene.steps.arm("sbatch", "after")
    with pytest.raises(AnswerBroken):
        act(slurm_scene.jobs)
    slurm_scene.wait_over(token)
    slurm_scene.steps.arm('name="name', "before", ALONE)
    with pytest.raises(ActionUnknown):
        act(slurm_scene.jobs)
    assert slurm_scene.steps.is_struck
    slurm_scene.steps.disarm()
    settle(slurm_scene, token, act)
    is_so()
    assert slurm_scene.waiting() == []


def test_a_twin_that_could_not_be_cancelled_keeps_the_job_held_until_it_can(slurm_scene: Scene) -> None:
    token = new_token()
    act, is_so = submission(slurm_scene, token)
    slurm_scene.steps.arm("scontrol release")
    with pytest.raises(AnswerBroken):
        act(slurm_scene.jobs)
    slurm_scene.steps.disarm()
    hand_over_a_twin(slurm_scene, token)
    slurm_scene.steps.arm("scancel", "before", ALONE)
    with pytest.raises(ActionUnknown, match="waits held"):
        act(slurm_scene.jobs)
    assert slurm_scene.steps.is_struck
    slurm_scene.steps.disarm()
    act(slurm_scene.jobs)
    is_so()
    assert slurm_scene.waiting() == []


# ---- a job that is shown only after it was handed over again ----

# Slurm takes the first one and says "timed out"; its commands do not list it, for as long as its id stands in "hidden".
TAKES_THE_FIRST_UNSEEN = """\
echo called >>"$steps/calls"
[ "$(wc -l <"$steps/calls")" = 1 ] || exec "$real" "$@"
"$real" "$@" >"$steps/hidden"
echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2
exit 1"""
HIDES_THE_FIRST = '[ -e "$steps/hidden" ] || exec "$real" "$@"\n"$real" "$@" | grep -v "^$(cat "$steps/hidden")[ |]"; exit 0'


TAKES_IT_UNSEEN = """\
echo called >>"$steps/calls"
"$real" "$@" | tee "$steps/hidden\""""


def test_a_job_that_slurm_has_said_it_took_is_never_submitted_again_however_long_it_stays_unseen(
    slurm_scene: Scene,
) -> None:
    token = new_token()
    act, is_so = submission(slurm_scene, token)
    slurm_scene.steps.stand_in("sbatch", TAKES_IT_UNSEEN)
    for name in ("squeue", "sacct"):
        slurm_scene.steps.stand_in(name, HIDES_THE_FIRST)
    for _again in range(2):
        with pytest.raises(ActionUnknown, match="has not been seen yet"):
            act(slurm_scene.jobs)
        slurm_scene.wait_over(token)
    (slurm_scene.steps.folder / "hidden").unlink()
    act(slurm_scene.jobs)
    is_so()
    assert (calls(slurm_scene), slurm_scene.waiting()) == (1, [])


def handed_over_twice(scene: Scene) -> tuple[Path, Callable[[], None], str]:
    """The file that hides the first job, the look at what became of the action, and the name of the hidden one."""
    token = new_token()
    act, is_so = submission(scene, token)
    scene.steps.stand_in("sbatch", TAKES_THE_FIRST_UNSEEN)
    for name in ("squeue", "sacct"):
        scene.steps.stand_in(name, HIDES_THE_FIRST)
    with pytest.raises(ActionUnknown):
        act(scene.jobs)
    scene.wait_over(token)
    act(scene.jobs)
    assert calls(scene) == 2
    return scene.steps.folder / "hidden", is_so, token_name(token)


def test_a_job_that_shows_after_it_was_handed_over_again_does_not_wait_held_for_ever(
    slurm_scene: Scene,
) -> None:
    hidden, is_so, name = handed_over_twice(slurm_scene)
    is_so()
    assert slurm_scene.waiting() == [name]
    hidden.unlink()
    slurm_scene.jobs.settings.list_keys()  # whatever looks there
    assert slurm_scene.waiting() == []
    is_so()
    assert notes(slurm_scene) == [], "it is looked for no more"


# A site that lets nobody rename a job, and a job that goes on waiting though it was released.
LEAVES_IT_WAITING = """case $1 in update) echo "scontrol: error: Access/permission denied" >&2; exit 1 ;; release) exit 0 ;; esac
exec "$real" "$@\""""


def notes(scene: Scene) -> list[Path]:
    return list((scene.machine.registry() / "actions").glob("earlier.*"))


def test_only_the_one_that_came_late_is_taken_out_of_the_queue(slurm_scene: Scene) -> None:
    slurm_scene.steps.stand_in("scontrol", LEAVES_IT_WAITING)
    hidden, is_so, name = handed_over_twice(slurm_scene)
    assert slurm_scene.waiting() == [name, name]
    slurm_scene.jobs.settings.list_keys()
    assert (slurm_scene.waiting(), len(notes(slurm_scene))) == ([name, name], 1), "it is not seen yet"
    hidden.unlink()
    slurm_scene.jobs.settings.list_keys()
    assert slurm_scene.waiting() == [name]
    slurm_scene.jobs.settings.list_keys()
    assert slurm_scene.waiting() == [name]
    slurm_scene.steps.no_stand_in("scontrol")
    slurm_scene.machine.shell.run(f"scontrol release $(squeue -h -u $(id -u) -n {name} -o %i)")
    is_so()


def test_a_note_of_an_earlier_one_is_of_no_use_after_a_week(slurm_scene: Scene) -> None:
    hidden, is_so, name = handed_over_twice(slurm_scene)
    is_so()
    (note,) = notes(slurm_scene)
    words = note.read_text().split()
    note.write_text(" ".join([*words[:-1], str(int(words[-1]) - 8 * 86400)]) + "\n")
    hidden.unlink()
    slurm_scene.jobs.settings.list_keys()
    assert (slurm_scene.waiting(), notes(slurm_scene)) == ([name], [])
