"""The peers' losses, called as their own packages call them, on tensors that ``compare.py`` hands over.

Runs in the peers' environment and imports nothing of ours but
``bench/interleaved.py``. Each function gets tensors by name (those
of ``problems.py``) and settings, and returns the peer's scalar as it is, unless its docstring says otherwise. What
stands before a peer's loss - a projection, an embedding - is ours, computed here from the parameters that are handed over.

Shape legend: B batch, T positions, C classes, D channels, H x W pixels.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import distribution, version
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from scripts.bench.interleaved import serve

Tensors = dict[str, Tensor]
IGNORED = -100
"""The peers' label of positions that do not count."""


def be() -> None:
    """Answer for one function after the other: its value, and the gradients by the student's tensors, into a file."""

    def answer(question: dict[str, Any]) -> dict[str, Any]:
        if question["do"] == "versions":
            return {name: version(name) for name in question["of"]}
        tensors: Tensors = torch.load(question["load"])
        own = [tensor.requires_grad_() for name, tensor in tensors.items() if name.startswith("student")]
        value = FUNCTIONS[question["function"]](tensors, **question["settings"])
        torch.save([value.detach(), *torch.autograd.grad(value, own)], question["save"])
        return {}

    serve(answer)


def labels(tensors: Tensors) -> Tensor:
    """The targets [...], ``IGNORED`` where they do not count."""
    return torch.where(tensors["mask"], tensors["targets"], IGNORED)


def flat(tensors: Tensors) -> tuple[Tensor, Tensor]:
    """Student and teacher, each [N, C]."""
    return tensors["student"].flatten(0, -2), tensors["teacher"].flatten(0, -2)


def mapped(tensors: Tensors, channels_last: bool = True) -> Tensor:
    """The student's feature after our linear map of its channels."""
    feature = tensors["student"] if channels_last else tensors["student"].movedim(1, -1)
    rows = F.linear(feature, tensors["map.weight"], tensors.get("map.bias"))
    return rows if channels_last else rows.movedim(-1, 1)


# -- torchdistill -----------------------------------------------------------------------------------------------------


def torchdistill(name: str, tensors: Tensors, **settings: Any) -> Tensor:
    """One of its losses on one pair: what it finds under ``it`` of both networks."""
    from torchdistill.losses import mid_level

    own, its = {"it": {"output": tensors["student"]}}, {"it": {"output": tensors["teacher"]}}
    loss = getattr(mid_level, name)(**settings)
    return loss(own, its)


PATHS = {
    "student_module_path": "it",
    "teacher_module_path": "it",
    "student_module_io": "output",
    "teacher_module_io": "output",
}
PAIR = {"only": {name: {"io": "output", "path": "it"} for name in ("student", "teacher")}}


def td_kd(tensors: Tensors, temperature: float) -> Tensor:
    """Without a hard loss, and so without its T^2."""
    return torchdistill("KDLoss", tensors, **PATHS, temperature=temperature, beta=1.0)


def td_standardized(tensors: Tensors, temperature: float) -> Tensor:
    return torchdistill("LogitStdKDLoss", tensors, **PATHS, temperature=temperature, beta=1.0)


def td_dist(tensors: Tensors, temperature: float) -> Tensor:
    return torchdistill("DISTLoss", tensors, **PATHS, tau=temperature)


def td_fsp(tensors: Tensors) -> Tensor:
    from torchdistill.losses.mid_level import FSPLoss

    parts = {
        f"{who}_{part}": {"io": "output", "path": part}
        for who in ("student", "teacher")
        for part in ("first", "second")
    }
    own = {"first": {"output": tensors["student"]}, "second": {"output": tensors["student2"]}}
    its = {"first": {"output": tensors["teacher"]}, "second": {"output": tensors["teacher2"]}}
    return FSPLoss({"only": parts})(own, its)


def td_at(tensors: Tensors, mode: str) -> Tensor:
    return torchdistill("ATLoss", tensors, at_pairs=PAIR, mode=mode)


def td_pkt(tensors: Tensors) -> Tensor:
    return torchdistill("PKTLoss", tensors, **PATHS)


def td_factor(tensors: Tensors) -> Tensor:
    return torchdistill("FTLoss", tensors, paraphraser_path="it", translator_path="it")


def td_boundary(tensors: Tensors) -> Tensor:
    connected = tensors | {"student": mapped(tensors, channels_last=False)}
    return torchdistill("AltActTransferLoss", connected, feature_pairs=PAIR, margin=1.0, reduction="mean")


def td_rkd(tensors: Tensors, distance: float, angle: float) -> Tensor:
    paths = {"student_output_path": "it", "teacher_output_path": "it"}
    return torchdistill("RKDLoss", tensors, **paths, dist_factor=distance, angle_factor=angle, reduction="mean")


