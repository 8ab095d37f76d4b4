"""The job that an empty list offers: it needs no server, and lives long enough to be seen, and cancelled."""

from remoteweb import actions, sources, viewer
from remoteweb.models import Action

APP = sources.DEFAULT_APP
SCRIPT = 'for step in 1 2 3 4 5 6; do echo "step $step of 6"; sleep 10; done'
ARGUMENTS = f"submit --name example --scheduler process sh -c '{SCRIPT}'"


def submit(idem_key: str) -> Action:
    """Ask for it. The next sync of this machine submits it, as it would any other job."""
    return actions.ask_submission(sources.source_here(APP), _settings(), idem_key, viewer.current().name)


def _settings() -> dict[str, object]:
    from remotejobs import RemoteJobSubmitter  # late: what it needs for SSH takes long to load

    jobs = RemoteJobSubmitter(APP)
    settings: dict[str, object] = jobs.create_settings(
        None, None, "sh", ["-c", SCRIPT], name="example", scheduler="process"
    )
    return settings
