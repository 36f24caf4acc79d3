"""The one kind of error that a user can mend."""


class UserError(Exception):
    """What was asked cannot be done; the message is one line that says what is wrong and how to mend it."""
