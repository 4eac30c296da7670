"""A model hub on this machine: as much of its protocol as `huggingface_hub` speaks to upload and to fetch a folder."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        held: dict[str, dict[str, bytes]] = self.server.held  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        self.server.asked.append(f"POST {path}")  # type: ignore[attr-defined]
        if path == "/api/repos/create":
            given = json.loads(body)
            owner, name = given.get("organization") or "me", given["name"]
            held.setdefault(f"{owner}/{name}", {})
            self.server.private[f"{owner}/{name}"] = "private" in (
                given.get("visibility"),
                given.get("private") and "private",
            )  # type: ignore[attr-defined]
            return self._json({"url": f"{self._here()}/{owner}/{name}", "name": f"{owner}/{name}"})
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        _, _, _, owner, name, verb, *_ = path.split("/")
        if verb == "preupload":
            files = [file["path"] for file in json.loads(body)["files"]]
            return self._json(
                {"files": [{"path": file, "uploadMode": "regular", "shouldIgnore": False} for file in files]}
            )
        lines = [json.loads(line) for line in body.splitlines()]
        for line in lines:
            if line["key"] == "file":
                held[f"{owner}/{name}"][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        commit = self._sha(f"{owner}/{name}")
        url = f"https://huggingface.co/{owner}/{name}/commit/{commit}"  # older clients know no other address here
        return self._json({"commitUrl": url, "commitOid": commit, "success": True, "hookOutput": ""})

    def do_GET(self) -> None:
        held: dict[str, dict[str, bytes]] = self.server.held  # type: ignore[attr-defined]
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")  # type: ignore[attr-defined]
        parts = path.split("/")[1:]
        repository = "/".join(parts[2:4] if parts[:2] == ["api", "models"] else parts[:2])
        if repository not in held:
            return self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        sha, files = self._sha(repository), held[repository]
        if parts[0] == "api" and parts[4:5] == ["tree"]:
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in sorted(files.items())
            ]
            return self._json(entries)
        if parts[0] == "api":
            siblings = [{"rfilename": name} for name in sorted(files)]
            return self._json(
                {"id": repository, "modelId": repository, "sha": sha, "siblings": siblings, "private": False}
            )
        content = files["/".join(parts[4:])]
        tag = f'"{hashlib.sha1(content).hexdigest()}"'
        self._send(content, 200, {"ETag": tag, "X-Repo-Commit": sha, "Content-Type": "application/octet-stream"})

    do_HEAD = do_GET

    def _json(self, content: Any, status: int = 200, more: dict[str, str] | None = None) -> None:
        self._send(json.dumps(content).encode(), status, {"Content-Type": "application/json", **(more or {})})

    def _send(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _sha(self, repository: str) -> str:
        files: dict[str, bytes] = self.server.held[repository]  # type: ignore[attr-defined]
        return hashlib.sha1(b"".join(name.encode() + files[name] for name in sorted(files))).hexdigest()

    def _here(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"  # type: ignore[attr-defined]

    def log_message(self, *_: Any) -> None:
        """Nothing on standard error."""


@contextmanager
def hub_server() -> Iterator[Any]:
    """A server with the attributes `address`, `held` (files by repository), `private` and `asked`."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    server.held, server.private, server.asked = {}, {}, []
    server.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
