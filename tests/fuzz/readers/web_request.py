"""What a stranger sends to the port of the live page before it is connected."""

from pathlib import Path

from websockets.exceptions import InvalidHandshake, InvalidMessage
from websockets.http11 import Request
from websockets.server import ServerProtocol

from minicnn.apps.web import guard
from tests.fuzz.harness import Reader

PORT = 8000


def read(data: bytes, _folder: Path) -> object:
    protocol = ServerProtocol()
    protocol.receive_data(data)
    protocol.receive_eof()
    answers = [guard.answer(event, PORT, False) for event in protocol.events_received() if isinstance(event, Request)]
    for answer in answers:
        assert answer is None or answer.status_code in (200, 403, 404, 405)
        assert answer is None or "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer is None or answer.status_code != 200 or b"root:" not in answer.body
    return answers


HOST = b"Host: 127.0.0.1:8000\r\n"
UPGRADE = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
SEEDS = [
    b"GET / HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /page.js HTTP/1.1\r\n" + HOST + b"Accept: */*\r\n\r\n",
    b"GET /frames HTTP/1.1\r\n" + HOST + b"Origin: http://127.0.0.1:8000\r\n" + UPGRADE + b"\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello",
    b"GET /../../../../etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n",
]
TOKENS = (
    HOST,
    b"\r\n",
    b"\r\n\r\n",
    b"..",
    b"%2e%2e%2f",
    b"file:///etc/passwd",
    b"Origin: null\r\n",
    b"X: y\r\n" * 200,
)
READER = Reader(SEEDS, read, TOKENS, errors=(InvalidHandshake, InvalidMessage))
