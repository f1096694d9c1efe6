"""Every small backend in ``fixtures/backends`` is read, and its map compared with its own comments, both ways."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline_guard.config import Config
from pipeline_guard.discovery import discover
from pipeline_guard.pipeline.build import analyse
from pipeline_guard.pipeline.model import PipelineMap, Site

BACKENDS = Path(__file__).parent / "fixtures" / "backends"
FOLDERS = sorted(path for path in BACKENDS.iterdir() if path.is_dir())
KINDS = ("audio_send", "response_create", "auto_response")
# Speech beside Realtime: complete only in folders that speak of it, or say that there is none (``# engines: none``).
SPEECH = ("stt", "tts", "twiml_say", "twiml_play", "twiml_gather", "twiml_transcription")
ROLELESS = frozenset({"auto_response", *(kind for kind in SPEECH if kind.startswith("twiml_"))})
ATTRIBUTES = ("trigger", "guard", "ctx", "value", "engine", "flag", "beside")
# Attributes that a site need not have: ``flag=none`` says that it has none.
OPTIONAL = frozenset({"engine", "flag", "beside"})
# Places where settings are written down; another place sends them, and that is the one a fixture names.
SETTINGS_NOTES = ("settings of a session.update", "written down; nothing sends it")
_SITE_COMMENT = re.compile(r"#\s*site:\s*([^#]*)")
_FINDING_COMMENT = re.compile(r"#\s*expect:\s*([^#]*)")
_ENGINES_COMMENT = re.compile(r"#\s*engines:\s*([^#]*)")


@dataclass(frozen=True)
class Expected:
    """One site as a comment states it."""

    path: str
    line: int
    kind: str
    role: str | None
    attributes: dict[str, str] = field(hash=False)

    def __str__(self) -> str:
        words = [self.kind, self.role or "", *(f"{name}={value}" for name, value in self.attributes.items())]
        return " ".join(word for word in words if word)

    def is_at(self, site: Site) -> bool:
        return site.kind == self.kind and site.path == self.path and site.line <= self.line <= site.end_line

    def differences(self, site: Site) -> list[str]:
        reported = {
            "role": site.role,
            "trigger": site.trigger,
            "guard": site.guard,
            "ctx": site.context,
            "value": site.value,
            "engine": site.engine,
            "flag": site.flag,
            "beside": site.beside,
        }
        wanted = dict(self.attributes) | ({"role": self.role} if self.role else {})
        return [
            f"{name} is {reported[name]}, not {value}"
            for name, value in wanted.items()
            if reported[name] != _meant(name, value)
        ]


def _meant(name: str, value: str) -> str | None:
    if value == "none" and name in OPTIONAL:
        return None
    return "dormant" if (name, value) == ("ctx", "dead") else value


class Backend:
    """A fixture: its source lines, and what its comments say must be reported."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines = {
            path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8").splitlines()
            for path in sorted(folder.rglob("*.py"))
        }

    def map(self, config: Config) -> PipelineMap:
        found = discover(self.folder, config.exclude, config.max_file_size)
        return analyse(self.folder, found.files, config)

    def sites(self) -> list[Expected]:
        return [
            _read_site(part.split(), path, line)
            for path, line, text in self._comments(_SITE_COMMENT)
            for part in text.split(";")
        ]

    def findings(self) -> set[tuple[str, int, str]]:
        return {
            (path, line, rule)
            for path, line, text in self._comments(_FINDING_COMMENT)
            for rule in re.findall(r"PG\d{3}", text)
        }

    def is_clean(self) -> bool:
        """Say whether the backend states that nothing at all may be found in it: ``# expect: none``."""
        return any(text.strip() == "none" for _, _, text in self._comments(_FINDING_COMMENT))

    def speaks_of_engines(self) -> bool:
        """Say whether the backend states its speech engines and TwiML verbs, or that it has none."""
        none = any(text.strip() == "none" for _, _, text in self._comments(_ENGINES_COMMENT))
        stated = any(site.kind in SPEECH for site in self.sites())
        assert not (none and stated), f"{self.folder.name} says that it has no engines and states some"
        return none or stated

    def _comments(self, pattern: re.Pattern[str]) -> Iterator[tuple[str, int, str]]:
        for path, lines in self.lines.items():
            for line, text in enumerate(lines, 1):
                if match := pattern.search(text):
                    yield path, line, match[1]

    def quote(self, path: str, line: int) -> str:
        return f"{self.folder.name}/{path}:{line}\n        {self.lines[path][line - 1].strip()}"


