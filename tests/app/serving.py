"""A served app with models that know nothing, and its plain HTTP."""

import contextlib
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from entry import ROOT


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from restore.cli import main; main()", "app", *arguments]


@contextlib.contextmanager
def served(arguments: list[str], folder: Path, **more: str) -> Iterator["Server"]:
    """`restore app` in a process of its own, until the block ends."""
    port = free_port()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **more}
    log = (folder / "server.log").open("w")
    process = subprocess.Popen(
        command(*arguments, "--port", str(port)),
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    try:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], 240)
        line = process.stdout.readline() if ready else ""
        assert line.startswith("restore app: http"), (folder / "server.log").read_text()
        yield Server(f"http://127.0.0.1:{port}", process, folder)
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        process.kill()
        log.close()


def _with_cookies() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.HTTPCookieProcessor())


@dataclass
class Server:
    url: str
    process: subprocess.Popen[str]
    folder: Path
    opener: urllib.request.OpenerDirector = field(default_factory=_with_cookies)

    def get(self, path: str) -> tuple[int, bytes]:
        return self._answer(urllib.request.Request(self.url + path))

    def post(self, path: str, body: bytes, kind: str = "application/json") -> tuple[int, bytes]:
        headers = {"Content-Type": kind}
        return self._answer(urllib.request.Request(self.url + path, body, headers))

    def _answer(self, request: urllib.request.Request) -> tuple[int, bytes]:
        try:
            with self.opener.open(request, timeout=120) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def announced(self, path: str, length: int) -> int:
        """The status of a request that says that it has so many bytes, before it sends any."""
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=60)
        connection.putrequest("POST", path)
        connection.putheader("Content-Length", str(length))
        connection.endheaders()
        try:
            return connection.getresponse().status
        finally:
            connection.close()

    def upload(self, name: str, content: bytes) -> tuple[int, bytes]:
        edge = uuid.uuid4().hex
        head = (
            f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        )
        body = head.encode() + content + f"\r\n--{edge}--\r\n".encode()
        return self.post("/gradio_api/upload", body, f"multipart/form-data; boundary={edge}")

    def uploaded(self, name: str, content: bytes) -> dict[str, Any]:
        """A file as an event takes it."""
        code, answer = self.upload(name, content)
        assert code == 200, answer
        path = json.loads(answer)[0]
        return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}

    def config(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.get("/config")[1])
        return answer

    def event(self, part: str, kind: str) -> int:
        """The number of what happens when a component of this elem_id is used: of several
        listeners, the one that is given most."""
        config = self.config()
        ids = {one["props"].get("elem_id"): one["id"] for one in config["components"]}
        found = [
            one
            for one in config["dependencies"]
            if [ids[part], kind] in [list(target) for target in one["targets"]]
        ]
        assert found, f"{part} has no {kind}"
        return int(max(found, key=lambda one: len(one["inputs"]))["id"])

    def join(self, number: int, data: list[Any], session: str) -> tuple[int, dict[str, Any]]:
        body = {"data": data, "fn_index": number, "session_hash": session}
        code, answer = self.post("/gradio_api/queue/join", json.dumps(body).encode())
        return code, json.loads(answer)

    def ended(self, session: str) -> dict[str, Any]:
        """The last message of a session's only event."""
        url = f"{self.url}/gradio_api/queue/data?session_hash={session}"
        deadline = time.monotonic() + 120
        with urllib.request.urlopen(url, timeout=120) as stream:
            for line in stream:
                assert time.monotonic() < deadline
                if line.startswith(b"data:"):
                    message: dict[str, Any] = json.loads(line[5:])
                    if message["msg"] in ("process_completed", "unexpected_error"):
                        return message
        raise AssertionError("the stream ended without a last message")

    def call(self, part: str, kind: str, data: list[Any]) -> dict[str, Any]:
        session = uuid.uuid4().hex
        code, answer = self.join(self.event(part, kind), data, session)
        if code != 200:
            return {"success": False, "output": answer}
        return self.ended(session)
