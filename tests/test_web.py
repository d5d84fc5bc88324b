"""The server of the live page: what it answers, to whom, and what it refuses."""

import asyncio
import base64
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from minicnn.apps.faces import Box, Reader, make_detector, window
from minicnn.apps.web import jpeg, server
from minicnn.apps.web.server import EXPLAIN, PHOTO, Service, running
from minicnn.errors import UserError
from tests.browser import scene
from tests.portraits import near, write_network
from tests.programs import in_process_of_its_own

Answer = TypeVar("Answer")

FRAME = cv2.imencode(".jpg", scene())[1].tobytes()
EMPTY = cv2.imencode(".jpg", scene(face=False))[1].tobytes()
FACE = Box(241, 58, 97, 98)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    weights = write_network(tmp_path_factory.mktemp("network") / "small.safetensors")
    return Service(Reader(weights), make_detector(scale_step=1.2, smallest=60), make_detector())


def ask(service: Service, talk: Callable[[int], Awaitable[Answer]]) -> Answer:
    """What `talk` gets from a server on a free port."""

    async def run() -> Answer:
        async with running(service, 0):
            return await asyncio.wait_for(talk(service.port), 20)

    return asyncio.run(run())


def send(service: Service, *messages: bytes | str) -> list[dict[str, Any]]:
    """The answers to messages of one page."""

    async def talk(port: int) -> list[dict[str, Any]]:
        async with page(port) as connection:
            answers = []
            for message in messages:
                await connection.send(message)
                answers.append(json.loads(await connection.recv()))
            return answers

    return ask(service, talk)


def page(port: int, host: str | None = None, **headers: str) -> connect:
    """A connection as the page's own script opens it."""
    name = host or f"127.0.0.1:{port}"
    headers = {"Origin": f"http://{name}", **headers}
    return connect(
        f"ws://{name}/frames", host="127.0.0.1", port=port, additional_headers=headers, proxy=None, max_queue=None
    )


