"""Who may talk to the page's server: this machine's browser, for a page that came from it, and nobody else.

Bound to 127.0.0.1, a server is out of reach of other machines, but not of other pages in the same browser. A name of
theirs that leads to 127.0.0.1 (DNS rebinding) is told by its Host, a connection from their page by its Origin.
"""

from pathlib import Path

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

ADDRESS = "127.0.0.1"
SOCKET = "/frames"

_PAGE = Path(__file__).parent / "page"
_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


def answer(request: Request, port: int, full: bool) -> Response | None:
    """What a request gets: a file of the page, a refusal, or None for a connection that may be opened.

    Args:
        request: as it came.
        port: this server's.
        full: no more connections are taken.
    """
    hosts = [f"{ADDRESS}:{port}", f"localhost:{port}"]
    host = request.headers.get_all("Host")
    if len(host) != 1 or host[0].lower() not in hosts:
        return _text(403, "Forbidden", f"This page is at http://{hosts[0]} and under no other name.")
    if request.method != "GET":
        return _text(405, "Method Not Allowed", "This page is read, and nothing is posted to it.")
    if request.path == SOCKET:
        origin = request.headers.get_all("Origin")
        if len(origin) != 1 or origin[0].lower() not in [f"http://{name}" for name in hosts]:
            return _text(403, "Forbidden", "Frames are taken from this server's own page alone.")
        return _text(503, "Service Unavailable", "Too many pages are open: close one.") if full else None
    if request.path not in _FILES:
        return _text(404, "Not Found", "There is no such page.")
    name, kind = _FILES[request.path]
    return _response(200, "OK", kind, (_PAGE / name).read_bytes(), host[0])


def _text(status: int, reason: str, line: str) -> Response:
    return _response(status, reason, "text/plain; charset=utf-8", f"{line}\n".encode())


def _response(status: int, reason: str, kind: str, body: bytes, host: str = "") -> Response:
    # the browser itself refuses whatever would leave the page; frames go to this server alone
    frames = f"ws://{host}{SOCKET}" if host else "'none'"
    policy = [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        f"connect-src {frames}",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    headers = {
        "Content-Type": kind,
        "Content-Length": str(len(body)),
        "Content-Security-Policy": "; ".join(policy),
        "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        "Connection": "close",
    }
    return Response(status, reason, Headers(headers), body)
