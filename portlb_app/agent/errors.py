"""Errors of agents that their user can mend."""


class AgentError(Exception):
    """An agent cannot do what was asked; the message says what to do about it."""


class Unreachable(AgentError):
    """The controller does not answer: asking again may help."""
