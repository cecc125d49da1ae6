"""What the documents point to is there: links, headings, paths, modules; and every ``kd`` command in them is one that works."""

from __future__ import annotations

import importlib.util
import itertools
import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from kd_lightning.cli.completion import COMPLETED_VERBS, VERBS_OF
from kd_lightning.cli.main import main
from kd_lightning.config.conf_files import conf_dir, list_groups
from kd_lightning.config.hydra_setup import CONFIG_NAME, register_with_hydra
from kd_lightning.config.old_words import refuse_old_words
from kd_lightning.config.settings_checks import check_settings
from kd_lightning.config.shorthands import expand_files
from kd_lightning.errors import KDError, MissingExtraError
from tests.support.cli import settings_of
from tests.support.datasets_library import list_rows, save_dataset
from tests.support.hub import make_hub_folder, write_reviews
from tests.support.images import write_image_folder

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]
NOTEBOOK = ROOT / "docs" / "lab-notebook.md"
"""Tells of the past: paths and commands are those of its dates."""

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")
COMMAND = re.compile(rf"((?:[A-Z_]+=\S+ )*)(kd (?:{'|'.join(COMPLETED_VERBS)})\b.*)")
EXAMPLES = re.compile(r"mine|my_|wide_mlp|logit_mse\.yaml|born_again|blobs")
"""Files that a reader is told to write."""
FLAGS = {
    "-m",
    "--multirun",
    "--plan",
    "--watch",
    "--out",
    "--cfg",
    "job",
    "--help",
    "--hydra-help",
    "-sc",
    "install=bash",
}


@pytest.fixture(scope="module", autouse=True)
def files_of_the_reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """In the working folder, the files that a reader of the documents has."""
    folder = tmp_path_factory.mktemp("reader")
    write_reviews(folder / "reviews.csv")
    if importlib.util.find_spec("datasets"):
        save_dataset(folder / "films", {"train": list_rows(20)})
    topics = ["text,topics,urgent,billing", *(f"ticket {n},{'a;b' if n % 2 else 'b'},{n % 2},1" for n in range(20))]
    (folder / "tickets.csv").write_text("\n".join(topics), encoding="utf-8")
    ratings = ["text,rating", *(f"snippet {n},{n / 4}" for n in range(20))]
    (folder / "snippets.csv").write_text("\n".join(ratings), encoding="utf-8")
    (folder / "texts.csv").write_text("text\nfine\nbad\ndull\n", encoding="utf-8")
    for name in ("words.conll", "brown.txt"):
        (folder / name).write_text("Rome B-city\nis O\n\nold O\n", encoding="utf-8")
    for split in ("train", "test"):
        for name in ("good", "bad"):
            (folder / "FOLDER" / split / name).mkdir(parents=True)
            (folder / "FOLDER" / split / name / "1.txt").write_text(f"{name} {split}", encoding="utf-8")
    make_hub_folder(folder / "models" / "MiniLM")
    write_image_folder(folder / "photos", {"red": 3, "blue": 3})
    with chdir(folder):
        assert main(["init", "reviews.csv", "--teacher", "models/MiniLM"]) == 0
        assert main(["init", "photos"]) == 0
        yield


def link_targets(path: Path) -> list[str]:
    """All relative links of a document, with their anchors."""
    found = LINK.findall(FENCE.sub("", path.read_text(encoding="utf-8")))
    return [unquote(target) for target in found if not re.match(r"[a-z]+:", target)]


def slugs(path: Path) -> set[str]:
    """The anchors of a document's headings."""
    heads = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name: str) -> None:
    for target in link_targets(ROOT / name):
        file, _, anchor = target.partition("#")
        path = (ROOT / name).parent / file if file else ROOT / name
        assert path.exists(), target
        assert path.resolve().is_relative_to(ROOT), target
        assert not anchor or anchor in slugs(path), target


def test_the_index_has_a_line_for_every_document() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / target.partition("#")[0]).resolve() for target in link_targets(index)}
    assert linked == {path for path in DOCUMENTS if path.is_relative_to(index.parent)} - {index}
    assert ROOT / "docs" / "tutorial.md" in linked


def paths_in(text: str) -> Iterator[str]:
    """What is named in backticks as a path of the repository, or as one inside the package."""
    tops = {path.name for place in (ROOT, ROOT / "kd_lightning") for path in place.iterdir() if path.is_dir()}
    for code in CODE.findall(FENCE.sub("", text)):
        for word in code.split():
            plain = re.fullmatch(r"\.?[\w.-]+(/[\w.-]+)*/?", word)
            if plain and "/" in word and word.split("/")[0] in tops - {"outputs", ".venv"}:
                yield word


def is_there(path: str) -> bool:
    """In the repository, or in the package (``losses/base.py``)."""
    return any((place / path).exists() for place in (ROOT, ROOT / "kd_lightning"))


