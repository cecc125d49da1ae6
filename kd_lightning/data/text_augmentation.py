"""More training texts made of those that there are, for the soft loss alone: the teacher says what they mean.

Tang et al., Distilling Task-Specific Knowledge from BERT into Simple Neural Networks (2019), sections 3.3 and 4.3: words are
masked, and some texts are cut down to a few words in a row. The rows are made once, with a seed, and are rows like any other:
they may be stored with the teacher's outputs. The paper's third way, other words of the same part of speech, needs a tagger.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kd_lightning.errors import ConfigError, did_you_mean
from kd_lightning.seeds import derive_seed

MASK_WORD = "[MASK]"
"""What stands for a masked word; tokenizers of BERT's kind have a token for it."""
LONGEST_CUT = 5
"""Words of a text that is cut down: as many as this at the most."""


@dataclass(frozen=True)
class TextAugmentation:
    """How texts are changed.

    Attributes:
        copies: Of each training text.
        mask: Probability of each word to be masked, in [0, 1).
        cut: Probability of each copy to be cut down to 1 to 5 words in a row, in [0, 1].

    Raises:
        ConfigError: A value is not possible.
    """

    copies: int = 10
    mask: float = 0.1
    cut: float = 0.25

    def __post_init__(self) -> None:
        if type(self.copies) is not int or self.copies < 1:
            raise ConfigError(f"data.synthetic.copies={self.copies}: a whole number of at least 1 is expected")
        for name, value in (("mask", self.mask), ("cut", self.cut)):
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise ConfigError(f"data.synthetic.{name}={value!r}: a probability is expected")
        if not 0 <= self.mask < 1:
            raise ConfigError(f"data.synthetic.mask={self.mask}: a probability in [0, 1) is expected")
        if not 0 <= self.cut <= 1:
            raise ConfigError(f"data.synthetic.cut={self.cut}: a probability in [0, 1] is expected")

    def change(self, text: str, *parts: int | str) -> list[str]:
        """Copies of a text, those that differ from it and from each other.

        Args:
            text: Words between white space.
            parts: What the draw depends on, as a seed and the row's number.
        """
        words, draw = text.split(), random.Random(derive_seed("augment", *parts))
        found = dict.fromkeys(self._change_once(words, draw) for _ in range(self.copies))
        found.pop(" ".join(words), None)
        return list(found)

    def _change_once(self, words: list[str], draw: random.Random) -> str:
        changed = [MASK_WORD if draw.random() < self.mask else word for word in words]
        if draw.random() < self.cut:
            length = min(draw.randint(1, LONGEST_CUT), len(changed))
            start = draw.randint(0, len(changed) - length)
            changed = changed[start : start + length]
        return " ".join(changed)


def read_text_augmentation(settings: Mapping[str, Any] | None) -> TextAugmentation | None:
    """What ``data.synthetic`` says; None = no texts are made.

    Raises:
        ConfigError: It is something else.
    """
    if settings is None:
        return None
    known = list(TextAugmentation.__dataclass_fields__)
    if not isinstance(settings, Mapping):
        raise ConfigError(f"data.synthetic={settings!r}: settings are expected, as data.synthetic.copies=10, or null")
    for name in settings:
        if name not in known:
            raise ConfigError(
                f"data.synthetic.{name}: one of {', '.join(known)} is expected{did_you_mean(name, known)}"
            )
    return TextAugmentation(**settings)
