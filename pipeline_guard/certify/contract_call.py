"""The test call of the contract: a caller with three answers, a model that asks for them, what the call has to show.

The caller says «התקנת מנעול חכם», «בתל אביב» and «כן».  The simulated model asks for the service, for the city and for
a confirmation, in this order, and asks again when it did not understand.  What it understands depends on the audio that
arrived (``ear``), so an agent that doubles, loses or mixes up the caller's audio holds another conversation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline_guard.certify.callers import MANNERS
from pipeline_guard.certify.ear import Ear
from pipeline_guard.certify.faults import Fault
from pipeline_guard.certify.frame_ledger import Arrivals, FrameLedger, Walk
from pipeline_guard.certify.judging import audio
from pipeline_guard.certify.judging.facts import CallFacts, Check, Reason, SessionFacts
from pipeline_guard.certify.judging.judge import judge
from pipeline_guard.certify.openai_simulator import Latency, OpenAISimulator
from pipeline_guard.certify.realtime.facts import TurnFacts
from pipeline_guard.certify.realtime.script import Item, Reply, Situation
from pipeline_guard.certify.realtime.server import RealtimeServer
from pipeline_guard.certify.record import Record
from pipeline_guard.certify.twilio_simulator import TwilioCall
from pipeline_guard.certify.utterances import load_utterances
from pipeline_guard.certify.voice_ledger import VoiceLedger

# What the model says: before anything was understood, after the service, after the city, after the confirmation.
LINES = (
    "שלום, איזה שירות דרוש לך?",
    "התקנת מנעול חכם. באיזו עיר?",
    "בתל אביב. לקבוע ביקור?",
    "נקבע. תודה ולהתראות.",
)
AGAIN = "לא שמעתי, אפשר לחזור?"


def understood(heard: Sequence[str | None]) -> int:
    """Return how many of the caller's answers were understood, each after the one before it."""
    return audio.understood(heard, [utterance.text for utterance in load_utterances()])


def model(situation: Situation) -> Reply:
    """The script of the simulated model."""
    heard = [item.heard if item.audio_ms else _words(item) for item in situation.items if item.is_question]
    count = understood(heard)
    if heard and situation.news and heard[-1] is None:
        return Reply.say(AGAIN)
    return Reply.say(LINES[count])


def _words(item: Item) -> str | None:
    """Return the text of an item: a new session is told in writing what was said in the one before it."""
    return " ".join(str(part.get("text", "")) for part in item.shape.get("content", ())) or None


@dataclass
class Outcome:
    """A finished call.  ``passed`` is whether every check did."""

    checks: list[Check]
    turns: int
    responses: int
    errors: list[str]
    record: Record
    arrivals: list[Arrivals]
    facts: CallFacts

    @property
    def passed(self) -> bool:
        """Whether the call passed."""
        return all(check.passed for check in self.checks)

    @property
    def reasons(self) -> list[Reason]:
        """Why it did not pass."""
        return [reason for check in self.checks for reason in check.reasons]

    @property
    def failed(self) -> list[str]:
        """The names of the checks that did not pass."""
        return [check.name for check in self.checks if not check.passed]


def outcome_of(call: CallFacts) -> Outcome:
    """Judge what was seen of a finished call."""
    errors = [
        f"{error.get('code') or error.get('type')}: {error.get('message')}"
        for session in call.sessions
        for error in session.errors
    ]
    return Outcome(
        judge(call), len(call.turns), len(call.responses), errors, call.record, list(call.arrivals.values()), call
    )


