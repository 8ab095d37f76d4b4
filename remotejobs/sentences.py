"""The probe answers in codes; here is what they mean for a person."""

from remotejobs.program import PROTOCOL

# A registry (~/.<app> on the server) that cannot be used.
TROUBLES = {
    "bad-app": "{app} cannot be the name of an app.",
    "no-home": "The account on {server} has no home directory that it can enter. Ask the server's administrators.",
    "closed": "~/.{app} on {server} cannot be read. If it is a link, look whether its target is there; "
    "otherwise check its permissions.",
    "bad-path": "~/.{app} on {server} leads to a path with spaces or special characters, which scheduler scripts cannot carry. "
    "Make ~/.{app} a link to a folder with a plain path.",
    "newer": "~/.{app} on {server} was written by a newer version of remotejobs. Upgrade this one.",
    "foreign": "~/.{app} on {server} belongs to something else: it is no folder of ours. "
    "Nothing was read or written. Choose another app name.",
    "read-only": "The home directory on {server} cannot be written to. Nothing was submitted.",
    "full": "{server} could not store the record: the disk or the quota is full, or the folder cannot be written to. "
    "Free some space, then try again.",
    "no-clock": "{server} could not tell the time: it may be short of memory or processes. Nothing was done; try again.",
    "not-linux": "{server} does not run Linux, which remotejobs needs at the other end.",
}

# What became of an action. Codes that stand in TROUBLES too are looked up there.
OUTCOMES = {
    "submitted": "Submitted as {key}.",
    "is-cancelled": "Cancelled.",
    "was-over": "It had already ended.",
    "told": "The scheduler was told to cancel it; it has not ended yet.",
    "not-told": "The scheduler could not be told to cancel it: it did not take the request. The next sync tells it again.",
    "absent": "~/.{app} is not there on {server} now, so nothing was done yet.",
    "unreadable": "The record of this job cannot be read on {server} now, so nothing was done yet.",
    "queue-silent": "The scheduler did not answer, so nothing was done yet.",
    "elsewhere": "This job belongs to {text}, and {server} leads to another cluster or login node of the same home. Nothing was "
    "done; ask for it over a server that leads there.",
    "begun-elsewhere": "It was begun on {text}, another cluster or login node of the same home as {server}. Only there can it be "
    "settled, so nothing more was done here.",
    "no-job": "There is no record of this job on {server}.",
    "not-submitted": "Its submission is not finished yet.",
    "bad-words": "The request was not understood.",
    "other-work": "This action was given to other work already ({key}). Leave it out, and a new one is made.",
    "too-old": "It was asked more than 7 days ago by the server's clock, so it was not carried out now. "
    "Ask again if you still want it.",
    "no-scheduler": "{server} does not have this job's scheduler, or its commands are not in the PATH of a login shell.",
    "scheduler-refused": "{text}",
    "cannot-look": "The scheduler did not answer, so it is not known yet whether the job was submitted.",
    "unsettled": "The scheduler did not say whether it took the job. It is looked for, and not submitted again "
    "before that is known.",
    "not-seen-yet": "The job was handed over, and has not been seen yet.",
    "not-released": "The job waits held: the scheduler did not release it yet.",
    "no-option": "This job cannot have another walltime, memory, cores or partition: its scheduler holds no job to them, or its "
    "record is older than that.",
    "narrow": "{server} lets us in by a narrow key: jobs can be listed, cancelled and run again with it, and their logs read, "
    "and nothing else.",
    "no-time": "There was no time left in this sync.",
    "failed": "It failed on {server} for a reason that it did not give.",
}


def of_trouble(code: str, app: str, server: str) -> str:
    return TROUBLES.get(code, "{server} could not read ~/.{app}.").format(app=app, server=server)


def of_outcome(code: str, server: str, app: str, key: str, text: str) -> str:
    sentence = OUTCOMES.get(code) or TROUBLES.get(code) or OUTCOMES["failed"]
    return sentence.format(
        server=server, app=app, key=key, text=text or "The scheduler refused it, and gave no reason."
    )


# Why there is no log to be read. What a registry's trouble is stands in TROUBLES.
LOGS = {
    "no-job": "There is no job {key} on {server}.",
    "no-log": "{key} has no {stream} in its run folder on {server}: it has not started, or its script sends it elsewhere.",
    "odd-log": "The {stream} of {key} on {server} is no plain file, or has other names as well: it is not read.",
    "cleaned": "The run folder of {key} on {server} is not there any more: it was cleaned.",
}


def of_log(code: str, server: str, key: str, stream: str) -> str:
    sentence = LOGS.get(code, "The {stream} of {key} on {server} cannot be read.")
    return sentence.format(server=server, key=key, stream=stream)


def narrow(server: object) -> str:
    """What a narrow key is not for."""
    return OUTCOMES["narrow"].format(server=server) + " For this, log in with another key."


def no_logs(server: str) -> str:
    return f"The gate on {server} cannot read logs yet. Renew it: remotejobs install-gate {server}"


def of_protocol(protocol: str, server: str) -> str:
    """Of an installed gate that speaks another protocol than we do."""
    if protocol.isdecimal() and protocol.isascii() and int(protocol[:9]) > int(PROTOCOL):
        return (
            f"The gate on {server} was installed by a newer version of remotejobs. Upgrade this one; or install the gate of "
            f"this version beside it, with another key: remotejobs install-gate {server}"
        )
    return (
        f"The gate on {server} is too old for this version of remotejobs. Renew it, from where you can log in with another "
        f"key: remotejobs install-gate {server}"
    )
