"""The test call of the contract: a caller with three answers, a model that asks for them, what the call has to show.

The caller says «התקנת מנעול חכם», «בתל אביב» and «כן».  The simulated model asks for the service, for the city and for
a confirmation, in this order, and asks again when it did not understand.  What it understands depends on the audio that
arrived (``ear``), so an agent that doubles, loses or mixes up the caller's audio holds another conversation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline_guard.certify.ear import Ear
from pipeline_guard.certify.faults import Fault
from pipeline_guard.certify.frame_ledger import Arrivals, FrameLedger, Walk
from pipeline_guard.certify.openai_simulator import OpenAISimulator
from pipeline_guard.certify.realtime.facts import ResponseFacts, TurnFacts
from pipeline_guard.certify.realtime.script import Reply, Situation
from pipeline_guard.certify.record import Record
from pipeline_guard.certify.twilio.phone import Phone
from pipeline_guard.certify.twilio_simulator import TwilioCall
from pipeline_guard.certify.utterances import load_utterances

# What the model says: before anything was understood, after the service, after the city, after the confirmation.
LINES = (
    "שלום, איזה שירות דרוש לך?",
    "התקנת מנעול חכם. באיזו עיר?",
    "בתל אביב. לקבוע ביקור?",
    "נקבע. תודה ולהתראות.",
)
AGAIN = "לא שמעתי, אפשר לחזור?"
# Longer than an agent needs to find out that a request or a response was lost (seconds of simulated time).
_DEAD_AIR = 18.0
_ACTIVE_ERROR = "conversation_already_has_active_response"


def understood(heard: Sequence[str | None]) -> int:
    """Return how many of the caller's answers were understood, each after the one before it."""
    wanted = [utterance.text for utterance in load_utterances()]
    count = 0
    for text in heard:
        if count < len(wanted) and text == wanted[count]:
            count += 1
    return count


def model(situation: Situation) -> Reply:
    """The script of the simulated model."""
    count = understood(situation.heard)
    if situation.heard and situation.news and situation.heard[-1] is None:
        return Reply.say(AGAIN)
    return Reply.say(LINES[count])


async def caller(phone: Phone) -> None:
    """The caller: waits for each question, answers it, and hangs up after the goodbye."""
    await phone.listen()
    *answers, last = load_utterances()
    for utterance in answers:
        phone.say(utterance.audio, utterance.text)
        await phone.listen()
    phone.say(last.audio, last.text)
    # Nobody hangs up in the middle of a goodbye that was broken off and begun again.
    await phone.listen(quiet=2.0)


@dataclass(frozen=True)
class Check:
    """One thing that the call has to show; ``detail`` says what was seen."""

    name: str
    passed: bool
    detail: str


