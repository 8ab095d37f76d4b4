"""Submit jobs on machines that are reached by SSH, and know what became of them."""

from remotejobs.changes import Changes
from remotejobs.destination import Destination
from remotejobs.errors import (
    ActionRefused,
    ActionUnknown,
    BadInput,
    HostKeyChanged,
    HostKeyUnknown,
    LoginError,
    LoginRefused,
    NoSuchJob,
    RemoteJobsError,
    ServerProblem,
    TimedOut,
    Unreachable,
)
from remotejobs.records import Evidence, JobKey, JobState
from remotejobs.submitter import RemoteJobSubmitter

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
    "LoginError",
    "LoginRefused",
    "NoSuchJob",
    "RemoteJobSubmitter",
    "RemoteJobsError",
    "ServerProblem",
    "TimedOut",
    "Unreachable",
]
