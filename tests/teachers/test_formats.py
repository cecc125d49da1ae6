"""What is read from disk is what the live teacher says, as exactly as each format promises."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.errors import ConfigError, TapError
from kd_lightning.losses.functional.chunked.loss import chunked_loss
from kd_lightning.losses.functional.chunked.terms import SoftTerm
from kd_lightning.losses.functional.divergence import ForwardKLDivergence
from kd_lightning.teachers.live import hash_state
from kd_lightning.teachers.stored.gradient_cosine import measure_gradient_cosine
from kd_lightning.teachers.stored.hidden import Hidden
from kd_lightning.teachers.stored.hidden_or_logits import HiddenOrLogits
from kd_lightning.teachers.stored.logits import AllLogits
from kd_lightning.teachers.stored.reader import StorageFormat
from kd_lightning.teachers.stored.topk import TopK
from kd_lightning.types import LinearLogits, Logits
from tests.teachers.cache_support import CLASSES, ROWS, TASK, NoHead, batch, network, teachers

SHUFFLED = [17, 3, 22, 0, 9, 9]
"""Rows of several shards, out of order, one twice."""
FORMATS: list[tuple[StorageFormat, float]] = [
    (Hidden("fp16"), 1e-3),
    (Hidden("bf16"), 1e-2),
    (Hidden("int8"), 2e-2),
    (AllLogits("fp16"), 1e-3),
    (AllLogits("int8"), 5e-2),
    (TopK(CLASSES, "none"), 1e-2),
    (TopK(CLASSES, "unigram"), 1e-2),
]
"""Formats that keep all, with the largest relative error of the student's gradient."""


def gradient(teacher: Logits, temperature: float, mask: Tensor) -> Tensor:
    """Of the soft loss with respect to a student's hidden states."""
    generator = torch.Generator().manual_seed(5)
    hidden = torch.randn(*mask.shape, 6, generator=generator).requires_grad_()
    student = LinearLogits(hidden, torch.randn(CLASSES, 6, generator=generator))
    chunked_loss(student, teacher, mask, None, [SoftTerm(ForwardKLDivergence(), temperature, 1.0)]).total.backward()
    assert hidden.grad is not None
    return hidden.grad


@pytest.mark.parametrize(("format", "bound"), FORMATS, ids=lambda value: str(getattr(value, "__dict__", value))[:40])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_gradients_of_the_student_are_those_of_the_live_teacher(
    format: StorageFormat, bound: float, temperature: float, tmp_path: Path
) -> None:
    cached, live = teachers(tmp_path, format)
    some = batch(SHUFFLED)
    got, expected = (gradient(teacher(some).source, temperature, some["mask"]) for teacher in (cached, live))
    assert float((got - expected).norm() / expected.norm()) < bound
    assert float(torch.cosine_similarity(got.flatten(), expected.flatten(), dim=0)) > 0.999


@pytest.mark.parametrize(("format", "bound"), FORMATS, ids=lambda value: str(getattr(value, "__dict__", value))[:40])
def test_rows_are_found_by_index_in_any_order(format: StorageFormat, bound: float, tmp_path: Path) -> None:
    cached, live = teachers(tmp_path, format)
    for index in ([*range(ROWS)], [*reversed(range(ROWS))], SHUFFLED, [ROWS - 1]):
        some = batch(index)
        got, expected = (teacher(some).logits[some["mask"]].log_softmax(-1) for teacher in (cached, live))
        # The second oracle of the order: rows differ from each other by far more than the bound.
        assert float((got - expected).abs().max()) < 30 * bound
        assert got.dtype == torch.float32
        assert not got.requires_grad


def test_index_counts_and_not_what_else_is_in_the_batch(tmp_path: Path) -> None:
    cached, _ = teachers(tmp_path, Hidden())
    some, other = batch([4, 5]), batch([8, 9])
    assert torch.equal(cached({**other, "index": some["index"]}).logits, cached(some).logits)
    with pytest.raises(AssertionError, match="no training row"):
        cached({**some, "index": torch.tensor([0, ROWS])})


def test_hidden_states_come_with_the_head_so_that_rows_can_be_read(tmp_path: Path) -> None:
    net = network()
    cached, live = teachers(tmp_path, Hidden(), net)
    said = cached(batch(SHUFFLED)).source
    assert isinstance(said, LinearLogits)
    assert said.weight is net.head.weight
    torch.testing.assert_close(said.hidden, net.body(batch(SHUFFLED)["inputs"]), atol=1e-3, rtol=1e-3)
    assert live.network is net


def test_only_what_is_needed_of_the_network_is_kept(tmp_path: Path) -> None:
    cached, _ = teachers(tmp_path, Hidden())
    assert [type(child) for child in cached.children()] == [nn.Linear]
    cached, _ = teachers(tmp_path, AllLogits())
    assert list(cached.children()) == []


@pytest.mark.parametrize(("dtype", "bytes_per_position"), [("fp16", 24), ("bf16", 24), ("int8", 16)])
def test_a_position_takes_the_bytes_that_its_numbers_need(dtype: str, bytes_per_position: int, tmp_path: Path) -> None:
    """12 numbers of 2 bytes; or of 1, and a scale of 4."""
    cached, _ = teachers(tmp_path, Hidden(dtype))
    assert cached.shards is not None
    assert 0 <= cached.shards.layout.row_bytes - 5 * bytes_per_position < 16


@pytest.mark.parametrize("format", [Hidden(), AllLogits(), Hidden("int8")], ids=["fp16", "logits", "int8"])
def test_features_of_taps_are_stored_as_well(format: StorageFormat, tmp_path: Path) -> None:
    taps = {"hint/one": "embedding", "hint/two": "projection", "other/two": "projection"}
    cached, live = teachers(tmp_path, format, taps=taps)
    some = batch(SHUFFLED)
    got, expected = cached(some).features, live(some).features
    assert set(got) == set(taps)
    for name, feature in got.items():
        torch.testing.assert_close(feature, expected[name], atol=2e-2, rtol=2e-2)


