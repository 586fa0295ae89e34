"""An HTTP server on the loopback interface that misbehaves on request."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Behaviour:
    """How the server answers; tests set the fields.

    Attributes:
        content: the file. ranges: whether Range is honoured. etag: sent when set. kind: Content-Type.
        length: send Content-Length. cuts: bytes after which successive answers are cut.
        statuses: error statuses of the first answers. stall: an event that a cut answer waits for before it ends.
        requests: the headers of every request that came. moved: the path that all others are redirected to.
    """

    def __init__(self, content: bytes):
        self.content, self.ranges, self.etag, self.kind, self.length = content, True, None, "application/octet-stream", True
        self.cuts, self.statuses, self.stall, self.requests = [], [], None, []
        self.moved: str | None = None


@contextmanager
def serve(content: bytes):
    """Yields (URL of the file, :class:`Behaviour`)."""
    behaviour = Behaviour(content)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            behaviour.requests.append(dict(self.headers))
            if behaviour.moved and self.path != behaviour.moved:
                self.send_response(302)
                self.send_header("Location", behaviour.moved)
                self.end_headers()
                return
            if behaviour.statuses:
                self.send_error(behaviour.statuses.pop(0))
                return
            self.answer(behaviour.content)

        def answer(self, content):
            start, asked = 0, re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
            same = self.headers.get("If-Range") in (None, behaviour.etag)
            if asked and behaviour.ranges and same:
                start = int(asked[1])
                if start >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            self.send_header("Content-Type", behaviour.kind)
            if behaviour.length:
                self.send_header("Content-Length", str(len(content) - start))
            if behaviour.etag:
                self.send_header("ETag", behaviour.etag)
            self.end_headers()
            cut = behaviour.cuts.pop(0) if behaviour.cuts else None
            body = content[start:] if cut is None else content[start : start + cut]
            self.wfile.write(body)
            if cut is not None and behaviour.stall:
                self.wfile.flush()
                behaviour.stall.wait(10)

    class Server(ThreadingHTTPServer):
        def handle_error(self, request, client_address):
            """A client that hangs up is what some tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/file.bin", behaviour
    finally:
        if behaviour.stall:
            behaviour.stall.set()
        server.shutdown()
        server.server_close()
        thread.join()
