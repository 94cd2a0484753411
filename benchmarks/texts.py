"""How fast texts are parsed and filtered on one core, and whether memory stays flat.

    python -m benchmarks.texts [--images 2000]

parse     texts a second that spaCy parses, by length and by the number of texts in a batch
stages    images a second of the stages `texts`, `phrases` and `choice`, with texts parsed before, and with parsing
memory    the process's memory after each quarter of the images, none of whose texts repeat

Times are meaningful on an idle machine, with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterator

import psutil

from harness.core import Boxes, Size, Text
from harness.data_engine.choose import Choice
from harness.data_engine.parsing import identity, parse
from harness.data_engine.phrases import Phrases, noun_chunks
from harness.data_engine.records import Annotation, ImageRow, Origin, Record
from harness.data_engine.texts import Texts, parsed_ahead

NOUNS = ("dog", "man", "horse", "table", "car", "tree", "woman", "ball", "house", "street", "bench", "boat", "kite")
ADJECTIVES = ("red", "small", "large", "blue", "wooden", "old", "young", "black", "white", "tall")
VERBS = ("is riding", "holds", "stands next to", "looks at", "is sitting on", "walks past")
SAID = Origin(kind="specialist", name="benchmark", fingerprint="1").id


def sentence(random_: random.Random, number: int) -> str:
    """A sentence of some thirteen words that no other number has."""
    one, other = random_.sample(NOUNS, 2)
    look = random_.choice(ADJECTIVES)
    return f"A {look} {one} {random_.choice(VERBS)} a {random_.choice(ADJECTIVES)} {other} near house {number}."


def records(count: int) -> Iterator[Record]:
    """Images with a brief text, a detailed one of five sentences, six phrases, and two regions with three texts."""
    random_ = random.Random(0)
    for number in range(count):
        image = f"{number:064x}"

        def said(text: str, length: str, *parents: str, image: str = image) -> Annotation:
            return Annotation(
                image=image, kind="text", value=Text((text,)), origin=SAID, length=length, parents=parents,  # type: ignore[arg-type]
            )  # fmt: skip

        brief = said(sentence(random_, number), "brief")
        detailed = said(" ".join(sentence(random_, 10 * number + each) for each in range(5)), "detailed")
        regions, texts, measures = [], [brief, detailed], {}
        for each in range(2):
            box = (each * 20.0, 0.0, each * 20.0 + 15, 15.0)
            region = Annotation(image=image, kind="region", value=Boxes((box,), ("dog",)), origin=SAID, score=0.9)
            of_region = [said("dog", "category", region.id), said(f"a dog {number} {each}", "brief", region.id)]
            measures |= {text.id: {"similarity": random_.random()} for text in of_region}
            regions.append(region)
            texts += of_region
        phrases = []
        for word in ("A", "house"):
            start = detailed.value.texts[0].index(word)  # type: ignore[union-attr]
            phrases.append(
                Annotation(
                    image=image, kind="phrase", value=Boxes(((0.0, 0.0, 9.0, 9.0),), (word,)), origin=SAID,
                    parents=(detailed.id,), span=(start, start + len(word)), score=0.8,
                )
            )  # fmt: skip
        row = ImageRow(reference=f"{number}.jpg", sha256=image, size=Size(100, 100))
        yield Record(image=row, annotations=(*texts, *regions, *phrases)).extended(measures=measures)


def rate(count: int, work: Callable[[], object]) -> float:
    """How many of `count` are done in a second of processor time."""
    start = time.process_time()
    work()
    return count / max(1e-9, time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000, help="images of the stages and of memory [default: 2000]")
    images: int = parser.parse_args().images
    print(identity())
    random_ = random.Random(1)
    number = 0
    for name, sentences, batches in (("brief", 1, (1, 4, 32, 128)), ("detailed", 5, (1, 4, 32, 128))):
        for batch in batches:
            count = 640 // sentences
            texts = []
            for _ in range(count):
                number += 1
                texts.append(" ".join(sentence(random_, 10**6 * (each + 1) + number) for each in range(sentences)))
            parts = [texts[at : at + batch] for at in range(0, count, batch)]
            speed = rate(count, lambda parts=parts: [*map(parse, parts)])
            print(f"parse     {name:<9} batch {batch:<4} {speed:8.0f} texts/s")
    stages = (Texts(), Phrases(), Choice())

    def apply(given: list[Record]) -> None:
        for record in given:
            for stage in stages:
                record = stage(record)

    few = list(records(400))
    with_parsing = rate(len(few), lambda: apply([*parsed_ahead(few)]))
    without = rate(len(few), lambda: apply(few))
    print(f"stages    with parsing {with_parsing:6.0f} images/s, parsed before {without:6.0f} images/s")
    print(f"chunks    {rate(800, lambda: noun_chunks([f'{n} red dogs and a cat' for n in range(800)])):6.0f} texts/s")
    process = psutil.Process()
    for place, record in enumerate(parsed_ahead(records(images)), 1):
        for stage in stages:
            record = stage(record)
        if place % max(1, images // 4) == 0:
            print(f"memory    after {place:>7,} images {process.memory_info().rss / 2**20:6.0f} MiB")


if __name__ == "__main__":
    main()
