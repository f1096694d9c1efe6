"""Every fixture backend through the codemod: it parses, what was mended is gone, a second run is empty."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from pipeline_guard.fixes.plan import plan
from pipeline_guard.fixes.run import fix
from tests.fix_helpers import program_of

FOLDERS = sorted(path for path in (Path(__file__).parent / "fixtures" / "backends").iterdir() if path.is_dir())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_backend_is_fixed_once_and_for_all(folder: Path) -> None:
    before = program_of(folder)
    if not before.findings:
        assert fix(before, lambda finding: True, unsafe=True).done == []
        return
    _, refused = plan(before, lambda finding: True)
    not_yet = {fingerprint for refusal in refused for fingerprint in refusal.mends}
    promised = [finding for finding in before.findings if finding.fix is not None and finding.fix.after]
    assert all(finding.fingerprint in not_yet for finding in promised), "what has to come first is not there yet"
    outcome = fix(before, lambda finding: True, unsafe=True)
    after = outcome.program
    left = {finding.fingerprint for finding in after.findings}
    known = {(finding.rule, finding.path, finding.symbol) for finding in before.findings}
    touched = {path for done in outcome.done for path in done.unit.paths}
    for done in outcome.done:
        assert not left & set(done.unit.mends), done
        assert done.unit.why
        assert "\n" not in done.unit.why
    for refusal in outcome.refused:
        assert refusal.why, refusal
        assert refusal.mends, refusal
    for finding in after.findings:
        dormant = finding.rule in ("PG105", "PG215", "PG304", "PG405")  # one for each piece of dead code, in turn
        assert finding.severity == "note" or dormant or (finding.rule, finding.path, finding.symbol) in known, finding
    for path, data in after.sources.data.items():
        ast.parse(data)
        assert (data != before.sources.data[path]) == (path in touched)
    assert [done.unit for done in fix(after, lambda finding: True, unsafe=True).done] == []


def test_safe_fixes_alone_never_touch_a_backend_that_has_nothing_to_mend_safely() -> None:
    """Backends without findings stay byte for byte what they are."""
    clean = [folder for folder in FOLDERS if folder.name.startswith("neg_")]
    assert len(clean) >= 10
    for folder in clean:
        before = program_of(folder)
        outcome = fix(before, lambda finding: True, unsafe=False)
        assert outcome.program.sources.data == before.sources.data, folder.name


def test_a_finding_says_what_has_to_come_first() -> None:
    said = {
        (finding.rule, finding.fix.after)
        for folder in FOLDERS
        for finding in program_of(folder).findings
        if finding.fix is not None and finding.fix.after
    }
    assert {rule for rule, _ in said} == {"PG302", "PG501", "PG502", "PG503"}
    assert ("PG302", "the session greets") in said