@dataclass
class Outcome:
    """A finished call.  ``passed`` is whether every check did."""

    checks: list[Check]
    turns: int
    responses: int
    errors: list[str]
    record: Record
    arrivals: list[Arrivals] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether the call passed."""
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> list[str]:
        """The names of the checks that did not pass."""
        return [check.name for check in self.checks if not check.passed]


class ContractCall:
    """The two simulators of one test call, sharing a record, a clock and a ledger.

        test_call = ContractCall(seed=1)
        async with test_call.openai:
            … start the agent with test_call.openai.websocket_base_url …
            outcome = await test_call.run(webhook="http://127.0.0.1:8000/incoming-call")

    ``faults`` go to the side they belong to.
    """

    def __init__(self, *, seed: int = 0, speed: float = 1.0, faults: Sequence[Fault] = ()) -> None:
        self.seed, self.speed, self.faults = seed, speed, tuple(faults)
        self.ledger = FrameLedger()
        self.record = Record()
        self._walks: dict[int, Walk] = {}
        self.openai = OpenAISimulator(
            script=model,
            transcriber=Ear(self.ledger, [(u.text, u.audio) for u in load_utterances()]),
            faults=self.faults,
            seed=seed,
            speed=speed,
            record=self.record,
            on_audio=self._arrived,
        )
        self.phone_call: TwilioCall | None = None

    async def run(
        self,
        webhook: str | None = None,
        *,
        stream_url: str | None = None,
        auth_token: str | None = None,
        public_host: str | None = None,
        any_host: bool = False,
        account_sid: str = "",
    ) -> Outcome:
        """Call the agent and judge the call; options as in ``TwilioCall``.

        Raises CallFailed when no media stream comes about.
        """
        self.phone_call = TwilioCall(
            webhook,
            caller,
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
        )
        await self.phone_call.run()
        return self.judge()

    def judge(self) -> Outcome:
        """Return what the call shows."""
        assert self.phone_call is not None
        arrivals = [walk.finish() for walk in self._walks.values()]
        responses = [r for r in self.openai.responses if r.in_default and r.created_at is not None]
        turns = self._turns_to_answer()
        answers = [response for response in responses if response.said_something]
        active = [error for error in self.openai.errors if error["code"] == _ACTIVE_ERROR]
        checks = [
            _audio_check(arrivals),
            _answer_check([self._answers_to(turn) for turn in turns], cut=self.phone_call.was_cut),
            _dead_air_check(turns, answers),
            _duplicate_check(answers),
            Check("no active-response error", not active, f"{len(active)} such errors"),
            self._understanding_check(),
            Check(
                "nothing that Twilio would report",
                not self.phone_call.violations,
                "; ".join(f"{v.code}: {v.text}" for v in self.phone_call.violations) or "no violations",
            ),
        ]
        errors = [f"{error['code'] or error['type']}: {error['message']}" for error in self.openai.errors]
        return Outcome(checks, len(self.openai.turns), len(responses), errors, self.record, arrivals)

    def _turns_to_answer(self) -> list[TurnFacts]:
        """Return the turns, but for those that a session took with it and that were said again to the next one."""
        kept: list[TurnFacts] = []
        for number, session in enumerate(self.openai.sessions):
            answered = {item for response in session.responses if response.said_something for item in response.covers}
            later = {turn.heard.text for other in self.openai.sessions[number + 1 :] for turn in other.turns[:1]}
            kept += [t for t in session.turns if t.item_id in answered or t.heard.text not in later]
        return kept

    def _answers_to(self, turn: TurnFacts) -> int:
        """Count the answers of the turn's own session.

        In the next one its item stands as history: the response there answers it only if nobody did before.
        """
        own = next(session for session in self.openai.sessions if turn in session.turns)
        counts = [
            sum(turn.item_id in r.covers for r in session.responses if r.in_default and r.said_something)
            for session in [own, *(other for other in self.openai.sessions if other is not own)]
        ]
        return counts[0] or min(1, sum(counts))

    def _understanding_check(self) -> Check:
        assert self.phone_call is not None
        heard: list[str | None] = []
        for session in self.openai.sessions:
            texts = [turn.heard.text for turn in session.turns]
            # What the last session may not have heard whole is said again to the next one.
            if texts and heard and texts[0] == heard[-1]:
                texts = texts[1:]
            heard += texts
        whys = [turn.heard.why for turn in self.openai.turns if turn.heard.text is None]
        detail = ", ".join(text or "not understood" for text in heard) or "nothing was heard"
        passed = understood(heard) == len(load_utterances()) == len(heard)
        if self.phone_call.was_cut:
            passed, detail = understood(heard) == len(heard), f"{detail}; the call was cut off"
        return Check(
            "service, city and confirmation understood", passed, detail + (f" ({'; '.join(whys)})" if whys else "")
        )

    def _arrived(self, connection: int, audio: bytes, audio_format: str) -> None:
        if audio_format == "audio/pcmu":
            self._walks.setdefault(connection, Walk(self.ledger, starts_anywhere=True)).feed(audio)


def _audio_check(arrivals: Sequence[Arrivals]) -> Check:
    name = "every frame of the caller once and in order"
    if not arrivals:
        return Check(name, False, "no μ-law audio arrived; re-encoded audio cannot be told frame by frame")
    return Check(name, all(a.is_exact for a in arrivals), "; ".join(map(str, arrivals)))


def _answer_check(counts: Sequence[int], *, cut: bool) -> Check:
    answered = sum(count == 1 for count in counts)
    if cut:
        # Whatever was said last, nobody was there any more to be answered.
        fine = all(count <= 1 for count in counts) and 0 not in counts[:-1]
        return Check("every turn answered exactly once", fine, f"{answered} of {len(counts)}; the call was cut off")
    return Check(
        "every turn answered exactly once",
        bool(counts) and answered == len(counts),
        f"{answered} of {len(counts)} turns answered once, {counts.count(0)} never",
    )


def _dead_air_check(turns: Sequence[TurnFacts], responses: Sequence[ResponseFacts]) -> Check:
    """A turn that only the next turn's response covers was answered, but the caller sat in silence until then."""
    # In a later session a turn stands as history; its answer is the first response that covers it.
    answers = [
        (turn, min(response.requested_at for response in responses if turn.item_id in response.covers))
        for turn in turns
        if any(turn.item_id in response.covers for response in responses)
    ]
    longest = max((answered - turn.at for turn, answered in answers), default=0.0)
    return Check("no dead air", longest <= _DEAD_AIR, f"at most {longest:.1f} s from a turn to its response's request")


def _duplicate_check(responses: Sequence[ResponseFacts]) -> Check:
    # The first response is the greeting; it answers nobody.
    empty = [response for response in responses[1:] if not response.covers]
    return Check("no duplicate reply", not empty, f"{len(empty)} responses answer nothing new")
