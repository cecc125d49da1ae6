"""The code that goes with weights: all that a network needs of its owner's, and nothing that is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from kd_lightning.deploy.export.inference import build_copied
from kd_lightning.deploy.export.network_code import find_code, move_imports
from kd_lightning.deploy.export.traced_network import OperatorLSTM, replace_recurrent

FILES = {
    "exported_net/__init__.py": "from exported_net.nets import Net",
    "exported_net/nets.py": (
        "import math, exported_net.layers\nimport exported_tools.scale as scaling\nfrom torch import nn\n"
        "from . import widths\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.block = exported_net.layers.Block(widths.WIDTH, int(math.sqrt(4)))\n"
        "    def forward(self, x):\n        return scaling.twice(self.block(x))\n"
    ),
    "exported_net/layers.py": "from torch import nn\nclass Block(nn.Linear):\n    pass\n",
    "exported_net/widths.py": "WIDTH = 3\n",
    "exported_tools/__init__.py": "",
    "exported_tools/scale.py": "def twice(x):\n    return 2 * x\n",
}


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packages that are not installed; the first needs the second."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_other_packages_of_the_user_come_along(packages: Path, tmp_path: Path) -> None:
    sources, needed = find_code(["exported_net.Net"])
    assert {"exported_net.nets", "exported_net.layers", "exported_net.widths", "exported_tools.scale"} <= set(sources)
    assert needed == ["torch"]
    copies = tmp_path / "copies" / "network_code"
    for module, path in sources.items():
        relative = path.relative_to(packages)
        (copies / relative).parent.mkdir(parents=True, exist_ok=True)
        (copies / relative).write_text(move_imports(path.read_text(), sources))
        assert module.replace(".", "/") in str(relative.with_suffix(""))
    code = (
        f"import sys; sys.path.insert(0, {str(copies.parent)!r})\n"
        "import torch; from network_code.exported_net import Net\n"
        "print(Net()(torch.ones(1, 3)).shape)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("torch.Size([1, 2])\n", "")


def test_positional_and_partial_settings_are_built(tmp_path: Path) -> None:
    node = {
        "_target_": "torch.nn.Sequential",
        "_args_": [{"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3}],
    }
    assert isinstance(build_copied(json.loads(json.dumps(node)), tmp_path)[0], nn.Linear)
    later = build_copied({"_target_": "torch.nn.Linear", "_partial_": True, "in_features": 2}, tmp_path)
    assert isinstance(later, partial)
    assert later(out_features=4).weight.shape == (4, 2)


def test_only_what_the_operator_can_do_is_replaced() -> None:
    class Backwards(nn.LSTM):
        def forward(self, inputs, state=None):  # type: ignore[no-untyped-def]
            return super().forward(inputs.flip(1), state)

    plain = nn.LSTM(3, 4, num_layers=2, batch_first=True, dropout=0.5)
    others = [Backwards(3, 4, batch_first=True), nn.LSTM(3, 4, batch_first=True, bidirectional=True), nn.LSTM(3, 4)]
    network = replace_recurrent(nn.ModuleList([plain, *others])).eval()
    assert [isinstance(each, OperatorLSTM) for each in network] == [True, False, False, False]
    inputs = torch.randn(2, 5, 3)
    states, (hidden, cell) = network[0](inputs)
    wanted, (last, memory) = plain.eval()(inputs)
    torch.testing.assert_close((states, hidden, cell), (wanted, last, memory))
    given = (torch.ones(2, 2, 4), torch.ones(2, 2, 4))
    torch.testing.assert_close(network[0](inputs, given)[0], plain(inputs, given)[0])
