"""remoteweb: the jobs that you run on machines reached by SSH, on your phone."""

import os
from typing import Any

from flask import Flask

from remoteweb import (
    access,
    assets,
    audit_page,
    cli,
    config,
    headers,
    health,
    jobs,
    proxies,
    refusals,
    rights,
    servers,
    starting,
    sync,
    upgrade,
)
from remoteweb.database import database_url, db
from remoteweb.paths import asset_folder, state_folder


def create_app(overrides: dict[str, Any] | None = None) -> Flask:
    """The one place where the parts are joined. Nothing is read or made when this module is imported."""
    app = Flask(__name__, static_folder=asset_folder("static"), template_folder=asset_folder("templates"))
    _configure(app, overrides or {})
    starting.refuse_public_debugging(app)
    db.init_app(app)
    upgrade.init_app(app)
    assets.init_app(app)
    headers.init_app(app)
    refusals.init_app(app)
    health.init_app(app)
    proxies.init_app(app)
    access.init_app(app)
    rights.init_app(app)
    app.register_blueprint(access.bp)
    app.register_blueprint(jobs.bp)
    app.register_blueprint(sync.bp)
    app.register_blueprint(audit_page.bp)
    app.register_blueprint(servers.bp)
    cli.register(app)
    return app


def _configure(app: Flask, overrides: dict[str, Any]) -> None:
    app.config.from_mapping(
        # What `remoteweb serve` and `web` take at all (gathering.py); `flask run` has no other limit.
        MAX_CONTENT_LENGTH=256_000,
        MAX_FORM_MEMORY_SIZE=64_000,  # of one field of a multipart form
        MAX_FORM_PARTS=100,
        SESSION_COOKIE_SAMESITE="Lax",
    )
    app.config.from_mapping(config.from_environment(os.environ))
    app.config.from_mapping(overrides)
    try:
        folder = state_folder()
    except OSError as error:
        raise config.WrongSetting(
            f"The state folder cannot be used: {error.strerror}: {error.filename}. "
            "XDG_STATE_HOME can name another place."
        ) from None
    url = database_url(app.config["SQLALCHEMY_DATABASE_URI"], folder)
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    if url.drivername != "sqlite":
        # A restarted database server is a reconnect, not an error page.
        options = app.config.get("SQLALCHEMY_ENGINE_OPTIONS", {})
        app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"pool_pre_ping": True, **options}
