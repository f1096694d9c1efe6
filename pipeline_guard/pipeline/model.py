"""The nouns of the domain: what a pipeline map holds, as plain immutable data without I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

Confidence = Literal["high", "medium", "low"]
Kind = Literal[
    "audio_send",
    "response_create",
    "auto_response",
    "realtime_transcription",
    "audio_queue",
    "queue_put",
    "queue_get",
    "sender_loop",
    "guard_set",
    "guard_clear",
    "guard_check",
    "stt",
    "tts",
    "twiml_say",
    "twiml_play",
    "twiml_gather",
    "twiml_transcription",
]
Role = Literal["primitive", "call", "start", "loop"]
Context = Literal["live", "post_call", "offline", "startup", "test", "example", "dormant", "unknown"]
AutoResponse = Literal["default_on", "on", "off", "dynamic", "no_vad"]
Policy = Literal["client", "server"]
# Where a TwiML verb stands to the stream of its document; "update": it is given to a running call.
Beside = Literal["before", "after", "update"]
# The note of a call that is dormant though its own place runs.
NOT_HERE = "what it calls can never send"


class Step(msgspec.Struct, frozen=True):
    """One hop of evidence: a place in the scanned code and what happens there.

    ``path`` is relative to the scanned root, with forward slashes; ``line`` is 1-based.
    """

    path: str
    line: int
    symbol: str
    note: str = ""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """One place in the code that matters to the pipeline.

    ``line`` is the first line of the call or statement, ``end_line`` its last (both 1-based), ``column`` 1-based.
    ``reached_from`` leads from an entry point to this site; the site itself is its last step.  Fields that do not
    apply to the site's kind are ``None``.  ``leads_to`` names the functions ("path:symbol") whose ``response.create`` a
    call ends in, ``callee`` the function it calls; ``cause_here`` says that this very place shows its cause (a timer,
    an ``except``), not one above or below, ``event`` names the server event in whose branch it stands.

    ``value`` of a speech-to-text site says where its text goes ("feeds_back" into the conversation, "log_only",
    "unknown"), and ``effects`` how: the way of the text to what it changes.  ``beside`` says where a TwiML verb stands
    to the stream; ``flag`` names the environment variable or setting that must be changed before the site runs;
    ``marked`` says that a comment declares it to be used after the call only.
    """

    kind: Kind
    path: str
    line: int
    end_line: int
    column: int
    symbol: str
    context: Context
    role: Role | None = None
    trigger: str | None = None
    guard: str | None = None
    engine: str | None = None
    value: str | None = None
    provider: str = "openai"
    note: str = ""
    confidence: Confidence = "high"
    reached_from: tuple[Step, ...] = ()
    leads_to: tuple[str, ...] = ()
    callee: str | None = None
    cause_here: bool = False
    event: str | None = None
    effects: tuple[Step, ...] = ()
    beside: Beside | None = None
    flag: str | None = None
    marked: bool = False


def in_order(sites: Iterable[Site]) -> tuple[Site, ...]:
    """Return sites ordered by place, each place, kind and role once: the first that was found."""
    found: dict[tuple[str, int, int, str, str | None], Site] = {}
    for site in sites:
        found.setdefault((site.path, site.line, site.column, site.kind, site.role), site)
    return tuple(sorted(found.values(), key=lambda s: (s.path, s.line, s.kind, s.column)))


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """A queue, deque or buffer on the way of caller audio (or of typed events) to Realtime.

    ``extra`` marks an audio queue beside the lane's own.
    """

    name: str
    path: str
    line: int
    symbol: str
    type: str
    bounded: bool | None
    carries: Literal["audio", "event", "text", "unknown"]
    context: Context
    producers: tuple[Step, ...] = ()
    consumers: tuple[Step, ...] = ()
    extra: bool = False


class Sender(msgspec.Struct, frozen=True, kw_only=True):
    """A function that puts caller audio into the session; ``queue`` names the queue its loop reads, if any.

    ``rival`` says that it can run in the same call as the lane's canonical sender, ``takes_frames`` that it handles the
    caller's frames itself; ``sites`` are where audio enters, ``sends`` where it leaves the code that is this sender's
    alone; ``restarts`` are the starts that can come on top of the first in one call.
    """

    symbol: str
    path: str
    line: int
    end_line: int
    context: Context
    loop: bool
    canonical: bool
    queue: str | None = None
    sites: tuple[Step, ...] = ()
    sends: tuple[Step, ...] = ()
    starts: tuple[Step, ...] = ()
    restarts: tuple[Step, ...] = ()
    rival: bool = False
    takes_frames: bool = False


class GuardClear(msgspec.Struct, frozen=True, kw_only=True):
    """A place that gives the marker of an active response up while the response may still run.

    ``on`` says on what: "error", "barge_in", "timeout", "any_response" (a ``response.done`` whose id is not compared),
    or the type of the server event.
    """

    on: str
    marker: str
    place: Step
    path: tuple[Step, ...] = ()


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """What stands between a trigger and a second response: read from control flow, not from names or comments.

    ``markers`` are the attributes or variables that mean "a response is active or asked for", ``marker`` the one that
    follows the server's events.  ``checked``: every way to the send asks a marker that is held until the response is
    over; ``pending``: a marker is set before control can change hands between the check and the send;
    ``released_on_failure``: it is given up when the send fails, or a failed send ends the session;
    ``set_on_created`` and ``cleared_on_done``: a marker follows ``response.created`` and ``response.done``, ``same_id``
    only for the response it stands for; ``bypass``: what lets a call past the check.  ``problem`` says what is wrong
    with the first of these that fails: "none", "unchecked", "some_callers", "pending_only", "inverted" for ``checked``.
    """

    marker: str | None = None
    markers: tuple[str, ...] = ()
    checked: bool = False
    pending: bool = False
    released_on_failure: bool = True
    set_on_created: bool = False
    cleared_on_done: bool = False
    same_id: bool = False
    bypass: str | None = None
    problem: str = ""
    race: str = ""
    certain: bool = True
    checks: tuple[Step, ...] = ()
    unchecked: tuple[Step, ...] = ()
    marks: tuple[Step, ...] = ()
    awaited: tuple[Step, ...] = ()
    swallowed: tuple[Step, ...] = ()
    sets: tuple[Step, ...] = ()
    clears: tuple[Step, ...] = ()
    wrong_clears: tuple[GuardClear, ...] = ()
    bypasses: tuple[Step, ...] = ()
    bypass_calls: tuple[Step, ...] = ()


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """A function through which responses are created: it sends ``response.create`` itself."""

    symbol: str
    path: str
    line: int
    end_line: int
    context: Context
    guard: str
    canonical: bool
    causes: tuple[str, ...] = ()
    sites: tuple[Step, ...] = ()
    callers: tuple[Step, ...] = ()
    gate: Gate = Gate()


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A session configuration and what it says about server-created responses; ``text_only``: it asks for no audio."""

    symbol: str
    path: str
    line: int
    end_line: int
    context: Context
    value: AutoResponse
    text_only: bool = False


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """One pipeline: the sites that meet in one call of one app.  Sibling apps in a repository are separate lanes.

    ``provider`` names the speech-to-speech service ("openai" covers Azure OpenAI and Azure VoiceLive).
    ``policy`` says who creates the response of a normal turn, ``policy_source`` whether that was declared or inferred.
    ``app`` names the app that the lane belongs to, where the settings declare apps.
    """

    name: str
    provider: str
    entry_points: tuple[Step, ...] = ()
    frame_handlers: tuple[Step, ...] = ()
    queues: tuple[Queue, ...] = ()
    senders: tuple[Sender, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    sessions: tuple[Session, ...] = ()
    sites: tuple[Site, ...] = ()
    policy: Policy | Literal["both", "nobody", "unknown"] = "unknown"
    policy_source: Literal["declared", "inferred"] = "inferred"
    app: str = ""


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was not analysed, and why.

    ``reason`` is one of "syntax", "encoding", "size", "unreadable", "recursion", "symlink", "unresolved-receiver",
    "unresolved-configuration", "contract" (the settings declare what the code does not have, or has under another
    name; ``path`` is then the configuration file); ``detail`` is a sentence for a person.
    """

    path: str
    reason: str
    detail: str
    line: int | None = None


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """How much was looked at: files found, files analysed in depth, files set aside because nothing in them matters."""

    discovered: int
    analysed: int
    set_aside: int


class Remark(msgspec.Struct, frozen=True, kw_only=True):
    """A comment that names this tool; ``first`` to ``last`` are the lines of code it stands behind or above.

    ``line`` and ``column`` (1-based) are where it starts; ``alone`` says that it has its line to itself.
    """

    path: str
    line: int
    column: int
    text: str
    alone: bool
    first: int
    last: int


class PipelineMap(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to "what is the live pipeline of this backend".

    ``outside`` are speech engines and TwiML verbs that run in no call of a lane: another pipeline, without Realtime.
    """

    root: str
    lanes: tuple[Lane, ...]
    gaps: tuple[Gap, ...]
    coverage: Coverage
    outside: tuple[Site, ...] = ()
    remarks: tuple[Remark, ...] = ()

    def sites(self) -> tuple[Site, ...]:
        """Return the sites of every lane and those outside, ordered by place."""
        sites = [*(site for lane in self.lanes for site in lane.sites), *self.outside]
        return tuple(sorted(sites, key=lambda s: (s.path, s.line, s.kind)))
