"""``eventlog completion``: the script that teaches a shell to complete."""

from __future__ import annotations

import click


@click.command(
    epilog="""\b
bash: eval "$(eventlog completion bash)"      in ~/.bashrc (bash 4.4 or later)
zsh:  eval "$(eventlog completion zsh)"       in ~/.zshrc, after compinit
fish: eventlog completion fish | source       in ~/.config/fish/config.fish
"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL."""
    from click.shell_completion import get_completion_class

    from eventlog.cli.root import cli

    maker_class = get_completion_class(shell)
    if maker_class is None:
        raise click.UsageError(f"click completes no {shell}.")
    maker = maker_class(cli, {}, "eventlog", "_EVENTLOG_COMPLETE")
    # Not `source()`: for bash that starts a bash of its own to look at its version.
    click.echo(maker.source_template % maker.source_vars())
