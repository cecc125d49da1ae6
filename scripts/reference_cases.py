"""Which of our losses is compared with which public implementation, and what is to come of it.

Said before anything is computed: ``ours = factor * (theirs - offset)``, with the factor's reason. Where a peer computes
something else, ``differs`` says what, and which of the two is the paper's equation. ``offset`` is what a cross-entropy has
beyond a divergence: the teacher's entropy, which has no gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from reference_problems import Maker, Tensors, on_features, on_logits, on_tensors
from torch import Tensor
from torch.nn import functional as F

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
from kd_lightning.losses.logits.dist import DIST
from kd_lightning.losses.logits.jsd import JSD
from kd_lightning.losses.logits.kd import KD
from kd_lightning.losses.logits.label_smoothing import LabelSmoothing
from kd_lightning.losses.logits.logit_cosine import LogitCosine
from kd_lightning.losses.logits.logit_mse import LogitMSE
from kd_lightning.losses.logits.reverse_kl import ReverseKL
from kd_lightning.losses.logits.universal_logit import UniversalLogit
from kd_lightning.losses.relations.correlation_congruence import CorrelationCongruence
from kd_lightning.losses.relations.crd import CRD
from kd_lightning.losses.relations.ickd import ICKD
from kd_lightning.losses.relations.pkt import PKT
from kd_lightning.losses.relations.rkd import RKD
from kd_lightning.losses.relations.similarity import Similarity

T, B, C = 3.0, 6, 5
WORDS = (3, 4, C)
"""[B, T, C] of logits of a language model."""
VECTORS, STATES, PIXELS, SCORES = (B, 8), (3, 5, 8), (B, 4, 5, 3), (3, 2, 5, 5)
SOME = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]).bool()
FIRST = torch.tensor([True, False, False, False, False]).expand(3, -1)
ONE = [{"student": "layer", "teacher": "layer"}]
TWO = [{"student": "first", "teacher": "first"}, {"student": "second", "teacher": "second"}]
ATTENTION = [{"student": "layer:scores", "teacher": "layer:scores"}]


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        loss: The name of our YAML, and what of it.
        peer: The package's name, and the implementation's.
        function: In ``reference_peers.py``.
        problem: Makes the tensors.
        factor: c in ``ours = c * (theirs - offset)``.
        reason: Of the factor; and what is particular about the comparison.
        settings: Of the function.
        offset: From the tensors; without gradient.
        differs: What the peer computes otherwise, and who follows the paper; empty = nothing.
    """

    loss: str
    peer: tuple[str, str]
    function: str
    problem: Maker
    factor: float
    reason: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    offset: Callable[[Tensors], Tensor] | None = None
    differs: str = ""

    @property
    def name(self) -> str:
        """Our YAML's."""
        return self.loss.replace(",", " ").split()[0]


def entropy(temperature: float) -> Callable[[Tensors], Tensor]:
    """The mean of the teacher's over all positions, nats."""

    def value(tensors: Tensors) -> Tensor:
        log_probs = F.log_softmax(tensors["teacher"] / temperature, dim=-1)
        return -(log_probs.exp() * log_probs).sum(dim=-1).mean()

    return value


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


