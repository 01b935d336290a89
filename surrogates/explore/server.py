"""Serve the explorer on this machine's loopback address."""

from __future__ import annotations

import socket
import threading
import webbrowser
from dataclasses import dataclass
from typing import Any, Self

from surrogates.errors import DataError

from .app import make_app
from .slices import Explorable

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, eq=False)
class Server:
    """A running explorer.

    url : of its page; nobody but this machine can reach it
    """

    url: str
    server: Any
    thread: threading.Thread

    def close(self) -> None:
        """Stop serving."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def wait(self) -> None:
        """Serve until interrupted (Ctrl+C)."""
        try:
            while self.thread.is_alive():
                self.thread.join(0.5)
        except KeyboardInterrupt:
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def explore(fitted: Explorable, *, port: int = 0, browser: bool = True) -> Server:
    """Open a page in the browser that looks into a fitted surrogate; it is served to this machine only.

    Every input has a panel with the slice along it through a place that sliders choose: the mean, 95 % intervals of f and
    of a reading, and readings, the fainter the further they are from the slice. Task and fidelity can be chosen, values
    read by a click, the picture saved as PNG and the curves as CSV; the health report is below.

    Parameters
    ----------
    fitted : a fitted surrogate whose inputs are numbers or labels
    port : of the page; 0: any that is free
    browser : whether to open it there

    Returns
    -------
    Server
        with ``url``; ``close()`` ends it, ``wait()`` keeps a script at it

    Raises
    ------
    MissingExtraError
        If dash isn't installed.
    DataError
        If inputs are vectors or counts, or the port is no number of a port.
    OSError
        If the port is taken, or isn't allowed.
    """
    page = make_app(fitted).server
    from werkzeug.serving import WSGIRequestHandler, make_server  # after the error that names the extra

    class Quiet(WSGIRequestHandler):
        """Errors are logged, requests aren't."""

        def log_request(self, *parts: object) -> None:
            """Nothing."""

    with _listening(port) as listening:  # werkzeug would end the process where a port is taken
        fd = listening.fileno()
        server = make_server(LOOPBACK, port, page, threaded=True, request_handler=Quiet, fd=fd)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://{LOOPBACK}:{server.port}/"
    if browser:
        webbrowser.open(url)
    return Server(url, server, thread)


def _listening(port: int) -> socket.socket:
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 2**16:
        raise DataError(f"port is {port!r}; a whole number from 0 (any that is free) to {2**16 - 1} is wanted")
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError as error:
        raise OSError(
            f"port {port} can't be served: {error.strerror}; give another one, or 0 for any that is free"
        ) from error
