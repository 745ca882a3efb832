"""A process of its own for the solver, so that it can be stopped and its memory is given back.

It obeys one parent over two pipes. The pipe's end is its end: when the parent closes it or dies,
however it dies, the solver ends too, in the middle of its work. An interrupt at the terminal is the
parent's affair.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any, ParamSpec, Self, TypeVar

from commonfarm.lib.errors import Reason, RefusedError

P = ParamSpec("P")
T = TypeVar("T")
_LENGTH = struct.Struct("!Q")


class Solver:
    """A solver's process: starts with the first call, ends with the `with` block."""

    _process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    @property
    def pid(self) -> int | None:
        """Return the process's number, once there is one."""
        return self._process.pid if self._process else None

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a module's function returns there; raise what it raises.

        Raise RefusedError if the process ended before it answered.
        """
        process = self._process = self._process or _start()
        assert process.stdin and process.stdout
        try:
            _write(process.stdin, (function, args, kwargs))
            answer: T | _Raised = _value(_read(process.stdout))
        except (EOFError, BrokenPipeError):
            code = process.wait()
            self._process = None
            raise RefusedError(_ended(code)) from None
        if isinstance(answer, _Raised):
            raise answer.error
        return answer


def _start() -> subprocess.Popen[bytes]:
    # -P: nothing that lies in the folder the user is in is imported.
    command = [sys.executable, "-P", "-c", f"from {__name__} import main; main()"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


class _Raised:
    def __init__(self, error: Exception) -> None:
        self.error = error


def _ended(code: int) -> Reason:
    how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    to_do = "see whether the machine ran out of memory, and try again"
    return Reason("solver-ended", f"the solver {how} before it had an answer", to_do)


def _write(to: IO[bytes], value: object) -> None:
    data = pickle.dumps(value)
    to.write(_LENGTH.pack(len(data)) + data)
    to.flush()


def _read(source: IO[bytes]) -> bytes:
    return _exactly(source, _LENGTH.unpack(_exactly(source, _LENGTH.size))[0])


def _value(data: bytes) -> Any:
    return pickle.loads(data)  # noqa: S301 - only parent and child have the pipe


def _exactly(source: IO[bytes], size: int) -> bytes:
    data = source.read(size)
    if len(data) < size:
        raise EOFError
    return data


def main() -> None:
    """Answer the parent's calls, one after the other."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What a library prints must not get into the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    calls: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_listen, args=(calls,), daemon=True).start()
    while True:
        data = calls.get()
        try:
            function, args, kwargs = _value(data)
            answer: object = function(*args, **kwargs)
        except Exception as error:  # it is the parent's
            answer = _Raised(error)
        _write(answers, answer)


def _listen(calls: queue.Queue[bytes]) -> None:
    while True:
        try:
            calls.put(_read(sys.stdin.buffer))
        except EOFError:
            os._exit(0)
