"""What can go wrong outside our own code, one sentence a class.

    AuroraError             an expected failure: one line to the user, no traceback
    |-- UsageError          the caller asked for something that cannot be (exit code 2)
    |   `-- SettingsError   a key or value in a file, a flag or the environment
    |-- LogError            a request log cannot be read or an output cannot be written
    |   `-- LayoutError     a table lacks a column, or has one of a wrong type (a ValueError too)
    |-- BrokerError         Kafka is away, refuses, or lacks a topic
    `-- CertificateError    a claim of an allocation does not hold

A caller's mistake in Python is a `ValueError`; an expected outcome (infeasible, work limit) is a
status in the result; bad input from a stream is a dead letter. None of them is an `AuroraError`.
"""


class AuroraError(Exception):
    """An expected failure; `str()` is one line that says what to do."""

    exit_code = 1


class UsageError(AuroraError):
    """The command or its settings cannot mean anything; exit code 2."""

    exit_code = 2


class SettingsError(UsageError):
    """A setting is unknown, of the wrong type or out of range.

    Parameters
    ----------
    source
        Where it was said: a file, `AURORA_...` or `--set`.
    key
        Dotted path of the setting, such as `router.weights.price`.
    value
        What was said, as text; secrets never are settings.
    expected
        What would have been accepted.
    """

    def __init__(self, source: str, key: str, value: str, expected: str) -> None:
        super().__init__(f"{source}: {key} is {value}; expected {expected}")
        self.source, self.key, self.value, self.expected = source, key, value, expected


class LogError(AuroraError):
    """A request log cannot be read, or an output cannot be written."""


class LayoutError(LogError, ValueError):
    """A table of requests lacks a required column, or has one of a type that cannot hold it."""


class BrokerError(AuroraError):
    """Kafka is away, refuses, or lacks a topic."""


class CertificateError(AuroraError):
    """A claim of an allocation does not hold when it is computed again."""
