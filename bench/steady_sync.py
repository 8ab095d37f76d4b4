"""A sync that finds nothing new, against connecting and running one bare command."""

import shutil
import time

from cluster.parts import SYSTEM_PATH
from cluster.slurm import Slurm
from flask import Flask
from ground import Ground
from table import Row, limit, ratio
from timing import interleaved

from remotejobs.exchange import Request, SourceRequest, exchange
from remotejobs.shell import SSHShell
from remoteweb import collector, sources
from remoteweb.database import db
from remoteweb.models import Source

LIVE = 20
BARE = "connect and `true`"


def sync(ground: Ground, app: Flask, source: str) -> None:
    with app.app_context():
        server = sources.server(ground.sshd.user, ground.sshd.host, ground.sshd.port)
        collector.collect(server, lambda _: ground.shell(), apps=[source], ignore_interval=True)


def cursor(app: Flask, source: str) -> str | None:
    with app.app_context():
        return db.session.scalar(db.select(Source.cursor).where(Source.app == source))


def nothing_live(ground: Ground, app: Flask, source: str) -> list[Row]:
    sync(ground, app, source)
    known = cursor(app, source)
    whole, alone, bare = interleaved(
        ground.rounds,
        lambda: sync(ground, app, source),
        lambda: _exchange(ground, source, known),
        lambda: _run(ground.shell(), "true"),
    )
    what = f"{ground.jobs:,} records, nothing new, nothing live"
    size = _exchange(ground, source, known)
    return [
        ratio(f"{what}: the exchange (connect, ask, read)", alone, bare, BARE, 1.3),
        ratio(f"{what}: the whole sync, with the database", whole, bare, BARE, 1.3),
        limit(f"{what}: received", size, "bytes", 4096),
    ]


def processes_live(ground: Ground, app: Flask, source: str) -> list[Row]:
    """The query that it needs: the state of 20 pids, from /proc."""
    with ground.submitter(source) as jobs:
        for number in range(LIVE):
            asked = jobs.create_settings(
                None, None, "sleep", ["3000"], name=f"live-{number}", scheduler="process"
            )
            jobs.submit_job(asked)
    pids = [
        line.removeprefix("id=")
        for fact in sorted((ground.registry(source) / "facts").glob("*.id"))
        for line in fact.read_text().splitlines()
        if line.startswith("id=")
    ]
    query = f"cat {' '.join(f'/proc/{pid}/stat' for pid in pids[-LIVE:])}"
    return _live(ground, app, source, f"{LIVE} processes live", query)


def slurm_live(ground: Ground, app: Flask, source: str) -> list[Row]:
    if not all(shutil.which(command, path=SYSTEM_PATH) for command in ("slurmctld", "slurmd", "munged")):
        return [Row(f"{LIVE} Slurm jobs live", "not measured: this machine has no Slurm", "", "")]
    cluster = Slurm(ground.folder / "slurm", ground.sshd, accounting=False, cluster="bench")
    try:
        cluster.start()
        return _with_slurm(ground, app, source)
    finally:
        cluster.stop()


def _with_slurm(ground: Ground, app: Flask, source: str) -> list[Row]:
    with ground.submitter(source) as jobs:
        for number in range(LIVE):
            asked = jobs.create_settings(
                None, None, "sleep", ["3000"], name=f"batch-{number}", scheduler="slurm"
            )
            jobs.submit_job(asked)
    query = "squeue -h -a -t all -u $(id -u) -O jobid:12,restartcnt:8,submittime:20,state:16,reason:80"
    return _live(ground, app, source, f"{LIVE} Slurm jobs live", query)


def _live(ground: Ground, app: Flask, source: str, what: str, query: str) -> list[Row]:
    for _ in range(3):  # what starting wrote is taken in
        sync(ground, app, source)
        time.sleep(1)
    whole, bare = interleaved(
        ground.rounds, lambda: sync(ground, app, source), lambda: _run(ground.shell(), query)
    )
    size = _exchange(ground, source, cursor(app, source))
    against = f"connect and `{query.split()[0]}`"
    return [
        ratio(f"{what}: the whole sync, with the database", whole, bare, against, 1.3),
        limit(f"{what}: received", size, "bytes"),
    ]


def _exchange(ground: Ground, source: str, known: str | None) -> int:
    """How many bytes came."""
    with ground.shell() as shell:
        answer = exchange(shell, Request([SourceRequest(source, known)]))
        answer.close()
    return answer.size


def _run(shell: SSHShell, command: str) -> None:
    with shell, shell.run(command) as output:
        assert output.status == 0, output.stderr
