"""What every way in ends with: a session of this browser, a line in the audit log, two cookies, and onward."""

from flask import redirect
from werkzeug.wrappers import Response as AnyResponse

from remoteweb import audit
from remoteweb.access import known, sessions
from remoteweb.accounts import Account
from remoteweb.database import begin_writing, db
from remoteweb.viewer import Viewer

STRANGER = "a stranger"


def let_in(account: Account, how: str, onward: str = "/", *, by_link: bool = False) -> AnyResponse:
    """Commits what the caller has begun. `how`: by what."""
    begin_writing()
    account_id = account.id
    secret = sessions.begin(account_id, by_link=by_link)
    audit.note("signed in", "", how, who=as_viewer(account))
    db.session.commit()
    answer = redirect(onward, 303)
    sessions.give_cookie(answer, secret)
    known.give_cookie(answer, account_id)
    return answer


def note_failure(account: Account | None, how: str) -> None:
    """The name that was typed is noted only if it is one: what else stands there may be a password."""
    begin_writing()
    audit.note("could not sign in", account.name if account else "", how, who=STRANGER)
    db.session.commit()


def as_viewer(account: Account) -> Viewer:
    return Viewer(account.id, account.name, account.role, account.sees)
