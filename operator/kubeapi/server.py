"""The HTTP side: routes, authentication, and the life of the process."""

import asyncio
import contextlib
import json
import logging
import signal
from collections.abc import Callable
from functools import partial
from typing import Final

from aiohttp import web
from aiohttp.web_request import BaseRequest

from kubeapi import discovery
from kubeapi.auth import Attributes, refusal
from kubeapi.call import Call, User, parse_target, verb_of
from kubeapi.certificates import ensure_certificate, server_context
from kubeapi.errors import ApiError, internal, method_not_allowed
from kubeapi.handlers import Shape, Watch, handle
from kubeapi.objects import Obj, encode
from kubeapi.service import Service, open_service
from kubeapi.settings import ApiSettings, Clock

_log = logging.getLogger(__name__)

_LARGEST_BODY_BYTES: Final = 3 * 1024 * 1024
_CLOSING_SECONDS: Final = 3.0
_JSON: Final = "application/json"
_NOT_CACHED: Final = {"Cache-Control": "no-cache, private"}


class Server:
    """Answers requests; one instance for each process."""

    def __init__(self, service: Service, settings: ApiSettings) -> None:
        self._service = service
        self._settings = settings
        self._watches: set[Watch] = set()
        self._closing = False

    async def answer(self, request: BaseRequest) -> web.StreamResponse:
        """One request to its answer; nothing that goes wrong here ends the server."""
        try:
            return await self._route(request)
        except ApiError as error:
            return _error(error)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except web.HTTPRequestEntityTooLarge:
            text = f"Request entity too large: limit is {_LARGEST_BODY_BYTES}"
            return _error(ApiError(413, "RequestEntityTooLarge", text))
        except RecursionError:
            return _error(ApiError(400, "BadRequest", "the object is nested too deeply"))
        except Exception:  # noqa: BLE001 - logged; one bad request must not end the server
            _log.exception("%s %s failed", request.method, request.path)
            return _error(internal("the embedded API met an error of its own; its log has the details"))

    async def _route(self, request: BaseRequest) -> web.StreamResponse:
        user = self._service.user_of(request.headers)
        path = request.rel_url.raw_path
        if path in ("/healthz", "/livez", "/readyz"):
            return web.Response(text="ok")
        if user is None:
            raise ApiError(401, "Unauthorized", "Unauthorized")
        parts = path.strip("/").split("/")
        if (parts[0] == "api" and len(parts) > 2) or (parts[0] == "apis" and len(parts) > 3):
            return await self._resource(request, user, path)
        wanted = Attributes(request.method.lower(), path=path)
        if not self._service.authorizer.allows(user, wanted):
            raise refusal(user, wanted)
        if request.method not in ("GET", "HEAD"):
            raise method_not_allowed(request.method)
        return self._document(request, parts)

    async def _resource(self, request: BaseRequest, user: User, path: str) -> web.StreamResponse:
        service, query = self._service, request.rel_url.query
        target = parse_target(service.registry, path)
        watch = query.get("watch", "").lower() in ("1", "true")
        verb = verb_of(request.method, target, watch=watch)
        call = Call(user, verb, target, query, service.clock.now(), request.headers.get("User-Agent", ""))
        service.authorizer.demand(call)
        try:
            return await self._authorized(request, call)
        except ApiError as error:
            return _with_warnings(_error(error), call.warnings)

    async def _authorized(self, request: BaseRequest, call: Call) -> web.StreamResponse:
        service, query, headers = self._service, request.rel_url.query, request.headers
        shape = Shape.read(headers.get("Accept", ""), query.get("includeObject", ""))
        if call.verb == "watch":
            return await self._watch(request, call, shape)
        body = await self._body(request)
        code, obj = await handle(service, call, body, headers.get("Content-Type", ""), shape)
        return _with_warnings(_json(obj, code), call.warnings)

    async def _body(self, request: BaseRequest) -> bytes:
        try:
            async with asyncio.timeout(self._settings.request_seconds):
                return await request.read() if request.can_read_body else b""
        except TimeoutError:
            raise ApiError(408, "Timeout", "the request's body did not arrive in time") from None

    async def _watch(self, request: BaseRequest, call: Call, shape: Shape) -> web.StreamResponse:
        if "watch" not in call.resource.verbs or call.target.subresource:
            raise method_not_allowed("watch")
        watch = Watch(self._service, call, shape, self._settings.bookmark_seconds)
        response = web.StreamResponse(headers={"Content-Type": _JSON, **_NOT_CACHED})
        self._watches.add(watch)
        try:
            await response.prepare(request)
            if self._closing:
                watch.end()
            async for chunk in watch.chunks():
                await response.write(chunk)
            await response.write_eof()
        except ConnectionError:
            _log.debug("a watch of %s was closed by its client", call.resource.qualified)
        finally:
            watch.close()
            self._watches.discard(watch)
        return response

    def _document(self, request: BaseRequest, parts: list[str]) -> web.Response:
        if parts == ["openapi", "v2"]:
            return web.Response(body=discovery.EMPTY_V2, headers={"Content-Type": discovery.V2_MEDIA_TYPE})
        aggregated = "apidiscovery.k8s.io" in request.headers.get("Accept", "") and parts in (["api"], ["apis"])
        document = discovery.make_document(self._service.registry, parts, aggregated=aggregated)
        return _json(document, media_type=discovery.AGGREGATED if aggregated else _JSON)

    def close(self) -> None:
        """End every watch, so that clients come back to whoever serves next."""
        self._closing = True
        for watch in tuple(self._watches):
            watch.end()


