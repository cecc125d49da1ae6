"""Views of training images: what they are made of, and that seed, epoch and row alone decide on them."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.utils.data import DataLoader

from kd_lightning.data.augmentation import Augmentation, ImageViews, read_augmentation
from kd_lightning.data.collate import collate_rows
from kd_lightning.data.datamodule import ExperimentData
from kd_lightning.data.source import Prepared
from kd_lightning.data.table import Table
from kd_lightning.errors import ConfigError
from kd_lightning.seeds import derive_seed

ROWS, CROP = 10, 2
BOTH = Augmentation(CROP, True)
EVERYTHING = Augmentation(CROP, True, 0.5)
IMAGES = torch.rand(ROWS, 3, 5, 4, generator=torch.Generator().manual_seed(0))


def data(augmentation: Augmentation | None = BOTH, **changes: Any) -> ExperimentData:
    table = Table({"inputs": IMAGES, "targets": torch.arange(ROWS) % 2})
    arguments: dict[str, Any] = {"batch_size": 4, "steps": 10, "seed": 0, **changes}
    return ExperimentData(
        Prepared(dict.fromkeys(("train", "val", "test"), table)), collate_rows, augmentation=augmentation, **arguments
    )


def batches(module: ExperimentData, step: int = 0, rank: int = 0, world: int = 1) -> list[dict[str, Tensor]]:
    module.trainer = SimpleNamespace(global_step=step, global_rank=rank, world_size=world)  # type: ignore[assignment]
    return list(module.train_dataloader())


def naive_view(image: Tensor, seed: int, epoch: int, row: int) -> Tensor:
    """Pixel by pixel."""
    draw = random.Random(derive_seed(seed, "view", epoch, row))
    down, right = draw.randint(0, 2 * CROP) - CROP, draw.randint(0, 2 * CROP) - CROP
    mirrored = draw.random() < 0.5
    view = torch.zeros_like(image)
    height, width = image.shape[1:]
    for y in range(height):
        for x in range(width):
            if 0 <= y + down < height and 0 <= x + right < width:
                view[:, y, width - 1 - x if mirrored else x] = image[:, y + down, x + right]
    return view


def test_views_are_cropped_and_mirrored_by_seed_epoch_and_row() -> None:
    seen: dict[int, int] = {}
    for batch in batches(data()):
        for image, row in zip(batch["inputs"], batch["index"].tolist(), strict=True):
            assert torch.equal(image, naive_view(IMAGES[row], 0, seen.get(row, 0), row))
            seen[row] = seen.get(row, 0) + 1
    assert set(seen.values()) == {4}


def test_every_view_occurs_equally_often() -> None:
    count = 4000
    image = torch.arange(1.0, 13).reshape(1, 1, 3, 4).expand(count, -1, -1, -1)
    views = ImageViews(Augmentation(1, True), 0, torch.arange(1))
    _, found = views.crop_and_flip(image, torch.arange(count), torch.zeros(count)).unique(dim=0, return_counts=True)
    assert len(found) == 3 * 3 * 2
    assert (found - count / 18).abs().max() < 5 * (count / 18) ** 0.5


def test_mixed_images_are_of_two_views_in_their_shares_and_keep_their_labels() -> None:
    plain, seen = batches(data()), batches(data(Augmentation(CROP, True, mixup=0.5)))
    places: dict[int, int] = {}
    for batch, unmixed in zip(seen, plain, strict=True):
        assert torch.equal(batch["targets"], unmixed["targets"])
        for image, own, row in zip(batch["inputs"], unmixed["inputs"], batch["index"].tolist(), strict=True):
            epoch = places[row] = places.get(row, -1) + 1
            draw = random.Random(derive_seed(0, "mix", epoch, row))
            other, share = draw.randrange(ROWS), draw.betavariate(1.5, 0.5)
            expected = share * own + (1 - share) * naive_view(IMAGES[other], 0, epoch, other)
            torch.testing.assert_close(image, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("a", [0.2, 1.0])
def test_shares_have_the_expected_loss_of_mixup(a: float) -> None:
    views, count = ImageViews(Augmentation(mixup=a), 0, torch.tensor([3, 5, 8])), 3000
    partners, shares = views.draw_partners(torch.arange(count), torch.zeros(count))
    assert partners.unique(return_counts=True)[0].tolist() == [3, 5, 8]
    assert torch.bincount(partners).max() < 1.1 * count / 3
    for point in (0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        below = stats.beta(a + 1, a).cdf(point)
        assert abs((shares < point).float().mean() - below) < 4 * (below * (1 - below) / count) ** 0.5
    # The paper's loss, for losses that are any functions of the share of the first image: E[s f(s) + (1 - s) f(1 - s)].
    drawn = np.random.default_rng(0).beta(a, a, 400_000)
    for loss in (np.sin, np.exp, np.sqrt):
        paper = (drawn * loss(drawn) + (1 - drawn) * loss(1 - drawn)).mean()
        assert abs(loss(shares.numpy()).mean() - paper) < 5 * loss(shares.numpy()).std() / count**0.5


def test_a_supervised_training_mixes_labeled_images_alone() -> None:
    module = data(Augmentation(mixup=1.0), labeled=4, only_labeled=True)
    assert module.train_set.views is not None
    assert module.train_set.views.ids.tolist() == module.train_ids.tolist()
    assert len(module.train_ids) == 4


def test_nothing_is_done_where_nothing_is_asked_for() -> None:
    for plain, same in zip(batches(data(None)), batches(data(Augmentation())), strict=True):
        assert all(torch.equal(plain[name], same[name]) for name in plain)


@pytest.mark.parametrize("step", [1, 3, 9])
def test_a_resumed_training_sees_the_same_views(step: int) -> None:
    for whole, resumed in zip(batches(data(EVERYTHING))[step:], batches(data(EVERYTHING), step), strict=True):
        assert torch.equal(whole["inputs"], resumed["inputs"])


def test_distillation_goes_on_where_pretraining_stopped() -> None:
    whole, later = batches(data(EVERYTHING)), batches(data(EVERYTHING, steps=7, first_step=3))
    assert all(torch.equal(a["inputs"], b["inputs"]) for a, b in zip(whole[3:], later, strict=True))


@pytest.mark.parametrize(("accumulate", "world"), [(2, 1), (1, 2), (2, 2)])
def test_views_do_not_depend_on_processes_and_parts_of_a_step(accumulate: int, world: int) -> None:
    whole = torch.cat([batch["inputs"] for batch in batches(data(EVERYTHING))])
    parts = [batches(data(EVERYTHING, accumulate=accumulate), rank=rank, world=world) for rank in range(world)]
    together = torch.cat([part["inputs"] for same in zip(*parts, strict=True) for part in same])
    assert torch.equal(together, whole)


def test_loader_processes_give_the_same_views() -> None:
    module = data(EVERYTHING, workers=2, steps=3)
    module.trainer = SimpleNamespace(global_step=0, global_rank=0, world_size=1)  # type: ignore[assignment]
    loader = module.train_dataloader()
    assert isinstance(loader, DataLoader)
    assert all(
        torch.equal(a["inputs"], b["inputs"]) for a, b in zip(loader, batches(data(EVERYTHING, steps=3)), strict=True)
    )


def test_another_seed_gives_other_views_and_no_global_random_number_is_drawn() -> None:
    state = torch.get_rng_state(), random.getstate()
    first, other = (batches(data(EVERYTHING, seed=seed, batch_size=ROWS)) for seed in (0, 1))
    for one, two in zip(first, other, strict=True):
        assert not torch.equal(one["inputs"][one["index"].argsort()], two["inputs"][two["index"].argsort()])
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]


def test_validation_and_test_rows_stay_as_they_are() -> None:
    module = data()
    module.trainer = SimpleNamespace(global_step=0, global_rank=0, world_size=1)  # type: ignore[assignment]
    for loader in (module.val_dataloader(), module.test_dataloader()):
        assert torch.equal(torch.cat([batch["inputs"] for batch in loader]), IMAGES)


def test_rows_that_are_no_images_are_refused() -> None:
    table = Table({"inputs": torch.rand(4, 3), "targets": torch.arange(4)})
    with pytest.raises(ConfigError, match=r"data.augment is for images .* shape \[3\]: set data.augment=null"):
        ExperimentData(
            Prepared(dict.fromkeys(("train", "val", "test"), table)), collate_rows, 1, 1, 0, augmentation=Augmentation()
        )


def test_more_than_half_of_an_image_is_not_cropped() -> None:
    with pytest.raises(ConfigError, match=r"data.augment.crop=3: 2 at most, half of the images' 4 pixels, is expected"):
        data(Augmentation(CROP + 1))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"crop": -1}, "data.augment.crop=-1: a whole number"),
        ({"crop": 1.5}, "data.augment.crop=1.5"),
        ({"mixup": -0.1}, "data.augment.mixup=-0.1: a number, 0 or more"),
        ({"mixup": True}, "data.augment.mixup=True"),
        ({"flip": "yes"}, "data.augment.flip='yes': true or false"),
        ({"flipp": True}, "unknown setting 'data.augment.flipp', only crop, flip, mixup; did you mean 'flip'"),
        (True, "data.augment=True: null is expected, or settings"),
    ],
)
def test_settings_that_are_not_possible(settings: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_augmentation(settings)
    assert read_augmentation(None) is None
    assert read_augmentation({"crop": 3}) == Augmentation(3, False)
