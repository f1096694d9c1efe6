"""The Realtime API's side of one connection as a state machine without I/O: client messages and time in, events out.

What it holds to: ``session.created`` first · one active response in the default conversation, whoever asks for the
second · out-of-band responses beside it · committed, then item added, then item done, the transcript whenever it comes
· what ``response.cancel`` finds depends on what is active when it arrives.  Nothing here waits: ``next_due`` says when
``tick`` has something to do.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

from pipeline_guard.certify.realtime import events, requests
from pipeline_guard.certify.realtime.behaviour import Behaviour, Close
from pipeline_guard.certify.realtime.conversation import Conversation
from pipeline_guard.certify.realtime.events import Event, Ids
from pipeline_guard.certify.realtime.facts import ALREADY_ACTIVE, Cause, ResponseFacts, TurnFacts
from pipeline_guard.certify.realtime.generation import Generation
from pipeline_guard.certify.realtime.listening import Listening
from pipeline_guard.certify.realtime.running import Running, Timer
from pipeline_guard.certify.realtime.schema import Problem, unsupported
from pipeline_guard.certify.realtime.script import Item, Situation
from pipeline_guard.certify.realtime.session import new_session, update_problem, updated


class RealtimeServer:
    """One session.  Times are seconds of simulated time and never go back."""

    def __init__(self, behaviour: Behaviour, *, model: str = "gpt-realtime-2.1", seed: int = 0) -> None:
        self.behaviour = behaviour
        self.ids = Ids(seed)
        self.seed = seed
        self.session = new_session(self.ids.new("sess"), model, int(behaviour.session_seconds))
        self.conversation_id = self.ids.new("conv")
        self.conversation = Conversation()
        self.listening = Listening(self.session)
        self.turns: list[TurnFacts] = []
        self.responses: list[ResponseFacts] = []
        self.errors: list[Event] = []
        self.closing: Close | None = None
        self.creates_to_ignore = 0
        self.extra_create_latency = 0.0
        self.now = 0.0
        self._out: list[Event] = []
        self._timers: list[tuple[float, int, Timer]] = []
        self._timer_count = 0
        self._running: dict[str, Running] = {}
        self._active: str | None = None
        self._idle: Timer | None = None
        self._handle = self._handlers()

    # -- what the connection calls -------------------------------------------------------------------------------

    def open(self, now: float) -> None:
        """The client is connected."""
        self.now = now
        self.emit({"type": "session.created", "session": self.session})
        self._after(self.behaviour.session_seconds, self.expire)

    def receive(self, message: str | bytes, now: float) -> Event:
        """Take in one client message, and return it as an event for the record."""
        self.tick(now)
        event, problem = requests.read(message)
        if problem is not None:
            self.fail(problem, event)
        elif self.closing is None:
            self._handle[event["type"]](event)
        return event

    def tick(self, now: float) -> None:
        """Do what is due."""
        while self._timers and self._timers[0][0] <= now and self.closing is None:
            due, _, timer = heapq.heappop(self._timers)
            self.now = max(self.now, due)
            if timer.run is not None:
                timer.run()
        self.now = max(self.now, now)

    def next_due(self) -> float | None:
        """Return when ``tick`` has something to do next."""
        while self._timers and self._timers[0][2].run is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers and self.closing is None else None

    def take(self) -> list[Event]:
        """Return the events to send, in order, and forget them."""
        sent, self._out = self._out, []
        return sent

    @property
    def active_response_id(self) -> str | None:
        """The response that holds the default conversation."""
        return self._active

    # -- what tests and faults may do ----------------------------------------------------------------------------

    def emit(self, event: Event) -> None:
        """Send an event of the server."""
        self._out.append({"type": event["type"], "event_id": self.ids.new("event"), **event})

    def fail(
        self, problem: Problem, cause: Mapping[str, Any] | None = None, error_type: str = "invalid_request_error"
    ) -> None:
        """Send an ``error`` about a client event, or about none."""
        event_id = None if cause is None or self.behaviour.hide_error_ids else cause.get("event_id")
        error = events.error(problem, event_id if isinstance(event_id, str) else None, error_type)
        self.errors.append(error)
        self.emit(error)

    def expire(self) -> None:
        """End the session as the API does when its time is up."""
        minutes = round(self.behaviour.session_seconds / 60)
        text = f"Your session hit the maximum duration of {minutes} minutes."
        self.fail(Problem("session_expired", text))
        self.closing = Close(1001, "")

    def respond(self, cause: Cause, request: Mapping[str, Any] | None = None, event_id: str | None = None) -> bool:
        """Create a response unless one is active in the default conversation: then send the error, and return False."""
        request = request or {}
        in_default = request.get("conversation", "auto") == "auto"
        if in_default and self._active is not None:
            text = (
                f"Conversation already has an active response in progress: {self._active}. "
                "Wait until the response is finished before creating a new one."
            )
            self.fail(Problem(ALREADY_ACTIVE, text), {"event_id": event_id})
            return False
        facts = ResponseFacts(self.ids.new("resp"), cause, in_default, event_id, request.get("metadata"), self.now)
        self.responses.append(facts)
        running = self._running[facts.id] = Running(facts, request)
        if in_default:
            self._active = facts.id
            self._cancel_timer(self._idle)
        latency = self.behaviour.create_latency + self.extra_create_latency
        self.extra_create_latency = 0.0
        running.timer = self._after(latency, lambda: self._create(running))
        return True

    def spoil_last_response(self, status: Literal["failed", "incomplete"]) -> None:
        """Let the newest response end badly after its first delta."""
        generation = self._running[self.responses[-1].id].generation if self._running else None
        if generation is not None:
            generation.reply = replace(generation.reply, status=status, ends_at_ms=1)

    # -- client events -------------------------------------------------------------------------------------------

    def _handlers(self) -> dict[str, Callable[[Event], None]]:
        return {
            "session.update": self._on_session_update,
            "input_audio_buffer.append": self._on_append,
            "input_audio_buffer.commit": self._on_commit,
            "input_audio_buffer.clear": lambda _: self._on_clear(),
            "conversation.item.create": self._on_item_create,
            "conversation.item.retrieve": self._on_item_retrieve,
            "conversation.item.delete": self._on_item_delete,
            "conversation.item.truncate": self._on_item_truncate,
            "response.create": self._on_create,
            "response.cancel": self._on_cancel,
            "output_audio_buffer.clear": self._on_output_clear,
        }

    def _on_session_update(self, event: Event) -> None:
        problem = update_problem(self.session, event["session"], has_spoken=self.conversation.has_speech)
        if problem is not None:
            self.fail(problem, event)
            return
        self.session = updated(self.session, event["session"])
        self.listening.configure(self.session)
        self.emit({"type": "session.updated", "session": self.session})

    def _on_append(self, event: Event) -> None:
        audio = self.listening.decode(event["audio"])
        if audio is None:
            text = "Invalid 'audio'. Expected base64-encoded audio bytes, but got an invalid value."
            self.fail(Problem("invalid_value", text, "audio"), event)
            return
        for edge in self.listening.append(audio):
            if edge.kind == "started":
                self._speech_started(edge.at_ms)
            else:
                self._speech_stopped(edge.at_ms)

    def _on_commit(self, event: Event) -> None:
        problem = self.listening.commit_problem()
        if problem is not None:
            self.fail(problem, event)
            return
        self._commit(self.listening.item_id or self.ids.new("item"), "client")

    def _on_clear(self) -> None:
        self.listening.clear()
        self.emit({"type": "input_audio_buffer.cleared"})

    def _on_item_create(self, event: Event) -> None:
        shape = {"object": "realtime.item", "status": "completed", **event["item"]}
        shape.setdefault("id", self.ids.new("item"))
        if self.conversation.find(shape["id"]) is not None:
            text = f"Error adding item: an item with id '{shape['id']}' already exists."
            self.fail(Problem("item_create_duplicate_item_id", text, "item.id"), event)
            return
        if shape["type"] == "function_call_output" and not self._has_call(shape["call_id"]):
            text = f"Tool call ID '{shape['call_id']}' not found in conversation."
            self.fail(Problem("invalid_tool_call_id", text, "item.call_id"), event)
            return
        try:
            previous = self.conversation.add(Item(shape), event.get("previous_item_id"))
        except KeyError:
            text = f"The item with id '{event['previous_item_id']}' does not exist."
            self.fail(Problem("item_create_invalid_previous_item_id", text, "previous_item_id"), event)
            return
        for kind in ("added", "done"):
            self.emit({"type": f"conversation.item.{kind}", "previous_item_id": previous, "item": shape})

    def _on_item_retrieve(self, event: Event) -> None:
        item = self.conversation.find(event["item_id"])
        if item is None:
            self._no_item("retrieve", event)
        else:
            self.emit({"type": "conversation.item.retrieved", "item": item.shape})

    def _on_item_delete(self, event: Event) -> None:
        if self.conversation.remove(event["item_id"]):
            self.emit({"type": "conversation.item.deleted", "item_id": event["item_id"]})
        else:
            self._no_item("delete", event)

    def _on_item_truncate(self, event: Event) -> None:
        item = self.conversation.find(event["item_id"])
        if item is None:
            self._no_item("truncate", event)
        elif item.shape.get("role") != "assistant":
            text = "Only model output audio messages can be truncated"
            self.fail(Problem("invalid_value", text, "item_id"), event)
        elif event["audio_end_ms"] > item.audio_ms:
            text = f"Audio content of {item.audio_ms}ms is already shorter than {event['audio_end_ms']}ms"
            self.fail(Problem("invalid_value", text, "audio_end_ms"), event)
        else:
            # What was not heard leaves the context, and its transcript with it.
            self.conversation.change(item.id, audio_ms=event["audio_end_ms"])
            keys = ("item_id", "content_index", "audio_end_ms")
            self.emit({"type": "conversation.item.truncated", **{key: event[key] for key in keys}})

    def _on_create(self, event: Event) -> None:
        request = event.get("response", {})
        conversation = request.get("conversation", "auto")
        if conversation not in ("auto", "none"):
            self.fail(unsupported(conversation, ("auto", "none"), "response.conversation"), event)
        elif self.creates_to_ignore:
            self.creates_to_ignore -= 1
        else:
            self.respond("client", request, event.get("event_id"))

    def _on_cancel(self, event: Event) -> None:
        named = event.get("response_id")
        if named is None and self._active is not None and len(self._running) > 1:
            # Without an id nothing happens while an out-of-band response runs beside (livekit/agents#5564).
            return
        found = self._running.get(self._active or "" if named is None else named)
        if found is None:
            text = "Cancellation failed: no active response found"
            self.fail(Problem("response_cancel_not_active", text), event)
        else:
            self._finish(found, "cancelled", "client_cancelled")

    def _on_output_clear(self, event: Event) -> None:
        text = "output_audio_buffer.clear is only supported for WebRTC and SIP connections."
        self.fail(Problem("invalid_value", text, "type"), event)

    # -- turns of the caller -------------------------------------------------------------------------------------

    def _speech_started(self, at_ms: int) -> None:
        self._cancel_timer(self._idle)
        self.listening.item_id = self.ids.new("item")
        started = {"audio_start_ms": at_ms, "item_id": self.listening.item_id}
        self.emit({"type": "input_audio_buffer.speech_started", **started})
        if self._active is not None and self.listening.turn_detection.get("interrupt_response", True):
            self._finish(self._running[self._active], "cancelled", "turn_detected")

    def _speech_stopped(self, at_ms: int) -> None:
        item_id = self.listening.item_id or self.ids.new("item")
        self.emit({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": at_ms, "item_id": item_id})
        self._commit(item_id, "speech")
        if self.listening.turn_detection.get("create_response", True):
            self.respond("turn")

    def _commit(self, item_id: str, by: str) -> None:
        start_ms, audio = self.listening.take()
        audio_format = self.listening.audio_format
        heard = self.behaviour.transcriber(audio, audio_format)
        duration = self.listening.end_ms - start_ms
        shape = events.user_audio_item(item_id)
        previous = self.conversation.add(Item(shape, heard.text, duration))
        self.turns.append(TurnFacts(item_id, by, start_ms, self.listening.end_ms, heard, self.now))
        self.emit({"type": "input_audio_buffer.committed", "previous_item_id": previous, "item_id": item_id})
        for kind in ("added", "done"):
            self.emit({"type": f"conversation.item.{kind}", "previous_item_id": previous, "item": shape})
        if self.session["audio"]["input"]["transcription"] is not None:
            text = heard.text or ""
            self._after(self.behaviour.transcription_delay, lambda: self._transcribe(item_id, text, duration / 1000))

    def _transcribe(self, item_id: str, text: str, seconds: float) -> None:
        prefix = "conversation.item.input_audio_transcription."
        place = {"item_id": item_id, "content_index": 0}
        if self.behaviour.transcription == "failed":
            failure = {"type": "transcription_error", "code": "audio_unintelligible", "param": None}
            failure["message"] = "The audio could not be transcribed."
            self.emit({"type": prefix + "failed", **place, "error": failure})
            return
        if text:
            self.emit({"type": prefix + "delta", **place, "delta": text})
        usage = {"type": "duration", "seconds": seconds}
        self.emit({"type": prefix + "completed", **place, "transcript": text, "usage": usage})

    def _silent_for_too_long(self) -> None:
        item_id = self.ids.new("item")
        end = self.listening.end_ms
        start = max(0, end - self.listening.turn_detection["idle_timeout_ms"])
        triggered = {"audio_start_ms": start, "audio_end_ms": end, "item_id": item_id}
        self.emit({"type": "input_audio_buffer.timeout_triggered", **triggered})
        self._commit(item_id, "idle")
        self.respond("idle")

    # -- responses -----------------------------------------------------------------------------------------------

    def _create(self, running: Running) -> None:
        facts, request = running.facts, running.request
        news = self.conversation.take_news() if facts.in_default else ()
        facts.created_at, facts.covers = self.now, tuple(item.id for item in news)
        number = sum(1 for other in self.responses if other.created_at is not None and other.in_default)
        facts.number = number if facts.in_default else 0
        situation = Situation(number, self.conversation.items, news, self.session, request)
        text_only = request.get("output_modalities", self.session["output_modalities"]) == ["text"]
        audio_format = self.session["audio"]["output"]["format"]["type"]
        voice_seed = self.seed * 1000 + len(self.responses) * 16
        running.generation = Generation(
            facts.id, self.behaviour.script(situation), self.ids, audio_format, text_only, voice_seed
        )
        running.steps = running.generation.steps()
        self.emit({"type": "response.created", "response": self._response(running, "in_progress")})
        self.emit(events.rate_limits(5000 - len(self.responses), 400000 - 100 * len(self.responses)))
        self._schedule_step(running)

    def _schedule_step(self, running: Running) -> None:
        wait = next(running.steps, None)
        if wait is None:
            assert running.generation is not None
            reply = running.generation.reply
            self._finish(running, reply.status, reply.reason if reply.status == "incomplete" else None)
            return
        assert isinstance(wait, float)

        def send() -> None:
            if running.first_delta_at is None:
                running.first_delta_at = self.now
            sent = next(running.steps)
            assert isinstance(sent, list)
            for event in sent:
                self._publish(event, running)
            self._schedule_step(running)

        running.timer = self._after(wait, send)

    def _publish(self, event: Event, running: Running) -> None:
        """Send an event of a response, and with its items those of the conversation."""
        in_default = running.facts.in_default
        added, done = (event["type"] == f"response.output_item.{kind}" for kind in ("added", "done"))
        if in_default and done:
            item = self.conversation.change(event["item"]["id"], event["item"])
            previous = self.conversation.before(item.id)
            self.emit({"type": "conversation.item.done", "previous_item_id": previous, "item": item.shape})
        self.emit(event)
        if in_default and added:
            previous = self.conversation.add(Item(event["item"]))
            self.emit({"type": "conversation.item.added", "previous_item_id": previous, "item": event["item"]})
        if in_default and event["type"] == "response.output_audio.delta":
            assert running.generation is not None
            spoken = running.generation.item_audio_ms[event["item_id"]]
            self.conversation.change(event["item_id"], audio_ms=spoken)
            running.facts.audio_ms = running.generation.audio_ms

    def _finish(self, running: Running, status: str, reason: str | None) -> None:
        self._cancel_timer(running.timer)
        generation, facts = running.generation, running.facts
        if generation is not None:
            for event in generation.stop():
                self._publish(event, running)
            facts.audio_ms, facts.outputs = generation.audio_ms, len(generation.output)
        facts.status, facts.reason, facts.done_at = status, reason, self.now
        del self._running[facts.id]
        if facts.in_default:
            self._active = None
            if not facts.said_something:
                self.conversation.give_back(facts.covers)
        self.emit({"type": "response.done", "response": self._response(running, status, reason)})
        if facts.in_default:
            self._watch_for_silence(running)

    def _watch_for_silence(self, running: Running) -> None:
        timeout = self.listening.turn_detection.get("idle_timeout_ms")
        if timeout is None:
            return
        played_until = (running.first_delta_at or self.now) + running.facts.audio_ms / 1000
        self._idle = self._after(max(0.0, played_until - self.now) + timeout / 1000, self._silent_for_too_long)

    def _response(self, running: Running, status: str, reason: str | None = None) -> Event:
        return running.shape(self.session, self.conversation_id, self.listening.end_ms, status, reason)

    # -- helpers -------------------------------------------------------------------------------------------------

    def _has_call(self, call_id: str) -> bool:
        return any(item.shape.get("call_id") == call_id for item in self.conversation.items)

    def _no_item(self, action: str, event: Event) -> None:
        text = f"Error {action.removesuffix('e')}ing item: the item with id '{event['item_id']}' does not exist."
        self.fail(Problem(f"item_{action}_invalid_item_id", text, "item_id"), event)

    def _after(self, seconds: float, run: Callable[[], None]) -> Timer:
        timer = Timer(run)
        self._timer_count += 1
        heapq.heappush(self._timers, (self.now + seconds, self._timer_count, timer))
        return timer

    def _cancel_timer(self, timer: Timer | None) -> None:
        if timer is not None:
            timer.run = None
