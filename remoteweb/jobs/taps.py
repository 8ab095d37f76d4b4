"""How what was asked of a job, and what came of it, is said to a person."""

from remoteweb.jobs import limits
from remoteweb.models import Action

TONES = {"waiting": "warn", "sending": "warn", "unknown": "warn", "refused": "bad", "gave_up": "bad"}
_SOON = {
    "cancel": "Cancel at next sync",
    "resubmit": "Run again at next sync",
    "submit": "submitted at the next sync",
}
_WHEN_RESUMED = {
    "cancel": "Paused: cancel when its source is resumed",
    "resubmit": "Paused: run again when its source is resumed",
    "submit": "paused, submitted when its source is resumed",
}
_GOING = {
    "cancel": "The cancel is being sent",
    "resubmit": "Being submitted again",
    "submit": "being submitted",
}
_OPEN = {
    "cancel": "Cancel sent, not confirmed yet",
    "resubmit": "Sent, not confirmed yet",
    "submit": "sent, not confirmed yet",
}
_ASKED_NEXT = {
    "cancel": "The next sync asks again",
    "resubmit": "The next sync looks whether it arrived; it is never submitted twice",
    "submit": "The next sync looks whether it arrived; it is never submitted twice",
}
_ASKED_LATER = "Its source is paused: it is asked about when you resume it"


def waits_for_resume(action: Action) -> bool:
    """Nothing is sent to a paused source, so no sync brings this on."""
    return action.source.paused and action.state in ("waiting", "unknown")


def progress(action: Action) -> str:
    """How far a request has come, in a few words; the outcome's own sentence once there is one."""
    if action.state == "waiting":
        soon = _WHEN_RESUMED if waits_for_resume(action) else _SOON
        other = limits.said(action)
        return soon.get(action.kind, "When its turn comes") + (f", with {other}" if other else "")
    if action.state == "sending":
        return _GOING.get(action.kind, "Being sent")
    if action.state == "unknown":
        asked = _ASKED_LATER if waits_for_resume(action) else _ASKED_NEXT.get(action.kind, "")
        return f"{_OPEN.get(action.kind, 'Sent, not confirmed yet')}. {asked}".rstrip(". ")
    if action.state == "gave_up":
        return (
            action.outcome
            or "Given up: the server could not be asked in time. Nothing is known to have been done."
        )
    if action.state == "refused":
        return f"Refused: {action.outcome}" if action.outcome else "The server refused it."
    return action.outcome or {"done": "Done.", "withdrawn": "Withdrawn."}.get(action.state, action.state)


def on_ask(action: Action, name: str) -> str:
    """The note after a tap on Cancel or Run again, `name` being the job's."""
    if action.state == "waiting" and action.source.paused:
        done = "cancelled" if action.kind == "cancel" else "run again"
        return f"Its source is paused. {name} is {done} when you resume it."
    if action.state == "withdrawn":
        return "That was undone. Load the page anew to ask for it again."
    if action.state not in ("waiting", "sending", "unknown"):
        return _sentence(action)
    return f"Cancelling {name}" if action.kind == "cancel" else f"Running again: {name}"


def on_undo(action: Action) -> str:
    """What a tap on Undo came to, by the state that the action is in after it."""
    if action.state == "withdrawn":
        return "Undone. Nothing was sent."
    if action.state == "sending":
        return "Too late to undo: it is on its way to the server."
    if action.state == "refused":
        return f"Nothing to undo. {_sentence(action)}"
    return f"Too late to undo. {_sentence(action)}"


def on_send(action: Action) -> str:
    """The same of Send now, on a page that may be older than what has happened since."""
    if action.state == "waiting" and action.source.paused:
        return "Not sent: its source is paused. It goes when you resume it."
    if action.state == "waiting":
        return "It is being sent now."
    if action.state == "sending":
        return "It is being sent already."
    if action.state == "withdrawn":
        return "It was undone: nothing is sent."
    return _sentence(action)


def _sentence(action: Action) -> str:
    said = progress(action)
    return said if said.endswith(".") else f"{said}."
