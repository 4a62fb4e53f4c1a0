"""What the server takes from browsers: its own pages only, and no more than it can hold."""

from __future__ import annotations

import asyncio

import pytest

from dvlt_ros.errors import DataError
from dvlt_ros.web.visitors import uploads
from dvlt_ros.web.visitors.guard import Guard
from dvlt_ros.web.visitors.uploads import check_upload

GIB = 2**30


@pytest.mark.parametrize(
    ("names", "sizes", "others", "cause"),
    [
        (["a.exe"], [1], 0, r"a\.exe: not taken"),
        (["a.jpg", "list.m3u8"], [1, 1], 0, r"list\.m3u8: not taken"),
        (["a"], [1], 0, "a: not taken"),
        (["a.mp4"], [3 * GIB], 0, "3.0 GiB are too much"),
        (["a.jpg"] * 3, [GIB] * 3, 0, "3.0 GiB are too much"),
        (["a.jpg"] * 501, [1] * 501, 0, "501 files are too many"),
        (["a.jpg"], [GIB], uploads.MAX_BYTES_IN_ALL, "no room for this beside what others have sent"),
    ],
)
def test_the_server_checks_what_browsers_should(names, sizes, others, cause):
    with pytest.raises(DataError, match=cause):
        check_upload(names, sizes, others)
    check_upload(["a.JPG", "b.heic"], [10, 20])


def asked(guard, headers, kind="http", body=(b"",)):
    """Status that the guard, or the app behind it, answers with."""
    sent, chunks = [], list(body)

    async def receive():
        chunk = chunks.pop(0) if chunks else b""
        return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
    asyncio.run(guard(scope, receive, send))
    return sent[0].get("status", sent[0].get("code"))


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept", "status": 101})
        return
    while (await receive())["more_body"]:
        pass
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b""})


HOME = Guard(app, "127.0.0.1", 100)
OPEN = Guard(app, "0.0.0.0", 100)


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("guard", "host", "is_own"),
    [
        (HOME, "localhost:7860", True), (HOME, "127.0.0.1:7860", True), (HOME, "[::1]:7860", True),
        (HOME, "LOCALHOST", True), (HOME, "evil.example:7860", False), (HOME, "192.168.0.7:7860", False),
        (HOME, "", False), (HOME, "localhost.evil.example", False), (HOME, "[", False),
        (OPEN, "192.168.0.7:7860", True), (OPEN, "evil.example", False), (OPEN, "localhost", True),
    ],
)  # fmt: skip
def test_only_its_own_name(guard, host, is_own, kind):
    status = asked(guard, {"host": host}, kind)
    assert status == ({"http": 200, "websocket": None}[kind] or 101 if is_own else {"http": 421}.get(kind, 1008))


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("origin", "is_own"),
    [
        ("http://localhost:7860", True), ("http://evil.example", False), ("null", False),
        ("http://localhost:8080", False), ("http://127.0.0.1:7860", False),
    ],
)  # fmt: skip
def test_only_its_own_pages(origin, is_own, kind):
    status = asked(HOME, {"host": "localhost:7860", "origin": origin}, kind)
    assert status == ((200 if kind == "http" else 101) if is_own else (403 if kind == "http" else 1008))


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"content-length": "100"}, [bytes(100)], 200),
        ({"content-length": "101"}, [bytes(101)], 413),
        ({"content-length": str(3 * GIB)}, [b""], 413),
        ({"content-length": "5"}, [bytes(60), bytes(60)], 413),  # a claim
        ({}, [bytes(40)] * 3, 413),  # chunks of no told length
        ({"content-length": "-1"}, [b""], 400),
        ({"content-length": "x"}, [b""], 400),
    ],
)
def test_bodies_end_at_the_limit(headers, body, status):
    assert asked(HOME, {"host": "localhost", **headers}, body=body) == status
