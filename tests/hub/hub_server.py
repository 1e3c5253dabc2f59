"""The few calls of a Hugging Face hub that pushing and loading a small model need, in memory."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

__all__ = ["hub_server"]


class _Hub(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        # repository -> branch -> file -> content
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: dict[str, bool] = {}
        self.tokens: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: _Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.tokens.append(self.headers.get("Authorization"))
        path = unquote(self.path.partition("?")[0])
        if path == "/api/repos/create":
            self._create(json.loads(body))
        elif match := re.fullmatch(r"/api/models/([\w-]+/[\w-]+)/branch/(\w+)", path):
            branches = self.server.repositories[match[1]]
            branches.setdefault(match[2], dict(branches["main"]))
            self._json({})
        elif re.fullmatch(r"/api/models/([\w-]+/[\w-]+)/preupload/(\w+)", path):
            files = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": f, "uploadMode": "regular", "shouldIgnore": False} for f in files]
            self._json({"files": modes})
        elif match := re.fullmatch(r"/api/models/([\w-]+/[\w-]+)/commit/(\w+)", path):
            self._commit(match[1], match[2], body)
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        else:
            self._json({"error": f"unexpected POST {path}"}, 501)

    def do_HEAD(self) -> None:
        self._file(with_body=False)

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0])
        match = re.fullmatch(r"/api/models/([\w-]+/[\w-]+)(?:/(revision|tree)/(\w+))?", path)
        if match is None:
            self._file(with_body=True)
            return
        repository, what, revision = match[1], match[2], match[3] or "main"
        files = self._files(repository, revision)
        if files is None:
            return
        if what == "tree":
            entries = [
                {"type": "file", "path": n, "size": len(c), "oid": _oid(c)}
                for n, c in files.items()
            ]
            self._json(entries)
        else:
            siblings = [{"rfilename": name} for name in files]
            self._json({"id": repository, "sha": _sha(files), "siblings": siblings})

    def _create(self, values: dict[str, Any]) -> None:
        name = f"{values.get('organization') or 'me'}/{values['name'].rpartition('/')[2]}"
        known = name in self.server.repositories
        self.server.repositories.setdefault(name, {"main": {}})
        private = values.get("private") or values.get("visibility") == "private"
        self.server.private.setdefault(name, bool(private))
        self._json({"url": f"{self.server.url}/{name}", "id": name}, 409 if known else 200)

    def _commit(self, repository: str, revision: str, body: bytes) -> None:
        files = self.server.repositories[repository][revision]
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        sha = _sha(files)
        url = f"{self.server.url}/{repository}/commit/{sha}"
        self._json({"commitUrl": url, "commitOid": sha, "success": True})

    def _file(self, with_body: bool) -> None:
        path = unquote(self.path.partition("?")[0])
        match = re.fullmatch(r"/([\w-]+/[\w-]+)/resolve/(\w+)/(.+)", path)
        files = self._files(match[1], match[2]) if match else None
        if match is None or files is None:
            if match is None:
                self._json({"error": f"unexpected {self.command} {path}"}, 501)
            return
        content = files[match[3]]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{_oid(content)}"')
        self.send_header("X-Repo-Commit", _sha(files))
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def _files(self, repository: str, revision: str) -> dict[str, bytes] | None:
        branches = self.server.repositories.get(repository)
        if branches is None:
            self._json({"error": "Repository not found"}, 404, "RepoNotFound")
            return None
        for name, files in branches.items():
            if revision in (name, _sha(files)):
                return files
        self._json({"error": "Invalid rev id"}, 404, "RevisionNotFound")
        return None

    def _json(self, value: Any, status: int = 200, code: str | None = None) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _sha(files: dict[str, bytes]) -> str:
    return _oid(b"".join(name.encode() + content for name, content in sorted(files.items())))


@contextmanager
def hub_server() -> Iterator[_Hub]:
    """A hub on 127.0.0.1 until the block ends."""
    server = _Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