def td_vid(tensors: Tensors) -> Tensor:
    """With our guess of mean and variance."""
    rows = tensors["student"].movedim(1, -1)
    for layer in (0, 2, 4):
        rows = F.linear(F.relu(rows) if layer else rows, tensors[f"mean.{layer}.weight"])
    variance = F.softplus(tensors["raw_variance"]) + 1e-5
    from torchdistill.losses.mid_level import VIDLoss

    guess = rows.movedim(-1, 1), variance[:, None, None]
    return VIDLoss(PAIR)({"it": {"output": guess}}, {"it": {"output": tensors["teacher"]}})


def td_congruence(tensors: Tensors, unit: bool) -> Tensor:
    """``unit``: on features of length 1, and its norm, divided by N^2, squared before it is divided."""
    kernel = {"type": "gaussian", "gamma": 0.4, "max_p": 2}
    paths = {"student_linear_path": "it", "teacher_linear_path": "it"}
    if not unit:
        return torchdistill("CCKDLoss", tensors, **paths, kernel_config=kernel, reduction="batchmean")
    directions = {name: F.normalize(tensors[name]) for name in ("student", "teacher")}
    return torchdistill("CCKDLoss", directions, **paths, kernel_config=kernel, reduction="none") ** 2


def td_similarity(tensors: Tensors) -> Tensor:
    paths = {"student_output_path": "it", "teacher_output_path": "it"}
    return torchdistill("SPKDLoss", tensors, **paths, reduction="batchmean")


def td_crd(tensors: Tensors) -> Tensor:
    """With our embeddings, banks and choice of other rows."""
    from torchdistill.losses.mid_level import CRDLoss

    _, rows, width = tensors["banks"].shape
    negatives = tensors["others"].shape[1]
    loss = CRDLoss("norm", "empty", "norm", width, rows, negatives, rows).double()
    loss.memory_v1, loss.memory_v2 = tensors["banks"].clone().unbind(0)
    embedded = {
        who: F.normalize(
            F.linear(tensors[who], tensors[f"embeddings.{side}.weight"], tensors[f"embeddings.{side}.bias"])
        )
        for side, who in enumerate(("student", "teacher"))
    }
    chosen = torch.cat([tensors["index"][:, None], tensors["others"]], dim=1)
    told = {"pos_idx": tensors["index"], "contrast_idx": chosen}
    own = {"norm": {"output": embedded["student"]}, "empty": {"input": told}}
    return loss(own, {"norm": {"output": embedded["teacher"]}}).squeeze()


def td_context(tensors: Tensors) -> Tensor:
    """On features that are fused already."""
    from torchdistill.losses.mid_level import HierarchicalContextLoss

    own = {"it": {"output": (tensors["student"], None)}}
    return HierarchicalContextLoss(**PATHS)(own, {"it": {"output": tensors["teacher"]}})


def td_channels(tensors: Tensors) -> Tensor:
    return torchdistill("ChSimLoss", tensors | {"student": mapped(tensors, channels_last=False)}, feature_pairs=PAIR)


def td_dist_plus(tensors: Tensors, relation: str) -> Tensor:
    """One of the relations that its loss adds: ``channel`` or ``spatial``."""
    from torchdistill.losses.mid_level import DISTPlusLoss

    loss = DISTPlusLoss(*["it", "output"] * 4)
    return getattr(loss, f"{relation}_relation")(tensors["student"], tensors["teacher"])


# -- TextBrewer -------------------------------------------------------------------------------------------------------


def textbrewer(name: str, tensors: Tensors, *more: Any) -> Tensor:
    from textbrewer import losses

    return getattr(losses, name)(tensors["student"], tensors["teacher"], *more)


def tb_kd_ce(tensors: Tensors, temperature: float) -> Tensor:
    return textbrewer("kd_ce_loss", tensors, temperature)


def tb_kd_mse(tensors: Tensors) -> Tensor:
    return textbrewer("kd_mse_loss", tensors)


def tb_hidden(tensors: Tensors) -> Tensor:
    return textbrewer("hid_mse_loss", tensors | {"student": mapped(tensors)}, tensors["mask"])


def tb_cosine(tensors: Tensors) -> Tensor:
    return textbrewer("cos_loss", tensors, tensors["mask"])


def tb_pkd(tensors: Tensors) -> Tensor:
    return textbrewer("pkd_loss", tensors)


def tb_attention(tensors: Tensors, name: str) -> Tensor:
    return textbrewer(name, tensors, tensors["mask"])


def tb_fsp(tensors: Tensors) -> Tensor:
    from textbrewer.losses import fsp_loss

    own, its = ([tensors[who], tensors[f"{who}2"]] for who in ("student", "teacher"))
    return fsp_loss(own, its, tensors["mask"])