def _json(obj: Obj, code: int = 200, media_type: str = _JSON) -> web.Response:
    return web.Response(body=encode(obj), status=code, headers={"Content-Type": media_type, **_NOT_CACHED})


def _with_warnings(response: web.Response, warnings: list[str]) -> web.Response:
    for text in dict.fromkeys(warnings):
        response.headers.add("Warning", f"299 - {json.dumps(text)}")
    return response


def _error(error: ApiError) -> web.Response:
    if error.code == 404 and not error.details:
        return web.Response(text="404 page not found\n", status=404)
    response = _json(error.status(), error.code)
    if error.retry_after_seconds:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


async def serve(settings: ApiSettings, clock: Clock, *, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT (or until cancelled); `on_ready` gets the URL once requests are answered."""
    service = open_service(settings, clock)
    server = Server(service, settings)
    journal = asyncio.create_task(service.store.journal.run())
    collector = asyncio.create_task(service.collector.run())
    requests = partial(BaseRequest, loop=asyncio.get_running_loop(), client_max_size=_LARGEST_BODY_BYTES + 1)
    # From a connection's start, or its last answer, until a request's headers are whole: what drips is closed too.
    web_server = web.Server(
        server.answer, request_factory=requests, access_log=None, keepalive_timeout=settings.request_seconds
    )
    runner = web.ServerRunner(web_server, shutdown_timeout=_CLOSING_SECONDS)
    await runner.setup()
    try:
        await service.store.journal.drain()
        context = server_context(ensure_certificate(settings.state)) if settings.tls else None
        await web.TCPSite(runner, settings.host, settings.port, ssl_context=context, reuse_address=True).start()
        _announce(settings, _url_of(runner, settings), on_ready)
        await _until_stopped(journal, collector)
    finally:
        server.close()
        await runner.cleanup()
        await service.admission.close()
        collector.cancel()
        if not journal.done():
            await service.store.journal.drain()
            journal.cancel()
        await asyncio.gather(journal, collector, return_exceptions=True)
        service.store.journal.close()


def _url_of(runner: web.ServerRunner, settings: ApiSettings) -> str:
    host, port = runner.addresses[0][:2]
    scheme = "https" if settings.tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _announce(settings: ApiSettings, url: str, on_ready: Callable[[str], None] | None) -> None:
    """The ready file comes last: whoever waits for it finds everything else in its place."""
    if on_ready is not None:
        on_ready(url)
    if settings.ready_file is not None:
        fresh = settings.ready_file.with_name(settings.ready_file.name + ".new")
        fresh.write_text(url + "\n")
        fresh.replace(settings.ready_file)


async def _until_stopped(*tasks: "asyncio.Task[None]") -> None:
    """Wait for a signal; a background task that fails ends the server with its error."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(ValueError, RuntimeError):
            loop.add_signal_handler(number, stop.set)
    waiting = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait({waiting, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        waiting.cancel()


def run(settings: ApiSettings, clock: Clock | None = None, *, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve in this process until SIGTERM or SIGINT."""
    asyncio.run(serve(settings, clock or Clock.from_environment(), on_ready=on_ready))
