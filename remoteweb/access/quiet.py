"""Keeps the tokens of links and invitations out of every log, also where somebody switched an access log on."""

import logging
import re
from collections.abc import Mapping
from typing import Any

# Where a request's address may be written: Flask's own errors, `flask run`, gunicorn's access log.
LOGGERS = ("remoteweb", "werkzeug", "gunicorn.access", "gunicorn.error")
_TOKEN = re.compile(r"(/(?:enter|invited)/)[^\s\"'?#\\\]]+")


class WithoutTokens(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = _without(record.msg)
        if isinstance(record.args, Mapping):
            record.args = {key: _without(value) for key, value in record.args.items()}
        elif record.args:
            record.args = tuple(_without(value) for value in record.args)
        return True


def keep_tokens_out_of_logs() -> None:
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(one, WithoutTokens) for one in logger.filters):
            logger.addFilter(WithoutTokens())


def _without(value: Any) -> Any:
    return _TOKEN.sub(r"\1...", value) if isinstance(value, str) else value
