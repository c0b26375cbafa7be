"""``eventlog serve``: the log over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from eventlog.cli.state import State, pass_state

LEASE_S = 10.0
"""Workers that are silent for longer are looked for at least this often."""
FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8411, show_default=True, help="The port; 0 takes a free one."
)
@click.option(
    "--token-file",
    type=FILE,
    envvar="EVENTLOG_TOKEN_FILE",
    help="The file that holds the token; made where it is not. Default: beside the log, LOG.token.",
)
@click.option(
    "--allow-host",
    "allow_hosts",
    metavar="NAME[:PORT]",
    multiple=True,
    help="Answer to this host name too; may be repeated.",
)
@click.option("--ssl-certfile", type=FILE, help="A certificate, in PEM: speak TLS.")
@click.option("--ssl-keyfile", type=FILE, help="The key of the certificate.")
@click.option("--behind-proxy", is_flag=True, help="Listen in clear on any address: a proxy does the encryption.")
@click.option(
    "--request-timeout",
    metavar="SECONDS",
    type=click.FloatRange(0.1, 3600),
    default=30.0,
    show_default=True,
    help="How long a client may take to send a request.",
)
@click.option("--persist", is_flag=True, help="Keep the jobs in a log of their own in --data-dir.")
@click.option("--data-dir", metavar="PATH", type=click.Path(), help="Where that is. Default: ./data.")
@click.option(
    "--retention-days", type=click.IntRange(0), metavar="N", help="Days after which ended jobs leave the tables."
)
@pass_state
def serve(state: State, /, persist: bool, data_dir: str | None, retention_days: int | None, **options: Any) -> None:
    """Serve the log over HTTP: append and read events, runs, jobs; a worker in any language needs nothing else.

    Jobs whose worker is gone are given to others meanwhile, and schedules fire.
    """
    if options["ssl_keyfile"] is not None and options["ssl_certfile"] is None:
        raise click.UsageError("--ssl-keyfile needs --ssl-certfile.")
    if data_dir is not None and not persist:
        raise click.UsageError("--data-dir needs --persist.")
    if persist and state.db is not None:
        raise click.UsageError("--persist keeps jobs in --data-dir: it excludes --db.")
    try:
        from eventlog.web import server
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn", "anyio", "h11"):
            raise
        raise click.ClickException("serving needs pip install 'execution-eventlog[web]'") from error
    from eventlog.cli.progress import bar
    from eventlog.persistence import config_of, open_persistent
    from eventlog.worker.upkeep import Upkeep

    config = config_of(persist, data_dir, retention_days)
    options["request_timeout_s"] = options.pop("request_timeout")
    with bar() as progress:
        opened = open_persistent(config, state.place, create=True, progress=progress)
    retention = config.retention if persist or retention_days is not None else None
    with opened.log as log:
        if log.store.kind == "http":
            raise click.ClickException("serving needs the log itself, and this is its server")
        upkeep = Upkeep(log, lease_s=LEASE_S, retention=retention, tell=_tell)
        upkeep.start_up()
        upkeep.start()
        try:
            server.serve(log, server.Settings(**options), _announce)
        finally:
            upkeep.stop()


def _tell(text: str) -> None:
    from eventlog.cli.sanitise import clean_line

    click.echo(clean_line(text), err=True)


def _announce(started: Any) -> None:
    from eventlog.cli.sanitise import clean_line

    where = "$EVENTLOG_TOKEN" if started.token_file is None else clean_line(str(started.token_file))
    click.echo(f"serving at {started.url}/api (described by {started.url}/api/openapi.json)")
    click.echo(f"the token is in {where}; send it as Authorization: Bearer TOKEN")
