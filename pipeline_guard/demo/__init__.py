"""A small backend that leaks on purpose, for ``pipeline-guard demo``.  Nothing imports it."""
