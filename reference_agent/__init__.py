"""The phone agent that shows how one audio path and one response trigger are done."""
