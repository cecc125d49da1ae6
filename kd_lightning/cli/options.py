"""The words of a verb that has options with values, flags, and words of its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from kd_lightning.errors import KDError, did_you_mean


@dataclass
class ParsedWords:
    """What the words say.

    Attributes:
        named: Those that are no options, in order.
        values: Option -> its values, in order.
        flags: Options without a value.
    """

    named: list[str] = field(default_factory=list)
    values: dict[str, list[str]] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)

    def last(self, option: str, otherwise: str | None = None) -> str | None:
        """An option's last value."""
        return self.values[option][-1] if option in self.values else otherwise


def parse_words(verb: str, words: Sequence[str], valued: Collection[str], flags: Collection[str] = ()) -> ParsedWords:
    """Tell options from other words; ``--name value`` and ``--name=value`` are the same.

    Args:
        verb: For messages.
        words: Behind the verb.
        valued: Options with a value.
        flags: Options without.

    Raises:
        KDError: An option is not known, or lacks its value.

    Example:
        >>> parse_words("predict", ["last", "-", "--model=teacher", "--all"], ["--model"], ["--all"])
        ParsedWords(named=['last', '-'], values={'--model': ['teacher']}, flags={'--all'})
    """
    found, rest = ParsedWords(), list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if word in flags:
            found.flags.add(word)
        elif name in valued:
            if not equals and not rest:
                raise KDError(f"{name}: a value is expected behind it (see kd {verb} --help)")
            found.values.setdefault(name, []).append(value if equals else rest.pop(0))
        elif word.startswith("-") and word != "-":
            known = [*valued, *flags]
            raise KDError(f"no option {name!r}{did_you_mean(name, known)} (see kd {verb} --help)")
        else:
            found.named.append(word)
    return found
