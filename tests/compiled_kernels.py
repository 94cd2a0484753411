"""Compiles every kernel without a GPU: `python -m tests.compiled_kernels 90` for compute capability 9.0 (sm_90).

The kernels' wrappers are called with tensors of the network's sizes.  Each kernel that they would launch is compiled by
Triton and NVIDIA's assembler instead.  A line of JSON per kernel has its name, its target, the bytes of its code, and
the bytes of shared memory that it needs.
"""

from __future__ import annotations

import json
import os
import sys
from unittest import mock

os.environ["TRITON_INTERPRET"] = "0"  # before Triton is imported

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from harness.florence2.fast import kernels


class Driver:
    """A stand-in for Triton's driver with a GPU of this compute capability; enough for compilation."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def compile_all(capability: int) -> None:
    """Compiles every kernel for a compute capability, 90 for 9.0."""
    driver.set_active(Driver(capability))
    run = JITFunction.run

    def compile_only(self: JITFunction, *arguments: object, warmup: bool, **options: object) -> None:
        compiled = run(self, *arguments, warmup=True, **options)
        target = compiled.asm["ptx"].split(".target ")[1].split()[0]
        sizes = {"shared": compiled.metadata.shared, "code": len(compiled.asm["cubin"])}
        print(json.dumps({"kernel": self.__name__, "target": target, **sizes}), flush=True)

    with mock.patch.object(JITFunction, "run", compile_only):
        call_all(float8=capability >= 89)


def call_all(float8: bool) -> None:
    """Calls each kernel in each precision, with the smallest and the largest sizes of the published networks."""
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for dim, side, window in ((128, 48, 12), (2048, 24, 12)):
            x, vector = torch.zeros(1, side * side, dim, dtype=dtype), torch.zeros(dim, dtype=dtype)
            taps = torch.zeros(dim, 1, 3, 3, dtype=dtype), vector
            for windows in ((0, window), (window, 0)):
                kernels.convolve_add_norm(x, (side, side), taps, (vector, vector, 1e-5), vector, *windows)
            kernels.add_norm(x, x, (vector, vector, 1e-5))
            kernels.channel_products(torch.zeros(1, side * side, 3 * dim, dtype=dtype), dim // 32)
        keys, lineage = torch.zeros(6, 16, 64, 64, dtype=dtype), torch.zeros(2, 3, 64, dtype=torch.int32)
        qkv, positions = torch.zeros(6, 3 * 1024, dtype=dtype), torch.zeros(6, dtype=torch.long)
        kernels.attend_lineage(qkv, keys, keys, lineage, positions)
        if dtype != torch.float32:  # `fused` uses torch for float32
            for rows in (3, 600, 4096):
                kernels.linear_gelu(torch.zeros(rows, 1024, dtype=dtype), torch.zeros(4096, 1024, dtype=dtype), None)
        if float8:
            kernels.to_float8(torch.zeros(6, 1024, dtype=dtype))
    scores = torch.zeros(6, 51328)
    kernels.normalisers(scores)
    kernels.candidates(scores, 6)


if __name__ == "__main__":
    compile_all(int(sys.argv[1]))
