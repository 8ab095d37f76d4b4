"""Submit jobs on machines that are reached by SSH, and know what became of them."""

from remotejobs.changes import Changes
from remotejobs.destination import Destination
from remotejobs.errors import (
    ActionRefused,
    ActionUnknown,
    BadInput,
    HostKeyChanged,
    HostKeyUnknown,
    KeyLocked,
    LoginError,
    LoginRefused,
    LoginUnanswered,
    NoSuchJob,
    RemoteJobsError,
    ServerProblem,
    TimedOut,
    Unreachable,
)
from remotejobs.prompts import Prompt, Question
from remotejobs.records import Evidence, JobKey, JobState
from remotejobs.submitter import RemoteJobSubmitter
from remotejobs.target import Target

__all__ = [
    "ActionRefused",
    "ActionUnknown",
    "BadInput",
    "Changes",
    "Destination",
    "Evidence",
    "HostKeyChanged",
    "HostKeyUnknown",
    "JobKey",
    "JobState",
    "KeyLocked",
    "LoginError",
    "LoginRefused",
    "LoginUnanswered",
    "NoSuchJob",
    "Prompt",
    "Question",
    "RemoteJobSubmitter",
    "RemoteJobsError",
    "ServerProblem",
    "Target",
    "TimedOut",
    "Unreachable",
]
