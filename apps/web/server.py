"""The server of the live page: it hands out the page, takes frames from it and answers with faces. It stores nothing.

A frame is one binary message: a byte of flags, and a JPEG file. Its answer is one JSON text: `faces` as in
`minicnn predict`, each with the `number` under which it is followed and, where asked for, `heat`, 48 x 48 bytes in
base64, and `crop`, the part of the frame that they show; or `error`, a line that says what was wrong with the frame.
"""

import asyncio
import base64
import errno
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from minicnn.apps.faces import Detector, Reader, window
from minicnn.apps.live import Watcher, describe, interruptible
from minicnn.apps.web import guard, jpeg
from minicnn.errors import UserError

EXPLAIN, PHOTO = 1, 2
"""Flags of a frame: send heat maps; it is a picture by itself, of which every face is wanted."""

MAX_BYTES = 2 << 20
MAX_SIDE = 2048
MAX_RATE = 60
"""Bounds of a frame's size in bytes and in pixels, and of frames a second; a page that sends faster has to wait."""

MAX_PAGES = 4

PATIENCE = 10.0
"""Seconds that a request may take to come; a browser's takes none."""


class Service:
    """Answers frames, one at a time.

    Args:
        reader: what reads the faces.
        quick: what finds them in the camera's frames.
        thorough: what finds them in photos.
    """

    def __init__(self, reader: Reader, quick: Detector, thorough: Detector) -> None:
        self.reader = reader
        self.quick = quick
        self.thorough = thorough
        self.port = 0
        self._open = 0
        self._turn = ThreadPoolExecutor(1)  # a reader serves one thread at a time; the event loop stays free meanwhile

    def request(self, _connection: ServerConnection, request: Request) -> Response | None:
        """Who may connect, and the files of the page."""
        return guard.answer(request, self.port, self._open >= MAX_PAGES)

    async def connection(self, connection: ServerConnection) -> None:
        """Serve one page until it is closed."""
        if self._open >= MAX_PAGES:  # others were let in while this one's handshake went on
            await connection.close(1013, "too many pages")
            return
        watcher = Watcher(self.reader, self.quick)
        self._open += 1
        try:
            async for message in connection:
                taken = time.monotonic()
                loop = asyncio.get_running_loop()
                answer = await loop.run_in_executor(self._turn, self._answer, watcher, message, taken)
                await connection.send(json.dumps(answer))
                await asyncio.sleep(max(0.0, taken + 1 / MAX_RATE - time.monotonic()))
        except ConnectionClosed:
            pass  # pages are closed as users like
        finally:
            self._open -= 1

    def _answer(self, watcher: Watcher, message: str | bytes, taken: float) -> dict[str, Any]:
        try:
            if isinstance(message, str) or not message or message[0] & ~(EXPLAIN | PHOTO):
                raise UserError("frame: expected a byte of flags and a JPEG file")
            image = jpeg.decode(message[1:], MAX_SIDE)
            if message[0] & PHOTO:
                watcher = Watcher(self.reader, self.thorough)
            return {"faces": _faces(watcher, image, taken, explain=bool(message[0] & EXPLAIN))}
        except UserError as error:
            return {"error": str(error)}


def _faces(watcher: Watcher, image: NDArray[np.uint8], taken: float, explain: bool) -> list[dict[str, Any]]:
    sightings = watcher.look(image, taken)
    faces = [describe(sighting) for sighting in sightings]
    if explain:
        for face, sighting, heat in zip(faces, sightings, watcher.heat(sightings), strict=True):
            face["crop"] = list(window(sighting.face.box))
            face["heat"] = base64.b64encode((heat * 255).astype(np.uint8).tobytes()).decode()
    return faces


@asynccontextmanager
async def running(service: Service, port: int) -> AsyncIterator[Server]:
    """The server, on a port of 127.0.0.1 or on a free one for 0; `service.port` says which.

    Raises:
        UserError: the port is taken, or not for this user.
    """
    quiet = logging.getLogger("minicnn.web")
    quiet.setLevel(logging.CRITICAL)  # what strangers send is no news
    settings: dict[str, Any] = {
        "process_request": service.request,
        "open_timeout": PATIENCE,
        "max_size": MAX_BYTES,
        "max_queue": 2,  # frames of one page that wait; TCP holds the others back
        "compression": None,  # JPEG is compressed, and this is no network
        "server_header": None,
        "logger": quiet,
    }
    try:
        server = await serve(service.connection, guard.ADDRESS, port, **settings)
    except OSError as error:
        reason = {errno.EADDRINUSE: "is taken", errno.EACCES: "is for root alone"}.get(error.errno or 0, str(error))
        raise UserError(f"port {port} of {guard.ADDRESS} {reason}: choose another with --port N, or 0") from error
    async with server:
        service.port = next(iter(server.sockets)).getsockname()[1]
        yield server


def serve_page(service: Service, port: int, say: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C, its usual end; `say` gets the line that says where it is."""

    async def until_interrupted() -> None:
        async with running(service, port) as server:
            say(f"http://{guard.ADDRESS}:{service.port} (this machine alone; Ctrl-C ends it)")
            await server.serve_forever()

    with interruptible():
        asyncio.run(until_interrupted())
