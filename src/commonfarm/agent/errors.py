"""How a job ends before its time. Each message names the constraint and what would lift it."""

from __future__ import annotations


class AgentError(Exception):
    """Shown to the person who runs the agent as it stands, without a traceback.

    `exit_code` is what the agent then ends with, as the command line does: 1 no, 2 bad input,
    3 not reached.
    """

    exit_code = 1


class BadInputError(AgentError):
    """What the person wrote cannot be meant."""

    exit_code = 2


class HubRefusedError(AgentError):
    """The hub understood and said no; `status` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class HubUnreachableError(AgentError):
    """The hub did not answer within the patience that the caller had."""

    exit_code = 3


class LeaseOverError(AgentError):
    """The hub says that this lease, or this generation, is over: drop the job."""


class StoppedError(AgentError):
    """The agent was told to end."""


class JobError(AgentError):
    """A job ends here; the class says whose fault it is."""


class FailedError(JobError):
    """The build's own fault: building it again would end the same way."""


class BrokenError(JobError):
    """The builder's or the network's fault: the job is tried again."""


class CancelledError(JobError):
    """Somebody asked for the end."""