class ContractCall:
    """The two simulators of one test call, sharing a record, a clock and a ledger.

        test_call = ContractCall(seed=1)
        async with test_call.openai:
            … start the agent with test_call.openai.websocket_base_url …
            outcome = await test_call.run(webhook="http://127.0.0.1:8000/incoming-call")

    ``faults`` go to the side they belong to; ``manner`` is how the caller talks (``callers.MANNERS``), ``delay`` the
    seconds that a message takes to Realtime, and back; ``pace`` is how much faster than it plays the model's voice is
    sent; ``port`` is Realtime's, 0 for any.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        speed: float = 1.0,
        faults: Sequence[Fault] = (),
        manner: str = "patient",
        delay: float = 0.0,
        pace: float = 4.0,
        port: int = 0,
    ) -> None:
        self.seed, self.speed, self.faults = seed, speed, tuple(faults)
        self.caller = MANNERS[manner]
        self.ledger = FrameLedger()
        self.record = Record()
        self._walks: dict[int, Walk] = {}
        self._voices = VoiceLedger()
        self.openai = OpenAISimulator(
            script=lambda situation: replace(model(situation), pace=pace),
            transcriber=Ear(self.ledger, [(u.text, u.audio) for u in load_utterances()]),
            faults=self.faults,
            to_client=Latency(delay),
            to_server=Latency(delay),
            seed=seed,
            speed=speed,
            port=port,
            record=self.record,
            on_audio=self._arrived,
            on_voice=self._voices.sent,
        )
        self.phone_call: TwilioCall | None = None

    async def run(
        self,
        webhook: str | None = None,
        *,
        stream_url: str | None = None,
        auth_token: str | None = None,
        public_host: str | None = None,
    ) -> Outcome:
        """Call the agent and judge the call.  Raises CallFailed when no media stream comes about."""
        await self.make(webhook, stream_url=stream_url, auth_token=auth_token, public_host=public_host)
        return self.judge()

    async def make(
        self,
        webhook: str | None = None,
        *,
        stream_url: str | None = None,
        auth_token: str | None = None,
        public_host: str | None = None,
        any_host: bool = False,
        account_sid: str = "",
    ) -> None:
        """Call the agent; options as in ``TwilioCall``.  Raises CallFailed when no media stream comes about."""
        self.phone_call = TwilioCall(
            webhook,
            self.caller,
            stream_url=stream_url,
            auth_token=auth_token,
            public_host=public_host,
            any_host=any_host,
            account_sid=account_sid,
            faults=self.faults,
            seed=self.seed,
            speed=self.speed,
            record=self.record,
            ledger=self.ledger,
            clock=lambda: self.openai.now,
            turn_silence=self._turn_silence,
        )
        await self.phone_call.run()

    def judge(self, log: Sequence[str] | None = None, hosts: Sequence[str] = ()) -> Outcome:
        """Return what the call shows; ``log`` is what the agent wrote, ``hosts`` what it asked the network for.

        Only while the event loop of the call runs: its clock says how much the caller has heard.
        """
        return outcome_of(self.facts(log, hosts))

    def facts(self, log: Sequence[str] | None = None, hosts: Sequence[str] = ()) -> CallFacts:
        """Return what both simulators saw."""
        phone = self.phone_call
        assert phone is not None
        return CallFacts(
            record=self.record,
            sessions=[
                SessionFacts(
                    number, self._said(session), session.responses, [event["error"] for event in session.errors]
                )
                for number, session in enumerate(self.openai.sessions, start=1)
            ],
            refusals=self.openai.refusals,
            arrivals={connection: walk.finish() for connection, walk in self._walks.items()},
            heard=self._voices.heard(sorted(phone.heard, key=lambda piece: piece.at)),
            voice_known=self._voices.is_exact,
            violations=phone.violations,
            verbs=phone.verbs,
            was_cut=phone.was_cut,
            ended_at=phone.now,
            wanted=[utterance.text for utterance in load_utterances()],
            faults=self.faults,
            log=log,
            hosts=hosts,
            lines=LINES,
        )

    def _turn_silence(self) -> float:
        """Return how long Realtime waits before it takes a turn, in the newest session."""
        return self.openai.sessions[-1].listening.silence_ms / 1000 if self.openai.sessions else 0.5

    def _said(self, session: RealtimeServer) -> list[TurnFacts]:
        """Return the turns of a session; what an agent commits after the caller hung up is nobody's."""
        ends = [entry.at for entry in self.record.of("hang-up", peer="twilio")]
        return [turn for turn in session.turns if not ends or turn.at <= ends[0]]

    def _arrived(self, connection: int, audio: bytes, audio_format: str) -> None:
        if audio_format == "audio/pcmu":
            self._walks.setdefault(connection, Walk(self.ledger, starts_anywhere=True)).feed(audio)
