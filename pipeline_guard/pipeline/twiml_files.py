"""TwiML that a backend keeps in XML files: the verbs in them that speak or listen, and who answers a call with them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline_guard.discovery import SourceFile
from pipeline_guard.pipeline.evidence import Evidence
from pipeline_guard.pipeline.model import Beside, Context, Site, Step
from pipeline_guard.pipeline.twiml import purpose_of
from pipeline_guard.program.code import Func
from pipeline_guard.program.link import Program
from pipeline_guard.vocabulary import TwimlVerb, Vocabulary

_COMMENT = r"(?s:<!--.*?-->)"
_STREAM = r"<Stream[\s/>]"


class TwimlFiles:
    """Reads the documents of a backend."""

    def __init__(
        self, documents: Sequence[SourceFile], program: Program, evidence: Evidence, vocabulary: Vocabulary
    ) -> None:
        self.documents = documents
        self.program = program
        self.evidence = evidence
        self.vocabulary = vocabulary

    def sites(self) -> Iterator[Site]:
        """Yield a site for every verb in a TwiML document, in the order of files and lines."""
        for document in self.documents:
            try:
                text = Path(document.path).read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue  # a document that cannot be read is no code that could hide a path
            if "<Response" in text:
                yield from self._verbs(document.rel, re.sub(_COMMENT, lambda match: "\n" * match[0].count("\n"), text))

    def _verbs(self, rel: str, text: str) -> Iterator[Site]:
        context, steps = self._used(rel)
        stream = re.search(_STREAM, text)
        for verb in self.vocabulary.verbs_of_twiml:
            for match in re.finditer(rf"<{re.escape(verb.element)}(?=[\s/>])", text):
                line = text.count("\n", 0, match.start()) + 1
                end = text.find(f"</{verb.element}>", match.end())
                last = text.count("\n", 0, end) + 1 if end > 0 else line
                beside: Beside | None = None
                if stream is not None:
                    beside = "before" if match.start() < stream.start() else "after"
                yield Site(
                    kind=verb.kind,  # type: ignore[arg-type]
                    path=rel,
                    line=line,
                    end_line=last,
                    column=match.start() - text.rfind("\n", 0, match.start()),
                    symbol="<Response>",
                    context=context,
                    engine="twilio",
                    provider="",
                    value=self._value(verb, text[match.start() : end if end > 0 else match.end() + 200], beside),
                    note="" if steps else "no code names this file",
                    confidence="high" if steps else "low",
                    beside=beside,
                    reached_from=(*steps, Step(rel, line, "<Response>")),
                )

    def _value(self, verb: TwimlVerb, text: str, beside: Beside | None) -> str:
        if verb.value is not None:
            return verb.value
        tag, _, spoken = text.partition(">")
        if verb.attribute is not None:
            return "ivr" if verb.holds in tag else "dtmf"
        return purpose_of(spoken, self.vocabulary) or ("greeting" if beside is not None else "other")

    def _used(self, rel: str) -> tuple[Context, tuple[Step, ...]]:
        """Return the context of the code that names a document, and the way there; unknown when none does."""
        name = rel.rpartition("/")[2]
        best: tuple[Context, tuple[Step, ...]] = ("unknown", ())
        for func in self.program.functions():
            line = _line_of(func, name)
            if line is None:
                continue
            context = self.evidence.context_at(func, None, None, "twiml_say")
            if not best[1] or context == "live":
                best = (context, self.evidence.path_to(func, line))
        return best


def _line_of(func: Func, name: str) -> int | None:
    if not any(name in text for text in (*func.strings, *func.texts)):
        return None
    return func.ir.line
