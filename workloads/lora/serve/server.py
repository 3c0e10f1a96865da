"""The HTTP server: OpenAI's routes for models and chats, with a key."""

import argparse
import hmac
import json
import os
import re
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ..failure import Failure, explain
from ..finished import Finished, expect_one_base, open_finished

if TYPE_CHECKING:  # slow to import: a wrong argument answers without them
    from .completions import Answer, ChatRequest

KEY = "LORA_SERVE_KEY"
MOST_BYTES = 4_000_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C; the exit code says why not."""
    parser = argparse.ArgumentParser(
        "python -m workloads.lora.serve", description="Serve finished adapters to OpenAI-compatible clients."
    )
    parser.add_argument("outputs", nargs="+", metavar="NAME=OUTPUT", help="path or fsspec URL of a finished training")
    parser.add_argument("--host", default="127.0.0.1", help="elsewhere than on this machine only with a key")
    parser.add_argument("--port", type=int, default=8000, help="0 for any that is free")
    given = parser.parse_args(arguments)
    key = os.environ.pop(KEY, "")
    try:
        if not key and not ip_address(given.host).is_loopback:
            raise Failure("BadConfig", f"others could use {given.host} too: set {KEY}, or serve on 127.0.0.1")
        server = Server((given.host, given.port), read_outputs(given.outputs), key)
    except Exception as error:  # noqa: BLE001  # one line, one code
        failure = explain(error)
        print(failure, file=sys.stderr)
        return failure.exit_code
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"serving {', '.join(server.model.names)} at {server.url}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()
    return 0


def read_outputs(words: list[str]) -> dict[str, Finished]:
    """The outputs by the names that they are served under; raise `BadConfig`, also where they have several bases."""
    found: dict[str, Finished] = {}
    for word in words:
        name, equals, place = word.partition("=")
        if not equals:
            name, place = Path(word.rstrip("/")).name, word
        if not _NAME.fullmatch(name) or name in found:
            raise Failure("BadConfig", f"{word[:200]!r}: give each output a name of its own, as NAME=OUTPUT")
        found[name] = open_finished(place)
    expect_one_base(found)
    return found


class Server(ThreadingHTTPServer):
    """One model, and who may ask it."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], outputs: dict[str, Finished], key: str) -> None:
        """Load the model, then listen. Raises `Failure` or OSError."""
        from .completions import Model

        self.model: Model = Model(outputs)
        self.key = key
        self.since = int(time.time())
        super().__init__(address, Handler)

    @property
    def url(self) -> str:
        """What clients call the base URL."""
        return f"http://{self.server_name}:{self.server_port}/v1"

    def server_bind(self) -> None:
        """Bind without asking the network for this machine's name."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


class Handler(BaseHTTPRequestHandler):
    """The three routes."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 60
    """Of seconds, for a request to arrive, and for each of its reads and writes."""

    def handle_one_request(self) -> None:
        """One request; who sends it a byte now and then is hung up on."""
        self._arriving = threading.Timer(self.timeout, self._hang_up)
        self._arriving.daemon = True
        self._arriving.start()
        try:
            super().handle_one_request()
        finally:
            self._arriving.cancel()

    def _hang_up(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:  # the library's name
        """Health and models."""
        self._arriving.cancel()
        if self.path == "/health":
            self._send(200, {"status": "ok"})
        elif self.path != "/v1/models":
            self._refuse(404, "not_found", f"no {self.path[:100]} here; there is /v1/models and /v1/chat/completions")
        elif self._may_ask():
            about = {"object": "model", "created": self.server.since, "owned_by": "carbonfleet"}
            data = [{"id": name, **about} for name in self.server.model.names]
            self._send(200, {"object": "list", "data": data})

    def do_POST(self) -> None:  # the library's name
        """A chat."""
        from .completions import ChatRequest, Refused

        body = self._body()
        if body is None or not self._may_ask():
            return
        if self.path != "/v1/chat/completions":
            self._refuse(404, "not_found", f"no {self.path[:100]} here; there is /v1/chat/completions")
            return
        try:
            request = ChatRequest.model_validate_json(body)
            answer = self.server.model.answer(request)
            (self._stream if request.stream else self._whole)(request, answer)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "the request"
            self._refuse(400, "invalid_request_error", f"{where}: {first['msg']}")
        except Refused as refused:
            self._refuse(refused.status, refused.code, str(refused))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _whole(self, request: "ChatRequest", answer: "Answer") -> None:
        text = "".join(answer.pieces)
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": answer.finish_reason}
        usage = {"prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.completion_tokens}
        usage["total_tokens"] = sum(usage.values())
        self._send(200, {**_head("chat.completion", request), "choices": [choice], "usage": usage})

    def _stream(self, request: "ChatRequest", answer: "Answer") -> None:
        with closing(answer.pieces):
            first = next(answer.pieces, "")  # what can be refused is refused before the first byte
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            for event in _events(_head("chat.completion.chunk", request), first, answer):
                self.wfile.write(event)

    def _body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MOST_BYTES:
            self.close_connection = True
            self._refuse(413, "too_large", f"send a body of at most {MOST_BYTES} bytes, with its length")
            return None
        body = self.rfile.read(int(length))
        self._arriving.cancel()
        return body

    def _may_ask(self) -> bool:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not self.server.key or hmac.compare_digest(given.encode(), self.server.key.encode()):
            return True
        self._refuse(401, "invalid_api_key", "the key is missing or wrong")
        return False

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._send(status, {"error": {"message": message, "type": code, "code": code}})

    def _send(self, status: int, value: dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, text: str, *values: object) -> None:
        """Who asked what path with what outcome; never what was said."""
        print(f"{self.address_string()} {text % values}", flush=True)


def _head(kind: str, request: "ChatRequest") -> dict[str, Any]:
    identity = f"chatcmpl-{uuid.uuid4().hex}"
    return {"id": identity, "object": kind, "created": int(time.time()), "model": request.model}


def _events(head: dict[str, Any], first: str, answer: "Answer") -> Iterator[bytes]:
    def event(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return f"data: {json.dumps({**head, 'choices': [choice]})}\n\n".encode()

    yield event({"role": "assistant", "content": first})
    for piece in answer.pieces:
        yield event({"content": piece})
    yield event({}, answer.finish_reason)
    yield b"data: [DONE]\n\n"
