"""Which files a running backend ever loads: those that are started, and what they import or name, step by step."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import cached_property

from pipeline_guard.program.asked import Asked
from pipeline_guard.program.file_words import names_of

# A file that makes an application, or that is meant to be run, is where a backend starts.  Most runs need not ask, so
# this is compiled where one does.
_STARTS = (
    rb"\b(?:FastAPI|Flask|Sanic|Quart|Starlette|Litestar|Celery|ProtocolTypeRouter|Application|Bottle|Robyn|Typer|"
    rb"WorkerOptions|AgentServer|get_asgi_application|get_wsgi_application|SocketIO|WebSocketServer|run_app|serve|"
    rb"create_server|start_server)\s*\(|__name__\s*==\s*[\"']__main__|^[ \t]*(?:async )?def (?:create_app|make_app|"
    rb"build_app|lambda_handler)\b"
)
# Modules that find others at run time: nothing can be said about who loads what.
_FINDS = (b"iter_modules(", b"walk_packages(", b"import_module(", b"__import__(", b"entry_points(")
_WORD, _STAR = re.compile(rb"\w+"), re.compile(rb"import\s+\*")
# Files that frameworks load by their name.
_LOADED_BY_NAME = frozenset({
    "__init__", "__main__", "apps", "models", "admin", "tasks", "signals", "manage", "asgi", "wsgi", "settings", "main",
    "app", "server", "conftest", "celery",
})  # fmt: skip


class Mounting:
    """Answers whether a file is loaded by anything that runs.  ``data`` holds every file's bytes by its path.

    What it looks for in them it notes in ``asked``.
    """

    def __init__(self, data: Mapping[str, bytes], tests: Collection[str] = (), asked: Asked | None = None) -> None:
        self.data = data
        self.tests = tests
        self.asked = asked or Asked()
        self._known: dict[str, bool] = {}
        self._named: dict[str, bool] = {}
        self._roots = 0
        self._open: bool | None = None

    def is_loaded(self, rel: str) -> bool:
        """Say whether a file is started, loaded by name, or imported by a file that is; True also when unsure."""
        if rel not in self._known:
            self._known[rel] = True  # files that import each other vouch for nobody
            self._known[rel] = self._is_unsure() or self._starts(rel) or self._is_named(rel)
        return self._known[rel]

    def is_named(self, name: str) -> bool:
        """Say whether anything but its own definition names a class (a routing table, a call of ``as_asgi``)."""
        if name not in self._named:
            word = re.compile(rb"(?<!class )\b%s\b" % re.escape(name.encode()))
            plain = name.encode()
            self.asked.words.add(plain)
            namer = next(
                (
                    other
                    for other, data in self.data.items()
                    if other not in self.tests and plain in data and word.search(data) is not None
                ),
                None,
            )
            self._named[name] = namer is not None
            if namer is not None:
                self.asked.found_in.add(namer)
        return self._named[name]

    def _is_unsure(self) -> bool:
        if self._open is None:
            finder = next((rel for rel, data in self.data.items() if any(word in data for word in _FINDS)), None)
            start = next((rel for rel in self.data if self._starts(rel)), None) if finder is None else None
            self._open = finder is not None or start is None
            self.asked.words.update(_FINDS)
            self.asked.found_in.update(rel for rel in (finder, start) if rel is not None)
            self.asked.wants_start = finder is None and start is None
        return self._open

    def _starts(self, rel: str) -> bool:
        stem = rel.rpartition("/")[2].rpartition(".")[0]
        by_name = stem in _LOADED_BY_NAME or "/management/" in rel or "/migrations/" in rel or "/" not in rel
        return by_name or re.search(_STARTS, self.data[rel], re.MULTILINE) is not None

    @cached_property
    def _naming(self) -> dict[bytes, list[str]]:
        """The name of a file → the files that may import it: each file is looked through once for all names."""
        stems = {rel.rpartition("/")[2].rpartition(".")[0].encode() for rel in self.data}
        found: dict[bytes, list[str]] = {stem: [] for stem in stems}
        for rel, data in self.data.items():
            # Behind a star there may be any name.
            for stem in stems if _STAR.search(data) else stems.intersection(names_of(data)):
                found[stem].append(rel)
        return found

    def _is_named(self, rel: str) -> bool:
        """Say whether a file that is loaded imports this one, or names it in a string (``"core.urls"``)."""
        pieces = rel.rpartition(".")[0].split("/")
        stem, package = pieces[-1].encode(), pieces[-2].encode() if len(pieces) > 1 else b""
        inside = rel.rpartition("/")[0]
        name, home = re.escape(stem), re.escape(package)
        names = rb"import\s+(?:\([^)]*\b%s\b|[^\n(]*\b%s\b|\*)" % (name, name)
        far = re.compile(rb"\b%s\s*\.\s*%s\b|\b%s\s+%s" % (home, name, home, names))
        near = re.compile(rb"\.\s*%s\b|\bfrom\s+\.\s*%s|\b(?:import|from)\s+%s\b|\bfrom\s+%s\s+%s" % (
            name, names, name, home, names
        ))  # fmt: skip
        self.asked.words.add(stem)
        for other in self._naming[stem] if _WORD.fullmatch(stem) else self.data:
            data = self.data[other]
            if other == rel or other in self.tests or stem not in data:
                continue
            pattern = near if other.rpartition("/")[0] == inside else far
            if pattern.search(data):
                self.asked.found_in.add(other)  # it was asked about, and so had a part in the answer either way
                if self.is_loaded(other):
                    return True
        return False
