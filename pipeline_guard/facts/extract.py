"""Turns the bytes of one file into facts, or into the reason why that was not possible."""

from __future__ import annotations

import ast
import codecs
import io
import tokenize
import warnings

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.facts.lower import lower_module


class Unreadable(Exception):  # noqa: N818 - a result, not a programming error
    """A file that could not be turned into facts; ``reason`` is one of the Gap reasons."""

    def __init__(self, reason: str, detail: str, line: int | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.line = line


def decode(data: bytes) -> str:
    """Return the text of a source file: PEP 263 cookie, byte-order marks of UTF-8, UTF-16 and UTF-32.

    Raises Unreadable("encoding") when the bytes are not what they claim to be.
    """
    for mark, name in ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
                       (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):  # fmt: skip
        if data.startswith(mark):
            try:
                return data.decode(name)
            except UnicodeDecodeError as error:
                raise Unreadable("encoding", f"starts like {name.upper()} but is not: {error.reason}") from None
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding)
    except SyntaxError as error:
        raise Unreadable("encoding", f"cannot be decoded: {error.msg}", 1) from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Unreadable("encoding", f"is not valid {error.encoding}: byte 0x{data[error.start]:02x}", line) from None
    except LookupError as error:
        raise Unreadable("encoding", f"names an encoding nobody knows: {error}", 1) from None


def extract(data: bytes) -> ir.ModuleFacts:
    """Return the facts of one file.

    Raises Unreadable with reason "encoding", "syntax" or "recursion".  The code is parsed, never executed.
    """
    source: bytes | str = data
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:64]:
        source = decode(data)
    elif not data.isascii():
        source = decode(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
        return lower_module(tree)
    except SyntaxError as error:
        raise Unreadable("syntax", f"does not parse: {error.msg}", error.lineno) from None
    except ValueError as error:
        raise Unreadable("syntax", f"does not parse: {error}", 1) from None
    except (RecursionError, MemoryError):
        raise Unreadable("recursion", "nests too deeply to be parsed") from None


encode_facts = msgspec.msgpack.Encoder().encode
decode_facts = msgspec.msgpack.Decoder(ir.ModuleFacts).decode
