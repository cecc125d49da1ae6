"""What a terminal may be shown of text that others wrote: names of files and settings, comments, keys, messages of errors.

A terminal obeys control characters: they move the cursor, rewrite lines above, set the window's title, fill the clipboard;
a bidirectional override makes a line read otherwise than it is. They are shown as Python writes them (``\\x1b``).
"""

from __future__ import annotations

import unicodedata

UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories: controls, invisible formats (bidirectional ones among them), lone surrogates, line separators."""


def escape_unprintable(text: str, lines: bool = False) -> str:
    """The text with every character escaped that a terminal would obey instead of showing.

    Args:
        text: Anything.
        lines: It may have several lines, and tabs; else these are escaped, too: a name cannot pretend to be another line.

    Example:
        >>> [escape_unprintable(text) for text in ("a\\x1b[2Jb", "one\\ntwo", "\\u202egpj")]
        ['a\\\\x1b[2Jb', 'one\\\\ntwo', '\\\\u202egpj']
        >>> escape_unprintable("one\\ntwo", lines=True)
        'one\\ntwo'
    """
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(
        escape_character(each) if each not in kept and unicodedata.category(each) in UNSAFE else each for each in text
    )


def escape_character(character: str) -> str:
    """As Python writes it in a string."""
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
