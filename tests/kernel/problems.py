"""What can be missing, told in words that say what, where, and what would be right."""


class Missing(Exception):
    """Something that a run needs is not there. Its text is for the reader of the terminal."""


class Gone(Missing):
    """The archive has no such file any more, though a package list that was read before names it."""


class NotInCache(Missing):
    """It may exist, but only the cache was to be asked (--offline)."""
