"""The HTTP side: routes, what is refused, security headers, and pages of errors."""

import asyncio
import hmac
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from carbonfleet.kube import KubeError
from carbonfleet.ledger import LedgerError
from carbonfleet.ui import job_page, pages, timeline
from carbonfleet.ui.pages import Context
from carbonfleet.ui.queries import NAME, bad_request, job_query, one_of
from carbonfleet.ui.reader import FleetState, Reader
from carbonfleet.ui.rendering import render
from carbonfleet.ui.settings import PageSettings

REQUEST_SECONDS: Final = 10.0
"""From a connection's start, or its last answer, until a request's headers are whole; and for a page to be made."""
_CLOCK_SECONDS: Final = 10
"""How long a page may be shown as it is though nothing but the clock went on."""
_LARGEST_BODY: Final = 1024
_STATIC: Final = Path(__file__).parent / "static"
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
    "Server": "carbonfleet",
}
_log = logging.getLogger(__name__)
Page = Callable[[FleetState, web.Request], tuple[str, Context]]
"""The template and what it is filled with. Raises aiohttp's HTTP errors."""


class PageServer:
    """Answers requests from what a reader keeps."""

    def __init__(self, settings: PageSettings, reader: Reader) -> None:
        self._settings, self._reader = settings, reader
        names = {f"[{settings.host}]" if ":" in settings.host else settings.host, *settings.hosts}
        self._hosts = frozenset(names | _LOOPBACK_NAMES if settings.is_loopback else names)

    def app(self) -> web.Application:
        """Every route."""
        app = web.Application(middlewares=[self._guarded], client_max_size=_LARGEST_BODY)
        routes: Mapping[str, Page] = {
            "/": self._fleet,
            "/timeline": self._timeline,
            "/jobs": self._jobs,
            "/jobs/{namespace}/{name}": self._job,
            "/sweeps": self._sweeps,
            "/sweeps/{namespace}/{name}": self._sweep,
            "/savings": self._savings,
            "/proposals": self._proposals,
        }
        for path, page in routes.items():
            app.router.add_get(path, partial(self._answer, page))
        for file in sorted(_STATIC.iterdir()):
            app.router.add_get(f"/static/{file.name}", partial(self._file, file))
        return app

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """What is refused is refused here; whatever goes wrong becomes a page that says what to do."""
        try:
            self._demand_right(request)
            async with asyncio.timeout(REQUEST_SECONDS):
                response = await handler(request)
        except web.HTTPException as error:
            told = error.text or ""
            if told == f"{error.status}: {error.reason}":
                told = "There is nothing under this address."
            response = self._failure(request, error.status, told)
            response.headers.update({"Allow": "GET, HEAD"} if error.status == HTTPStatus.METHOD_NOT_ALLOWED else {})
        except TimeoutError:
            response = self._failure(request, 503, "The page could not be made in time: load it again in a while.")
        except (KubeError, LedgerError) as error:
            response = self._failure(request, 503, f"{getattr(error, 'for_people', error)}.")
        except Exception:  # noqa: BLE001 - logged; one request must not end the server
            _log.exception("%s failed", request.path)
            response = self._failure(
                request, 500, "This page met an error of its own: its log has it. Please report it."
            )
        response.headers.update(HEADERS)
        return response

    def _demand_right(self, request: web.Request) -> None:
        if request.method not in ("GET", "HEAD"):
            raise web.HTTPMethodNotAllowed(request.method, ("GET", "HEAD"), text="This page is only read.")
        name = request.host if request.host.endswith("]") else request.host.rpartition(":")[0] or request.host
        if name.casefold() not in self._hosts:
            told = f"This page is not asked for as {name[:100]}: start it with --hosts {name[:100]} if that is right."
            raise web.HTTPMisdirectedRequest(text=told)
        token = self._settings.proxy_token()
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and not hmac.compare_digest(given.encode(), token.encode()):
            raise web.HTTPUnauthorized(text="Ask for this page by the proxy before it, which says who you are.")

    async def _answer(self, page: Page, request: web.Request) -> web.StreamResponse:
        """A page; 304 where the browser has it as it is."""
        state = self._reader.state()
        tag = f'"{state.version}-{int(time.time()) // _CLOCK_SECONDS}"'
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=HTTPStatus.NOT_MODIFIED, headers={"ETag": tag})
        text = await asyncio.to_thread(self._made, page, state, request)
        return web.Response(text=text, content_type="text/html", headers={"ETag": tag})

    def _made(self, page: Page, state: FleetState, request: web.Request) -> str:
        template, context = page(state, request)
        return render(template, context | self._around(request.path, state))

    def _around(self, path: str, state: FleetState) -> Context:
        """What every page shows."""
        asked = sum(job.request is not None for job in state.jobs)
        return {
            "path": path,
            "now": self._reader.clock.now(),
            "problems": sorted(set(state.problems.values())),
            "is_loading": state.is_loading,
            "asked_count": asked,
            "version": version("carbonfleet"),
        }

    def _failure(self, request: web.Request, status: int, told: str) -> web.Response:
        state = self._reader.state()
        context = {"status": HTTPStatus(status), "told": told} | self._around(request.path, state)
        return web.Response(text=render("error.html", context), content_type="text/html", status=status)

    async def _file(self, file: Path, _request: web.Request) -> web.StreamResponse:
        return web.FileResponse(file)

    def _fleet(self, state: FleetState, _request: web.Request) -> tuple[str, Context]:
        return "fleet.html", pages.fleet(state, self._reader.clock.now())

    def _timeline(self, state: FleetState, request: web.Request) -> tuple[str, Context]:
        hours = int(one_of(request, "hours", [str(span) for span in timeline.SPANS], "24"))
        namespace = request.query.get("namespace", "")
        return "timeline.html", timeline.timeline(state, self._reader.clock.now(), hours, namespace)

    def _jobs(self, state: FleetState, request: web.Request) -> tuple[str, Context]:
        return "jobs.html", pages.jobs(state, job_query(request))

    def _job(self, state: FleetState, request: web.Request) -> tuple[str, Context]:
        namespace, name = (request.match_info[key] for key in ("namespace", "name"))
        if not NAME.fullmatch(namespace) or not NAME.fullmatch(name):
            raise bad_request("names of jobs and namespaces are lower-case letters, digits, dots and dashes")
        try:
            body = self._reader.job(namespace, name)
        except KubeError as error:
            if error.is_gone:
                raise web.HTTPNotFound(text=f"There is no job {name} in {namespace}.") from error
            raise
        uid = str((body.get("metadata") or {}).get("uid", ""))
        entries = self._reader.accounted(uid)
        return "job.html", job_page.job(body, state, entries, self._settings.fleet_web)

    def _sweeps(self, state: FleetState, _request: web.Request) -> tuple[str, Context]:
        return "sweeps.html", pages.sweeps(state)

    def _sweep(self, state: FleetState, request: web.Request) -> tuple[str, Context]:
        found = pages.sweep(state, request.match_info["namespace"], request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound(text="There is no such sweep.")
        return "sweep.html", found

    def _savings(self, state: FleetState, _request: web.Request) -> tuple[str, Context]:
        return "savings.html", pages.savings(state)

    def _proposals(self, state: FleetState, _request: web.Request) -> tuple[str, Context]:
        return "proposals.html", pages.proposals(state)


async def serve(settings: PageSettings, reader: Reader, on_ready: Callable[[str], None]) -> None:
    """Serve until cancelled; `on_ready` gets the address once requests are answered. Raises OSError."""
    app = PageServer(settings, reader).app()
    # A connection that drips is closed when the time for one request is over.
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=REQUEST_SECONDS, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
        host, port = runner.addresses[0][:2]
        on_ready(f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/")
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
