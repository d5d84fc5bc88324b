"""The live page's server among strangers: other pages of the browser, programs that guess, bytes that are no HTTP."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeVar

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from minicnn.apps.web import guard, server
from minicnn.apps.web.server import Service, running
from tests.fuzz.readers import web_frame

Answer = TypeVar("Answer")
GOOD = web_frame.SEEDS[0]


def ask(talk: Callable[[int], Awaitable[Answer]]) -> Answer:
    """What `talk` gets from a server on a free port, which serves its page as before when `talk` is done."""
    service: Service = web_frame.service()[0]

    async def run() -> Answer:
        async with running(service, 0):
            answer = await asyncio.wait_for(talk(service.port), 20)
            while service._open:
                await asyncio.sleep(0.01)
            async with page(service.port) as connection:
                await connection.send(GOOD)
                assert "faces" in json.loads(await connection.recv())
            return answer

    return asyncio.run(run())


def page(port: int, **headers: str) -> connect:
    """A connection as the page's own script opens it."""
    name = f"127.0.0.1:{port}"
    return connect(f"ws://{name}/frames", additional_headers={"Origin": f"http://{name}", **headers}, proxy=None)


def sent(content: bytes) -> bytes:
    """All that the server says to these bytes, in which PORT stands for its port, until it ends the connection."""

    async def talk(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(content.replace(b"PORT", str(port).encode()))
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    return ask(talk)


def status(content: bytes) -> int:
    """The status of the answer to a request; 0 where there is none."""
    answer = sent(content)
    return int(answer.split()[1]) if answer else 0


HOST = b"Host: 127.0.0.1:PORT\r\n"


# Paths


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../../../etc/passwd",
        "/..%2f..%2f..%2fetc%2fpasswd",
        "/page.html",
        "/page.js/../server.py",
        "//etc/passwd",
        "/./page.js",
        "/page.js%00",
        "/page.js#",
        "/\\..\\server.py",
        "file:///etc/passwd",
        "http://127.0.0.1/page.js",
        "*",
    ],
)
def test_no_path_leads_to_a_file(path: str) -> None:
    answer = sent(f"GET {path} HTTP/1.1\r\n".encode() + HOST + b"\r\n")
    assert answer.split()[1] == b"404"
    assert b"root:" not in answer
    assert b"import" not in answer


def test_every_answer_has_the_strict_headers() -> None:
    for request in (b"GET / HTTP/1.1\r\n" + HOST, b"GET /no HTTP/1.1\r\n" + HOST, b"GET / HTTP/1.1\r\nHost: evil\r\n"):
        answer = sent(request + b"\r\n")
        assert b"Content-Security-Policy: default-src 'none'" in answer
        assert b"X-Content-Type-Options: nosniff" in answer
        assert b"Access-Control-Allow-Origin" not in answer


# Requests that are none


@pytest.mark.parametrize(
    "method", [b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"CONNECT", b"TRACE", b"get", b"X"]
)
def test_only_get_is_answered(method: bytes) -> None:
    assert status(method + b" / HTTP/1.1\r\n" + HOST + b"\r\n") in (0, 400, 405, 501)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n" + bytes(200),  # a TLS handshake
        b"\x00" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/9.9\r\n" + HOST + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 10_000 + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X\0: \0\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    ],
    ids=["empty", "TLS", "zeros", "version", "path", "header", "headers", "NUL", "length", "chunks"],
)
def test_what_is_no_request_is_refused(request_bytes: bytes) -> None:
    assert status(request_bytes) in (0, 400, 403, 404, 405, 413, 414, 431, 501)


@pytest.mark.parametrize(
    "hosts", [b"", HOST + HOST, HOST + b"Host: evil.example\r\n", b"Host: 127.0.0.1:PORT@evil\r\n"]
)
def test_a_host_that_is_missing_or_in_doubt_is_refused(hosts: bytes) -> None:
    assert status(b"GET / HTTP/1.1\r\n" + hosts + b"\r\n") == 403


