"""``check mypackage`` sees the same program as ``check .``: a package's files import each other by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_guard.__main__ import main


def findings(path: Path, capsys: pytest.CaptureFixture[str]) -> set[str]:
    main(["check", str(path), "--format", "concise", "--no-cache"])
    return {line.partition(": ")[2] for line in capsys.readouterr().out.splitlines() if "PG" in line}


def test_a_package_checked_by_its_own_folder_finds_its_own_imports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "phone"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "speak.py").write_text('async def speak(ws):\n    await ws.send_json({"type": "response.create"})\n')
    (package / "main.py").write_text(
        "import websockets\nfrom fastapi import FastAPI, WebSocket\nfrom phone.speak import speak\n\napp = FastAPI()\n"
        '\n\n@app.websocket("/media")\nasync def media(ws: WebSocket):\n'
        '    async with websockets.connect("wss://api.openai.com/v1/realtime") as model:\n        await speak(model)\n'
    )
    inside = findings(package, capsys)
    assert inside == findings(tmp_path, capsys)
    assert not any("could still" in finding for finding in inside)
