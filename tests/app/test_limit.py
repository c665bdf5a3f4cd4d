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


def test_an_answer_that_has_begun_is_not_begun_again() -> None:
    """An app may answer while it reads: the connection ends there, by no second status."""
    sent: list[Any] = []

    async def echoes(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"12345678901", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(BodyLimit(echoes, most=10)({"type": "http", "headers": []}, receive, send))
    assert [message["status"] for message in sent] == [200]


def test_what_is_no_request_of_http_passes() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    scope = {"type": "lifespan"}  # which has no headers
    asyncio.run(BodyLimit(app, most=10)(scope, None, None))  # type: ignore[arg-type]
    assert seen == [scope]
