"""Measurements on real code: they need folders outside this repository, so no test runs them."""
