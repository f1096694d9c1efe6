"""One response in the making: what the server sends for it, in order, and what is left to send when it is cut short."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline_guard.certify.mulaw import FORMAT_BYTES_PER_MS, voice
from pipeline_guard.certify.realtime import events
from pipeline_guard.certify.realtime.events import Event, Ids
from pipeline_guard.certify.realtime.script import Reply, Speech, ToolCall


@dataclass
class _Open:
    """The output that is being sent."""

    item_id: str
    index: int
    output: Speech | ToolCall
    call_id: str = ""
    part_open: bool = False
    text: str = ""


@dataclass
class Generation:
    """Sends a reply piece by piece.

    ``output`` are the items so far, as ``response.done`` lists them; ``audio_ms`` is the audio sent so far.
    """

    response_id: str
    reply: Reply
    ids: Ids
    audio_format: str
    text_only: bool
    voice_seed: int
    output: list[Event] = field(default_factory=list)
    audio_ms: int = 0
    item_audio_ms: dict[str, int] = field(default_factory=dict)
    text_length: int = 0
    _open: _Open | None = None

    def steps(self) -> Iterator[float | list[Event]]:
        """Yield by turns the seconds to wait and the events to send then; ends where the reply ends.

        What is kept here changes when the events are asked for, not before: until then nothing has been sent.
        """
        wait = self.reply.first_delta_after
        for index, output in enumerate(self.reply.outputs):
            steps = self._speak(output, index) if isinstance(output, Speech) else self._call(output, index)
            for step in steps:
                if isinstance(step, float):
                    yield wait + step
                    continue
                wait = 0.0
                yield step
                if self._is_over():
                    return
        if not self.reply.outputs:
            yield wait
            yield []

    def stop(self) -> list[Event]:
        """Return the ``*.done`` events of what is open; they come for responses that are cut short too."""
        if self._open is None:
            return []
        closing = self._close_part(self._open) if isinstance(self._open.output, Speech) else []
        return closing + self._close_item(self._open, "incomplete")

    def _is_over(self) -> bool:
        ends_at = self.reply.ends_at_ms
        return self.reply.status != "completed" and (ends_at is None or self.audio_ms >= ends_at)

    def _event(self, event_type: str, opened: _Open, **keys: Any) -> Event:
        place = {"response_id": self.response_id, "item_id": opened.item_id, "output_index": opened.index}
        return {"type": event_type, **place, **keys}

    def _speak(self, speech: Speech, index: int) -> Iterator[float | list[Event]]:
        yield 0.0
        opened = self._open = _Open(self.ids.new("item"), index, speech)
        part = {"type": "text", "text": ""} if self.text_only else {"type": "audio", "transcript": ""}
        opening = [
            self._item_event("response.output_item.added", opened, self._item(opened, "in_progress")),
            self._event("response.content_part.added", opened, content_index=0, part=part),
        ]
        opened.part_open = True
        audio = b"" if self.text_only else voice(self.voice_seed + index, speech.duration_ms, self.audio_format)
        rate = FORMAT_BYTES_PER_MS[self.audio_format]
        for start in range(0, speech.duration_ms, self.reply.chunk_ms):
            end = min(speech.duration_ms, start + self.reply.chunk_ms)
            if start:
                yield self.reply.chunk_ms / 1000 / self.reply.pace
            piece = speech.text[_share(speech, start) : _share(speech, end)]
            yield opening + self._deltas(opened, piece, audio[start * rate : end * rate], end - start)
            opening = []
        yield 0.0
        yield self._close_part(opened) + self._close_item(opened, "completed")

    def _deltas(self, opened: _Open, text: str, audio: bytes, milliseconds: int) -> list[Event]:
        opened.text += text
        if self.text_only:
            return [self._event("response.output_text.delta", opened, content_index=0, delta=text)]
        self.audio_ms += milliseconds
        self.item_audio_ms[opened.item_id] = self.item_audio_ms.get(opened.item_id, 0) + milliseconds
        delta = base64.b64encode(audio).decode()
        spoken = self._event("response.output_audio_transcript.delta", opened, content_index=0, delta=text)
        sound = self._event("response.output_audio.delta", opened, content_index=0, delta=delta)
        return [spoken, sound] if text else [sound]

    def _call(self, call: ToolCall, index: int) -> Iterator[float | list[Event]]:
        yield 0.0
        opened = self._open = _Open(self.ids.new("item"), index, call, self.ids.new("call"))
        yield [self._item_event("response.output_item.added", opened, self._item(opened, "in_progress"))]
        yield 0.02
        opened.text = call.arguments
        arguments = {"call_id": opened.call_id, "delta": call.arguments}
        done = {"call_id": opened.call_id, "name": call.name, "arguments": call.arguments}
        yield [
            self._event("response.function_call_arguments.delta", opened, **arguments),
            self._event("response.function_call_arguments.done", opened, **done),
            *self._close_item(opened, "completed"),
        ]

    def _close_part(self, opened: _Open) -> list[Event]:
        if not opened.part_open:
            return []
        opened.part_open = False
        self.text_length += len(opened.text)
        if self.text_only:
            done = [self._event("response.output_text.done", opened, content_index=0, text=opened.text)]
            part = {"type": "text", "text": opened.text}
        else:
            done = [
                self._event("response.output_audio.done", opened, content_index=0),
                self._event("response.output_audio_transcript.done", opened, content_index=0, transcript=opened.text),
            ]
            part = {"type": "audio", "transcript": opened.text}
        return [*done, self._event("response.content_part.done", opened, content_index=0, part=part)]

    def _close_item(self, opened: _Open, status: str) -> list[Event]:
        item = self._item(opened, status)
        self.output.append(item)
        self._open = None
        return [self._item_event("response.output_item.done", opened, item)]

    def _item_event(self, event_type: str, opened: _Open, item: Event) -> Event:
        return {"type": event_type, "response_id": self.response_id, "output_index": opened.index, "item": item}

    def _item(self, opened: _Open, status: str) -> Event:
        if isinstance(opened.output, ToolCall):
            name = opened.output.name
            return events.function_call_item(opened.item_id, opened.call_id, name, opened.text, status)
        kind = (
            {"type": "output_text", "text": opened.text}
            if self.text_only
            else {
                "type": "output_audio",
                "transcript": opened.text,
            }
        )
        content = [kind] if status != "in_progress" else []
        return events.assistant_item(opened.item_id, content, status)


def _share(speech: Speech, milliseconds: int) -> int:
    """Return how many characters have been said by then."""
    return len(speech.text) * milliseconds // speech.duration_ms
