"""Our losses beside public implementations of the same papers: equal up to a stated factor, or the difference explained.

    python -m scripts.references.compare --peers peers/bin/python
    python -m scripts.references.compare --peers peers/bin/python --only pkt --only rkd

The peers come from their own packages, in an environment of their own (two without their dependencies: torchdistill's losses
need torch alone, its networks a torchvision that does not go with every torch; kd-lib asks for packages of 2021):

    python -m venv peers && peers/bin/pip install -c constraints.txt torch textbrewer trl liger-kernel matplotlib
    peers/bin/pip install --no-deps torchdistill kd-lib

The same float64 tensors go to both sides, of three seeds each. Value and gradient by the student's tensors are compared with
what ``cases/`` says beforehand: ``ours = c * (theirs - offset)``. Printed are the largest differences, relative to
ours (of a gradient: the largest entry's difference over the largest entry). Ends with 1 where they are larger than 1e-5 and no
explanation stands there, and where one stands that is out of date.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from scripts.bench.interleaved import ROOT, Side, head, row
from scripts.references.cases.case import Case
from scripts.references.cases.features import FEATURES
from scripts.references.cases.logits import LOGITS
from scripts.references.cases.relations import RELATIONS
from scripts.references.problems import Problem

CASES = [*LOGITS, *FEATURES, *RELATIONS]
SEEDS = (0, 1, 2)
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Found:
    """The largest relative differences of a case."""

    case: Case
    value: float
    gradient: float

    @property
    def equal(self) -> bool:
        """They are within the tolerance."""
        return max(self.value, self.gradient) <= TOLERANCE

    @property
    def expected(self) -> bool:
        """As the case says: equal, or not with the reason why, which is none for what is not finite."""
        return self.equal != bool(self.case.differs) and math.isfinite(max(self.value, self.gradient))

    def verdict(self, note: int) -> str:
        """In the table; ``note`` = the number of the explanation."""
        if not self.expected:
            return "EQUAL, against its explanation" if self.equal else "DIFFERS"
        if self.case.differs:
            return f"differs ({note})"
        return "equal"


def compared(case: Case, peer: Side, folder: Path) -> Found:
    """The case's tensors through both sides."""
    differences = [one_seed(case, seed, peer, folder) for seed in SEEDS]
    return Found(case, *(max(each) for each in zip(*differences, strict=True)))


def one_seed(case: Case, seed: int, peer: Side, folder: Path) -> tuple[float, float]:
    """Differences of value and gradient."""
    problem = case.problem(seed)
    given, answer = folder / "given.pt", folder / "answer.pt"
    torch.save(problem.tensors, given)
    peer.ask(do="compute", function=case.function, settings=dict(case.settings), load=str(given), save=str(answer))
    value, *gradients = torch.load(answer)
    offset = case.offset(problem.tensors) if case.offset else 0.0
    expected = [case.factor * (value - offset), *(case.factor * gradient for gradient in gradients)]
    found = by_us(problem)
    apart = [relative(ours, theirs) for ours, theirs in zip(found, expected, strict=True)]
    return apart[0], max(apart[1:])


def by_us(problem: Problem) -> list[Tensor]:
    """Our value, and the gradients by the student's tensors."""
    tensors = dict(problem.tensors)
    names = [name for name in tensors if name.startswith("student")]
    tensors |= {name: tensors[name].clone().requires_grad_() for name in names}
    value = problem.ours(tensors)
    return [value.detach(), *torch.autograd.grad(value, [tensors[name] for name in names])]


def relative(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference over our largest entry; infinite where one of them is not finite."""
    difference = (ours - theirs).abs().max() / ours.abs().max()
    return float(difference) if difference.isfinite() else float("inf")


def print_table(found: list[Found], versions: dict[str, str]) -> None:
    """Table, explanations, and which losses have no peer."""
    print(head("loss", "peer", "ours = c * theirs", "why", "value differs", "gradient differs", "verdict"))
    notes: list[str] = []
    for each in found:
        case = each.case
        if case.differs:
            notes.append(f"{len(notes) + 1}. `{case.loss}` and {case.peer[0]}'s {case.peer[1]}: {case.differs}")
        package = f"{case.peer[0]} {versions[case.peer[0]]}"
        numbers = (f"{case.factor:.4g}", case.reason, f"{each.value:.1g}", f"{each.gradient:.1g}")
        print(row(case.loss, f"{package}: {case.peer[1]}", *numbers, each.verdict(len(notes))))
    print("\n" + "\n".join(notes))


def without_peer() -> list[str]:
    """Our losses that no case names."""
    names = {path.stem for path in (ROOT / "conf" / "loss").glob("*.yaml")}
    return sorted(names - {case.name for case in CASES})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", required=True, metavar="PYTHON", help="interpreter of the peers' environment")
    parser.add_argument("--only", action="append", metavar="NAME", help="losses to compare; default: all")
    arguments = parser.parse_args()
    cases = [case for case in CASES if not arguments.only or case.name in arguments.only]
    if missing := set(arguments.only or []) - {case.name for case in CASES}:
        parser.error(f"--only {', '.join(sorted(missing))}: no case is of that loss")
    peer = Side("peers", arguments.peers, ["-m", "scripts.references.peers"])
    versions = peer.ask(do="versions", of=sorted({"torch", *(case.peer[0] for case in cases)}))
    print(
        f"torch {torch.__version__} here, {versions['torch']} there; float64, {len(SEEDS)} seeds, tolerance {TOLERANCE:g}\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        found = [compared(case, peer, Path(folder)) for case in cases]
    peer.close()
    print_table(found, versions)
    if not arguments.only:
        print(f"\nNo peer has: {', '.join(f'`{name}`' for name in without_peer())}.")
    unexpected = [each for each in found if not each.expected]
    if unexpected:
        sys.exit(f"{len(unexpected)} of {len(found)} comparisons did not come out as scripts/references/cases/ says")


if __name__ == "__main__":
    main()
