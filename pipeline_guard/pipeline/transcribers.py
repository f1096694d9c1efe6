"""Finds Realtime sessions that are used as a recogniser: opened for a piece of audio, and left with its text."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.primitives import Sink, SinkList
from pipeline_guard.pipeline.transports import OPENERS
from pipeline_guard.program.code import Func
from pipeline_guard.program.flow import names_in
from pipeline_guard.program.trees import last_name
from pipeline_guard.program.uses import CallSite

ENGINE = "openai_realtime"


def transcribers(sinks: Iterable[Sink]) -> list[Sink]:
    """Return a sink of kind "stt" for every function that opens a session, sends it what it was given and returns.

    A bridge between a caller and the model is none: it is given sockets, not audio, and returns nothing.
    """
    found = SinkList()
    for sink in sinks:
        if sink.kind != "audio_send" or sink.provider != "openai":
            continue
        opened = _opened_in(sink.func)
        if opened is not None and _returns(sink.func) and _is_given_audio(sink):
            found.add(Sink("stt", sink.func, opened.op, opened.call, None, "openai", "medium", "", None, ENGINE))
    return found


def _opened_in(func: Func) -> CallSite | None:
    for site in func.calls:
        name = last_name(site.call.func)
        if name in OPENERS and (name != "connect" or "realtime" in ir.source(site.call.func) or site.call.args):
            return site
    return None


def _returns(func: Func) -> bool:
    return any(
        op.kind == "return" and op.value is not None and not (type(op.value) is ir.Const and not op.value.value)
        for op in func.ir.ops
    )


def _is_given_audio(sink: Sink) -> bool:
    """Say whether what is sent is made from a parameter of the function, by way of its own variables."""
    func = sink.func
    wanted = {name for node in (*sink.call.args, *(k.value for k in sink.call.keywords)) for name in names_in(node)}
    seen: set[str] = set()
    while wanted - seen:
        name = (wanted - seen).pop()
        seen.add(name)
        if name in func.params and name != func.self_name:
            return not _reads_messages(func, name)
        for place in func.definitions.get(name, ()):
            value = func.ir.ops[place].value
            if value is not None:
                wanted |= set(names_in(value))
    return False


def _reads_messages(func: Func, name: str) -> bool:
    """Say whether a parameter is a socket that is read, not audio: ``async for message in twilio_ws``."""
    streams = [block.test for block in func.ir.blocks if block.kind == "for" and type(block.test) is ir.Await]
    return any(name in names_in(stream) for stream in streams) or any(
        type(site.call.func) is ir.Attr
        and ir.source(site.call.func.base) == name
        and site.call.func.name.startswith(("recv", "receive", "iter_", "get"))
        for site in func.calls
    )
