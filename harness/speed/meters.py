"""What else was going on while it was measured: memory, energy, clocks, and who else used the device.

On a GPU through NVML (package nvidia-ml-py) where that is installed; on a CPU from /proc and /sys.  What cannot be told
is None, and what of it would have spoken against a number is said.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from harness.timings import forget_peak_memory, peak_memory

OTHERS = 0.05  # of the cores, taken by other processes and machines: more, and a CPU counts as shared
COARSE = 0.02  # seconds by which the work of a core may be counted too much: it is counted in hundredths


@dataclass(frozen=True, slots=True)
class Reading:
    """A moment: the clock, seconds of processors used by this process and by all, joules of a GPU, and how long (a GPU:
    nanoseconds) or how often (a CPU) it has been slowed down for its heat."""

    at: float
    own: float
    all: float | None
    joules: float | None
    slowed: int | None


class Meter:
    """Reads a device before and after."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.nvml = _nvml(device) if device.type == "cuda" else None
        self.before = self.read()

    def read(self) -> Reading:
        """Now."""
        times = os.times()
        slowed = self._slowed() if self.device.type == "cuda" else _cores_slowed()
        return Reading(time.perf_counter(), times.user + times.system, _processors(), self._joules(), slowed)

    def start(self) -> None:
        """From here on."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            forget_peak_memory()
        self.before = self.read()

    def stop(self) -> dict[str, Any]:
        """What was used since `start`, and under "reasons" why the device was not what it should be."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        after, before = self.read(), self.before
        seconds = after.at - before.at
        found: dict[str, Any] = {"seconds": seconds, "peak memory MiB": self._peak(), "reasons": []}
        if after.joules is not None and before.joules is not None:
            found["joules"] = after.joules - before.joules
        if after.slowed is not None and before.slowed is not None and after.slowed > before.slowed:
            found["reasons"].append("the device was throttled: it was slowed down for its heat")
        if self.device.type == "cuda":
            reasons, unknown = self._gpu_reasons()
            found["reasons"] += reasons
            if unknown:
                found["not checked"] = unknown
        elif after.all is not None and before.all is not None:
            cores = os.cpu_count() or 1
            others = (after.all - before.all) - (after.own - before.own)
            share = max(0.0, others / (seconds * cores)) if seconds else 0.0
            found["others' share of the cores"] = share
            if others - cores * COARSE > OTHERS * seconds * cores:
                found["reasons"].append(f"the device is shared: others took {share:.0%} of the cores")
        return found

    def _peak(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / (1 << 20)
        return peak_memory()

    def _joules(self) -> float | None:
        if self.nvml is None:
            return None
        library, handle = self.nvml
        try:
            return float(library.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
        except library.NVMLError:
            return None

    def _slowed(self) -> int | None:
        """Nanoseconds so far that heat has held it back, by the driver's own count."""
        if self.nvml is None:
            return None
        library, handle = self.nvml
        try:
            return int(library.nvmlDeviceGetViolationStatus(handle, library.NVML_PERF_POLICY_THERMAL).violationTime)
        except (library.NVMLError, AttributeError):
            return None

    def _gpu_reasons(self) -> tuple[list[str], str]:
        """What speaks against what was measured, and what could not be told."""
        if self.nvml is None:
            return [], "sharing, heat and energy: there is no NVML (pip install 'florence2-harness[gpu]')"
        library, handle = self.nvml
        reasons = []
        try:
            # In a container the driver's numbers of processes are the host's: then one of them is this one.
            found = {one.pid for one in library.nvmlDeviceGetComputeRunningProcesses(handle)}
            others = len(found - {os.getpid()}) if os.getpid() in found else max(0, len(found) - 1)
            if others:
                reasons.append(f"the device is shared: {others} other processes compute on it")
            slowed = library.nvmlDeviceGetCurrentClocksEventReasons(handle)
            hot = library.nvmlClocksThrottleReasonSwThermalSlowdown | library.nvmlClocksThrottleReasonHwSlowdown
            if slowed & hot:
                reasons.append("the device was throttled (heat or power brake)")
        except (library.NVMLError, AttributeError) as error:
            return reasons, f"sharing and heat: NVML does not tell here ({error})"
        return reasons, ""


def _nvml(device: torch.device) -> tuple[Any, Any] | None:
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        return pynvml, pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    except (pynvml.NVMLError, AttributeError):
        return None


def _cores_slowed(folder: Path = Path("/sys/devices/system/cpu")) -> int | None:
    """How often heat has slowed down a core so far; None where the system does not count."""
    try:
        counts = [int(file.read_text()) for file in folder.glob("cpu*/thermal_throttle/core_throttle_count")]
    except (OSError, ValueError):
        return None
    return sum(counts) if counts else None


def _processors(file: Path = Path("/proc/stat")) -> float | None:
    """Seconds that all processors have worked, for whomever, or were taken from this machine by the one that it is a
    part of ("steal"); None where there is no /proc."""
    try:
        user, nice, system, _, _, irq, soft, steal = map(int, file.read_text().split(None, 9)[1:9])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def device_name(device: torch.device) -> str:
    """What a device is called in records: of a CPU with what torch's own kernels use of it ("AVX2"), since one name
    is given to quite different ones where machines are virtual."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = "cpu"
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return f"{name}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}"
