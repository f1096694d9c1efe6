"""Which files are read because they have to do with what other files define."""

from __future__ import annotations

import pytest

from pipeline_guard.program.file_words import names_of
from pipeline_guard.program.namers import Namer

DEFINED = {b"worker": {b"start_call", b"Worker"}, b"routes": {b"answer"}}


def uses_any(code: str) -> bool:
    data = code.encode()
    return Namer(data, names_of(data)).uses_any(DEFINED)


@pytest.mark.parametrize(
    "code",
    [
        "from worker import start_call",
        "from app.jobs.worker import Worker as W",
        "from .worker import other, start_call",
        "from .worker import (\n    other,  # (see below)\n    start_call,\n)",
        "from worker import other, \\\n    start_call",
        "from worker import *\nstart_call()",
        "from app import routes\nroutes.answer()",
        "from . import routes as r\nr.answer()",
        "import app.routes\napp.routes.answer()",
        "import os, app.worker as w\nw.start_call()",
        "def f():\n    from worker import start_call",
        "try: from worker import start_call\nexcept ImportError: pass",
        "import os; from worker import start_call",
        "queue.enqueue('app.worker.start_call')",
        "uvicorn.run('routes:answer')",
        "importlib.import_module('app.' + 'worker')",
    ],
)
def test_a_file_that_uses_what_a_module_defines_is_told(code: str) -> None:
    assert uses_any(code)


@pytest.mark.parametrize(
    "code",
    [
        "from other import start_call",
        "from worker import stop_call\nstart_call = 1",
        "import worker\nworker.stop_call()",
        "start_call()  # the worker does the rest",
        "routes = ['answer']",
        "from coworker import start_call",
        "from app import routes\nroutes.refuse()",
    ],
)
def test_a_file_that_only_has_the_words_is_not(code: str) -> None:
    assert not uses_any(code)
