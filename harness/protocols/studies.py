"""The studies: each a grid of arms and seeds, with the figures of the paper (arXiv:2311.06242v1) where it has any.

An arm is the training and the evaluations of one model, as a value.  Equal arms of different studies are trained once;
`PLAIN` is an arm of four studies.  The arms are sized for the miniature's small world, where a cell takes minutes on
one core.  `full` gives the same arm at the miniature's own size, for a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from harness.core import Kind
from harness.errors import UsageError
from harness.florence2.config import NANO, Config, TextConfig, VisionConfig
from harness.training.recipe import OPTIMISERS, Optimiser, Plan, Precision
from harness.training.targets import Targets

Slots = tuple[tuple[Kind, ...], ...]

SMALL = Config(
    vision=VisionConfig(
        dims=(24, 48, 96, 96),
        depths=(1, 1, 1, 1),
        heads=(1, 2, 4, 4),
        groups=(1, 2, 4, 4),
        stride=(4, 2, 1, 1),
        window=8,
    ),
    text=TextConfig(width=96, heads=4, encoder_layers=1, decoder_layers=2, ffn=384, positions=160, vocab=1500),
    image_size=64,
)  # fmt: skip
LARGER = replace(
    SMALL,
    vision=replace(SMALL.vision, dims=(32, 64, 128, 128), depths=(1, 1, 2, 1)),
    text=replace(SMALL.text, width=128, encoder_layers=2, decoder_layers=3, ffn=512),
)

IMAGE: Slots = (("caption",), ("detailed_caption",), ("more_detailed_caption",))
EVERYTHING: Slots = (("refer", "ground"), ("segment",), ("caption", "detect"))
METRICS = {
    "coco_caption": "CIDEr", "coco_detection": "mAP", "flickr30k": "R@1", "refcoco_res": "mIoU",
}  # fmt: skip


UNCHANGED = Targets()
SIGMA = (20.0, 8.0)  # bins; objects of the small world are large


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Training steps at one resolution on one choice of kinds."""

    slots: Slots = EVERYTHING  # see `Drawing.slots`
    steps: int = 1_400
    side: int = 64  # pixels


