"""`--backend`: the network of a predictor, computed by another runtime on a CPU.

The graphs are exported at the first use.  The first use of a runtime's version on a processor compares float32 tokens
with those of the source (`checking`), and keeps the hints with which they are equal in the export's folder.
"""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import replace
from pathlib import Path

import torch

from harness.errors import ResourceError, UsageError
from harness.florence2.decoding.search import Decoding
from harness.florence2.exported import runtimes
from harness.florence2.exported.checking import first_equal
from harness.florence2.exported.folder import exported
from harness.florence2.exported.network import Exported
from harness.florence2.exported.runtimes import RUNTIMES, Settings
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from harness.store.files import folder_name, replace_file

BACKENDS = tuple(name for name, runtime in RUNTIMES.items() if runtime.exports)
OPTION = "--backend"


def check(name: str, precision: str, device: str) -> None:
    """UsageError for an unknown backend, or a device or precision that it lacks; ResourceError without its packages."""
    if name not in BACKENDS:
        raise UsageError(f"{OPTION} {name}: one of {', '.join(BACKENDS)}")
    if device != "cpu":
        raise UsageError(f"{OPTION} {name} is for a CPU, not for --device {device}; leave it out, or add --device cpu")
    runtimes.find(name, precision, OPTION)


def load(
    model: Florence2, name: str, precision: str, sha256: str, preprocess: Preprocess, decoding: Decoding
) -> Exported:
    """The network in the backend of that name, whose float32 tokens equal those of `model`.

    `sha256` identifies the weights of `model`, which are float32.  Errors as `check`; ResourceError where disk space is
    missing, or where tokens differ.
    """
    check(name, precision, "cpu")
    folder = exported(model, sha256, preprocess)
    settings = Settings(name, "float32", torch.get_num_threads())
    file = folder / folder_name(f"{settings.describe()} {_processor()}.json")

    def loaded(settings: Settings) -> Exported:
        return Exported(model.config, runtimes.load(None, folder, settings), settings)

    if not file.is_file():
        network, compared = first_equal(model, loaded, settings, preprocess, decoding)
        record = {"hints": dict(network.settings.hints), "equal tokens": compared.tokens, "error": compared.error}
        replace_file(file, json.dumps(record).encode())
        if precision == "float32":
            return network
    try:
        hints = json.loads(file.read_bytes())["hints"]
    except (ValueError, KeyError, TypeError) as error:
        raise ResourceError(f"{file} is damaged ({error!r}); delete it, and the check runs again") from error
    return loaded(replace(settings, precision=precision, hints=hints))


def _processor() -> str:
    """A digest of the processor's description, on which kernels depend."""
    try:
        described = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
        lines = [line for line in described.splitlines() if line.startswith(("model", "flags"))]
    except OSError:
        lines = [platform.processor()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]
