"""Losses on relations between rows or channels."""

from __future__ import annotations

from functools import partial

from kd_lightning.losses.relations.correlation_congruence import CorrelationCongruence
from kd_lightning.losses.relations.crd import CRD
from kd_lightning.losses.relations.ickd import ICKD
from kd_lightning.losses.relations.pkt import PKT
from kd_lightning.losses.relations.rkd import RKD
from kd_lightning.losses.relations.similarity import Similarity
from scripts.references.cases.case import ONE, PIXELS, VECTORS, B, Case
from scripts.references.problems import on_features

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
        differs="Theirs counts a sample among its own neighbors, as the authors' code. Passalis & Tefas 2018, section 3, "
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
