"""The hash behind every key, digest and fingerprint, without OpenSSL: ``hashlib`` loads it for hashes not used here."""

from __future__ import annotations

try:
    from _blake2 import blake2b  # what hashlib.blake2b is
except ImportError:  # another interpreter than CPython
    from hashlib import blake2b

__all__ = ["blake2b"]
