"""``eventlog serve``: the log over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from eventlog.cli.state import State, pass_state

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
@pass_state
def serve(state: State, /, **options: Any) -> None:
    """Serve the log over HTTP: append and read events, runs, jobs; a worker in any language needs nothing else."""
    if options["ssl_keyfile"] is not None and options["ssl_certfile"] is None:
        raise click.UsageError("--ssl-keyfile needs --ssl-certfile.")
    try:
        from eventlog.web import server
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn", "anyio", "h11"):
            raise
        raise click.ClickException("serving needs pip install 'execution-eventlog[web]'") from error
    options["request_timeout_s"] = options.pop("request_timeout")
    with state.write(create=True, bar=True) as log:
        server.serve(log, server.Settings(**options), _announce)


def _announce(started: Any) -> None:
    from eventlog.cli.sanitise import clean_line

    where = "$EVENTLOG_TOKEN" if started.token_file is None else clean_line(str(started.token_file))
    click.echo(f"serving at {started.url}/api (described by {started.url}/api/openapi.json)")
    click.echo(f"the token is in {where}; send it as Authorization: Bearer TOKEN")
