"""The floating-point operations of one query, as torch counts them (`torch.utils.flop_counter`).

A multiplication and an addition are two operations.  Matrix products, convolutions and attention are counted, of the
whole query as it runs: vision, text, and generation with its cache.  Norms, activations and softmax are not, nor the
products of quantised weights, whose kernels torch does not know.

Florence-2's own network has fast forms that torch cannot count; `florence2_cost` counts its plain form.  A model that
asks another one for a part of its answer says so by three attributes, and both parts are counted apart: `asks` is the
other model, `asked(question)` the question to it, and `after(result)` the model that has its result already.
"""

from __future__ import annotations

from typing import Any

from harness.core import Answer, Failure, Model, Question


def of_query(model: Model, question: Question) -> dict[str, Any]:
    """The count of one query that runs alone, as entries of a record.

    "GFLOPs" in billions, and "of", which says what was counted.  Without a count there is only "of", with the reason.
    """
    try:
        operations, answer = _counted(model, question)
    except (AssertionError, NotImplementedError, RuntimeError) as error:  # an operation that torch cannot count
        return {"of": f"not counted: {type(error).__name__}: {error}"[:300]}
    if isinstance(answer, Failure):
        return {"of": f"not counted: {answer.reason}"[:300]}
    about = "1 image" if question.image else "1 text"
    generated = f", {answer.tokens:,} generated tokens" if answer.tokens else ""
    return {"GFLOPs": operations / 1e9, "of": f"one {question.kind} query alone: {about}{generated}"}


def _counted(model: Model, question: Question) -> tuple[float, Answer | Failure]:
    """The operations of a question that is asked alone, and its result."""
    whole: Any = model
    if hasattr(whole, "asks"):
        before, result = _counted(whole.asks, whole.asked(question))
        after, answer = _counted(whole.after(result), question)
        return before + after, answer
    import torch
    from torch.utils import flop_counter

    from harness.florence2.predictor import Predictor

    if isinstance(model, Predictor):
        from harness.speed import florence2_cost

        return florence2_cost.of_query(model, question)
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # torch counts the other kernels only
    counter: Any = flop_counter.FlopCounterMode(display=False, custom_mapping={attention: _attention})
    counter.mod_tracker = _NoModules()
    with counter:
        [(_, answer)] = model.answer([(0, question)])
    return float(counter.get_total_flops()), answer


class _NoModules:
    """In place of torch's tracker of modules, which raises for a parameter as a module's input in inference mode."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def _attention(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """The operations of attention, from the shapes (B, N, L, D) of its inputs."""
    from torch.utils.flop_counter import sdpa_flop_count

    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]