@pytest.mark.parametrize("name", [name for name in NAMES if ROOT / name != NOTEBOOK])
def test_every_path_in_backticks_is_there(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    missing = [
        path
        for path in paths_in(text)
        if not (is_there(path) or EXAMPLES.search(path) or re.search(r"\b[A-Z]{3,}\b", path) or is_choice(path))
    ]
    modules = re.findall(r"python -m ((?:scripts|kd_lightning)[\w.]*)", text)
    missing += [each for each in modules if not any(map(is_there, module_files(each)))]
    assert not missing


def is_choice(path: str) -> bool:
    """``model/lstm_lm``: a file of ``conf/``."""
    return (conf_dir() / f"{path}.yaml").is_file() or path in list_groups()


def module_files(module: str) -> tuple[str, ...]:
    path = module.replace(".", "/")
    return f"{path}.py", f"{path}/__main__.py"


def test_paths_and_slugs_are_found() -> None:
    assert list(paths_in("`docs/a.md` and `kd run loss=x` or `losses/base.py`, `results.json`, `1/20`")) == [
        "docs/a.md",
        "losses/base.py",
    ]
    assert not is_there("docs/nothing.md")
    assert "what-a-run-does" in slugs(ROOT / "README.md")


def commands_in(text: str) -> Iterator[list[str]]:
    """The words of every ``kd ...``, in blocks of code and in backticks; those with an ellipsis are unfinished."""
    fences = FENCE.findall(text)
    lines = [line for fence in fences for line in fence.splitlines()[1:-1]]
    codes = [" ".join(code.split()) for code in CODE.findall(FENCE.sub("", text))]
    for line in itertools.chain(lines, codes):
        for command in re.split(r" {4,}(?=kd )", line):
            found = COMMAND.match(command.strip())
            if not found or "KD_LIGHTNING_TRUST" in found[1]:  # with code of the reader's
                continue
            yield [word for word in shlex.split(found[2], comments=True)[1:] if word not in ("...", "...]")]


ALL = {
    (name, " ".join(words)): words
    for name in NAMES
    if ROOT / name != NOTEBOOK
    for words in commands_in((ROOT / name).read_text(encoding="utf-8"))
}
RUNS = sorted({tuple(words[1:]) for words in ALL.values() if words[0] == "run"})


def test_commands_are_found() -> None:
    assert ("README.md", "run experiment=digits") in ALL
    assert ("docs/how-to/several-devices.md", "run trainer=fsdp trainer.devices=2") in ALL
    assert list(commands_in("```\nkd status    kd ls x  # why\n```\n`kd run -m seed=0,1 ...`")) == [
        ["status"],
        ["ls", "x"],
        ["run", "-m", "seed=0,1"],
    ]


@pytest.mark.parametrize("place", [place for place, words in ALL.items() if words[0] != "run"], ids=" ".join)
def test_every_other_verb_is_one(place: tuple[str, str]) -> None:
    verb, *rest = ALL[place]
    if verb in VERBS_OF and rest and not rest[0].startswith("-"):
        assert rest[0] in VERBS_OF[verb]
    if verb == "ls" and rest and "GROUP" not in rest[0]:
        assert rest[0].rstrip(";") in list_groups()
    if verb == "cp" and "FILE" not in rest[:1]:
        assert all(is_choice(each) for each in rest)


def jobs_of(words: Iterable[str]) -> list[list[str]]:
    """The first and the last job of a sweep; of a single run, its words twice."""
    first, last = [], []
    for override in OverridesParser.create().parse_overrides(list(words)):
        if not override.is_sweep_override():
            values = [str(override.input_line)]
        elif override.is_choice_sweep():
            key = override.get_key_element()
            values = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:  # of a search: any value of the right kind
            return [[word for word in words if "(" not in word]] * 2
        first.append(values[0])
        last.append(values[-1])
    return [first, last]


def accept(words: Iterable[str]) -> None:
    """What ``kd run`` does before it begins, for the first and the last job.

    Raises:
        KDError: A word has another name now, or a value is refused.
        HydraException: It does not compose.
    """
    overrides = [word for word in words if word not in FLAGS and not re.match(r"\[?[A-Z]", word)]
    assert not [word for word in overrides if "=" not in word]
    refuse_old_words(overrides)
    overrides = expand_files(overrides)
    values = [re.sub(r"(?<==)\.\.\.$", "somewhere", word) for word in overrides if not word.endswith("=NAME")]
    for job in dict.fromkeys(map(tuple, jobs_of(values))):
        hydras = [word for word in job if word.startswith(("hydra/", "hydra."))]
        if hydras:
            register_with_hydra()
            with initialize_config_dir(str(conf_dir()), version_base="1.3"):
                compose(CONFIG_NAME, list(job), return_hydra_config=True)
        check_settings(settings_of(*(word for word in job if word not in hydras)))


@pytest.mark.few(30)
@pytest.mark.parametrize("words", RUNS, ids=" ".join)
def test_every_run_is_accepted(words: tuple[str, ...]) -> None:
    try:
        accept(words)
    except MissingExtraError as error:  # of a pretrained model, whose package no extra of ours brings; or of data sets
        if "--no-deps" not in str(error) and "datasets is not installed" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize(
    "words", [("no_such=1",), ("objective=[kd]",), ("-m", "alpha=0.5,2"), ("hydra/launcher=none",), ("temperature=-1",)]
)
def test_wrong_runs_are_not(words: tuple[str, ...]) -> None:
    with pytest.raises((KDError, HydraException)):
        accept(words)


def leaves(node: Any, name: str = "") -> Iterator[str]:
    """The names of all plain values."""
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from leaves(value, f"{name}.{key}" if name else str(key))
    else:
        yield name


def test_every_knob_and_group_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    file = OmegaConf.to_container(OmegaConf.load(conf_dir() / f"{CONFIG_NAME}.yaml"), resolve=False)
    assert isinstance(file, dict)
    knobs = set(leaves({key: value for key, value in file.items() if key not in ("defaults", "hydra")}))
    assert "teacher.steps" in knobs
    shown = list_groups()
    assert [name for name in sorted(knobs - set(shown)) if f"`{name}`" not in text] == []
    groups_of_ours = [name for name in shown if not name.startswith("hydra/")]
    assert [name for name in groups_of_ours if f"`{name}`" not in text and f"`{name}@" not in text] == []
