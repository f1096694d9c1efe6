"""What the simulated model says: a script is a function from the state of the conversation to a reply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

# Speech at an ordinary pace; only the length of the audio comes from it.
MS_PER_CHARACTER = 60


@dataclass(frozen=True)
class Speech:
    """Something said: its words, and how long its audio is (from the number of characters when left out)."""

    text: str
    milliseconds: int | None = None

    @property
    def duration_ms(self) -> int:
        """The length of the audio, a whole number of 20 ms frames."""
        wanted = self.milliseconds if self.milliseconds is not None else len(self.text) * MS_PER_CHARACTER
        return max(20, wanted // 20 * 20)


@dataclass(frozen=True)
class ToolCall:
    """A call of one of the session's functions; ``arguments`` is JSON text."""

    name: str
    arguments: str = "{}"


Output = Speech | ToolCall


@dataclass(frozen=True)
class Reply:
    """A response: its outputs in order, and how it ends.

    ``first_delta_after``: seconds from ``response.created`` to the first delta.  ``pace``: how many times faster than
    it plays the audio is sent.  ``chunk_ms``: audio in one delta.
    ``status`` other than "completed" ends the response at ``ends_at_ms`` of its audio (None: before the first delta).
    """

    outputs: tuple[Output, ...] = ()
    status: Literal["completed", "failed", "incomplete"] = "completed"
    reason: Literal["max_output_tokens", "content_filter"] = "max_output_tokens"
    ends_at_ms: int | None = None
    first_delta_after: float = 0.25
    pace: float = 4.0
    chunk_ms: int = 200

    @staticmethod
    def say(text: str, milliseconds: int | None = None, **timing: Any) -> Reply:
        """Return a reply of one sentence."""
        return replace(Reply((Speech(text, milliseconds),)), **timing)

    @staticmethod
    def call(*calls: ToolCall, **timing: Any) -> Reply:
        """Return a reply that calls functions, all in the one response."""
        return replace(Reply(tuple(calls)), **timing)


@dataclass(frozen=True)
class Item:
    """An item of the conversation: the item as events show it, and what only the simulator knows.

    ``heard`` is what the caller said, for audio of the caller: text that the transcriber returned, None where nothing
    was understood.
    """

    shape: Mapping[str, Any]
    heard: str | None = None
    audio_ms: int = 0

    @property
    def id(self) -> str:
        """The item's id."""
        return str(self.shape["id"])

    @property
    def is_question(self) -> bool:
        """Whether the model has something to answer in it: words of the user, or a function's result."""
        return self.shape["type"] == "function_call_output" or self.shape.get("role") in ("user", "system")


@dataclass(frozen=True)
class Situation:
    """The conversation when a response is created.

    ``number`` counts the responses of the session from 1; ``items`` is the whole conversation, ``news`` what was added
    to it since the last response of the default conversation was created; ``request`` are the parameters given with
    ``response.create``, empty when the server created the response itself.
    """

    number: int
    items: tuple[Item, ...]
    news: tuple[Item, ...]
    session: Mapping[str, Any]
    request: Mapping[str, Any]

    @property
    def heard(self) -> list[str | None]:
        """What the caller said in each turn so far."""
        return [item.heard for item in self.items if item.audio_ms and item.shape.get("role") == "user"]


Script = Callable[[Situation], Reply]


def sequence(*replies: Reply, then: Reply | None = None) -> Script:
    """Return a script that gives these replies one after the other, then always the last (or ``then``).

    It counts the responses of the default conversation, of one session.
    """
    if not replies and then is None:
        raise ValueError("a script needs at least one reply")
    last = then if then is not None else replies[-1]

    def script(situation: Situation) -> Reply:
        return replies[situation.number - 1] if situation.number <= len(replies) else last

    return script


def repeat_after_caller(situation: Situation) -> Reply:
    """Say back what the caller said last: the script used when none is given."""
    said = next((item.heard for item in reversed(situation.news) if item.heard), None)
    return Reply.say(f"You said: {said}." if said else "How can I help you?")
