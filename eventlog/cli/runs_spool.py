"""``eventlog runs spool``: what recorders could not append, and which log it waits for."""

from __future__ import annotations

import click

from eventlog.cli.options import view_options
from eventlog.cli.state import State, pass_state
from eventlog.cli.view import Column, View


@click.command()
@view_options
@pass_state
def spool(state: State, view: View) -> None:
    """List the spool files: events that recorders could not append, for this log and for others.

    No log is opened.
    """
    from eventlog.recorder.spool import waiting
    from eventlog.target import data_folder, parse_target

    view.rows(
        waiting(data_folder(None, parse_target(state.db))),
        [
            Column("state", lambda row: row.state),
            Column("events", lambda row: f"{row.events:,}", right=True),
            Column("since", lambda row: view.time(row.since)[:19]),
            Column("for", lambda row: row.target),
            Column("file", lambda row: row.path, wide=True),
        ],
        empty="nothing waits in a spool file",
    )
