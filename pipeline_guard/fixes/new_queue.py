"""Adds a queue."""
from pipeline_guard.fixes.edits import CannotRewrite
def add_queue(program, lane, sender, finding):
    raise CannotRewrite("there is no queue yet that a sender loop reads", "add realtime_audio_in_queue and audio_sender_loop")
    yield
