"""Data sets as plugins."""


class DataError(Exception):
    """A data set cannot be used as asked; the message is one line that says how to mend it."""