def request(service: Service, path: str, *, host: str = "127.0.0.1:{port}", method: str = "GET") -> tuple[str, str]:
    """Head and body of the answer to a plain HTTP request."""

    async def talk(port: int) -> tuple[str, str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: {host.format(port=port)}\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
        head, _, body = answer.partition("\r\n\r\n")
        return head, body

    return ask(service, talk)


def refused(service: Service, host: str | None = None, **headers: str) -> int:
    """The status with which a connection is refused."""

    async def talk(port: int) -> int:
        with pytest.raises(InvalidStatus) as caught:
            async with page(port, host and host.format(port=port), **headers):
                pass
        return caught.value.response.status_code

    return ask(service, talk)


# Frames and their answers


def test_a_frame_is_answered_with_its_faces(service: Service) -> None:
    (answer,) = send(service, b"\0" + FRAME)
    assert answer.keys() == {"faces"}
    (face,) = answer["faces"]
    assert face.keys() == {"number", "box", "emotion", "probabilities"}
    assert near(Box(*face["box"]), FACE)
    assert list(face["probabilities"]) == list(service.reader.classes)


def test_a_face_keeps_its_number_from_frame_to_frame(service: Service) -> None:
    answers = send(service, *[b"\0" + FRAME] * 3)
    assert [face["number"] for answer in answers for face in answer["faces"]] == [1, 1, 1]


def test_a_frame_without_a_face_has_none(service: Service) -> None:
    assert send(service, b"\0" + EMPTY) == [{"faces": []}]


def test_what_the_detector_cannot_do_is_told_to_the_page(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> list[Box]:
        raise UserError("the detector's model is none")

    monkeypatch.setattr(service, "quick", broken)
    assert send(service, b"\0" + FRAME) == [{"error": "the detector's model is none"}]


def test_each_page_has_faces_of_its_own(service: Service) -> None:
    async def talk(port: int) -> list[Any]:
        async with page(port) as one, page(port) as other:
            await one.send(b"\0" + FRAME)
            await one.recv()
            await other.send(b"\0" + EMPTY)
            return [json.loads(await other.recv())]

    assert ask(service, talk) == [{"faces": []}]


def test_heat_maps_come_where_they_are_asked_for(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    heat = np.linspace(0, 1, 48 * 48, dtype=np.float32).reshape(1, 48, 48)
    monkeypatch.setattr(service.reader, "heat", lambda crops, emotions: heat)
    (answer,) = send(service, bytes([EXPLAIN]) + FRAME)
    (face,) = answer["faces"]
    assert base64.b64decode(face["heat"]) == (heat * 255).astype(np.uint8).tobytes()
    assert face["crop"] == list(window(Box(*face["box"])))


def test_in_a_photo_smaller_faces_are_looked_for(service: Service) -> None:
    small = np.full((480, 640, 3), 90, np.uint8)
    small[100:340, 200:440] = cv2.resize(scene()[:, 80:560], (240, 240), interpolation=cv2.INTER_AREA)
    picture = cv2.imencode(".jpg", small)[1].tobytes()
    frame, photo = send(service, b"\0" + picture, bytes([PHOTO]) + picture)
    assert (len(frame["faces"]), len(photo["faces"])) == (0, 1)


def test_a_photo_is_no_frame_of_the_camera(service: Service) -> None:
    _, photo, frame = send(service, b"\0" + FRAME, bytes([PHOTO]) + FRAME, b"\0" + EMPTY)
    assert photo["faces"][0]["number"] == 1
    assert [face["number"] for face in frame["faces"]] in ([1], [])


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (b"", "expected a byte of flags and a JPEG file"),
        (b"\x80" + FRAME, "expected a byte of flags and a JPEG file"),
        ("hello", "expected a byte of flags and a JPEG file"),
        (b"\0" + b"\x89PNG\r\n\x1a\n" + bytes(100), "expected a JPEG file"),
        (b"\0" + FRAME[:60], "a JPEG file without a size"),
    ],
)
def test_what_is_no_frame_is_answered_with_what_was_expected(service: Service, message: bytes | str, what: str) -> None:
    bad, good = send(service, message, b"\0" + FRAME)
    assert what in bad["error"]
    assert len(good["faces"]) == 1


# Bounds


def claiming(height: int, width: int) -> bytes:
    """A JPEG file whose header claims this size."""
    at = FRAME.index(b"\xff\xc0") + 5
    return FRAME[:at] + struct.pack(">HH", height, width) + FRAME[at + 4 :]


def test_the_size_that_a_header_claims_is_read_without_decoding() -> None:
    assert jpeg.size(FRAME) == (480, 640)
    assert jpeg.size(claiming(65535, 65535)) == (65535, 65535)


@pytest.mark.parametrize(("height", "width"), [(65535, 65535), (480, 2049), (0, 640)])
def test_pixels_beyond_the_bounds_are_refused_before_they_are_decoded(
    height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(cv2, "imdecode")
    with pytest.raises(UserError, match=f"frame: expected sides of 1 to 2048 pixels, got {width}x{height}"):
        jpeg.decode(claiming(height, width), 2048)


def test_a_file_that_ends_early_or_is_garbled_is_refused_or_decoded(random: np.random.Generator) -> None:
    for length in (3, 20, 160):
        with pytest.raises(UserError, match="frame: "):
            jpeg.decode(FRAME[:length], 2048)
    for _ in range(200):
        garbled = bytearray(FRAME)
        for place in random.integers(2, 700, 8):
            garbled[place] = random.integers(256)
        with suppress(UserError):
            assert jpeg.decode(bytes(garbled), 2048).ndim == 3


def test_a_message_beyond_the_bounds_closes_the_connection(service: Service) -> None:
    async def talk(port: int) -> int:
        async with page(port) as connection:
            await connection.send(bytes(server.MAX_BYTES + 1))
            with pytest.raises(ConnectionClosed) as caught:
                await connection.recv()
            assert caught.value.rcvd is not None
            return caught.value.rcvd.code

    assert ask(service, talk) == 1009  # "message too big", RFC 6455, 7.4.1


def test_a_page_that_sends_too_fast_has_to_wait(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", noted)
    monkeypatch.setattr(server, "MAX_RATE", 0.001)
    send(service, b"\0" + EMPTY, b"\0" + EMPTY)
    assert len([wait for wait in waits if 900 < wait <= 1000]) >= 1


def test_more_pages_than_there_is_room_for_are_refused(service: Service) -> None:
    async def talk(port: int) -> int:
        opened: list[ClientConnection] = [await page(port) for _ in range(server.MAX_PAGES)]
        with pytest.raises(InvalidStatus) as caught:
            await page(port)
        for connection in opened:
            await connection.close()
        await (await page(port)).close()  # there is room again
        return caught.value.response.status_code

    assert ask(service, talk) == 503


# Who may connect


def test_it_listens_on_this_machine_alone(service: Service) -> None:
    async def talk(port: int) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.2", port))  # free, as it would not be if every address were listened on

    ask(service, talk)


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}"])
def test_the_page_itself_may_connect(service: Service, host: str) -> None:
    async def talk(port: int) -> bool:
        async with page(port, host.format(port=port)) as connection:
            return bool(await connection.ping())

    assert ask(service, talk)


@pytest.mark.parametrize("origin", ["http://evil.example", "https://127.0.0.1", "null", "http://127.0.0.1:1"])
def test_a_page_from_elsewhere_may_not_connect(service: Service, origin: str) -> None:
    assert refused(service, Origin=origin) == 403


def test_a_program_that_names_no_origin_may_not_connect(service: Service) -> None:
    async def talk(port: int) -> int:
        with pytest.raises(InvalidStatus) as caught:
            await connect(f"ws://127.0.0.1:{port}/frames", proxy=None)
        return caught.value.response.status_code

    assert ask(service, talk) == 403


@pytest.mark.parametrize("path", ["/", "/page.js", "/frames"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1:1", ""])
def test_a_name_that_leads_here_from_elsewhere_gets_nothing(service: Service, path: str, host: str) -> None:
    head, body = request(service, path, host=host)
    assert head.startswith("HTTP/1.1 403 ")
    assert "<html" not in body


# Files of the page


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript"), ("/icon.svg", "image/svg+xml")],
)
def test_the_pages_files_are_there(service: Service, path: str, kind: str) -> None:
    head, body = request(service, path)
    assert head.startswith("HTTP/1.1 200 ")
    assert f"Content-Type: {kind}" in head
    assert body


@pytest.mark.parametrize("path", ["/server.py", "/../server.py", "/page/page.html", "/page.js?x", "//", "/%2e%2e/"])
def test_nothing_else_is_there(service: Service, path: str) -> None:
    assert request(service, path)[0].startswith("HTTP/1.1 404 ")


def test_nothing_can_be_posted(service: Service) -> None:
    head, _ = request(service, "/", method="POST")
    assert head.startswith("HTTP/1.1 405 ")


def test_a_strict_policy_goes_with_the_page(service: Service) -> None:
    head, _ = request(service, "/")
    (policy,) = (line for line in head.splitlines() if line.startswith("Content-Security-Policy: "))
    assert "default-src 'none'" in policy
    assert f"connect-src ws://127.0.0.1:{service.port}/frames;" in policy
    assert "unsafe" not in policy
    assert "Cache-Control: no-store" in head
    assert "X-Content-Type-Options: nosniff" in head


def test_the_page_asks_nothing_of_other_servers() -> None:
    folder = Path(server.__file__).parent / "page"
    for file in folder.iterdir():
        text = file.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert "http://" not in text
        assert "https://" not in text


# The command


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    weights = write_network(tmp_path / "small.safetensors")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = in_process_of_its_own("camera", "--web", "--port", port, "--weights", weights)
    assert (result.code, result.out) == (1, "")
    assert result.err == f"minicnn: port {port} of 127.0.0.1 is taken: choose another with --port N, or 0\n"
