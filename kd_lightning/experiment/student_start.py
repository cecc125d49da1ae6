"""What the student begins with: the weights that ``student.init`` names, or the teacher's vectors of the student's tokens."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kd_lightning.data.columns import Ragged
from kd_lightning.data.texts import TextEncoder
from kd_lightning.data.token_texts import read_token_texts
from kd_lightning.data.words import IDS
from kd_lightning.errors import ConfigError, VocabMismatchError
from kd_lightning.experiment.context import Context
from kd_lightning.experiment.dataset import Dataset
from kd_lightning.experiment.settings import STUDENT, TEACHER
from kd_lightning.models.narrowing import narrow_state
from kd_lightning.models.token_vectors import EncodesTokens, StartsFromTokens, embed_token_texts
from kd_lightning.models.weights import find_weights, fit_state, load_brought_weights, select_layers
from kd_lightning.results.roles import DISTILLED_MODEL
from kd_lightning.teachers.live import hash_state
from kd_lightning.types import OutputKind

FROM_TEACHER = "student.init=teacher"


class StudentStart:
    """The start of the student, alone and distilled alike.

    Args:
        context: The experiment's.
        dataset: Knows what teacher and student read.
    """

    def __init__(self, context: Context, dataset: Dataset) -> None:
        self.context = context
        self.dataset = dataset
        self.init = context.settings[STUDENT]["init"]
        self.layers = context.settings[STUDENT]["init_layers"]

    def apply(self, student: nn.Module, teacher: Callable[[], nn.Module], *, only_check: bool = False) -> nn.Module:
        """The student with its start.

        Args:
            student: Untrained; changed.
            teacher: Makes the trained teacher, where the student begins with what that one knows.
            only_check: Leave out what takes long: the teacher reads one token, whose vector is taken for that of all.

        Raises:
            KDError: What ``student.init`` names does not fit it.
        """
        if self.init is None:
            return student
        if self.init != TEACHER:
            path = find_weights(self.init, "student.init", DISTILLED_MODEL)
            digest = self.dataset.tokenizer_digest(STUDENT)
            return load_brought_weights(student, path, digest, "student.init", self.layers)
        begun = teacher()
        if isinstance(student, StartsFromTokens) and type(student) is not type(begun):
            return self._start_from_tokens(student, begun, only_check)
        if self.dataset.tokenizer_digest(STUDENT) != self.dataset.tokenizer_digest(TEACHER):
            raise VocabMismatchError(
                f"{FROM_TEACHER}: teacher and student read other tokens, so its embeddings mean nothing here: give the student "
                "the teacher's tokenizer, choose student=static_embedding, which begins with what a transformers teacher makes "
                "of the student's tokens, or set student.init=null"
            )
        state = begun.state_dict()
        if self.layers is not None:
            state = select_layers(state, self.layers)
        if type(student) is type(begun):
            state = narrow_state(state, student, begun)
        return fit_state(student, state, FROM_TEACHER)

    def _start_from_tokens(self, student: nn.Module, teacher: nn.Module, only_check: bool) -> nn.Module:
        assert isinstance(student, StartsFromTokens)
        if not isinstance(teacher, EncodesTokens):
            raise ConfigError(
                f"{FROM_TEACHER}: {type(student).__name__} begins with what a transformers teacher makes of its tokens, and "
                f"the teacher is a {type(teacher).__name__}: choose teacher=hf:FOLDER, or set student.init=null"
            )
        if self.layers is not None:
            raise ConfigError(
                f"student.init_layers={self.layers}: {type(student).__name__} begins with no layers of the teacher, but with "
                "what it makes of tokens: set student.init_layers=null"
            )
        embeds = self.dataset.task.output_kind is OutputKind.VECTORS
        ids, rows = self._read_tokens()
        if only_check:
            vectors = embed_token_texts(teacher, rows[:1], as_outputs=embeds).expand(len(rows), -1)
        else:
            digests = map(self.dataset.tokenizer_digest, (STUDENT, TEACHER))
            network = str(self.context.settings[TEACHER]["model"])
            made_of = ("token vectors", network, hash_state(teacher), *digests, embeds)
            vectors = self.context.once(made_of, lambda: embed_token_texts(teacher, rows, as_outputs=embeds))
        student.start_from_tokens(ids, vectors, as_outputs=embeds)
        return student

    def _read_tokens(self) -> tuple[Tensor, list[list[int]]]:
        """The student's tokens [N] int64, and what the teacher reads for each of them."""
        own, read = (self.dataset.fitted_tokenizer(role) for role in (STUDENT, TEACHER))
        assert own is not None
        assert read is not None
        assert read.max_length is not None
        texts = read_token_texts(own.text)
        table, _ = TextEncoder(read.text, read.max_length).encode(list(texts.values()))
        column = table.column(IDS)
        assert isinstance(column, Ragged)
        found = column.whole()
        return torch.tensor(list(texts)), [row.tolist() for row in found.values.split(found.lengths.tolist())]
