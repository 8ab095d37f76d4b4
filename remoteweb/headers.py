"""What answers say to the browser besides their content."""

from flask import Flask, Response, request

# No 'unsafe-inline' and no nonce: pages hold no inline script or style (a test greps the templates for them).
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "worker-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)

# What the pages never ask the browser for, so that nothing that got into one could. Passkeys alone are used.
PERMISSIONS_POLICY = ", ".join(
    f"{feature}=()"
    for feature in (
        "accelerometer",
        "autoplay",
        "camera",
        "display-capture",
        "fullscreen",
        "geolocation",
        "gyroscope",
        "microphone",
        "midi",
        "payment",
        "usb",
        "xr-spatial-tracking",
    )
)
YEAR = 365 * 86400


def init_app(app: Flask) -> None:
    app.after_request(_add)


def _add(response: Response) -> Response:
    # A file that is not there is answered with a document.
    if request.endpoint == "static" and response.status_code < 400:
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response
    # The same address answers with a page or with a part of one.
    response.vary.update(("HX-Request", "HX-Request-Type"))
    # Names of jobs do not stay in the browser's disk cache; "back" asks again, and shows what is true now.
    response.headers.setdefault("Cache-Control", "no-store")
    if response.status_code != 304 and "HX-Request" not in request.headers:
        _protect_document(response)
    return response


def _protect_document(response: Response) -> None:
    """A part is put into a document that has these already: a poll stays small without them."""
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    # Not "no-referrer": with that, browsers send `Origin: null` with our own forms.
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Permissions-Policy"] = PERMISSIONS_POLICY
    # A page that opened ours keeps no hold of its window; and none puts it in as a picture or a script.
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    if request.is_secure:
        # Of this name alone: what else is served under the domain is not ours to decide.
        response.headers["Strict-Transport-Security"] = f"max-age={YEAR}"