def tb_nst(tensors: Tensors, unit: bool) -> Tensor:
    """A layer with itself; ``unit``: its channels at length 1 over the positions."""
    from textbrewer.losses import mmd_loss

    own, its = (F.normalize(tensors[who], dim=1) if unit else tensors[who] for who in ("student", "teacher"))
    return mmd_loss([own, own], [its, its])


# -- TRL and Liger ----------------------------------------------------------------------------------------------------


def trl_jsd(tensors: Tensors, beta: float, temperature: float) -> Tensor:
    from trl.experimental.gkd import GKDTrainer

    both = tensors["student"], tensors["teacher"]
    return GKDTrainer.generalized_jsd_loss(*both, labels=labels(tensors), beta=beta, temperature=temperature)


def trl_uld(tensors: Tensors, temperature: float) -> Tensor:
    """Without its hard loss; positions of both networks meet one by one."""
    from trl.experimental.gold.gold_trainer import ULDLoss

    settings = SimpleNamespace(
        uld_crossentropy_weight=0.0,
        uld_distillation_weight=1.0,
        uld_student_temperature=temperature,
        uld_teacher_temperature=temperature,
        uld_skip_student_eos=False,
        uld_skip_teacher_eos=False,
        use_extended_uld=False,
        uld_token_merge_strategy="observed",
    )
    targets = tensors["targets"]
    return ULDLoss(settings)(tensors["student"], tensors["teacher"], *[targets] * 4)


def liger(tensors: Tensors, loss: Any) -> Tensor:
    """Its losses take hidden states and a head: here the logits, and the unit matrix."""
    own, its = flat(tensors)
    head = torch.eye(own.shape[1], dtype=own.dtype)
    return loss(own, head, its, head, labels(tensors).flatten(), None, None)


def liger_jsd(tensors: Tensors, beta: float, temperature: float) -> Tensor:
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    return liger(tensors, LigerFusedLinearJSDLoss(0.0, 1.0, beta=beta, temperature=temperature, compiled=False))


def liger_cosine(tensors: Tensors) -> Tensor:
    from liger_kernel.chunked_loss import LigerFusedLinearCosineSimilarityLoss

    return liger(tensors, LigerFusedLinearCosineSimilarityLoss(0.0, 1.0, beta=1.0, compiled=False))


# -- KD-Lib -----------------------------------------------------------------------------------------------------------


def kd_lib(module: str) -> Any:
    """A module of its losses for images. Its packages import all of it, which wants torchtext and old transformers: they are
    made here without their ``__init__``."""
    import importlib
    from types import ModuleType

    for name in ("KD_Lib", "KD_Lib.KD", "KD_Lib.KD.vision"):
        folder = distribution("kd-lib").locate_file(name.replace(".", "/"))
        sys.modules.setdefault(name, ModuleType(name)).__path__ = [str(folder)]
    return importlib.import_module(f"KD_Lib.KD.vision.{module}")


def kl_rkd(tensors: Tensors, distance: float, angle: float) -> Tensor:
    loss = kd_lib("RKD.loss_metric").RKDLoss(distance, angle)
    return loss(tensors["teacher"], tensors["student"])


def kl_at(tensors: Tensors) -> Tensor:
    loss = kd_lib("attention.loss_metric").ATLoss()
    return loss([tensors["teacher"]], [tensors["student"]])


def kl_vanilla(tensors: Tensors, temperature: float) -> Tensor:
    """Its soft part, with the loss function that is its default."""
    trainer = kd_lib("vanilla.vanilla_kd").VanillaKD
    settings = SimpleNamespace(temp=temperature, distil_weight=1.0, loss_fn=torch.nn.MSELoss())
    return trainer.calculate_kd_loss(settings, tensors["student"], tensors["teacher"], tensors["targets"])


def kl_noisy(tensors: Tensors, temperature: float) -> Tensor:
    """The soft part of its noisy teacher, without noise."""
    trainer = kd_lib("noisy.noisy_teacher").NoisyTeacher
    divergence = torch.nn.KLDivLoss(reduction="batchmean")
    settings = SimpleNamespace(temp=temperature, distil_weight=1.0, loss_fn=divergence, alpha=-1.0)
    return trainer.calculate_kd_loss(settings, tensors["student"], tensors["teacher"], tensors["targets"])


def kl_virtual(tensors: Tensors) -> Tensor:
    """The soft part of its teacher that is made of labels, at T = 1."""
    trainer = kd_lib("teacher_free.virtual_teacher").VirtualTeacher
    divergence = torch.nn.KLDivLoss(reduction="batchmean")
    settings = SimpleNamespace(temp=1.0, distil_weight=1.0, loss_fn=divergence, correct_prob=0.92, device="cpu")
    return trainer.calculate_kd_loss(settings, tensors["student"], tensors["targets"])


FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    name: function
    for name, function in list(globals().items())
    if name.startswith(("td_", "tb_", "trl_", "liger_", "kl_"))
}

if __name__ == "__main__":
    be()