def test_a_request_that_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.3)
    assert sent(b"GET / HTTP/1.1\r\nX: ") == b""


def test_hundreds_of_connections_that_say_nothing_keep_nobody_out() -> None:
    async def talk(port: int) -> None:
        async with AsyncExitStack() as stack:
            for _ in range(300):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                stack.callback(writer.close)
            async with page(port) as connection:
                await connection.send(GOOD)
                assert "faces" in json.loads(await connection.recv())

    ask(talk)


# Connections


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://127.0.0.1.evil.example",
        "http://127.0.0.1",
        "http://localhost",
        "https://127.0.0.1:PORT",
        "http://127.0.0.1:PORT/",
        "http://127.0.0.1:PORT, http://evil.example",
        "file://",
        "null",
        "",
    ],
)
def test_a_page_from_elsewhere_may_not_connect(origin: str) -> None:
    async def talk(port: int) -> int:
        with pytest.raises(InvalidStatus) as caught:
            async with page(port, Origin=origin.replace("PORT", str(port))):
                pass
        return caught.value.response.status_code

    assert ask(talk) == 403


def test_pages_that_connect_at_the_same_moment_are_no_more_than_there_is_room_for() -> None:
    async def attempt(port: int, connection: connect) -> ClientConnection | None:
        try:
            opened = await connection
            await opened.send(GOOD)
            await opened.recv()
        except (InvalidStatus, ConnectionClosed):
            return None
        return opened

    async def talk(port: int) -> int:
        tried = await asyncio.gather(*(attempt(port, page(port)) for _ in range(5 * server.MAX_PAGES)))
        opened = [connection for connection in tried if connection is not None]
        for connection in opened:
            await connection.close()
        return len(opened)

    assert ask(talk) == server.MAX_PAGES


# Frames


def closed_by(*frames: Frame) -> int:
    """The code with which a connection is closed that sends these frames."""

    async def talk(port: int) -> int:
        async with page(port) as connection:
            for frame in frames:
                connection.transport.write(frame.serialize(mask=True))
            with pytest.raises(ConnectionClosed) as caught:
                await connection.recv()
            assert caught.value.rcvd is not None
            return caught.value.rcvd.code

    return ask(talk)


def test_a_message_in_parts_is_bounded_as_a_whole() -> None:
    part = Frame(Opcode.CONT, bytes(server.MAX_BYTES // 4), fin=False)
    assert closed_by(Frame(Opcode.BINARY, b"\0", fin=False), *[part] * 4) == 1009


def test_a_frame_that_claims_2_to_the_62_bytes_is_refused_at_once() -> None:
    async def talk(port: int) -> int:
        async with page(port) as connection:
            connection.transport.write(b"\x82\xff" + (1 << 62).to_bytes(8, "big") + bytes(4))
            with pytest.raises(ConnectionClosed) as caught:
                await connection.recv()
            assert caught.value.rcvd is not None
            return caught.value.rcvd.code

    assert ask(talk) == 1009


@pytest.mark.parametrize(
    "content",
    [
        b"\0GIF89a",
        b"\0" + bytes(1000),
        b"\0%PDF-1.7",
        b"\0\xff\xd8\xff\xe1" + bytes(65_535),
        b"\0" + b"\xff" * server.MAX_BYTES,
    ],
    ids=["GIF", "zeros", "PDF", "EXIF alone", "all ones"],
)
def test_bytes_that_are_no_picture_are_answered_by_a_line(content: bytes) -> None:
    async def talk(port: int) -> str:
        async with page(port) as connection:
            await connection.send(content[: server.MAX_BYTES])
            error: str = json.loads(await connection.recv())["error"]
            return error

    line = ask(talk)
    assert line.startswith("frame: ")
    assert line.isprintable()


def test_the_files_that_are_handed_out_are_those_of_the_page() -> None:
    assert {name for name, _ in guard._FILES.values()} == {file.name for file in guard._PAGE.iterdir()}
