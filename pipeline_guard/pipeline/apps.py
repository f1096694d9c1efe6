"""Which app of a repository a file belongs to, as the user declares it: sibling apps never share a lane."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_guard.config import App, Config, ConfigError, Contract
from pipeline_guard.program.code import Func

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec


def _specs(apps: Sequence[App]) -> list[tuple[App, GitIgnoreSpec]]:
    from pathspec import GitIgnoreSpec  # few projects declare apps, and loading it takes as long as a small file does

    return [(app, GitIgnoreSpec.from_lines(app.paths)) for app in apps]


class Apps:
    """Answers by the relative path of a file; code that no app claims is shared by all of them."""

    def __init__(self, config: Config, root: Path) -> None:
        self.declared = config.apps
        self.common = config.contract
        self._source = config.source
        prefix = config.prefix_of(root)
        self._prefix = f"{prefix}/" if prefix else ""
        self._specs = _specs(config.apps) if config.apps else []
        self._known: dict[str, App | None] = {}

    def of_path(self, rel: str) -> App | None:
        """Return the app that claims a file, or None where none does; two that do are a mistake in the settings."""
        if rel not in self._known:
            name = self._prefix + rel
            claims = [app for app, spec in self._specs if spec.match_file(name)]
            if len(claims) > 1:
                both = " and ".join(repr(app.name) for app in claims[:2])
                raise ConfigError(f"{self._source}: {name} belongs to two apps, {both}; make their paths disjoint")
            self._known[rel] = claims[0] if claims else None
        return self._known[rel]

    def of(self, func: Func) -> App | None:
        """Return the app that a function belongs to, or None for shared code."""
        return self.of_path(func.module.rel) if self._specs else None

    def contract(self, app: App | None) -> Contract:
        """Return what is declared about the pipeline of an app, or of code that belongs to none."""
        return self.common if app is None else app.contract
