"""The five studies, each a grid of arms and seeds declared here, beside what the paper says (arXiv:2311.06242v1).

An arm is how one model comes about, as a value.  Arms that are the same are trained once, whichever study they are in:
every study's plainest arm is the same model.  On the miniature's smaller world a cell takes minutes on one core;
`FULL_STUDY` is the same grid at the miniature's own size, for a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from harness.core import Kind
from harness.errors import UsageError
from harness.florence2.config import NANO, Config, TextConfig, VisionConfig
from harness.training.recipe import Plan

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Some steps of teaching at one resolution, in one form of prompts."""

    slots: Slots = EVERYTHING
    steps: int = 1_400
    side: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A way to ask: at another resolution, or in other words."""

    side: int | None = None
    form: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """How a model comes about: where its parts start, what it is taught, and how it is then asked."""

    about: str
    config: Config = SMALL
    scenes: int = 6_000
    tower: Literal["scratch", "masked", "contrastive"] = "contrastive"
    text: Literal["scratch", "denoising"] = "scratch"
    frozen_tower: bool = False
    form: str = ""  # of prompts, in training; "" is each kind's own
    phases: tuple[Phase, ...] = (Phase(),)
    evaluations: Mapping[str, Evaluation] = field(default_factory=lambda: {"": Evaluation()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A question, its arms, the one that others are held against, and what is known of it.

    `paper` has the paper's figures by arm, in the order of METRICS (None: not reported), `claims` the rows of
    summary_claims.csv that it bears on.
    """

    name: str
    question: str
    arms: Mapping[str, Arm]
    against: str
    says: str
    paper: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    locator: str = ""
    claims: tuple[str, ...] = ()


PRETRAINED = Phase(steps=1_000)
TRANSFER = Phase(slots=(("caption",), ("detect",), ("ground",), ("segment",)), steps=500)
PLAIN = Arm(about="all tasks, contrastive tower, full resolution, each task's own prompt")
ASKED = {"": Evaluation(), "paraphrase": Evaluation(form="paraphrase")}
SWEPT = {"": Evaluation(), **{f"at x{side / 64:g}": Evaluation(side=side) for side in (32, 48, 64, 80)}}


def _levels(about: str, slots: Slots) -> Arm:
    return Arm(about=about, phases=(replace(PRETRAINED, slots=slots), TRANSFER))


STUDIES: Mapping[str, Study] = {
    study.name: study
    for study in (
        Study(
            name="granularity",
            question="Does teaching of regions and outlines help, after transfer to the same four tasks?",
            arms={
                "image": _levels("captions of three lengths", IMAGE),
                "image+region": _levels(
                    "and boxes", ((*IMAGE[0], *IMAGE[1], *IMAGE[2]), ("detect", "ground"), ("refer", "ground"))
                ),
                "image+region+pixel": _levels(
                    "and outlines", ((*IMAGE[0], *IMAGE[1], *IMAGE[2]), ("detect", "ground", "refer"), ("segment",))
                ),
                "region": _levels("boxes alone", (("detect",), ("ground",), ("refer",))),
                "pixel": _levels("outlines alone", (("segment",),) * 3),
            },
            against="image",
            says="Regions lift detection, grounding, outlines; outlines lift only outlines, at a small cost.",
            paper={
                "image": (134.6, 0.1, 62.0, 18.2),
                "image+region": (134.6, 29.7, 79.1, 28.4),
                "image+region+pixel": (133.4, 28.3, 78.1, 31.6),
            },
            locator="Figure 7; which of 28.4 and 18.2 is whose is inferred",
            claims=("abl_granularity",),
        ),
        Study(
            name="prompts",
            question="Does each task's own prompt beat one generic prompt, and do paraphrases hurt?",
            arms={
                "own": replace(PLAIN, evaluations=ASKED),
                "generic": replace(PLAIN, about="one prompt for every task", form="generic"),
            },
            against="own",
            says="No such experiment is in the paper.",
            claims=("abl_prompts",),
        ),
        Study(
            name="init",
            question="What do pre-trainings of the tower and of the text side bring?",
            arms={
                "nothing": replace(PLAIN, about="from nothing", tower="scratch"),
                "masked": replace(PLAIN, about="tower from masked-autoencoder pre-training", tower="masked"),
                "V": replace(PLAIN, about="tower from contrastive pre-training"),
                "L": replace(PLAIN, about="text side from denoising", tower="scratch", text="denoising"),
                "V+L": replace(PLAIN, about="both", text="denoising"),
                "V+L frozen": replace(PLAIN, about="both, the tower frozen", text="denoising", frozen_tower=True),
            },
            against="V+L",
            says="Vision pre-training (UniCL) is worth much; language pre-training brings little, and costs 2.9 mIoU; "
            "a frozen tower gains 1.3 CIDEr and loses much elsewhere.",
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
            question="Low, high, or low and then high resolution, for the same number of images?",
            arms={
                "low": replace(PLAIN, about="half the resolution", phases=(Phase(side=32),), evaluations=SWEPT),
                "high": replace(PLAIN, about="the full resolution", evaluations=SWEPT),
                "low, then high": replace(
                    PLAIN,
                    about="half, then the full resolution",
                    phases=(Phase(side=32, steps=900), Phase(steps=500)),
                    evaluations=SWEPT,
                ),
            },
            against="high",
            says="The paper trains low and then high, and compares it with nothing.",
            claims=("abl_resolution",),
        ),
        Study(
            name="scale",
            question="What do more data and a larger model bring?",
            arms={
                f"{size}, {share}": replace(PLAIN, about="", config=config, scenes=scenes)
                for size, config in (("small", SMALL), ("larger", LARGER))
                for share, scenes in (("1 %", 60), ("10 %", 600), ("all", 6_000))
            },
            against="small, all",
            says="Both help everywhere, though not every step of data does (RES falls from 1.2 to 12 million images).",
            paper={
                "small, 1 %": (102.8, 16.1, 74.0, 15.9),
                "small, 10 %": (114.3, 18.7, 75.8, 16.6),
                "small, all": (118.7, 19.7, 76.3, 18.6),
                "larger, all": (124.4, 22.6, 78.2, 21.5),
            },
            locator="Tables 10 and 11: Base with 0.12, 0.36 and 12 million images, Large with 12",
        ),
    )
}  # fmt: skip
SEEDS = (0, 1, 2)


def find(name: str) -> Study:
    """A study by name; UsageError, with what there is, where there is none."""
    if name not in STUDIES:
        raise UsageError(f"no study is called {name!r}; there are {', '.join(STUDIES)}")
    return STUDIES[name]


def plan_of(phase: Phase, seed: int) -> Plan:
    """How a phase is taught, the same in every arm."""
    return Plan(
        steps=phase.steps,
        batch=16,
        rate=2e-3,
        warmup=100,
        average=0.995,
        precision="bfloat16",
        save_every=250,
        seed=seed,
    )  # fmt: skip


def full(arm: Arm) -> Arm:
    """The same arm at the miniature's own size: four times the pixels and steps, for a GPU."""
    sizes = {SMALL: NANO, LARGER: replace(NANO, vision=replace(NANO.vision, dims=(48, 96, 192, 240)))}
    phases = tuple(replace(phase, side=2 * phase.side, steps=4 * phase.steps) for phase in arm.phases)
    evaluations = {name: replace(one, side=2 * one.side if one.side else None) for name, one in arm.evaluations.items()}
    return replace(arm, config=sizes[arm.config], scenes=arm.scenes * 3, phases=phases, evaluations=evaluations)
