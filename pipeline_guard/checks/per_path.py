"""Applies what the settings say about some paths only: rules that do not count there, and other severities."""

from __future__ import annotations

from pathlib import Path

from pipeline_guard.config import Config, PathSettings, SeverityName, matches


class PerPath:
    """Answers for files relative to the scanned root; of several patterns that match, the last one decides."""

    def __init__(self, config: Config, root: Path) -> None:
        self._config = config
        prefix = config.prefix_of(root) if config.per_path else ""
        self._prefix = f"{prefix}/" if prefix else ""
        self._known: dict[str, list[PathSettings]] = {}

    def is_selected(self, rule_id: str, rel: str) -> bool:
        """Say whether findings of a rule are wanted in a file."""
        return self._config.is_selected(rule_id) and not any(matches(rule_id, s.ignore) for s in self._of(rel))

    def severity(self, rule_id: str, rel: str) -> SeverityName | None:
        """Return the severity that the user gave a rule in a file, or None."""
        own = [settings.severity[rule_id] for settings in self._of(rel) if rule_id in settings.severity]
        return own[-1] if own else self._config.severity.get(rule_id)

    def _of(self, rel: str) -> list[PathSettings]:
        if not self._config.per_path:
            return []
        if rel not in self._known:
            from pathspec import GitIgnoreSpec

            name = self._prefix + rel
            self._known[rel] = [
                settings
                for settings in self._config.per_path
                if GitIgnoreSpec.from_lines([settings.pattern]).match_file(name)
            ]
        return self._known[rel]
