"""Checkpoints of strangers."""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from kd_lightning.cli.main import main
from kd_lightning.errors import KDError
from kd_lightning.models.weights import load_brought_weights
from kd_lightning.safety.json_files import read_json
from kd_lightning.safety.verbs import run_verb
from kd_lightning.store import Entry, file_digest, publish_json
from kd_lightning.training.callbacks.checkpoints import newest_resume_point
from kd_lightning.training.checkpoint_io import AtomicCheckpointIO, digest_path
from scripts.faults.fuzz.case import HTML, TOUCH, answer
from scripts.faults.fuzz.spoil import damage, spoil


class Touch:
    """Unpickled, it makes the marker."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (TOUCH,)


class Checkpoints:
    """Weights of strangers, resume points and store entries: damaged, exchanged, or with a payload inside."""

    def case(self, rng: random.Random, folder: Path) -> tuple[str, list[str]]:
        """One of the three."""
        torch.manual_seed(rng.randrange(2**31))
        return rng.choice((self.weights, self.resume_point, self.entry))(rng, folder)

    def weights(self, rng: random.Random, folder: Path) -> tuple[str, list[str]]:
        """A teacher of one's own: loaded as it stands, or refused in one line."""
        network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
        path = folder / f"w.{rng.choice(('safetensors', 'pt', 'ckpt'))}"
        state: dict[str, Any] = dict(network.state_dict())
        odd = rng.random()
        if odd < 0.2:
            state[rng.choice(("extra", "\x1b[2J", HTML, "0.weight"))] = torch.full((2, 2), float("nan"))
        if path.suffix == ".safetensors":
            save_file(state, path)
        else:
            content = {"state_dict": state} if odd > 0.8 else state
            torch.save({**content, "x": Touch()} if rng.random() < 0.3 else content, path)
        if rng.random() < 0.8:
            path.write_bytes(damage(rng, path.read_bytes()))
        if rng.random() < 0.2:
            path.with_suffix(".json").write_bytes(damage(rng, b'{"tokenizer_sha256": "abc"}'))

        def load() -> int:
            load_brought_weights(network, path, "", "teacher.checkpoint")
            return 0

        code, text, problems = answer(lambda: run_verb("run", load))
        problems += ["advises to unpickle"] if "weights_only" in text else []
        finite = all(bool(torch.isfinite(each).all()) for each in network.state_dict().values())
        return f"weights: exit code {code}", [*problems, *([] if finite else ["weights that are not finite"])]

    def resume_point(self, rng: random.Random, folder: Path) -> tuple[str, list[str]]:
        """With its digest every change is refused; with a stranger's digest nothing of it runs."""
        point = folder / "resume-000000004.ckpt"
        AtomicCheckpointIO().save_checkpoint({"step": 4, "state": torch.ones(3)}, point)
        assert newest_resume_point(folder)[0] == point
        before = point.read_bytes()
        if rng.random() < 0.3:
            torch.save({"step": 4, "x": Touch()}, point)
        else:
            point.write_bytes(damage(rng, before))
        theirs = rng.random() < 0.4
        if theirs:
            digest_path(point).write_text(f"{file_digest(point)}\n", encoding="utf-8")
        changed = point.read_bytes() != before

        def load() -> int:
            AtomicCheckpointIO().load_checkpoint(point)
            return 0

        code, text, problems = answer(lambda: run_verb("run", load))
        problems += ["a changed resume point is taken"] if changed and not theirs and code == 0 else []
        problems += ["advises to unpickle"] if "weights_only" in text else []
        return f"resume point: exit code {code}", problems

    def entry(self, rng: random.Random, folder: Path) -> tuple[str, list[str]]:
        """A finished entry: whatever is changed in one of its files is seen; `kd cache` goes on."""
        entry = Entry(folder / "outputs" / "store" / "teacher_outputs" / "abc")
        entry.folder.mkdir(parents=True)
        (entry.folder / "shard-0.bin").write_bytes(rng.randbytes(300))
        publish_json(entry.path("manifest.json"), {"rows": 3, "of": {"outputs": {"_target_": "a.Logits", "k": 5}}})
        entry.finish(["shard-0.bin", "manifest.json"])
        assert entry.problem() is None
        path = rng.choice(sorted(entry.folder.iterdir()))
        before = meaning(path)
        spoil(rng, path)
        changed = meaning(path) != before
        problems = ["a changed entry is taken for whole"] if changed and entry.problem() is None else []
        codes = []
        for verb in ("ls", "verify"):
            code, _, found = answer(lambda verb=verb: main(["cache", verb]))
            codes.append(str(code))
            problems += [f"kd cache {verb}: {problem}" for problem in found]
        return f"entry: exit codes {' '.join(codes)}", problems


def meaning(path: Path) -> object:
    """What a file says: of the status, which seals itself, its JSON; of others, their bytes. None = it cannot be read."""
    if path.name == "status.json":
        with contextlib.suppress(KDError, OSError):
            return read_json(path)
        return None
    return path.read_bytes() if path.is_file() and not path.is_symlink() else None
