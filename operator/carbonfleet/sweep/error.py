"""What can go wrong with a sweep."""


class SweepError(ValueError):
    """A sweep can't be generated or shown; the message says what, which object, and what to do."""
