"""The blueprint `jobs`: the list, one job's page, what is asked of a job, and the feed that keeps pages true."""

from flask import Blueprint

from remoteweb.jobs.markup import register

bp = Blueprint("jobs", __name__)
register(bp)

from remoteweb.jobs import asking as asking  # noqa: E402  the views register themselves on `bp`
from remoteweb.jobs import detail as detail  # noqa: E402
from remoteweb.jobs import feed as feed  # noqa: E402
from remoteweb.jobs import output as output  # noqa: E402
from remoteweb.jobs import pages as pages  # noqa: E402
