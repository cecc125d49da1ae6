"""Losses on logits."""

from __future__ import annotations

from kd_lightning.losses.logits.dist import DIST
from kd_lightning.losses.logits.jsd import JSD
from kd_lightning.losses.logits.kd import KD
from kd_lightning.losses.logits.label_smoothing import LabelSmoothing
from kd_lightning.losses.logits.logit_cosine import LogitCosine
from kd_lightning.losses.logits.logit_mse import LogitMSE
from kd_lightning.losses.logits.reverse_kl import ReverseKL
from kd_lightning.losses.logits.universal_logit import UniversalLogit
from scripts.references.cases.case import WORDS, C, Case, T, entropy
from scripts.references.problems import on_logits

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