def test_usually_hidden_states_and_all_logits_where_there_is_no_linear_head() -> None:
    def resolved(net: nn.Module, taps: dict[str, str], dtype: str = "fp16") -> dict[str, object]:
        return HiddenOrLogits(dtype).resolved(net, TASK, taps).settings()

    assert resolved(network(), {}) == Hidden().settings()
    assert resolved(network(), {"a": "projection"}, "int8") == Hidden("int8").settings()
    assert resolved(network(), {"a": "head"}) == AllLogits().settings()
    assert resolved(NoHead(), {}) == AllLogits().settings()
    with pytest.raises(ConfigError, match=r"dtype=bf16: one of fp16, int8"):
        resolved(NoHead(), {}, "bf16")


def test_what_is_not_possible_is_refused_when_connected() -> None:
    for format, net, taps in (
        (Hidden(), NoHead(), {}),
        (Hidden(), network(), {"a": "head:input"}),
        (TopK(CLASSES + 1), network(), {}),
    ):
        with pytest.raises(ConfigError, match="teacher_outputs"):
            format(net, TASK).connect(taps)
    with pytest.raises(TapError, match="teacher"):
        Hidden()(network(), TASK).connect({"a": "nowhere"})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Hidden("fp_16"), "did you mean 'fp16'"),
        (lambda: AllLogits("bf16"), "one of fp16, int8"),
        (lambda: HiddenOrLogits("int"), "did you mean 'int8'"),
        (lambda: TopK(0), "1 or more"),
        (lambda: TopK(5, "unigramm"), "did you mean 'unigram'"),
    ],
)
def test_bad_settings_are_refused_when_built(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()  # type: ignore[operator]


def test_a_teacher_travels_to_another_process_by_its_paths(tmp_path: Path) -> None:
    """A memory map would be sent as all that it maps."""
    cached, _ = teachers(tmp_path, Hidden())
    assert cached.shards is not None
    sent = pickle.dumps(cached)
    there = pickle.loads(sent)
    assert torch.equal(there(batch(SHUFFLED)).logits, cached(batch(SHUFFLED)).logits)
    assert there.content_hash() == cached.content_hash()
    assert type(there.shards._maps[0]).__name__ == "memmap"
    assert cached.shards._maps[0].tobytes() not in sent


def test_the_content_hash_is_the_teachers_until_something_moves(tmp_path: Path) -> None:
    net = network()
    cached, _ = teachers(tmp_path, Hidden(), net)
    assert cached.content_hash() == hash_state(net)
    cached(batch(SHUFFLED))
    cached.train()
    assert cached.content_hash() == hash_state(net)
    with torch.no_grad():
        net.head.weight[0, 0] += 1
    assert cached.content_hash() != hash_state(network())


def test_the_content_hash_sees_a_file_that_is_written_into(tmp_path: Path) -> None:
    cached, _ = teachers(tmp_path, AllLogits())
    before = cached.content_hash()
    with (tmp_path / "teacher_outputs" / "key" / "shard-00000.npy").open("r+b") as file:
        file.seek(200)
        file.write(b"\x55\xaa")
    assert cached.content_hash() != before


def test_asking_draws_no_random_number(tmp_path: Path) -> None:
    cached, _ = teachers(tmp_path, Hidden())
    state = torch.get_rng_state()
    cached(batch(SHUFFLED))
    assert torch.equal(torch.get_rng_state(), state)


def test_it_follows_to_another_precision(tmp_path: Path) -> None:
    cached, live = teachers(tmp_path, Hidden(), network().double())
    some = batch(SHUFFLED)
    assert cached(some).logits.dtype == torch.float64
    torch.testing.assert_close(cached(some).logits, live(some).logits, atol=2e-2, rtol=2e-2)


def test_renormalized_top_k_turns_the_gradient_when_it_is_hot() -> None:
    """The cosine by hand: gradients of the softmax cross-entropy, written out."""
    generator = torch.Generator().manual_seed(0)
    student, full = (torch.randn(4, 200, generator=generator) for _ in range(2))
    full *= 3
    kept = full.clone()
    for row in kept:
        row[row < row.topk(5).values[-1]] = -1e4
    mask = torch.tensor([True, True, True, False])
    cosines = []
    for temperature in (1.0, 4.0):
        gradients = []
        for teacher in (full, kept):
            leaf = student.clone().requires_grad_()
            target = (teacher[:3] / temperature).softmax(-1)
            (-(target * (leaf[:3] / temperature).log_softmax(-1)).sum()).backward()
            assert leaf.grad is not None
            gradients.append(leaf.grad.flatten())
        cosines.append(measure_gradient_cosine(student, full, kept, mask, temperature))
        assert cosines[-1] == pytest.approx(float(torch.cosine_similarity(*gradients, dim=0)), abs=1e-5)
    assert cosines[1] < cosines[0] - 0.1


def test_the_top_k_of_a_teacher_that_forbids_classes_are_kept() -> None:
    format, said = TopK(3, "uniform"), torch.tensor([[2.0, -torch.inf, 1.0, -torch.inf, -torch.inf]])
    assert format.representable(said).all()
    assert not format.representable(torch.tensor([torch.nan, torch.inf])).any()
    format.classes = 5
    found = format.logits(format.encode(said), None, {}).dense().softmax(dim=-1)
    torch.testing.assert_close(found, said.softmax(dim=-1), atol=1e-3, rtol=0)
