"""The whole program: facts of many files linked into names, values, calls, entry points and contexts."""