MARGINS = {"coco_caption": 20.0, "coco_detection": 3.0, "flickr30k": 3.0, "refcoco_res": 3.0}
"""By task, the difference below which two arms count as equal: their interval must lie within it.

Set in version 0.17, before any cell of a later study was run.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Settings of an evaluation: the resolution, the form of the prompts, and the search."""

    side: int | None = None  # pixels; None: the resolution of training
    form: str = ""  # "": the form of training
    search: Mapping[str, float] = field(default_factory=dict)  # options of `run`, such as beams; greedy otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A model of a study: the pre-training of its parts, its training and its evaluations."""

    about: str
    config: Config = SMALL
    scenes: int = 6_000
    tower: Literal["scratch", "masked", "contrastive"] = "contrastive"  # pre-training of the vision tower
    text: Literal["scratch", "denoising"] = "scratch"  # pre-training of the text layers
    frozen_tower: bool = False  # during the phases
    optimiser: Optimiser = "adamw"  # of the phases
    rate_factor: float = 1.0  # on the learning rate of the phases
    phase_precision: Precision = "bfloat16"  # of the phases; at these sizes a CPU is quicker in float32
    widths: tuple[float, float] = SIGMA  # width of a location token's target in bins, at the first and the last step
    targets: Targets = UNCHANGED
    form: str = ""  # form of the prompts in training; "": the default form of each kind
    phases: tuple[Phase, ...] = (Phase(),)
    evaluations: Mapping[str, Evaluation] = field(default_factory=lambda: {"": Evaluation()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A question, the arms that answer it, and the paper's answer."""

    name: str
    question: str
    arms: Mapping[str, Arm]
    against: str  # the baseline arm
    says: str  # the paper's answer
    # The paper's figures by arm, in the order of METRICS; None: not reported
    paper: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    locator: str = ""  # the place of the figures in the paper
    claims: tuple[str, ...] = ()  # ids of related rows in claims.csv


PRETRAINED = Phase(steps=1_000)
TRANSFER = Phase(slots=(("caption",), ("detect",), ("ground",), ("segment",)), steps=500)
PLAIN = Arm(about="all tasks, contrastive tower, full resolution, each task's own prompt")
PARAPHRASED = {"": Evaluation(), "paraphrase": Evaluation(form="paraphrase")}
SEARCHES = {
    "": Evaluation(),
    **{f"{beams} beams": Evaluation(search={"beams": beams}) for beams in (2, 3, 5)},
    "repetition allowed": Evaluation(search={"no_repeat_ngram": 0}),
    **{f"3 beams, length {power:g}": Evaluation(search={"beams": 3, "length_penalty": power}) for power in (0.0, 2.0)},
}
RESOLUTIONS = {"": Evaluation(), **{f"at x{side / 64:g}": Evaluation(side=side) for side in (32, 48, 64, 80)}}


def _levels(about: str, slots: Slots) -> Arm:
    return Arm(about=about, phases=(replace(PRETRAINED, slots=slots), TRANSFER))


STUDIES: Mapping[str, Study] = {
    study.name: study
    for study in (
        Study(
            name="granularity",
            question="Does training on regions and outlines help, after transfer to the same four tasks?",
            arms={
                "image": _levels("captions of three lengths", IMAGE),
                "image+region": _levels(
                    "captions and boxes", ((*IMAGE[0], *IMAGE[1], *IMAGE[2]), ("detect", "ground"), ("refer", "ground"))
                ),
                "image+region+pixel": _levels(
                    "captions, boxes and outlines",
                    ((*IMAGE[0], *IMAGE[1], *IMAGE[2]), ("detect", "ground", "refer"), ("segment",)),
                ),
                "region": _levels("boxes alone", (("detect",), ("ground",), ("refer",))),
                "pixel": _levels("outlines alone", (("segment",),) * 3),
            },
            against="image",
            says="Regions improve detection, grounding and outlines. Outlines improve only outlines, at a small cost.",
            paper={
                "image": (134.6, 0.1, 62.0, 18.2),
                "image+region": (134.6, 29.7, 79.1, 28.4),
                "image+region+pixel": (133.4, 28.3, 78.1, 31.6),
            },
            locator="Figure 7; the arms of 28.4 and 18.2 are inferred",
            claims=("abl_granularity",),
        ),
        Study(
            name="prompts",
            question="Is a prompt for each task better than one generic prompt, and do paraphrases lower the scores?",
            arms={
                "own": replace(PLAIN, evaluations=PARAPHRASED),
                "generic": replace(PLAIN, about="one prompt for every task", form="generic"),
            },
            against="own",
            says="The paper has no such experiment.",
            claims=("abl_prompts",),
        ),
        Study(
            name="init",
            question="What does pre-training of the vision tower and of the text layers contribute?",
            arms={
                "nothing": replace(PLAIN, about="random weights", tower="scratch"),
                "masked": replace(PLAIN, about="vision tower from masked autoencoding", tower="masked"),
                "V": replace(PLAIN, about="vision tower from contrastive pre-training"),
                "L": replace(PLAIN, about="text layers from denoising", tower="scratch", text="denoising"),
                "V+L": replace(PLAIN, about="both", text="denoising"),
                "V+L frozen": replace(PLAIN, about="both, vision tower frozen", text="denoising", frozen_tower=True),
            },
            against="V+L",
            says="Vision pre-training (UniCL) contributes much. Language pre-training contributes little, and costs "
            "2.9 mIoU. A frozen vision tower gains 1.3 CIDEr, and loses much in the other metrics.",
            paper={
                "L": (81.3, 4.9, 69.0, 15.3),
                "V": (117.4, 19.6, 75.2, 21.5),
                "V+L": (118.7, 19.7, 76.3, 18.6),
                "V+L frozen": (120.0, 6.9, 66.3, 9.9),
            },
            locator="Table 12",
            claims=("abl_mae_init",),
        ),
        Study(
            name="resolution",
            question="Which is best for the same number of images: low, high, or first low and then high resolution?",
            arms={
                "low": replace(PLAIN, about="half the resolution", phases=(Phase(side=32),), evaluations=RESOLUTIONS),
                "high": replace(PLAIN, about="the full resolution", evaluations=RESOLUTIONS),
                "low, then high": replace(
                    PLAIN,
                    about="half, then the full resolution",
                    phases=(Phase(side=32, steps=900), Phase(steps=500)),
                    evaluations=RESOLUTIONS,
                ),
            },
            against="high",
            says="The paper trains at low and then at high resolution, without a comparison.",
            claims=("abl_resolution",),
        ),
        Study(
            name="scale",
            question="What do more data and a larger model contribute?",
            arms={
                f"{size}, {share}": replace(PLAIN, about="", config=config, scenes=scenes)
                for size, config in (("small", SMALL), ("larger", LARGER))
                for share, scenes in (("1 %", 60), ("10 %", 600), ("all", 6_000))
            },
            against="small, all",
            says="Both improve every metric, but not at every step: RES falls from 1.2 to 12 million images.",
            paper={
                "small, 1 %": (102.8, 16.1, 74.0, 15.9),
                "small, 10 %": (114.3, 18.7, 75.8, 16.6),
                "small, all": (118.7, 19.7, 76.3, 18.6),
                "larger, all": (124.4, 22.6, 78.2, 21.5),
            },
            locator="Tables 10 and 11: Base with 0.12, 0.36 and 12 million images, Large with 12",
        ),
        Study(
            name="optimiser",
            question="In equal steps, each at its best of three rates: does Muon learn more than AdamW?",
            arms={
                f"{optimiser} x{factor:g}": replace(
                    PLAIN,
                    about=f"{factor:g} times the rate",
                    optimiser=optimiser,
                    rate_factor=factor,
                    phase_precision="float32",
                )
                for optimiser in OPTIMISERS
                for factor in (0.5, 1.0, 2.0)
            },
            against="adamw x1",
            says="The paper trains with AdamW, without a comparison.",
        ),
        Study(
            name="decoding",
            question="What do beams, the ban of repeated 3-grams and the length penalty change, at which cost?",
            arms={"all tasks": replace(PLAIN, evaluations=SEARCHES)},
            against="all tasks",
            says="The paper uses greedy or beam search without a comparison; the published code has 3 beams.",
        ),
        Study(
            name="locations",
            question="Which targets of location tokens and which order of objects are learnt best?",
            arms={
                "smooth to sharp": PLAIN,
                "one-hot": replace(PLAIN, about="all weight on one bin", widths=(0.0, 0.0)),
                "smooth": replace(PLAIN, about="20 bins wide to the end", widths=(20.0, 20.0)),
                "100 bins": replace(PLAIN, about="every tenth bin alone", targets=Targets(bins=100)),
                "largest first": replace(PLAIN, about="objects by falling area", targets=Targets(order="size")),
                "random order": replace(PLAIN, about="objects in any order", targets=Targets(order="random")),
            },
            against="smooth to sharp",
            says="The paper has 1,000 bins and one-hot targets, and does not say the order of objects.",
        ),
    )
}  # fmt: skip


def find(name: str) -> Study:
    """A study by name; UsageError, with the names of all studies, for an unknown name."""
    if name not in STUDIES:
        raise UsageError(f"no study is called {name!r}; there are {', '.join(STUDIES)}")
    return STUDIES[name]


def plan_of(phase: Phase, arm: Arm, seed: int) -> Plan:
    """The optimisation of a phase: the same in every arm, but for the optimiser and the rate that an arm names."""
    return Plan(
        steps=phase.steps,
        batch=16,
        rate=2e-3 * arm.rate_factor,
        warmup=100,
        average=0.995,
        precision=arm.phase_precision,
        save_every=250,
        seed=seed,
        optimiser=arm.optimiser,
    )  # fmt: skip


def full(arm: Arm) -> Arm:
    """The arm at the miniature's own size, for a GPU: four times the pixels and steps, three times the scenes."""
    sizes = {SMALL: NANO, LARGER: replace(NANO, vision=replace(NANO.vision, dims=(48, 96, 192, 240)))}
    phases = tuple(replace(phase, side=2 * phase.side, steps=4 * phase.steps) for phase in arm.phases)
    evaluations = {
        name: replace(evaluation, side=2 * evaluation.side if evaluation.side else None)
        for name, evaluation in arm.evaluations.items()
    }
    return replace(arm, config=sizes[arm.config], scenes=arm.scenes * 3, phases=phases, evaluations=evaluations)
