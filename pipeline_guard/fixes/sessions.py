"""What to do about a session that answers turns by itself beside a client that does: it is told not to."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pipeline_guard.findings import Finding
from pipeline_guard.fixes.edits import CannotRewrite, Substitute, Unit
from pipeline_guard.fixes.program import Program

BY_HAND = 'add "create_response": False to the turn_detection of the session'


_TURN_ENDS = ("input_audio_buffer.committed", "input_audio_buffer.speech_stopped")


def both_create(program: Program, finding: Finding) -> Iterator[Unit]:
    """State ``create_response`` as false, where the client asks for the responses of turns."""
    lane = program.lanes.get(finding.lane)
    if lane is None or lane.policy not in ("both", "client"):
        raise CannotRewrite(
            "who is to answer the caller's turns is not decided", "set contract.normal-turn and say it here"
        )
    if lane.policy_source != "declared" and not any(
        site.kind == "response_create" and site.trigger == "user_turn" and site.event in _TURN_ENDS
        for site in lane.sites
    ):
        raise CannotRewrite(
            "the client does not answer every turn when it ends, so the agent could fall silent",
            "trigger on input_audio_buffer.committed first, then turn create_response off",
        )
    tree = program.tree(finding.path)
    found = [node for node in tree.parents if isinstance(node, ast.Dict) and _within(node, finding)]
    settings = [value for node in found for key, value in zip(node.keys, node.values, strict=True)
                if _name(key) == "turn_detection" and isinstance(value, ast.Dict)]  # fmt: skip
    if len(settings) != 1 or not settings[0].values or settings[0].keys[-1] is None:
        raise CannotRewrite("the turn_detection of this session is not written as one dict here", BY_HAND)
    given = {_name(key): value for key, value in zip(settings[0].keys, settings[0].values, strict=True)}
    declared = lane.policy_source == "declared"
    why = "the client asks for the response of each turn, so the server no longer creates one by itself"
    if "create_response" in given:
        node = given["create_response"]
        code = "False"
        end = node
    else:
        node = settings[0].values[-1]
        code, end = f'{tree.text(node)}, "create_response": False', node
        if node.lineno != settings[0].keys[-1].lineno or settings[0].lineno != settings[0].end_lineno:
            margin = tree.indentation(settings[0].keys[-1].lineno)
            if tree.column(settings[0].keys[-1]) == len(margin) + 1:
                code = f'{tree.text(node)},{tree.source.newline_near(node.lineno)}{margin}"create_response": False'
    end_line = end.end_lineno or end.lineno
    column = tree.end(end) - tree.source.line_start(end_line) + 1
    operation = Substitute(finding.path, node.lineno, tree.column(node), end_line, column, code)
    yield Unit((operation,), finding.rule, "safe" if declared else "unsafe", why, (finding.fingerprint,))


def _within(node: ast.Dict, finding: Finding) -> bool:
    return finding.line <= node.lineno and (node.end_lineno or 0) <= finding.end_line


def _name(key: ast.expr | None) -> object:
    return key.value if isinstance(key, ast.Constant) else None


FIXERS = {"PG211": both_create}
