"""Says in a few words what a trigger's gate does and what it lacks."""

from __future__ import annotations

from pipeline_guard.pipeline.model import Gate


def holds(gate: Gate) -> str:
    """Return what the gate does; empty where there is none."""
    if not gate.checked:
        return ""
    said = [f"asks {', '.join(gate.markers)}"]
    if gate.pending:
        said.append("marked before anyone else can pass")
    if gate.set_on_created:
        said.append("set on response.created")
    if gate.cleared_on_done:
        said.append("cleared on response.done" + (" of the same id" if gate.same_id else ""))
    return "; ".join(said)


def lacks(gate: Gate) -> str:
    """Return what the gate lacks; empty where nothing is missing, or where there is no gate to lack it."""
    if not gate.checked:
        return ""
    missing = [
        "a mark before the send" if not gate.pending else "",
        "a release when the send fails" if not gate.released_on_failure else "",
    ]
    events = [
        "response.created" if not gate.set_on_created else "",
        "response.done" if not gate.cleared_on_done else "",
    ]
    # What calls a write of the marker could not always be told: then nothing is known to be missing.
    unseen = [event for event in events if event and not gate.certain]
    missing += [event for event in events if gate.certain]
    said = [f"lacks {', '.join(part for part in missing if part)}"] if any(missing) else []
    if unseen:
        said.append(f"what happens on {' and '.join(unseen)} could not be followed")
    early = sum(clear.on != "any_response" for clear in gate.wrong_clears)
    if early:
        said.append(f"cleared too early in {early} place{'s' * (early > 1)}")
    if early < len(gate.wrong_clears):
        said.append("cleared on response.done of any id")
    if gate.bypass:
        said.append(f"{gate.bypass} gets past it")
    return "; ".join(said)
