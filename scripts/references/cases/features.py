"""Losses on features."""

from __future__ import annotations

import torch
from torch import Tensor

from kd_lightning.losses.features import factor as factor_transfer
from kd_lightning.losses.features.activation_boundary import ActivationBoundary
from kd_lightning.losses.features.at import AttentionTransfer
from kd_lightning.losses.features.cosine_features import CosineFeatures
from kd_lightning.losses.features.fsp import FSP
from kd_lightning.losses.features.hint import Hint
from kd_lightning.losses.features.nst import NST
from kd_lightning.losses.features.pkd import PatientKD
from kd_lightning.losses.features.review import context_distance
from kd_lightning.losses.features.spatial_channel import SpatialChannel
from kd_lightning.losses.features.tinybert import TinyBERT
from kd_lightning.losses.features.vid import VID
from kd_lightning.losses.functional.attention_relations import attention_log_probs, relation_divergence
from kd_lightning.losses.functional.kernels import Polynomial
from scripts.references.cases.case import ATTENTION, FIRST, ONE, PIXELS, SCORES, SOME, STATES, TWO, B, Case, entropy
from scripts.references.problems import Tensors, on_features, on_tensors


def attention_kl(tensors: Tensors) -> Tensor:
    """The part of ``minilm`` that compares attention."""
    student, teacher = (attention_log_probs(tensors[who], tensors["mask"]) for who in ("student", "teacher"))
    return relation_divergence(teacher, student, tensors["mask"])


def factor_distance(tensors: Tensors) -> Tensor:
    """The part of ``factor`` that the student learns from, of factors that are made."""
    return factor_transfer.distance(tensors["student"], tensors["teacher"], torch.ones(B, dtype=torch.bool))


def review_distance(tensors: Tensors) -> Tensor:
    """The value of ``review``, of a feature that is fused."""
    return context_distance(tensors["student"], tensors["teacher"]).mean()


