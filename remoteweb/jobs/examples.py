"""The job that an empty list offers: it needs no server, and lives long enough to be seen, and cancelled."""

from flask import current_app

from remoteweb import actions
from remoteweb.database import begin_writing, db
from remoteweb.jobs import queries
from remoteweb.models import Action, Server, Source

APP = "remoteJobs-vistrails"
SCRIPT = 'for step in 1 2 3 4 5 6; do echo "step $step of 6"; sleep 10; done'
COMMAND = f"remotejobs submit --name example --scheduler process sh -c '{SCRIPT}'"


def submit(idem_key: str) -> Action:
    """Ask for it. The next sync of this machine submits it, as it would any other job."""
    return actions.ask_submission(local_source(), _settings(), idem_key)


def local_source() -> Source:
    """This machine's, made if there is none: the one source that needs no login to be known."""
    known = queries.local_source(APP)
    if known is not None:
        return known
    begin_writing()
    server = db.session.scalar(
        db.select(Server).where(Server.user == "", Server.host == "", Server.port == 0)
    )
    if server is None:
        server = Server(user="", host="", port=0)
        server.min_interval = min(server.min_interval or 10.0, float(current_app.config["LOCAL_INTERVAL"]))
    source = Source(server=server, app=APP)
    db.session.add(source)
    db.session.commit()
    return source


def _settings() -> dict[str, object]:
    from remotejobs import RemoteJobSubmitter  # late: what it needs for SSH takes long to load

    jobs = RemoteJobSubmitter(APP)
    settings: dict[str, object] = jobs.create_settings(
        None, None, "sh", ["-c", SCRIPT], name="example", scheduler="process"
    )
    return settings
