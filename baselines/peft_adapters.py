"""Merges PEFT adapters (LoRA) onto models of transformers, as other tools save them.

PEFT applies and merges the adapter.  Its own loading warns of tensors that fit nowhere and leaves them out, and lets
NaN pass.  Here the files are read by the rules for Florence-2's adapters (`harness.florence2.adapters`): LoRA alone,
finite numbers, no pickled code, every tensor at its place with its shape.

Adapters that were trained with transformers before 4.52 name modules as the models were then laid out.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import CheckpointError, ResourceError

INSTALL_TRAIN = 'pip install "florence2-harness[train]"'
PREFIX = "base_model.model."
OLDER = (  # beginnings of names before transformers 4.52, and the same now
    (r"language_model\.model\.", "model.language_model."),  # LLaVA's layout, which PaliGemma has
    (r"language_model\.lm_head", "lm_head"),
    (r"vision_tower\.", "model.vision_tower."),
    (r"multi_modal_projector\.", "model.multi_modal_projector."),
    (r"visual\.", "model.visual."),  # Qwen-VL's layout
    (r"model\.(?=layers\.|embed_tokens|norm)", "model.language_model."),
)
_FACTOR = re.compile(r"(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_magnitude_vector)(?P<kind>\.weight|\.bias)?")


def merged(model: Any, adapter: Path, base: Path) -> Any:
    """The model with the adapter in the folder `adapter` merged in; `base` is the model's folder.

    CheckpointError, with the tensor's name, for an adapter that is damaged or does not fit; ResourceError without peft.
    """
    try:
        import peft
    except ImportError as error:
        raise ResourceError(f"{adapter} is a PEFT adapter: {INSTALL_TRAIN}") from error
    from harness.florence2.adapters import adapter_files, read_adapter_config
    from harness.florence2.tensors import read_file

    stated = read_adapter_config(adapter)
    file = adapter_files(adapter)[1]
    modules = dict(model.named_modules())
    tensors = {_renamed(name.removeprefix(PREFIX), modules): tensor for name, tensor in read_file(file).tensors.items()}
    ranks = _checked(tensors, modules, file, base)
    _refuse_tied(model, tensors, file)
    config: Any = peft.LoraConfig.from_pretrained(str(adapter))
    config.inference_mode = True
    config.target_modules = sorted(ranks)
    config.exclude_modules = config.layers_to_transform = config.layers_pattern = None
    config.rank_pattern = {re.escape(module): rank for module, rank in ranks.items() if rank != config.r}
    alphas = {module: stated.scale(_older(module, stated.alpha_pattern), 1) for module in ranks}
    config.alpha_pattern = {re.escape(name): alpha for name, alpha in alphas.items() if alpha != config.lora_alpha}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of names in transformers that PEFT still uses
        wrapped = peft.PeftModel(model, config)
        loaded: Any = peft.set_peft_model_state_dict(wrapped, {f"{PREFIX}{name}": t for name, t in tensors.items()})
    if loaded.unexpected_keys:
        raise CheckpointError(f"{file} holds {loaded.unexpected_keys[0]}, which does not fit the model in {base}")
    if lacking := [name for name in loaded.missing_keys if "lora_" in name or "modules_to_save" in name]:
        raise CheckpointError(f"{file} lacks {lacking[0]}")
    return wrapped.merge_and_unload()


def _renamed(name: str, modules: Mapping[str, Any]) -> str:
    """A tensor's name as the model now names its modules; the name itself where nothing else fits."""
    if _place(name, modules) is not None:
        return name
    return next((other for other in _newer(name) if _place(other, modules) is not None), name)


def _newer(name: str) -> Iterator[str]:
    for beginning, now in OLDER:
        other, count = re.subn(f"^{beginning}", now, name)
        if count:
            yield other
            yield other.replace(".vision_model.", ".", 1)  # SigLIP's tower had one more level


def _place(name: str, modules: Mapping[str, Any]) -> str | None:
    """The module that a tensor belongs to; None where the model has none."""
    match = _FACTOR.fullmatch(name)
    module = match["module"] if match else name.rpartition(".")[0].removesuffix(".base_layer")
    return module if module in modules else None


def _checked(tensors: Mapping[str, Any], modules: Mapping[str, Any], file: Path, base: Path) -> dict[str, int]:
    """The rank of each module with a LoRA.

    CheckpointError for a tensor that fits no module of the model or not its shape, and for a factor without the other.
    """
    factors: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        if ".lora_embedding_" in name:
            raise CheckpointError(f"{file} holds {name}, a LoRA on the embedding, which is not implemented")
        module = _place(name, modules)
        if module is None:
            raise CheckpointError(
                f"{file} adapts {name}, which the model in {base} lacks: the adapter is of another model"
            )
        if match := _FACTOR.fullmatch(name):
            factors.setdefault(module, {})[match["part"] + (match["kind"] or "")] = tensor
    for module, parts in factors.items():
        down, up = parts.get("lora_A.weight"), parts.get("lora_B.weight")
        if down is None or up is None:
            raise CheckpointError(f"{file} holds no {'lora_A' if down is None else 'lora_B'} of {module}")
        layer = modules[module]
        sides = getattr(layer, "in_features", None), getattr(layer, "out_features", None)
        if None not in sides and (down.shape[1:], up.shape[:1]) != ((sides[0],), (sides[1],)):
            raise CheckpointError(
                f"{file}: the LoRA on {module} is of {down.shape[1]} inputs and {up.shape[0]} outputs; the module of "
                f"{base} has {sides[0]} and {sides[1]}: the adapter is of another model"
            )
    return {module: int(parts["lora_A.weight"].shape[0]) for module, parts in factors.items()}


def _refuse_tied(model: Any, tensors: Mapping[str, Any], file: Path) -> None:
    """CheckpointError for an output layer or an embedding that is changed alone, where the model has one for both."""
    output = model.get_output_embeddings()
    if output is None or output.weight is not model.get_input_embeddings().weight:
        return
    ends = ("embed_tokens", "lm_head")
    changed = next((name for name in tensors if any(f"{end}." in name for end in ends)), None)
    if changed is not None:
        raise CheckpointError(
            f"{file} changes {changed}; the model shares one embedding between input and output: train without it"
        )


def _older(module: str, pattern: Mapping[str, float]) -> str:
    """The name of a module that `pattern`, which may be of the older layout, has an entry for; else its own."""
    for beginning, now in OLDER:
        if not module.startswith(now):
            continue
        older = re.sub(r"\(.*\)", "", beginning).replace("\\", "") + module.removeprefix(now)
        if any(re.match(rf"(.*\.)?({key})$", older) for key in pattern):
            return older
    return module