FEATURES = [
    Case(
        "hint",
        ("textbrewer", "hid_mse_loss"),
        "tb_hidden",
        on_features(lambda: Hint(ONE), [STATES], SOME),
        1.0,
        "both take the mean over channels and positions, some masked",
    ),
    Case(
        "cosine_features",
        ("textbrewer", "cos_loss"),
        "tb_cosine",
        on_features(lambda: CosineFeatures(ONE), [STATES], SOME),
        1.0,
        "some positions masked",
    ),
    Case(
        "pkd",
        ("textbrewer", "pkd_loss"),
        "tb_pkd",
        on_features(lambda: PatientKD(ONE), [STATES], FIRST),
        1.0,
        "it takes the first position: the mask counts that alone",
    ),
    Case(
        "tinybert, scores",
        ("textbrewer", "att_mse_loss"),
        "tb_attention",
        on_features(lambda: TinyBERT(ATTENTION), [SCORES], SOME),
        1.0,
        "mean over heads and pairs of positions, some masked",
        {"name": "att_mse_loss"},
    ),
    Case(
        "minilm, attention",
        ("textbrewer", "att_ce_loss"),
        "tb_attention",
        on_tensors(attention_kl, SCORES),
        1.0,
        "nothing masked; a cross-entropy, larger by the teacher's entropy",
        {"name": "att_ce_loss"},
        offset=entropy(1.0),
    ),
    Case(
        "fsp",
        ("textbrewer", "fsp_loss"),
        "tb_fsp",
        on_features(lambda: FSP(TWO), [STATES, STATES], SOME),
        1.0,
        "some positions masked",
    ),
    Case(
        "fsp",
        ("torchdistill", "FSPLoss"),
        "td_fsp",
        on_features(lambda: FSP(TWO), [PIXELS, PIXELS]),
        1 / PIXELS[1] ** 2,
        "1 / D^2: theirs is a sum over the matrix",
        differs="Theirs adds the lengths of the columns of the difference, without a square. Yim et al. 2017, equation 2, have "
        "the squared L2 norm of the difference: ours.",
    ),
    Case(
        "at",
        ("torchdistill", "ATLoss, mode=code"),
        "td_at",
        on_features(lambda: AttentionTransfer(ONE), [PIXELS]),
        float(PIXELS[2] * PIXELS[3]),
        "the pixels: theirs is their mean, ours their sum",
        {"mode": "code"},
    ),
    Case(
        "at",
        ("torchdistill", "ATLoss, mode=paper"),
        "td_at",
        on_features(lambda: AttentionTransfer(ONE), [PIXELS]),
        1.0,
        "mean over the rows",
        {"mode": "paper"},
        differs="Theirs is the distance, as equation 2 of Zagoruyko & Komodakis 2017; ours its square, as the authors' code.",
    ),
    Case(
        "at, one channel",
        ("kd-lib", "ATLoss"),
        "kl_at",
        on_features(lambda: AttentionTransfer(ONE), [(B, 1, 5, 3)]),
        15.0,
        "the pixels: theirs is their mean, ours their sum",
    ),
    Case(
        "at",
        ("kd-lib", "ATLoss"),
        "kl_at",
        on_features(lambda: AttentionTransfer(ONE), [PIXELS]),
        float(PIXELS[1] * PIXELS[2] * PIXELS[3]),
        "channels and pixels: theirs is their mean",
        differs="Theirs does not sum the channels away. Zagoruyko & Komodakis 2017, section 3.1, have the sum over the "
        "channels: ours.",
    ),
    Case(
        "nst, polynomial",
        ("textbrewer", "mmd_loss, unit channels"),
        "tb_nst",
        on_features(lambda: NST(ONE, Polynomial()), [STATES]),
        float(STATES[1] ** 2),
        "positions squared: theirs is a mean of the difference of Gram matrices; channels at length 1 are handed to it",
        {"unit": True},
    ),
    Case(
        "nst, polynomial",
        ("textbrewer", "mmd_loss"),
        "tb_nst",
        on_features(lambda: NST(ONE, Polynomial()), [STATES]),
        float(STATES[1] ** 2),
        "positions squared",
        {"unit": False},
        differs="Theirs, 'a variant', takes channels as they are. Huang & Wang 2017 compare them at length 1: ours.",
    ),
    Case("vid", ("torchdistill", "VIDLoss"), "td_vid", on_features(lambda: VID(ONE), [PIXELS]), 1.0, "of one guess"),
    Case(
        "activation_boundary",
        ("torchdistill", "AltActTransferLoss"),
        "td_boundary",
        on_features(lambda: ActivationBoundary(ONE), [PIXELS]),
        1 / (PIXELS[1] * PIXELS[2] * PIXELS[3]),
        "1 / (channels and pixels): theirs is their sum",
    ),
    Case(
        "factor, distance",
        ("torchdistill", "FTLoss"),
        "td_factor",
        on_tensors(factor_distance, PIXELS),
        float(PIXELS[1] * PIXELS[2] * PIXELS[3]),
        "numbers of a factor: theirs is their mean; of factors that are made",
    ),
    Case(
        "review, distance",
        ("torchdistill", "HierarchicalContextLoss"),
        "td_context",
        on_tensors(review_distance, (B, 4, 8, 8)),
        1.0,
        "of features that are fused",
    ),
    Case(
        "spatial_channel spatial=0",
        ("torchdistill", "DISTPlusLoss.channel_relation"),
        "td_dist_plus",
        on_features(lambda: SpatialChannel(ONE, spatial=0.0), [PIXELS]),
        -1.0,
        "minus: theirs is the correlation, which their loss adds, so that it would fall; ours is one less it",
        {"relation": "channel"},
        offset=lambda _: torch.tensor(1.0, dtype=torch.float64),
    ),
    Case(
        "spatial_channel channel=0",
        ("torchdistill", "DISTPlusLoss.spatial_relation"),
        "td_dist_plus",
        on_features(lambda: SpatialChannel(ONE, channel=0.0), [PIXELS]),
        1.0,
        "one less a correlation, both",
        {"relation": "spatial"},
        differs="Theirs adds up the channels and correlates each pixel over the batch; ours correlates each channel over the "
        "pixels of a row, so that it does not depend on who shares the batch. Ours is after DIST's idea, as its docstring "
        "says, not after the code of DIST+.",
    ),
]
