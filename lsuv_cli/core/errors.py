"""Exceptions, one class per reason, each with its documented exit code.

LsuvError
├── UsageError    2  an option's value is wrong, or two options contradict each other
├── ModelError    3  the model can't be used
├── DataError     3  the samples can't be used
├── OutputError   5  the output can't be written
└── ProcessError  6  another process of the run failed or did not answer
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of the `lsuv` command."""

    SUCCESS = 0
    BUG = 1
    USAGE = 2
    UNUSABLE_INPUT = 3
    NOT_CONVERGED = 4
    OUTPUT = 5
    PROCESS = 6
    INTERRUPTED = 130


class LsuvError(Exception):
    """A problem that the user can solve; one sentence says what, where and what to do."""

    exit_code = ExitCode.BUG


class UsageError(LsuvError):
    """An option's value is wrong, or two options contradict each other."""

    exit_code = ExitCode.USAGE


class ModelError(LsuvError):
    """The model can't be used."""

    exit_code = ExitCode.UNUSABLE_INPUT


class DataError(LsuvError):
    """The samples can't be used."""

    exit_code = ExitCode.UNUSABLE_INPUT


class OutputError(LsuvError):
    """The output can't be written."""

    exit_code = ExitCode.OUTPUT


class ProcessError(LsuvError):
    """Another process of the run failed or did not answer."""

    exit_code = ExitCode.PROCESS


class LsuvWarning(UserWarning):
    """A warning to the caller of the Python function."""


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived; its argument is the signal's number."""
