"""Compares what the settings declare about the pipeline with what the code has: a name that nothing has is said."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from pipeline_guard.config import Config, Contract, did_you_mean
from pipeline_guard.facts import ir
from pipeline_guard.pipeline.apps import Apps
from pipeline_guard.pipeline.model import Gap, Lane
from pipeline_guard.pipeline.triggers import set_names
from pipeline_guard.program.code import Module

REASON = "contract"
_KEYS = ("queue", "sender", "trigger", "active_response")
_WHAT = {
    "queue": "is no queue of caller audio",
    "sender": "is no function that sends caller audio to the session",
    "trigger": "is no function that sends response.create",
    "active_response": "stands nowhere in the code around the session",
}


def unmet_declarations(
    lanes: Sequence[Lane], files: Iterable[str], modules: Iterable[Module], config: Config, apps: Apps, root: Path
) -> list[Gap]:
    """Return a gap per declared name that no lane of its app has, and per app without a file or a session.

    ``modules`` are what was read in depth.  A contract that speaks of nothing is worse than none: its reader believes
    that it holds.
    """
    if config.source is None:
        return []
    marked = any(contract.active_response for contract in (apps.common, *(app.contract for app in apps.declared)))
    names = _assigned(modules) if marked else set()
    path = os.path.relpath(config.source, os.path.realpath(root)).replace(os.sep, "/")
    own = [lane for lane in lanes if lane.provider == "openai"]
    gaps: list[Gap] = []

    def say(key: str, detail: str) -> None:
        gaps.append(Gap(path=path, reason=REASON, detail=f"{key} {detail}"))

    if apps.declared:
        claimed = {app.name for rel in files if (app := apps.of_path(rel)) is not None}
        for app in apps.declared:
            mine = [lane for lane in own if lane.app == app.name]
            if app.name not in claimed:
                say(f"app {app.name!r}", "has no file: its paths name none that was read")
            elif not mine:
                say(f"app {app.name!r}", "has no OpenAI Realtime session: its files lead to none")
            else:
                differs = _differing(app.contract, apps.common)
                for key, detail in _missing(app.contract, differs, mine, names):
                    say(f"app {app.name!r}: contract.{key}", detail)
    for key, detail in _missing(apps.common, _differing(apps.common, Contract()), own, names):
        say(f"contract.{key}", detail)
    return gaps


def _assigned(modules: Iterable[Module]) -> set[str]:
    """Return the names of variables and attributes that code assigns, sets or clears."""
    found: set[str] = set()
    for module in modules:
        for func in module.functions:
            for op in func.ir.ops:
                found.update(target.id for target in op.targets if type(target) is ir.Name)
                found.update(target.name for target in op.targets if type(target) is ir.Attr)
                found.update(
                    name.rpartition(".")[2] for clears in (True, False) for name in set_names(op, clearing=clears)
                )
    return found


def _differing(contract: Contract, other: Contract) -> list[str]:
    return [name for name in _KEYS if getattr(contract, name) not in (None, getattr(other, name))]


def _missing(
    contract: Contract, keys: Sequence[str], lanes: Sequence[Lane], names: Collection[str]
) -> Iterator[tuple[str, str]]:
    for key in keys:
        wanted = getattr(contract, key)
        present = set(names) if key == "active_response" else set(_present(key, lanes))
        if lanes and any(wanted == each or each.endswith(f".{wanted}") for each in present):
            continue
        written = key.replace("_", "-")
        if not lanes:
            yield written, f"names {wanted!r}, but no OpenAI Realtime session was found"
            continue
        known = {each.rpartition(".")[2] for each in present}
        there = f"; there is {_listed(known)}" if known and key != "active_response" else ""
        yield written, f"names {wanted!r}, which {_WHAT[key]}{did_you_mean(wanted, known) or there}"


def _present(key: str, lanes: Sequence[Lane]) -> Iterator[str]:
    for lane in lanes:
        if key == "queue":
            yield from (queue.name for queue in lane.queues)
        elif key == "sender":
            yield from (sender.symbol for sender in lane.senders)
        else:
            yield from (trigger.symbol for trigger in lane.triggers)


def _listed(names: Iterable[str]) -> str:
    some = sorted(names)
    more = f" and {len(some) - 3} more" if len(some) > 3 else ""
    return ", ".join(f"{name!r}" for name in some[:3]) + more