def _read_site(words: Sequence[str], path: str, line: int) -> Expected:
    kind, *rest = words
    assert kind in (*KINDS, *SPEECH), f"{path}:{line}: {kind} is no kind of site"
    roles = [word for word in rest if "=" not in word]
    assert set(roles) <= {"primitive", "call"}, f"{path}:{line}: {words}"
    assert len(roles) == (kind not in ROLELESS), f"{path}:{line}: {words}"
    attributes = dict(word.split("=", 1) for word in rest if "=" in word)
    assert set(attributes) <= set(ATTRIBUTES), f"{path}:{line}: {words}"
    return Expected(path, line, kind, roles[0] if roles else None, attributes)


def _reported(pipeline_map: PipelineMap, kinds: Sequence[str]) -> list[Site]:
    """Return the sites of kinds, in lanes or outside; one that stands in two lanes counts once."""
    distinct: dict[tuple[str, int, str, str | None], Site] = {}
    for site in pipeline_map.sites():
        if site.kind in kinds and not (site.kind == "auto_response" and site.role == "call"):
            distinct.setdefault((site.path, site.line, site.kind, site.role), site)
    return list(distinct.values())


def _compare(backend: Backend, expected: list[Expected], reported: list[Site]) -> list[str]:
    """Return one paragraph per disagreement."""
    left = list(reported)
    complaints: list[str] = []
    # The most telling match first, so that a call does not take the place of the primitive around which it stands.
    pairs = sorted(
        (
            (len(want.differences(site)), site.line != want.line, want, site)
            for want in expected
            for site in left
            if want.is_at(site)
        ),
        key=lambda pair: pair[:2],
    )
    met: list[Expected] = []
    for _, _, want, site in pairs:
        if want not in met and site in left:
            met.append(want)
            left.remove(site)
            if wrong := want.differences(site):
                place = backend.quote(want.path, want.line)
                complaints.append(f"  differs     {want}: {'; '.join(wrong)} ({site.note})\n      {place}")
    complaints += [
        f"  missing     {want}\n      {backend.quote(want.path, want.line)}" for want in expected if want not in met
    ]
    for site in left:
        if site.kind == "auto_response" and any(note in site.note for note in SETTINGS_NOTES):
            continue
        words = [site.kind, site.role, site.engine, site.value or site.trigger, site.context, f"({site.note})"]
        said = " ".join(word for word in words if word)
        complaints.append(f"  unexpected  {said}\n      {backend.quote(site.path, site.line)}")
    return complaints


@pytest.mark.parametrize(
    "folder", sorted(path for path in BACKENDS.iterdir() if path.is_dir()), ids=lambda path: path.name
)
def test_the_map_says_what_the_backend_says_of_itself(folder: Path) -> None:
    backend = Backend(folder)
    config = Config()
    pipeline_map = backend.map(config)
    kinds = (*KINDS, *SPEECH) if backend.speaks_of_engines() else KINDS
    complaints = _compare(backend, backend.sites(), _reported(pipeline_map, kinds))
    wanted = backend.findings()
    if wanted or backend.is_clean():
        complaints += _compare_findings(backend, wanted, pipeline_map, config)
    if complaints:
        pytest.fail("\n".join([f"{folder.name}:", *complaints]), pytrace=False)


def _compare_findings(
    backend: Backend, wanted: set[tuple[str, int, str]], pipeline_map: PipelineMap, config: Config
) -> list[str]:
    from pipeline_guard.checks import run_checks

    complaints: list[str] = []
    met: set[tuple[str, int, str]] = set()
    # Notes are aids that are missing, which is so in nearly every small backend: a fixture has to speak of them.
    named = {rule for _, _, rule in wanted}
    for finding in run_checks(pipeline_map, config):
        here = {
            (path, line, rule)
            for path, line, rule in wanted
            if (path, rule) == (finding.path, finding.rule) and finding.line <= line <= finding.end_line
        }
        met |= here
        if not here and (finding.severity != "note" or finding.rule in named):
            place = backend.quote(finding.path, finding.line)
            complaints.append(f"  unexpected  {finding.rule}: {finding.message}\n      {place}")
    missing = sorted(wanted - met)
    return [*complaints, *(f"  missing     {rule}\n      {backend.quote(path, line)}" for path, line, rule in missing)]


def test_the_suite_is_wide_enough_and_every_folder_keeps_its_word() -> None:
    """Folders called ``neg_…`` have no site at all; every other one has."""
    backends = [Backend(path) for path in FOLDERS]
    assert len(backends) >= 60
    for backend in backends:
        assert bool(backend.sites()) is not backend.folder.name.startswith("neg_"), backend.folder.name
