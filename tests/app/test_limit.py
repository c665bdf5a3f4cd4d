"""The cap on a request's bytes, announced or not."""

import asyncio
from typing import Any

import pytest

from restore.app.limit import BodyLimit


async def _reads(scope: Any, receive: Any, send: Any) -> None:
    """An app that answers with the number of bytes it got."""
    got = 0
    while True:
        message = await receive()
        got += len(message["body"])
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(got).encode()})


def answer(parts: list[bytes], headers: list[tuple[bytes, bytes]]) -> tuple[int, bytes, int]:
    """Status, body, and how many parts were read."""
    sent: list[Any] = []
    left = list(parts)

    async def receive() -> dict[str, Any]:
        part = left.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(left)}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "headers": headers}
    asyncio.run(BodyLimit(_reads, most=10)(scope, receive, send))
    return sent[0]["status"], sent[1]["body"], len(parts) - len(left)


@pytest.mark.parametrize(
    ("parts", "headers", "status", "read"),
    [
        ([b"12345", b"12345"], [], 200, 2),
        ([b"12345", b"123456", b"1"], [], 413, 2),
        ([b"12345678901"], [(b"Content-Length", b"11")], 413, 0),
        ([b"1234567890"], [(b"content-length", b"10")], 200, 1),
        ([b"12345", b"1234567"], [(b"content-length", b"3")], 413, 2),
        ([b"12345", b"1234567"], [(b"content-length", b"-3")], 413, 2),
    ],
)
def test_no_request_has_more_bytes(
    parts: list[bytes], headers: list[tuple[bytes, bytes]], status: int, read: int
) -> None:
    code, body, done = answer(parts, headers)
    assert (code, done) == (status, read)
    assert body == (str(sum(map(len, parts))).encode() if status == 200 else b"too large")
