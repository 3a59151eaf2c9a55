"""The order of Debian's version numbers, as deb-version(7) defines it: "6.12.9" before "6.12.107", "7.0~rc1" before "7.0"."""

import re

_PARTS = re.compile(r"([^0-9]*)([0-9]*)")


def version_key(version):
    """A sort key: of two versions the older one has the smaller key."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return int(epoch), _part_key(upstream), _part_key(revision)


def _part_key(text):
    """Non-digits and digits in turn; digits compare as numbers."""
    return [
        ([_character_key(c) for c in other] + [0], int(digits or 0)) for other, digits in _PARTS.findall(text) or [("", "")]
    ]


def _character_key(character):
    """'~' sorts before the end of the text (0), letters after it, and everything else after letters."""
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256
