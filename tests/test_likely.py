"""Which files are read before linking asks for them."""

from __future__ import annotations

from pipeline_guard.facts.extract import extract
from pipeline_guard.program.code import Module
from pipeline_guard.program.likely import likely_needed
from pipeline_guard.program.link import Program

FILES = {
    "app/main.py": (
        "from app import pages\n"
        "from app.call import Call\n"
        "def create_app():\n"
        "    from app import admin\n"
        "def answer():\n"
        "    from app.prompts import greeting\n"
        "    import app.config\n"
    ),
    "app/call.py": "import json\ndef run():\n    from .config import limit\n    from .tools import find\n",
    "app/config.py": "",
    "app/tools.py": "",
    "app/prompts.py": "",
    "app/admin.py": "",
    "app/pages.py": "",
    "app/never.py": "",
}


def test_the_files_that_are_imported_most_are_the_likeliest() -> None:
    program = Program(FILES, lambda rel: Module(rel, extract(FILES[rel].encode()), rel == "app/call.py"))
    for rel in ("app/main.py", "app/call.py"):
        program.module(rel)
    functions = set(program.functions())
    found = likely_needed(program, functions, lambda func: func.name == "create_app")
    assert found[0] == "app/config.py"
    assert found[1] == "app/tools.py"  # a file with a sink imports it
    assert set(found) == {"app/config.py", "app/tools.py", "app/prompts.py", "app/pages.py"}


def test_many_are_not_guessed() -> None:
    names = [f"module_{number}" for number in range(100)]
    files = {"main.py": "".join(f"import {name}\n" for name in names), **{f"{name}.py": "" for name in names}}
    program = Program(files, lambda rel: Module(rel, extract(files[rel].encode())))
    program.module("main.py")
    assert 0 < len(likely_needed(program, set(program.functions()), lambda _: False)) < 50
