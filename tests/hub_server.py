"""A hub for tests: it speaks what the hub's client asks of it, for a few repositories in memory."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Repository:
    """What a repository holds."""

    files: dict[str, bytes] = field(default_factory=dict)
    private: bool = False
    branches: set[str] = field(default_factory=lambda: {"main"})

    @property
    def commit(self) -> str:
        return sha1(repr(sorted(self.files.items())).encode()).hexdigest()


@dataclass
class Hub:
    """The hub's state, which tests read and change."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=lambda: {"hf_me": "me"})
    """Whose each token is."""
    cut: int = 0
    """How many downloads of more than 1,000 bytes end in their middle, and those that go on at once."""
    full: int | None = None
    """The status with which a commit is refused for want of room."""
    requests: list[str] = field(default_factory=list)
    """Method and path of all requests."""
    ranges: list[str] = field(default_factory=list)
    """The ranges that were asked for."""
    url: str = ""

    @contextmanager
    def serving(self) -> Iterator["Hub"]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def answer(self, value: Any, status: int = 200, **headers: str) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def refuse(self, status: int, code: str = "", message: str = "") -> None:
        headers = {"X_Error_Code": code} if code else {}
        if message:
            headers["X_Error_Message"] = message
        self.answer({"error": message or code}, status, **headers)

    @property
    def user(self) -> str | None:
        return self.hub.tokens.get(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def repository(self, name: str) -> Repository | None:
        """Returns a repository that the user may read, or refuses as the hub does."""
        found = self.hub.repositories.get(name)
        if found is None or (found.private and self.user != name.split("/", maxsplit=1)[0]):
            self.refuse(404 if self.user else 401, "RepoNotFound", "Repository not found")
            return None
        return found

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self._info("/".join(parts[2:4]), parts[4:])
        elif len(parts) > 4 and parts[2] == "resolve":
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self.refuse(404)

    def _info(self, name: str, rest: list[str]) -> None:
        if (found := self.repository(name)) is None:
            return
        if len(rest) > 1 and rest[1] not in {*found.branches, found.commit}:
            self.refuse(404, "RevisionNotFound", "Invalid rev id")
        elif rest[:1] == ["tree"]:
            files = found.files.items()
            self.answer(
                [
                    {"type": "file", "path": path, "size": len(content), "oid": sha1(content).hexdigest()}
                    for path, content in files
                ]
            )
        else:
            siblings = [{"rfilename": path} for path in found.files]
            self.answer({"id": name, "sha": found.commit, "private": found.private, "siblings": siblings})

    def _file(self, name: str, revision: str, path: str) -> None:
        if (found := self.repository(name)) is None:
            return
        if path not in found.files:
            self.refuse(404, "EntryNotFound", "Entry not found")
            return
        content, start, status = found.files[path], 0, 200
        headers = {"ETag": f'"{sha1(content).hexdigest()}"', "X_Repo_Commit": found.commit}
        if asked := self.headers.get("Range"):  # parts are asked for where a download goes on
            self.hub.ranges.append(asked)
            start, status = int(asked.removeprefix("bytes=").split("-")[0]), 206
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        content = content[start:]
        if self.command == "GET" and self.hub.cut and (asked or len(content) > 1000):
            self.hub.cut -= 1
            self.send_response(status)
            for header, text in headers.items():
                self.send_header(header.replace("_", "-"), text)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: 0 if asked else len(content) // 2])
            self.wfile.flush()
            self.close_connection = True
            return
        self.answer(content, status, **headers)

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"POST {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = path.strip("/").split("/")
        if path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif self._may_write("/".join(parts[2:4])):
            self._write("/".join(parts[2:4]), parts[4], parts[5], body)

    def _create(self, asked: dict[str, Any]) -> None:
        owner = asked.get("organization") or self.user
        name = f"{owner}/{asked['name']}"
        if self.user is None:
            self.refuse(401, "", "Invalid username or password.")
        elif name in self.hub.repositories and self.user == owner:
            self.answer(
                {"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"}, 409
            )
        elif self.user != owner:
            self.refuse(403, "", f"You don't have the rights to create a model under the namespace {owner}")
        else:
            is_private = asked.get("private") or asked.get("visibility") == "private"
            self.hub.repositories[name] = Repository(private=bool(is_private))
            self.answer({"url": f"{self.hub.url}/{name}"})

    def _may_write(self, name: str) -> bool:
        if self.repository(name) is None:
            return False
        if self.user != name.split("/", maxsplit=1)[0]:
            self.refuse(403, "", "You have read access but not the required permissions")
            return False
        return True

    def _write(self, name: str, what: str, revision: str, body: bytes) -> None:
        found = self.hub.repositories[name]
        if what == "branch":
            found.branches.add(revision)
            self.answer({})
        elif what == "preupload":
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            self.answer({"files": files})
        elif self.hub.full is not None:
            self.refuse(self.hub.full, "", "Private repository storage limit reached: quota exceeded")
        else:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    found.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            oid = found.commit
            self.answer(
                {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/{name}/commit/{oid}"}
            )
