"""A small hub, and a plain file server, on loopback; breaks off, lies and refuses on request."""

import hashlib
import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class Hub:
    """`url` is its HF_ENDPOINT; `cdn` serves contents under another host name, as hubs do."""

    def __init__(self):
        self.files = {}  # (repo, path) -> content
        self.plain = {}  # path -> content, as from any other server
        self.commit = "c" * 40
        self.commits = {}  # what files each commit had
        self.small = set()  # paths that are no LFS files
        self.token = None  # what is asked for
        self.breaks = []  # after how many bytes each of the next answers breaks off
        self.stalls = None  # after how many bytes an answer goes no further, until it is closed
        self.stalled = threading.Event()
        self.instead = {}  # content -> what is sent in its place
        self.etags = True
        self.ranges = True
        self.html = False
        self.more_headers = {}
        self.requests = []  # (method, path, headers)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.hub = self
        port = self._server.server_address[1]
        self.url, self.cdn = f"http://127.0.0.1:{port}", f"http://localhost:{port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def put(self, path, content, repo="owner/repo"):
        """Add a file; another content makes another commit."""
        self.files[repo, path] = content
        self.commit = hashlib.sha1(self.commit.encode() + content).hexdigest()
        self.commits[self.commit] = dict(self.files)
        return f"hf://{repo}/{path}"

    def sent(self, method="GET"):
        """The paths that were asked for."""
        return [path for asked, path, _ in self.requests if asked == method]


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body):
        hub = self.server.hub
        hub.requests.append((self.command, self.path, dict(self.headers)))
        path = unquote(urlsplit(self.path).path)
        if hub.html:
            self.reply(200, {"Content-Type": "text/html"}, b"<html>Log in</html>" * body)
        elif path.startswith("/api/"):
            self.list_files(path)
        elif path.startswith("/cdn/"):
            wanted = path.removeprefix("/cdn/")
            contents = {sha256(c): c for of in hub.commits.values() for c in of.values()}
            self.send(contents[wanted], body)
        elif path in hub.plain:
            self.send(hub.plain[path], body)
        elif "/resolve/" in path:
            self.resolve(path, body)
        else:
            self.reply(404, {}, b"nothing" * body)

    def list_files(self, path):
        names = [path for _, path in self.server.hub.files]
        tree = [{"type": "file", "path": name, "size": 1, "oid": "0"} for name in names]
        info = {
            "id": "owner/repo",
            "modelId": "owner/repo",
            "sha": self.server.hub.commit,
            "tags": [],
        }
        info["siblings"] = [{"rfilename": name} for name in names]
        document = tree if "/tree/" in path else info
        self.reply(200, {"Content-Type": "application/json"}, json.dumps(document).encode())

    def resolve(self, path, body):
        hub = self.server.hub
        repo, _, rest = path.lstrip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        commit = hub.commit if revision == "main" else revision
        files = hub.commits.get(commit, {})
        if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            self.reply(401, {"X-Error-Code": "GatedRepo"}, b"")
        elif repo not in {known for known, _ in hub.files}:
            self.reply(404, {"X-Error-Code": "RepoNotFound"}, b"")
        elif not files:
            self.reply(404, {"X-Error-Code": "RevisionNotFound"}, b"")
        elif (repo, name) not in files:
            self.reply(404, {"X-Error-Code": "EntryNotFound"}, b"")
        else:
            self.file(name, files[repo, name], commit, body)

    def file(self, name, content, commit, body):
        if name in self.server.hub.small:
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            self.send(content, body, {"ETag": f'"{blob}"', "X-Repo-Commit": commit})
            return
        headers = {
            "X-Repo-Commit": commit,
            "X-Linked-Etag": f'"{sha256(content)}"',
            "X-Linked-Size": str(len(content)),
            "Location": f"{self.server.hub.cdn}/cdn/{sha256(content)}",
        }
        self.reply(302, headers, b"")

    def send(self, content, body, headers=None):
        etag = f'"{sha256(content)[:20]}"'
        headers = headers or ({"ETag": etag} if self.server.hub.etags else {})
        content = self.server.hub.instead.get(content, content)
        begin, status = 0, 200
        asked = self.headers.get("Range")
        same = self.headers.get("If-Range") in (None, headers.get("ETag"))
        if asked and self.server.hub.ranges and same:
            begin, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        rest = content[begin:]
        headers["Content-Length"] = str(len(rest))
        if body and self.server.hub.breaks:
            rest = rest[: self.server.hub.breaks.pop(0)]
            self.close_connection = True
        if body and self.server.hub.stalls is not None:
            self.reply(status, headers, rest[: self.server.hub.stalls])
            self.wfile.flush()
            self.server.hub.stalled.set()
            with suppress(ConnectionError):
                self.connection.recv(1)  # until the other side goes away
            return
        self.reply(status, headers, rest * body)

    def reply(self, status, headers, body):
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(body)),
            **headers,
            **self.server.hub.more_headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(ConnectionError):  # the other side may have had enough
            self.wfile.write(body)
