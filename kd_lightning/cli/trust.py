"""``kd trust add|ls|remove``: the packages whose code configurations may name, remembered in the user's own settings."""

from __future__ import annotations

from importlib.machinery import PathFinder
from pathlib import Path

from kd_lightning.errors import ConfigError, did_you_mean
from kd_lightning.safety.trust import check_owner, list_remembered_packages, settings_file
from kd_lightning.store import publish_json

TRUST_USAGE = """\
kd trust add PATH      trust the package or module at this path: configurations may name its code, from any folder
kd trust add PACKAGE   trust an installed package
kd trust ls            what is trusted, and from where it is imported
kd trust remove NAME   trust it no longer

For one command only: KD_LIGHTNING_TRUST=my_pkg kd run ..."""
TRUST_VERBS = ("add", "ls", "remove")


def run_trust_verb(words: list[str]) -> int:
    """The verb; returns the exit code.

    Raises:
        ConfigError: As ``follow_trust_words``.
    """
    if not words or any(word in ("-h", "--help") for word in words):
        print(TRUST_USAGE)
        return 0 if words else 2
    follow_trust_words(words)
    return 0


def follow_trust_words(words: list[str]) -> None:
    """Do what the words say.

    Raises:
        ConfigError: They are not understood, or what they name is not there or not safe.
    """
    verb, names = words[0], words[1:]
    if verb not in TRUST_VERBS or len(names) != (verb != "ls"):
        raise ConfigError(
            f"kd trust {' '.join(words)}: not understood{did_you_mean(verb, TRUST_VERBS)}; see kd trust --help"
        )
    if verb == "add":
        add_package(names[0])
    elif verb == "remove":
        remove_package(names[0])
    else:
        list_packages()


def add_package(word: str) -> None:
    """Remember a package, by its path or, where it is installed, by its name."""
    name, folder = find_package_at(Path(word)) if Path(word).exists() else (find_installed_package(word), None)
    write_packages({**list_remembered_packages(), name: folder})
    print(f"{name} is trusted, {describe_import_path(folder)}: its code may run whenever a configuration names it")


def find_package_at(path: Path) -> tuple[str, str]:
    """Name and folder of the package or module at a path.

    Raises:
        ConfigError: There is none, or others can write to it.
    """
    path = path.resolve()
    name = path.name.removesuffix(".py")
    if not name.isidentifier() or not (path.is_dir() or path.suffix == ".py"):
        raise ConfigError(f"kd trust add {path}: a package's folder or a .py file is expected")
    for place in (path, path.parent):
        check_owner(place)
    return name, str(path.parent)


def find_installed_package(word: str) -> str:
    """The name itself, if an installed package or module has it.

    Raises:
        ConfigError: None has.
    """
    if not word.isidentifier() or PathFinder.find_spec(word) is None:
        raise ConfigError(
            f"kd trust add {word}: no such folder or file here, and no installed package; name the path of your package"
        )
    return word


def remove_package(name: str) -> None:
    """Forget a package.

    Raises:
        ConfigError: It is not remembered.
    """
    packages = list_remembered_packages()
    if name not in packages:
        raise ConfigError(f"kd trust remove {name}: not trusted{did_you_mean(name, packages)}; see kd trust ls")
    del packages[name]
    write_packages(packages)
    print(f"{name} is no longer trusted")


def list_packages() -> None:
    """One line for each package."""
    packages = list_remembered_packages()
    for name, folder in sorted(packages.items()):
        print(f"{name}  {describe_import_path(folder)}")
    print(f"{len(packages)} in {settings_file()}")


def describe_import_path(folder: str | None) -> str:
    """From where a package is imported."""
    return "installed" if folder is None else f"from {folder}"


def write_packages(packages: dict[str, str | None]) -> None:
    """Remember these and no others, in a file that this user alone reads."""
    path = settings_file()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_owner(path.parent)
    publish_json(path, {"packages": packages}, mode=0o600)
