"""`python -m kubeapi`: run the embedded API as a process of its own."""

import argparse
import logging
import os
import sys
from pathlib import Path

from pydantic import ValidationError

from kubeapi.settings import MASTERS, ApiSettings, StaticToken, write_kubeconfig


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kubeapi",
        description="Run the embedded Kubernetes API on loopback. An embedded default, not a production API server.",
    )
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="folder that keeps its data")
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument("--ready-file", type=Path, help="file that gets the URL once the server listens")
    parser.add_argument("--kubeconfig", type=Path, help="write a kubeconfig for the administrator here (mode 0600)")
    parser.add_argument(
        "--tokens",
        type=Path,
        metavar="FILE",
        help="lines of token,user[,group...]; without it the administrator's token comes from CARBONFLEET_API_TOKEN",
    )
    parser.add_argument("--plain-http", action="store_true", help="no TLS; kubectl sends no token then")
    parser.add_argument("--audit-log", type=Path, metavar="FILE", help="append a JSON line for each request here")
    parser.add_argument("--watch-log", type=int, default=10_000, metavar="N", help="events kept per kind for watches")
    parser.add_argument("--bookmark-seconds", type=float, default=30.0, help="how often an idle watch gets a bookmark")
    parser.add_argument("--request-seconds", type=float, default=60.0, help="for a request's headers, and its body")
    return parser


def _tokens(path: Path | None) -> tuple[StaticToken, ...]:
    if path is None:
        return (
            StaticToken.model_validate(
                {"token": os.environ.get("CARBONFLEET_API_TOKEN", ""), "user": "admin", "groups": (MASTERS,)}
            ),
        )
    lines = [line.strip().split(",") for line in path.read_text().splitlines() if line.strip()]
    return tuple(
        StaticToken.model_validate({"token": token, "user": user, "groups": groups}) for token, user, *groups in lines
    )


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and serve; returns the exit code."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        settings = ApiSettings(
            state=given.state,
            host=given.host,
            port=given.port,
            tokens=_tokens(given.tokens),
            tls=not given.plain_http,
            ready_file=given.ready_file,
            audit_log=given.audit_log,
            watch_log_events=given.watch_log,
            bookmark_seconds=given.bookmark_seconds,
            request_seconds=given.request_seconds,
        )
    except (ValidationError, ValueError, OSError) as error:
        sys.stderr.write(f"{_readable(error)}\n")
        return 2
    from kubeapi.server import run

    def ready(url: str) -> None:
        if given.kubeconfig is not None:
            trusted = settings.certificate if settings.tls else None
            write_kubeconfig(given.kubeconfig, url, settings.tokens[0].token.get_secret_value(), certificate=trusted)
        sys.stdout.write(f"ready {url}\n")
        sys.stdout.flush()

    run(settings, on_ready=ready)
    return 0


def _readable(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "\n".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()
        )
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
