"""Handlers of the word counts: decompress a text, tokenise it, merge the counts of two texts.

Every day two offices deliver a text each: one as gzip, the other as xz. The texts are made by the
program itself, each when it is opened for the first time, and are the same everywhere: the day and
the office decide about them.
"""

from __future__ import annotations

import gzip
import lzma
import os
import random
import re
from collections import Counter
from functools import cache
from itertools import accumulate, product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from stagebench import Bounds, MemoryNeed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORMATS = {"north": gzip, "south": lzma}
"""The offices, and how each packs its texts."""

TOKEN = re.compile(r"[a-z]+")
SENTENCE_WORDS = 12


def decompress(
    *,
    day: int,
    office: Literal["north", "south"],
    folder: str,
    words: Annotated[int, Bounds(at_least=1)] = 120_000,
) -> str:
    """Give a text; one that is not in the folder yet is made first.

    A text lies under a name that holds all that it was made from, so that a file which is there is
    the right one.
    """
    pack = FORMATS[office]
    path = Path(folder) / f"{day:03d}-{office}-{words}.{pack.__name__}"
    if not path.exists():
        save(pack.compress(make_text(day, office, words).encode()), path)
    text: bytes = pack.decompress(path.read_bytes())
    return text.decode()


def memory_need_decompress(*, words: int = 120_000, **_others: object) -> MemoryNeed:
    """Tell a study how large unpacked texts are: four letters a word, and what is between two."""
    return MemoryNeed(working_bytes=10 * words, result_bytes=5 * words)


def tokenise(*, upstream: str) -> Counter[str]:
    """Count the words of a text, whatever their case."""
    counts: Counter[str] = Counter()
    for line in upstream.splitlines():
        counts.update(TOKEN.findall(line.casefold()))
    return counts


def merge(*, upstream: Mapping[str, Counter[str]]) -> Counter[str]:
    """Add up what the stages before have counted."""
    return sum(upstream.values(), Counter())


def make_text(day: int, office: str, words: int) -> str:
    """Write words down as sentences, a line each."""
    drawn = draw_words(day, office, words)
    starts = range(0, len(drawn), SENTENCE_WORDS)
    sentences = (" ".join(drawn[start : start + SENTENCE_WORDS]) for start in starts)
    return "\n".join(f"{sentence.capitalize()}." for sentence in sentences)


def draw_words(day: int, office: str, words: int) -> list[str]:
    """Draw words as languages do: the n-th most frequent one comes up 1/n as often as the first."""
    known = vocabulary()
    weights = list(accumulate(1 / rank for rank in range(1, len(known) + 1)))
    return random.Random(f"{day} {office}").choices(known, cum_weights=weights, k=words)


@cache
def vocabulary() -> Sequence[str]:
    """Give ten thousand words of two syllables."""
    syllables = ["".join(letters) for letters in product("bcdfghjklmnpqrstvwyz", "aeiou")]
    words = ["".join(both) for both in product(syllables, syllables)]
    random.Random(1).shuffle(words)
    return words


def save(content: bytes, path: Path) -> None:
    """Write a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_bytes(content)
    unfinished.replace(path)
