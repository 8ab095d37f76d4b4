"""RemoteJobSubmitter: the interface of the original documentation, on one exchange with the server at a time."""

import base64
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from remotejobs import cleaning, upload
from remotejobs import settings as job_settings
from remotejobs.answer import LogTail, Outcome
from remotejobs.changes import Changes
from remotejobs.described import described
from remotejobs.destination import Destination
from remotejobs.document import document as record_of
from remotejobs.errors import ActionRefused, ActionUnknown, BadInput, NoSuchJob, ServerProblem
from remotejobs.exchange import Cancel, Resubmission, Submission
from remotejobs.records import JobKey, JobState, app_name
from remotejobs.registry import Registry
from remotejobs.shell import LocalShell, Shell, SSHShell
from remotejobs.told import Told


class RemoteJobSubmitter:
    """Submits jobs on one server, and tells what became of them.

    `server` None is this machine, and everything after it is ignored; else it is a host, an address or an alias of
    ~/.ssh/config. Without a password, the agent and the keys of ~/.ssh are used. `jumps`: the servers to go through,
    the first one first, instead of those that the file names. `shell` replaces all of this.
    """

    STATUS_SUBMITTED = JobState.SUBMITTED.value
    STATUS_QUEUED = JobState.QUEUED.value
    STATUS_HELD = JobState.HELD.value
    STATUS_RUNNING = JobState.RUNNING.value
    STATUS_SUSPENDED = JobState.SUSPENDED.value
    STATUS_FINISHING = JobState.FINISHING.value
    STATUS_FINISHED = JobState.DONE.value
    STATUS_FAILED = JobState.FAILED.value
    STATUS_CANCELLED = JobState.CANCELLED.value
    STATUS_LOST = JobState.LOST.value
    STATUS_UNKNOWN = JobState.UNKNOWN.value

    def __init__(
        self,
        app_name_: str,
        server: str | None = None,
        username: str | None = None,
        password: str | None = None,
        *,
        port: int | None = None,
        jumps: Sequence[str] | None = None,
        shell: Shell | None = None,
    ) -> None:
        self.app_name = app_name(app_name_)
        if shell is None:
            shell = LocalShell() if server is None else _ssh(server, username, password, port, jumps)
        self.settings = Registry(shell, self.app_name)

    def create_settings(
        self,
        local_path: str | None,
        remote_path: str | None,
        command: str,
        arguments: list[str] | tuple[str, ...] = (),
        before: str = "",
        after: str = "",
        environment: dict[str, str] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """What to run, as a dict; nothing is sent yet.

        `before` and `after` are lines of shell around the command. Options: name, scheduler ("auto", "process", "slurm"),
        shell, walltime (seconds or "HH:MM:SS"), cores, memory (MB or "4G"), gpus, partition, account, qos, extra (a list of
        further directive lines). Raises BadInput.
        """
        return job_settings.create(
            local_path, remote_path, command, arguments, before, after, environment or {}, **options
        )

    def generate_id(self, settings: dict[str, Any]) -> tuple[str, int, bool]:
        """(hash, n, first): a proposal. `first` tells that no earlier n of this work is known on the server."""
        hash_ = job_settings.work_hash(settings)
        top = self.settings.highest_n(hash_)
        return hash_, top + 1, top == 0

    def submit_job(
        self,
        settings: dict[str, Any],
        hash: str | None = None,
        n: int | None = None,
        *,
        action: str | None = None,
    ) -> dict[str, Any]:
        """Submits it, and gives the settings back with the `jobid` that it got: another submission may have taken `n`.

        `action` is a uuid: the same one again goes on where an earlier call died, and never submits twice. Raises
        ActionRefused with the scheduler's reason, ActionUnknown (with `.action`) when it is not known yet.
        """
        settings = dict(settings)
        settings["scheduler"] = self._scheduler_for(settings["scheduler"])
        hash_ = job_settings.work_hash(settings)
        if hash is not None and hash != hash_:
            raise BadInput("The settings have changed since generate_id: this hash belongs to other work.")
        if settings["local_path"] is not None:
            upload.send(self.settings.shell, settings["local_path"], settings["remote_path"])
        settings["script"] = self._script_text(settings)
        token = _token(action)
        document = record_of(settings)
        outcome = self._act(
            Submission(token, self.app_name, hash_, settings["scheduler"], document, time.time())
        )
        settings.update(jobid=str(outcome.key), scheduler_id=outcome.scheduler_id)
        return settings

    def check_state(self, hash: str, n: int, clean: bool = True) -> dict[str, Any]:
        """What is known of a job: a dict with jobid, scheduler_id, status, evidence, reason, updated, cleaned, exit_code, ...

        `updated`, `started` and `ended` are datetimes in UTC, or None. With `clean`, the run folder of a job that has ended
        goes to the trash; its record stays, and `remote_path` is never touched (with a narrow key it stays as well). Raises
        NoSuchJob.
        """
        key = JobKey.parse(f"{hash}_{n}")
        record, status = self.settings.look_up(key)
        if clean and status.state.is_final and not record.fact("cleaned") and self.settings.clean(key):
            record.facts["cleaned"] = {"time": str(int(time.time()))}
        return described(record, status)

    def check_states(self, keys: list[str]) -> dict[str, dict[str, Any]]:
        """The same for many keys at once, without cleaning; keys that do not exist are left out."""
        found = self.settings.look_up_all([JobKey.parse(key) for key in keys])
        return {str(record.key): described(record, status) for record, status in found}

    def changes(self, cursor: str | None = None) -> Changes:
        """What has changed since that cursor (None: everything), by one exchange: iterate, and store its `.cursor`.

        Raises BadInput for a cursor that is none, or another app's.
        """
        told = Told.parse(cursor, self.app_name)
        return Changes(self.settings.answer_since(told.names), told, cursor)

    def cancel_job(self, hash: str, n: int, *, action: str | None = None) -> str:
        """Cancels it, and says in a sentence what happened; a job that had already ended is no error.

        A plain process that lives on is killed when it is asked for a second time.
        """
        key = JobKey.parse(f"{hash}_{n}")
        return self._act(Cancel(_token(action), self.app_name, key, sent=action is not None)).sentence

    def resubmit_job(
        self, hash: str, n: int, *, action: str | None = None, **changes: Any
    ) -> tuple[str, int]:
        """Runs the kept script once more, as a new n of the same hash; gives (hash, n) of the new job.

        `changes`: another walltime, memory, cores or partition, as `create_settings` takes them; what is not named stays.
        """
        key, other = JobKey.parse(f"{hash}_{n}"), job_settings.changes(**changes)
        outcome = self._act(Resubmission(_token(action), self.app_name, key, time.time(), other))
        assert outcome.key is not None  # noqa: S101 (a submission that was done has its key)
        return outcome.key.hash, outcome.key.n

    def read_log(self, hash: str, n: int, *, stderr: bool = False, limit: int = 65_536) -> LogTail:
        """The last `limit` bytes (at most 65,536) of what the job has printed into its run folder: `content`, `size`, `text`.

        Raises ServerProblem where there is none, or it was cleaned, with the reason.
        """
        if not 0 < limit <= 65_536:
            raise BadInput(f"{limit!r} is no number of bytes from 1 to 65,536.")
        tail = self.settings.log(JobKey.parse(f"{hash}_{n}"), "stderr" if stderr else "stdout", limit)
        if tail.error:
            raise ServerProblem(tail.error)
        return tail

    def clean(
        self, dry_run: bool = False, *, settled_days: float = 1.0, trash_days: float = 7.0
    ) -> cleaning.Report:
        """Seals the records of the jobs that have been over for `settled_days` (at least one), moves their run folders to the
        trash, and removes what has lain there for `trash_days`. Every database still reads every record afterwards.

        Gives a Report (`records`, `folders`, `emptied`, `sentence`, and with `dry_run` the `jobs`). Raises ServerProblem,
        and BadInput for days below 0 or above 36,500.
        """
        return cleaning.clean(
            self.settings, dry_run=dry_run, settled_days=settled_days, trash_days=trash_days
        )

    def prune(self, older_than_days: float, *, dry_run: bool = False) -> cleaning.PruneReport:
        """Deletes the sealed records that are all older than that, on the server; no number is used again.

        Gives a PruneReport (`records`, `batches`, `more`, `sentence`). Raises ServerProblem and BadInput.
        """
        return cleaning.prune(self.settings, older_than_days, dry_run=dry_run)

    def close(self) -> None:
        """Closes the connection; the next call opens one again."""
        self.settings.shell.close()

    def __enter__(self) -> "RemoteJobSubmitter":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _scheduler_for(self, wanted: str) -> str:
        if wanted != "auto":
            return wanted
        here = self.settings.schedulers()
        batch = [name for name in here if name != "process"]
        if batch:
            return batch[0]
        if self.settings.is_local and "process" in here:
            return "process"
        raise ServerProblem(
            f"No batch system was found on {self.settings.shell}. To run it as a plain process there, name the "
            "scheduler: process."
        )

    def _script_text(self, settings: dict[str, Any]) -> str | None:
        """The person's script, kept with the record: from the folder that was copied, or as it lies on the server."""
        path, known = job_settings.script_path(settings), settings["script"]
        if isinstance(known, str) or path is None:
            return known if isinstance(known, str) else None
        if settings["local_path"] is not None and (text := job_settings.local_script(settings)) is not None:
            return text
        if settings["remote_path"] is None and not path.startswith(("/", "~/")):
            return None
        found = self.settings.text_of(settings["remote_path"] or "~/", path)
        return None if found is None else job_settings.script_text(base64.b64decode(found))

    def _act(self, action: Cancel | Submission | Resubmission) -> Outcome:
        outcome = self.settings.act(action)
        if outcome.state == "done" or outcome.code == "told":
            return outcome
        if outcome.state == "refused":
            raise (
                NoSuchJob(getattr(action, "key", ""))
                if outcome.code == "no-job"
                else ActionRefused(outcome.sentence)
            )
        raise ActionUnknown(outcome.sentence, action.uuid)


def _token(action: str | None) -> str:
    """The action's uuid, in the one spelling that servers know it by."""
    try:
        return str(uuid.uuid4() if action is None else uuid.UUID(action))
    except ValueError:
        raise BadInput(f"{action!r} is not an action: give the uuid that the earlier try told.") from None


def _ssh(
    server: str, username: str | None, password: str | None, port: int | None, jumps: Sequence[str] | None
) -> SSHShell:
    where = Destination.parse(server)
    if username is not None:
        where = replace(where, user=username)
    if port is not None:
        where = replace(where, port=port, port_given=True)
    way = None if jumps is None else [Destination.parse(jump) for jump in jumps]
    return SSHShell(where, password=password, jumps=way)
