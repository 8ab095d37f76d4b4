"""The blueprint `servers`: add one, sign in to it, compare its host key, answer what it asks.

Nothing here goes out: a login is a row that the sync worker takes, and what is typed goes to it by handover.py.
"""

from flask import Blueprint

bp = Blueprint("servers", __name__, url_prefix="/servers")


from remoteweb.servers import adding as adding  # noqa: E402  the views register themselves on `bp`
from remoteweb.servers import host_keys as host_keys  # noqa: E402
from remoteweb.servers import key_pages as key_pages  # noqa: E402
from remoteweb.servers import login_pages as login_pages  # noqa: E402
