"""libbpf.so.1 over ctypes: nothing but the library is needed at run time, and that only when it is called."""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from ctypes import CFUNCTYPE, c_char_p, c_int, c_void_p
from typing import Any

from portlb_app.agent.errors import AgentError

_WARNING = 0
_LONGEST_MESSAGE = 1 << 22  # the verifier is verbose, and what matters is at the end

_signatures: dict[str, tuple[object, tuple[object, ...]]] = {}
_libc = ctypes.CDLL(None)
_messages: list[str] = []
_writing = threading.Lock()


@functools.cache
def _buffer() -> ctypes.Array[ctypes.c_char]:
    """Return the one that every message is written to: a new one, all zeros, would cost as much as a query."""
    return ctypes.create_string_buffer(_LONGEST_MESSAGE)


def _collect(level: int, form: bytes, arguments: int) -> int:
    if level == _WARNING:
        with _writing:
            text = _buffer()
            _libc.vsnprintf(text, len(text), form, c_void_p(arguments))
            _messages.append(text.value.decode(errors="replace").rstrip())
    return 0


_print = CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)(_collect)  # kept: libbpf calls it for ever


@functools.cache
def _load() -> ctypes.CDLL:
    """Load the library; AgentError if this host lacks it."""
    try:
        loaded = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise AgentError(f"a library is missing: {error} (Debian's package libbpf1)") from error
    loaded.libbpf_set_print(_print)
    return loaded


class _Library:
    """The functions of libbpf. The first call of any loads it, so `portlb agent --help` needs none."""

    def __getattr__(self, name: str) -> Any:
        """Return a function, as `declare` says; AgentError if this host lacks the library."""
        function = getattr(_load(), name)
        if name in _signatures:
            function.restype, function.argtypes = _signatures[name]
        setattr(self, name, function)
        return function


library = _Library()


def messages() -> str:
    """Return what libbpf and the verifier have warned of since the last call, the end of it if it is long."""
    text = "\n".join(_messages)
    _messages.clear()
    return text[-4000:]


def declare(name: str, result: object, *arguments: object) -> None:
    """Say what a function takes and returns."""
    _signatures[name] = result, arguments


def checked(result: int, what: str) -> int:
    """Return a result that is none of an error; OSError with the kernel's errno if it is."""
    if result < 0:
        raise OSError(-result, f"{what}: {os.strerror(-result)}")
    return result
