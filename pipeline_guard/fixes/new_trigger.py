"""Adds a trigger."""
from pipeline_guard.fixes.edits import CannotRewrite
def add_trigger(program, finding):
    raise CannotRewrite("this pipeline has no trigger yet that it could go through", "add trigger_response first")
    yield
