"""`/metrics` and `/health` of a worker, from a thread of its own."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from threading import Thread
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CONTENT_TYPE_LATEST

from aurora_batch.errors import AuroraError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Health = Callable[[], dict[str, Any]]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # a scrape that hangs must not hold up a stop


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Log nothing: a scrape is no event."""


@contextmanager
def served(
    host: str,
    port: int,
    expose: Callable[[], bytes],
    health: Health,
    option: str = "--metrics-port",
) -> Iterator[int]:
    """Serve while the body runs; yields the port (that of 0 is a free one).

    Parameters
    ----------
    expose
        Returns the page of `/metrics`; called in threads.
    health
        Returns what `/health` says; its `live` decides between 200 and 503. Called in threads.

    option
        That names the port, for the error.

    Raises
    ------
    AuroraError
        The port is taken, or the host is not ours.
    """
    try:
        server = make_server(host, port, _app(expose, health), _Server, _Quiet)
    except OSError as error:
        raise AuroraError(
            f"metrics cannot be served at {host}:{port}: {error.strerror}; "
            f"choose another {option}, or stop what uses it"
        ) from error
    thread = Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _app(expose: Callable[[], bytes], health: Health) -> Callable[..., Iterable[bytes]]:
    def app(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            start_response("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
            return [expose()]
        if path == "/health":
            said = health()
            status = "200 OK" if said["live"] else "503 Service Unavailable"
            start_response(status, [("Content-Type", "application/json")])
            return [json.dumps(said).encode() + b"\n"]
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"/metrics or /health\n"]

    return app
