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
# Those in which nothing of a call runs.
QUIET_CONTEXTS: frozenset[Context] = frozenset({"dormant", "example", "test"})
AutoResponse = Literal["default_on", "on", "off", "dynamic", "no_vad"]
Policy = Literal["client", "server"]
# Where a TwiML verb stands to the stream of its document; "update": it is given to a running call.
Beside = Literal["before", "after", "update"]
Overflow = Literal["grows", "waits"]
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

    Of a response: ``dropped`` says how its coroutine is lost (a "statement" of its own, a "name" nobody reads, handed
    as a "callee" to what only calls it), ``own_loop`` what runs it on another event loop than the session's,
    ``per_tool`` that it runs once per tool call (in a "loop" over them, or for each "item" event), ``after_cancel`` is
    the way from a ``response.cancel`` to it that waits for nothing.

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
    dropped: Literal["statement", "name", "callee"] | None = None
    own_loop: str | None = None
    per_tool: Literal["loop", "item"] | None = None
    after_cancel: tuple[Step, ...] = ()


def in_order(sites: Iterable[Site]) -> tuple[Site, ...]:
    """Return sites ordered by place, each place, kind and role once: the first that was found."""
    found: dict[tuple[str, int, int, str, str | None], Site] = {}
    for site in sites:
        found.setdefault((site.path, site.line, site.column, site.kind, site.role), site)
    return tuple(sorted(found.values(), key=lambda s: (s.path, s.line, s.kind, s.column)))


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """A queue, deque or buffer on the way of caller audio (or of typed events) to Realtime.

    ``extra`` marks an audio queue beside the lane's own.  ``overflow`` says what happens when the model takes audio
    more slowly than the caller gives it: it "grows" without end, the handler of frames "waits" (at ``waits``), or None
    where frames are dropped or nothing is sure.
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
    overflow: Overflow | None = None
    waits: tuple[Step, ...] = ()


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

    ``markers`` are the attributes or variables that mean "a response is active or asked for"; ``marker`` is the one
    that follows the server's events, ``pending_marker`` the one that is set around the send.  ``checked``: every way to
    the send asks a marker that is held until the response is over; ``pending``: a marker is set before control can
    change hands between the check and the send; ``released_on_failure``: it is given up when the send fails, or a
    failed send ends the session; ``set_on_created`` and ``cleared_on_done``: a marker follows ``response.created`` and
    ``response.done``, ``same_id`` only for the response it stands for; ``bypass``: what lets a call past the check.

    ``problem`` says why ``checked`` fails ("unchecked", "some_callers", "pending_only"), ``race`` why ``pending`` does
    ("unmarked", "awaited", "late", "dropped"); ``certain`` is False where writes of a marker could not be placed.  The
    other fields are the evidence: ``unchecked`` sends and calls, what is ``awaited`` between check and mark, where a
    failed send is ``swallowed``, and the calls that take the ``bypass``.
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
    pending_marker: str | None = None
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
    """A function through which responses are created: it sends ``response.create`` itself.

    ``text_only``: all that it sends asks for text, not for speech.
    ``uncorrelated`` are the sends without an ``event_id``; ``threads`` the places in which several threads come to it
    although nothing locks its guard.
    """

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
    uncorrelated: tuple[Step, ...] = ()
    threads: tuple[Step, ...] = ()
    gate: Gate = Gate()
    text_only: bool = False


class DoubleTurn(msgspec.Struct, frozen=True, kw_only=True):
    """A second answer to one utterance: the event and the site that ask for it, and those that have asked before.

    The sites are given by their place: (path, line, column).
    """

    event: str
    place: tuple[str, int, int]
    first_event: str
    first_place: tuple[str, int, int]


class Misuse(msgspec.Struct, frozen=True, kw_only=True):
    """A place where a lane uses the protocol, the SDK or its own functions in a way that does not work.

    ``what`` says it in words for a person.  "manual_commit" closes a turn that turn detection closes as well,
    "audio_item" puts audio into the conversation past the audio buffer (``alone``: the lane has no other audio), a
    "beta_name" belongs to the retired protocol, "sdk_reconnect" lets the SDK send again what is queued, "bad_call"
    raises TypeError, "cancel_without_id" cancels whatever is active.
    """

    kind: Literal["manual_commit", "audio_item", "beta_name", "sdk_reconnect", "bad_call", "cancel_without_id"]
    path: str
    line: int
    end_line: int
    column: int
    symbol: str
    what: str = ""
    alone: bool = False
    confidence: Confidence = "high"
    reached_from: tuple[Step, ...] = ()


class Aid(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one of the aids by which a person sees that there is one pipeline; none where it is right.

    ``place`` is where it stands, or the handler of the caller's frames where it is "missing"; ``belongs`` is where it
    has to be.  A line is "printed" or "muted" where no log holds it, written "per_frame", or "elsewhere".
    """

    kind: Literal["map", "pipeline_log", "status_log", "greeting_log"]
    state: Literal["missing", "printed", "muted", "per_frame", "elsewhere"]
    place: Step
    end_line: int
    belongs: Step
    why: tuple[Step, ...] = ()


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A session configuration and what it says about server-created responses; ``text_only``: it asks for no audio.

    ``one_tool`` says that it turns parallel tool calls off; ``idle_timeout`` is the silence in ms after which it lets
    the server speak by itself, None where it lets it not.
    """

    symbol: str
    path: str
    line: int
    end_line: int
    context: Context
    value: AutoResponse
    text_only: bool = False
    one_tool: bool = False
    idle_timeout: int | None = None


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """One pipeline: the sites that meet in one call of one app.  Sibling apps in a repository are separate lanes.

    ``provider`` names the speech-to-speech service ("openai" covers Azure OpenAI and Azure VoiceLive).
    ``double_turns`` are the utterances that are answered twice, ``endless`` the triggers and their wrappers that only
    ever call themselves, each as the way round.
    ``misuses`` are uses of the protocol that do not work, ``aids`` what is wrong with the map and the log lines.
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
    double_turns: tuple[DoubleTurn, ...] = ()
    endless: tuple[tuple[Step, ...], ...] = ()
    misuses: tuple[Misuse, ...] = ()
    aids: tuple[Aid, ...] = ()
    policy: Policy | Literal["both", "nobody", "unknown"] = "unknown"
    policy_source: Literal["declared", "inferred"] = "inferred"
    app: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A place that makes a service other than OpenAI Realtime answer; ``service`` names the service.

    ``what`` is the method or message that it sends, or the function that it calls, as "path:symbol".  ``after`` is the
    place in the same function that has made it answer before on the same way, with nothing waited for in between: the
    caller hears two replies to one thing.
    """

    service: str
    what: str
    path: str
    line: int
    end_line: int
    column: int
    symbol: str
    context: Context
    after: Step | None = None
    confidence: Confidence = "high"
    reached_from: tuple[Step, ...] = ()
    app: str = ""


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was not analysed, and why.

    ``reason`` is one of "syntax", "encoding", "size", "unreadable", "recursion", "symlink", "unresolved-receiver",
    "unresolved-configuration", "unfollowed" (who calls a speech engine), "contract" (the settings declare what the code
    does not have, or has under another name; ``path`` is then the configuration file); ``detail`` is a sentence for a
    person.
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
    ``answers`` are what makes other speech-to-speech services answer: no site, and never judged but by a baseline.
    """

    root: str
    lanes: tuple[Lane, ...]
    gaps: tuple[Gap, ...]
    coverage: Coverage
    outside: tuple[Site, ...] = ()
    remarks: tuple[Remark, ...] = ()
    answers: tuple[Answer, ...] = ()

    def sites(self) -> tuple[Site, ...]:
        """Return the sites of every lane and those outside, ordered by place."""
        sites = [*(site for lane in self.lanes for site in lane.sites), *self.outside]
        return tuple(sorted(sites, key=lambda s: (s.path, s.line, s.kind)))
