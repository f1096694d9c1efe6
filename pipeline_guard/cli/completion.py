"""``pipeline-guard completion``: prints the script that teaches a shell to complete commands, options and rules."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")


@click.command("completion", short_help="Print the completion script for a shell.")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> int:
    """Print the completion script for SHELL.

    \b
    bash:  echo 'eval "$(pipeline-guard completion bash)"' >> ~/.bashrc
    zsh:   echo 'eval "$(pipeline-guard completion zsh)"' >> ~/.zshrc
    fish:  pipeline-guard completion fish > ~/.config/fish/completions/pipeline-guard.fish
    """
    from click.shell_completion import get_completion_class

    from pipeline_guard.cli.group import cli

    found = get_completion_class(shell)
    if found is None:  # click knows these three
        raise click.UsageError(f"there is no completion for {shell}")
    script = found(cli, {}, "pipeline-guard", "_PIPELINE_GUARD_COMPLETE")
    # Not ``source()``: that of bash starts the shell to look at its version, and this may run in another place.
    click.echo(script.source_template % script.source_vars())
    return 0
