"""Errors that a person can act on: what, expected, got, and how to mend it.

Every error that leaves the package derives from :class:`EdgeAlmError` and has a stable
``code``, so that a program can tell them apart and the command line can print one line.
"""

from __future__ import annotations

from typing import Any, ClassVar

LONGEST_PART_CHARS = 500
"""Of what an error's line says in each of its parts."""


class EdgeAlmError(Exception):
    """Base of all errors.

    Args:
        what: the thing that is wrong ("street.ogg", "model yamnet").
        expected: what would have been right.
        got: what was found.
        hint: the mend, an order to the reader; may be empty.
    """

    code: ClassVar[str] = "error"

    def __init__(self, what: str, *, expected: str = "", got: str = "", hint: str = "") -> None:
        self.what = what
        self.expected = expected
        self.got = got
        self.hint = hint
        super().__init__(what, expected, got, hint)

    def __reduce__(self) -> tuple[Any, ...]:
        """So that it can come back from another process as what it is."""
        return _restore, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        found = ", ".join(
            f"{word} {_line(value)}"
            for word, value in (("expected", self.expected), ("got", self.got))
            if value
        )
        what = _line(self.what)
        line = f"{what}: {found}" if found else what
        return f"{line}; {_line(self.hint)}" if self.hint else line


def _restore(
    kind: type[EdgeAlmError], args: tuple[Any, ...], fields: dict[str, Any]
) -> EdgeAlmError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error


def _line(text: str) -> str:
    """The text in one line of a bounded length, fit for a terminal.

    A file's name, its content or what a library says of it may be long, hold line breaks, or
    control characters with which a terminal does what it is told.
    """
    line = " ".join(text[: LONGEST_PART_CHARS + 1].splitlines())
    line = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in line)
    return line if len(line) <= LONGEST_PART_CHARS else f"{line[:LONGEST_PART_CHARS]} ..."


class UsageError(EdgeAlmError):
    """The command or call is wrong (arguments, question files)."""

    code = "usage"


class SourceError(EdgeAlmError):
    """A source cannot be opened or read: missing, empty, truncated, not audio."""

    code = "source"


class DeviceError(EdgeAlmError):
    """A microphone is unknown, busy or gone."""

    code = "device"


class MissingExtraError(EdgeAlmError):
    """An optional dependency is not installed."""

    code = "missing-extra"


class ModelMissingError(EdgeAlmError):
    """A model file is not on this machine yet."""

    code = "model-missing"


class ModelBrokenError(EdgeAlmError):
    """A model file's header, sizes, hash or shapes are wrong."""

    code = "model-broken"


class DownloadError(EdgeAlmError):
    """A model could not be fetched: network, disk, hash."""

    code = "download"


class RefusedError(EdgeAlmError):
    """A result is refused because it fails its gate (exit status 3)."""

    code = "refused"


class OverloadedError(EdgeAlmError):
    """The machine cannot keep up with what it hears; the question is to be asked again."""

    code = "overloaded"


class RemoteError(EdgeAlmError):
    """A language model on another machine does not answer as it should."""

    code = "remote"


def missing_extra(extra: str, package: str, cause: str = "") -> MissingExtraError:
    """The error for a package that cannot be imported; ``extra`` "": one that is always needed."""
    return MissingExtraError(
        f"package {package}",
        expected="it to be installed",
        got=cause or "no such package",
        hint=f"pip install 'edge-alm[{extra}]'" if extra else "pip install edge-alm",
    )
