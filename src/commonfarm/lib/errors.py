"""The three ways a request can end badly, each with what a person can do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What the command line tells its caller."""

    DONE = 0
    NO = 1
    BAD_INPUT = 2
    UNREACHABLE = 3


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something is refused or waits.

    `code` is one of a closed set per context, `text` names the binding constraint, and `lifted_by`
    says what would lift it.
    """

    code: str
    text: str
    lifted_by: str = ""

    def __str__(self) -> str:
        return f"{self.text}; {self.lifted_by}" if self.lifted_by else self.text


class CommonfarmError(Exception):
    """An error that is shown to a person as it stands, without a traceback."""

    exit_code = ExitCode.NO

    def __init__(self, reason: Reason) -> None:
        # What an exception is made of again in another process.
        super().__init__(reason)
        self.reason = reason


class RefusedError(CommonfarmError):
    """The answer is no: what was asked is understood and will not be done."""


class NotFoundError(RefusedError):
    """What was named does not exist here."""


class ForbiddenError(RefusedError):
    """Who asks may not have this done; someone with another role may."""


class UnreachableError(CommonfarmError):
    """Something this needs could not be reached: a service, a host, a mirror."""

    exit_code = ExitCode.UNREACHABLE


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One fault of an input: where (line and column from 1, 0 if unknown), what, what to do."""

    file: str
    line: int
    column: int
    what: str
    to_do: str

    @property
    def place(self) -> tuple[str, int, int]:
        """Where it is."""
        return self.file, self.line, self.column

    def __str__(self) -> str:
        place = ":".join([self.file, *(str(n) for n in (self.line, self.column) if n)])
        return f"{place}: {self.what}; {self.to_do}" if self.to_do else f"{place}: {self.what}"


class BadInputError(CommonfarmError):
    """The input has faults; all that were found are listed, first file and line first."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, *problems: Problem) -> None:
        self.problems = tuple(sorted(set(problems)))  # an alias in YAML stands in two places
        first = self.problems[0]
        super().__init__(Reason("bad-input", first.what, first.to_do))
        self.args = self.problems

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)
