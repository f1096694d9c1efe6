"""Says what listens and speaks beside a Realtime session, or without one: which places count, and in what words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from pipeline_guard.pipeline.model import PipelineMap, Site
from pipeline_guard.reports import words
from pipeline_guard.reports.terminal import clean

LISTENS = frozenset({"stt", "twiml_gather", "twiml_transcription"})
# What runs in a call comes first: it is what the caller hears.
_CONTEXTS = ("live", "unknown", "startup", "post_call", "offline", "dormant", "example", "test")
_DURING = frozenset({"live", "unknown"})
_ASIDE = frozenset({"startup", "post_call", "offline"})
_NAMED = 3


class Row(msgspec.Struct, frozen=True):
    """Places that differ in nothing a reader wants to know; ``first`` stands for all of them."""

    first: Site
    sites: tuple[Site, ...]


def own_places(sites: Iterable[Site]) -> tuple[list[Site], int]:
    """Return the places that run an engine themselves, what is live first, and how many calls only lead to them.

    Where the engine's own place is not among these sites, since it belongs to others as well, the call next to it
    stands for it.
    """
    engines = [site for site in sites if site.kind in words.ENGINE_KINDS]
    own = [site for site in engines if site.role != "call"]
    calls = [site for site in engines if site.role == "call"]
    there = {(site.kind, name) for site in own for name in names(site)}
    alone = [site for site in calls if not there.issuperset((site.kind, name) for name in names(site))]
    inner = {(site.kind, f"{site.path}:{site.symbol}") for site in alone}
    nearest = [site for site in alone if (site.kind, site.callee) not in inner] or alone
    return sorted(own + nearest, key=_order), len(calls) - len(nearest)


def by_function(sites: Sequence[Site]) -> list[Row]:
    """Put the places together that one function holds."""
    return _rows(sites, lambda site: (site.kind, site.engine, site.context, site.path, site.symbol, remark(site)))


def by_engine(sites: Sequence[Site]) -> list[Row]:
    """Put the places together where one engine runs in one context, or a TwiML verb stands alike to the stream."""
    return _rows(sites, lambda site: (site.kind, site.engine, site.context, site.flag, site.beside))


def names(site: Site) -> list[str]:
    """Return the engines a site may run; a call can lead to one or another."""
    return (site.engine or "").split(" or ")


def when(site: Site) -> str:
    """Return in words when a site runs."""
    if site.context == "dormant":
        return "dormant"
    return words.CONTEXTS[site.context] or words.ENGINE_CONTEXTS[site.context]


def standing(site: Site) -> Literal["running", "aside", "idle"]:
    """Say whether, as the code stands, a site runs in calls, runs outside them, or does not run."""
    if site.flag or site.context not in _DURING | _ASIDE:
        return "idle"
    return "running" if site.context in _DURING else "aside"


def remark(site: Site) -> str:
    """Return in words what else is to be known of a site: why it does not run, where its text goes, what is said."""
    parts = [words.one_setting_away(site.flag)] if site.flag else []
    if site.kind.startswith("twiml"):
        parts.append(words.TWIML_VALUES.get(site.value or "", ""))
        parts.append(site.note or words.BESIDE.get(site.beside or "", ""))
    elif site.context != "dormant":
        # The text of a recogniser that runs in no call of its own goes where others take it.
        parts.append(words.TEXT_GOES.get(site.value or "", "") if site.context != "offline" else "")
        parts.append(site.note)
    elif not site.flag:
        parts.append(site.note or words.NEVER_CALLED)
    if site.marked:
        parts.append("declared for after the call only")
    return ", ".join(part for part in parts if part)


def no_session(pipeline_map: PipelineMap) -> str:
    """Return the sentence for a project without a Realtime session."""
    instead = speech_instead(pipeline_map)
    return f"No Realtime session here: {instead} (no contract to check)." if instead else "No Realtime session here."


def speech_instead(pipeline_map: PipelineMap) -> str:
    """Return what a project without a Realtime session listens and speaks with; empty when it does neither."""
    providers = sorted({lane.provider for lane in pipeline_map.lanes if lane.sites and not words.is_realtime(lane)})
    parts = [f"talks through {_listed(providers)}"] if providers else []
    sites, _ = own_places(pipeline_map.outside)
    for contexts, manner in ((_DURING, ""), (_ASIDE, " outside calls")):
        used = [site for site in sites if site.context in contexts]
        heard = _most_used(site for site in used if site.kind in LISTENS)
        said = _most_used(site for site in used if site.kind not in LISTENS)
        parts.extend([f"listens with {_listed(heard)}{manner}"] if heard else [])
        parts.extend([f"speaks with {_listed(said)}{manner}"] if said else [])
        if parts:
            return f"this backend {words.joined(parts)}"
    return f"its code for {_listed(_most_used(sites))} is not in use" if sites else ""


def _most_used(sites: Iterable[Site]) -> list[str]:
    """Return the engines of sites, those first that need no setting to be changed, then those in many places."""
    found = list(sites)
    numbers = Counter(name for site in found for name in names(site))
    ready = {name for site in found if not site.flag for name in names(site)}
    return sorted(numbers, key=lambda name: (name not in ready, -numbers[name], name))


def _listed(engines: Sequence[str]) -> str:
    named = [clean(name) for name in engines[:_NAMED]]
    return words.joined([*named, f"{len(engines) - _NAMED} more"] if len(engines) > _NAMED else named)


def _order(site: Site) -> tuple[int, bool, int, str, int]:
    kinds = list(words.ENGINE_KINDS)
    return _CONTEXTS.index(site.context), site.flag is not None, kinds.index(site.kind), site.path, site.line


def _rows(sites: Sequence[Site], key: Callable[[Site], object]) -> list[Row]:
    groups: dict[object, list[Site]] = {}
    for site in sites:
        groups.setdefault(key(site), []).append(site)
    return [Row(group[0], tuple(group)) for group in groups.values()]
