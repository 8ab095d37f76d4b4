"""Who is asking, and by which scheme, when reverse proxies stand in front."""

from urllib.parse import urlsplit

from flask import Flask, Response, current_app, request
from werkzeug.middleware.proxy_fix import ProxyFix

from remoteweb import refusals


def init_app(app: Flask) -> None:
    """Afterwards `request.remote_addr`, `request.is_secure` and the allowed hosts are those of the browser's side."""
    hops = app.config["TRUSTED_PROXIES"]
    if hops:
        # Neither X-Forwarded-Host nor -Prefix: a proxy passes `Host` on as it came, and that is checked.
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=0)  # type: ignore[method-assign]
    if app.config["PUBLIC_URL"]:
        app.config["ALLOWED_HOSTS"] |= {urlsplit(app.config["PUBLIC_URL"]).netloc}
        app.before_request(_refuse_what_came_in_clear)


def _refuse_what_came_in_clear() -> Response | None:
    """Under the public name a cookie must travel as `Secure`: without https, as far as the proxy tells, none is given."""
    public = urlsplit(current_app.config["PUBLIC_URL"])
    if public.scheme == "https" and request.host.lower() == public.netloc and not request.is_secure:
        return refusals.answer(
            400,
            "This did not come by https",
            f"Open {public.geturl()}. If that is what you did, the reverse proxy does not send X-Forwarded-Proto, or "
            "REMOTEWEB_TRUSTED_PROXIES is not the number of proxies in front.",
        )
    return None