TEMPERED = "T^2: theirs is without it"
LOGITS = [
    Case("kd", ("torchdistill", "KDLoss"), "td_kd", on_logits(KD(), T), T**2, TEMPERED, {"temperature": T}),
    Case(
        "kd",
        ("textbrewer", "kd_ce_loss"),
        "tb_kd_ce",
        on_logits(KD(), T),
        T**2,
        f"{TEMPERED}; a cross-entropy, larger by the teacher's entropy",
        {"temperature": T},
        offset=entropy(T),
    ),
    Case(
        "kd",
        ("kd-lib", "NoisyTeacher, KLDivLoss, no noise"),
        "kl_noisy",
        on_logits(KD(), T),
        1.0,
        "it has T^2",
        {"temperature": T},
    ),
    Case(
        "kd",
        ("kd-lib", "VanillaKD"),
        "kl_vanilla",
        on_logits(KD(), T),
        1.0,
        "it has T^2",
        {"temperature": T},
        differs="Theirs is the mean squared difference of the two softmaxes. Hinton et al. 2015, section 2, have the "
        "cross-entropy with the soft targets: ours, but for the teacher's entropy.",
    ),
    Case(
        "kd standardize=true",
        ("torchdistill", "LogitStdKDLoss at T sqrt((C - 1) / C)"),
        "td_standardized",
        on_logits(KD(standardize=True), T),
        T**2,
        f"{TEMPERED}; its standard deviation divides by C - 1, ours by C, which is another T",
        {"temperature": T * ((C - 1) / C) ** 0.5},
    ),
    Case(
        "kd standardize=true",
        ("torchdistill", "LogitStdKDLoss at T"),
        "td_standardized",
        on_logits(KD(standardize=True), T),
        T**2,
        TEMPERED,
        {"temperature": T},
        differs="Sun et al. 2024, algorithm 1, divide by the number of classes under the root: ours. Theirs, as the authors' "
        "code, takes torch.std, which divides by one less.",
    ),
    *(
        Case(
            name,
            ("trl", f"GKD generalized_jsd_loss, beta={beta:g}"),
            "trl_jsd",
            on_logits(loss, T, WORDS, masked=True),
            T**2,
            f"{TEMPERED}; mean over the positions with a label, some masked",
            {"beta": beta, "temperature": T},
        )
        for name, loss, beta in (
            ("kd", KD(), 0.0),
            ("jsd beta=0.3", JSD(0.3), 0.3),
            ("jsd", JSD(), 0.5),
            ("reverse_kl", ReverseKL(), 1.0),
        )
    ),
    *(
        Case(
            name,
            ("liger-kernel", f"LigerFusedLinearJSDLoss, beta={beta:g}"),
            "liger_jsd",
            on_logits(loss, T, WORDS, masked=True),
            T**2,
            f"{TEMPERED}; its value is summed in float32",
            {"beta": beta, "temperature": T},
        )
        for name, loss, beta in (
            ("kd", KD(), 0.0),
            ("jsd", JSD(), 0.5),
            ("reverse_kl", ReverseKL(), 1.0),
        )
    ),
    Case(
        "logit_cosine",
        ("liger-kernel", "LigerFusedLinearCosineSimilarityLoss"),
        "liger_cosine",
        on_logits(LogitCosine(), 1.0, WORDS, masked=True),
        1.0,
        "beta = 1 there; its value is summed in float32",
    ),
    Case(
        "universal_logit",
        ("trl", "GOLD ULDLoss"),
        "trl_uld",
        on_logits(UniversalLogit(), T, WORDS, more_classes=3),
        T,
        "T: theirs is without it; the teacher has three more classes",
        {"temperature": T},
    ),
    Case("logit_mse", ("textbrewer", "kd_mse_loss"), "tb_kd_mse", on_logits(LogitMSE(), 1.0, WORDS), 1.0, "at T = 1"),
    Case("dist", ("torchdistill", "DISTLoss"), "td_dist", on_logits(DIST(), T), 1.0, "it has T^2", {"temperature": T}),
    Case(
        "label_smoothing",
        ("kd-lib", "VirtualTeacher"),
        "kl_virtual",
        on_logits(LabelSmoothing(0.1), 1.0),
        1.0,
        "0.92 on the label there, 0.1 / C + 0.9 here: the same for 5 classes",
        differs="Theirs is another loss, the virtual teacher of Yuan et al. 2020: its target is a softmax of the smoothed "
        "label. Ours is the smoothed label itself, as in Szegedy et al. 2016, section 7.",
    ),
]

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

RELATIONS = [
    *(
        Case(
            f"rkd, {part}",
            (package, "RKDLoss"),
            function,
            on_features(partial(RKD, ONE, distance=distance, angle=angle), [VECTORS]),
            factor,
            reason,
            {"distance": distance, "angle": angle},
        )
        for package, function in (("torchdistill", "td_rkd"), ("kd-lib", "kl_rkd"))
        for part, distance, angle, factor, reason in (
            (
                "distances",
                25.0,
                0.0,
                B / (B - 1),
                "N / (N - 1): theirs is a mean over all pairs, also of one and itself",
            ),
            (
                "angles",
                0.0,
                50.0,
                B**2 / ((B - 1) * (B - 2)),
                "N^2 / ((N - 1) (N - 2)): theirs is a mean over all triples, also of fewer than three",
            ),
        )
    ),
    Case(
        "pkt",
        ("torchdistill", "PKTLoss"),
        "td_pkt",
        on_features(lambda: PKT(ONE), [VECTORS]),
        float(B),
        "N: theirs is a mean over all pairs, ours a sum over j",
        differs="Theirs counts a sample among its own neighbours, as the authors' code. Passalis & Tefas 2018, section 3, "
        "leave it out: ours.",
    ),
    Case(
        "similarity",
        ("torchdistill", "SPKDLoss"),
        "td_similarity",
        on_features(lambda: Similarity(ONE), [VECTORS]),
        1.0,
        "both divide by N^2",
        differs="Theirs calls normalize(G, 1), whose 1 is the norm's p, so that rows have the L1 length 1. Tung & Mori 2019, "
        "section 3, divide each row by its L2 norm: ours.",
    ),
    Case(
        "correlation_congruence",
        ("torchdistill", "CCKDLoss, unit features, squared"),
        "td_congruence",
        on_features(lambda: CorrelationCongruence(ONE), [VECTORS]),
        1 / B**2,
        "1 / N^2; features at length 1 are handed to it, and its norm is squared",
        {"unit": True},
    ),
    Case(
        "correlation_congruence",
        ("torchdistill", "CCKDLoss"),
        "td_congruence",
        on_features(lambda: CorrelationCongruence(ONE), [VECTORS]),
        1.0,
        "both divide by N^2",
        {"unit": False},
        differs="Theirs is the norm of the difference, not its square, and takes features as they are. Peng et al. 2019, "
        "section 3, have the square, and their series of the Gaussian kernel holds for features of length 1: ours.",
    ),
    Case(
        "ickd",
        ("torchdistill", "ChSimLoss"),
        "td_channels",
        on_features(lambda: ICKD(ONE), [PIXELS]),
        float(B),
        "N: theirs divides by N twice",
    ),
    Case(
        "crd",
        ("torchdistill", "CRDLoss"),
        "td_crd",
        on_features(lambda: CRD(ONE, width=8), [VECTORS]),
        1.0,
        "the first batch, with our embeddings, banks and other rows; theirs adds 1e-7 in logarithms",
    ),
]

CASES = [*LOGITS, *FEATURES, *RELATIONS]
