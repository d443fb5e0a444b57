"""An HTTP server on loopback that answers as it is told, also badly."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class LoopbackServer:
    """An HTTP server for `files` (path -> bytes) that can be told to misbehave.

    Attributes:
        status: answered in place of everything.
        breaks_after: bytes of a body after which the connection is closed.
        ranges: whether parts of a file can be asked for.
        pause: seconds before each answer.
        troubles: {path: [what to do at its first request, at its second, ...]}: a status, or "half" a body.
        headers: sent with every answer.
        asked: the Range header (or None) of each request.
        paths: the path of each request.
    """

    def __init__(self):
        self.files, self.asked, self.paths, self.troubles, self.headers = {}, [], [], {}, {}
        self.status, self.breaks_after, self.ranges, self.pause = None, None, True, 0.0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.answer(self)

            def do_HEAD(self):
                server.answer(self)

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def answer(self, request):
        wanted = request.headers.get("Range")
        self.asked.append(wanted)
        self.paths.append(request.path)
        time.sleep(self.pause)
        trouble = self.troubles[request.path].pop(0) if self.troubles.get(request.path) else None
        body, first = self.files.get(request.path), 0
        status = self.status or (trouble if isinstance(trouble, int) else None) or (200 if body is not None else 404)
        if status == 200 and wanted and self.ranges:
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            status = 206 if first < len(body) else 416
        request.send_response(status)
        if status == 206:
            request.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        elif status == 416:
            request.send_header("Content-Range", f"bytes */{len(body)}")
        body = body[first:] if status < 400 else b"no"
        request.send_header("Content-Length", str(len(body)))
        for name, value in self.headers.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body[: len(body) // 2 if trouble == "half" else self.breaks_after])

    def close(self):
        self._http.shutdown()
        self._http.server_close()
