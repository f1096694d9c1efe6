"""Turns the bytes of one file into facts, or into the reason why that was not possible."""

from __future__ import annotations

import ast
import codecs
import io
import re
import tokenize
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.facts.columns import Columns
from pipeline_guard.facts.lower import lower_module

_COOKIE = rb"^(?:\xef\xbb\xbf)?[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)"
_NO_CODE = rb"^(?:\xef\xbb\xbf)?[ \t\f\r]*(?:#|$)"


class Unreadable(Exception):
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
    for mark, codec in ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
                        (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):  # fmt: skip
        if data.startswith(mark):
            try:
                return data.decode(codec)
            except UnicodeDecodeError as error:
                raise Unreadable("encoding", f"starts like {codec.upper()} but is not: {error.reason}") from None
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    except SyntaxError:
        encoding = _declared(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise _undecodable(error) from None
    except (LookupError, UnicodeError):  # "rot13" is a codec, but not one of text files
        line, name = _cookie(data)
        detail = f'declares the encoding "{name}", which is not one that Python source can be in'
        raise Unreadable("encoding", detail, line) from None


def _declared(data: bytes) -> str:
    """Return the encoding of a file for which the standard library has no answer.

    Like the interpreter, and unlike ``tokenize``, this lets the first two lines hold more than UTF-8.
    """
    line, name = _cookie(data)
    if name is None:
        return "utf-8"
    try:
        codec = codecs.lookup(name).name
    except (LookupError, ValueError):
        raise Unreadable("encoding", f'declares the encoding "{name}", which Python does not know', line) from None
    if data.startswith(codecs.BOM_UTF8):
        if codec == "utf-8":
            return "utf-8-sig"
        raise Unreadable("encoding", f'starts with the mark of UTF-8 but declares the encoding "{name}"', line)
    return name


def _cookie(data: bytes) -> tuple[int, str | None]:
    """Return the line of the encoding declaration and the encoding that it names; (1, None) without one."""
    for number, line in enumerate(data.split(b"\n", 2)[:2], 1):
        found = re.match(_COOKIE, line)
        if found is not None:
            return number, found[1].decode("ascii")
        if not re.match(_NO_CODE, line):
            break
    return 1, None


def _undecodable(error: UnicodeDecodeError) -> Unreadable:
    """Name the byte; the error counts from behind a byte-order mark, and so does its object."""
    start = error.start
    line = max(len((error.object[:start] + b".").splitlines()), 1)
    name = "UTF-8" if error.encoding.startswith("utf-8") else error.encoding
    hint = ", and no other encoding is declared" if name == "UTF-8" else ""
    return Unreadable("encoding", f"is not valid {name} (byte 0x{error.object[start]:02x}){hint}", line)


def extract(data: bytes) -> ir.ModuleFacts:
    """Return the facts of one file.

    Raises Unreadable with reason "encoding", "syntax" or "recursion".  The code is parsed, never executed.
    """
    with _readable():
        tree, newer = _parsed(data)
        facts = lower_module(tree, Columns("" if data.isascii() else decode(data)))
        facts.newer = newer
        return facts


def check_syntax(data: bytes) -> None:
    """Raise what :func:`extract` would for a file that does not parse, without the cost of its facts."""
    with _readable():
        _parsed(data)


@contextmanager
def _readable() -> Iterator[None]:
    """Turn what parsing can raise into the reason why a file is not readable."""
    try:
        yield
    except ValueError as error:
        raise Unreadable("syntax", f"does not parse: {error}", 1) from None
    except (RecursionError, MemoryError):
        raise Unreadable("recursion", "nests too deeply to be parsed") from None


def _parsed(data: bytes) -> tuple[ast.Module, bool]:
    """Return the tree of a file, and whether the running Python cannot parse it."""
    source: bytes | str = data
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:64] or not data.isascii():
        source = decode(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source), False
        except SyntaxError as error:
            return _newer(decode(data) if isinstance(source, bytes) else source, error), True


def _newer(source: str, why: SyntaxError) -> ast.Module:
    """Parse what the running Python cannot, for it may be written for a newer one."""
    from pipeline_guard.facts.modern import parse_newer

    try:
        return parse_newer(source)
    except SyntaxError:
        raise Unreadable("syntax", f"does not parse: {why.msg}", why.lineno or None) from None


encode_facts = msgspec.msgpack.Encoder().encode


def decode_facts(data: bytes) -> ir.ModuleFacts:
    """Return the facts in what :func:`encode_facts` made of some; raises msgspec.DecodeError for anything else."""
    return _decoder().decode(data)


@cache
def _decoder() -> msgspec.msgpack.Decoder[ir.ModuleFacts]:
    return msgspec.msgpack.Decoder(ir.ModuleFacts)  # takes longer to make than a small file takes to be read
