"""The one kind of error that a user can mend."""

from __future__ import annotations

from typing import ClassVar


class UserError(Exception):
    """What was asked cannot be done; the message is one line that says what is wrong and how to mend it."""

    of_machine: ClassVar[bool] = False
    """Whether it is something that this machine lacks, so that the same may be done elsewhere or later."""
