"""Memory, energy, throttling and sharing of a device during a measurement.

A GPU is read through NVML (package nvidia-ml-py) where that is installed, a CPU from /proc and /sys.  A value that
cannot be read is None.  On a GPU, the checks that could not be made are named.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from harness.timings import forget_peak_memory, peak_memory

OTHERS = 0.05  # share of the cores that other processes and machines may use before a CPU counts as shared
COARSE = 0.02  # seconds of possible excess in the work of a core, which Linux counts in hundredths


@dataclass(frozen=True, slots=True)
class Reading:
    """The counters of a device at one time."""

    at: float  # seconds of the clock
    own: float  # processor seconds of this process
    all: float | None  # processor seconds of all processes
    joules: float | None  # of a GPU
    slowed: int | None  # thermal throttling so far: nanoseconds of a GPU, number of events of a CPU


class Meter:
    """Reads the counters of a device before and after a measurement.

    `alone`: other processes may not use the device.  Without, the work is that of other processes, such as the workers
    of a cluster.
    """

    def __init__(self, device: torch.device, *, alone: bool = True) -> None:
        self.device = device
        self.alone = alone
        self.nvml = _nvml(device) if device.type == "cuda" else None
        self.before = self.read()

    def read(self) -> Reading:
        """Returns the counters now."""
        times = os.times()
        slowed = self._throttled_time() if self.device.type == "cuda" else _throttle_count()
        return Reading(time.perf_counter(), times.user + times.system, _processor_seconds(), self._joules(), slowed)

    def start(self) -> None:
        """Starts the measurement, and resets peak memory."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            forget_peak_memory()
        self.before = self.read()

    def stop(self) -> dict[str, Any]:
        """Returns the use since `start`: "seconds", "peak memory MiB", and where known "joules" and others.

        "reasons" lists what makes the measurement invalid: throttling, and a shared device.
        """
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        after, before = self.read(), self.before
        seconds = after.at - before.at
        used: dict[str, Any] = {"seconds": seconds, "peak memory MiB": self._peak(), "reasons": []}
        if after.joules is not None and before.joules is not None:
            used["joules"] = after.joules - before.joules
        if after.slowed is not None and before.slowed is not None and after.slowed > before.slowed:
            used["reasons"].append("the device was throttled: its clocks were lowered because of heat")
        if not self.alone:
            used["not checked"] = "sharing, heat and memory of the workers' devices"
        elif self.device.type == "cuda":
            reasons, unknown = self._gpu_reasons()
            used["reasons"] += reasons
            if unknown:
                used["not checked"] = unknown
        elif after.all is not None and before.all is not None:
            cores = os.cpu_count() or 1
            others = (after.all - before.all) - (after.own - before.own)
            share = max(0.0, others / (seconds * cores)) if seconds else 0.0
            used["others' share of the cores"] = share
            if others - cores * COARSE > OTHERS * seconds * cores:
                used["reasons"].append(f"the device is shared: other processes used {share:.0%} of the cores")
        return used

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

    def _throttled_time(self) -> int | None:
        """Returns the nanoseconds of thermal throttling so far, as the driver counts them."""
        if self.nvml is None:
            return None
        library, handle = self.nvml
        try:
            return int(library.nvmlDeviceGetViolationStatus(handle, library.NVML_PERF_POLICY_THERMAL).violationTime)
        except (library.NVMLError, AttributeError):
            return None

    def _gpu_reasons(self) -> tuple[list[str], str]:
        """Returns what makes the measurement invalid, and which checks could not be made."""
        if self.nvml is None:
            return [], "sharing, heat and energy: NVML is not available (pip install 'florence2-harness[gpu]')"
        library, handle = self.nvml
        reasons = []
        try:
            # In a container the driver lists process ids of the host.  One of them is this process.
            processes = {process.pid for process in library.nvmlDeviceGetComputeRunningProcesses(handle)}
            own = os.getpid()
            others = len(processes - {own}) if own in processes else max(0, len(processes) - 1)
            if others:
                reasons.append(f"the device is shared: {others} other processes compute on it")
            slowed = library.nvmlDeviceGetCurrentClocksEventReasons(handle)
            hot = library.nvmlClocksThrottleReasonSwThermalSlowdown | library.nvmlClocksThrottleReasonHwSlowdown
            if slowed & hot:
                reasons.append("the device was throttled (heat or power brake)")
        except (library.NVMLError, AttributeError) as error:
            return reasons, f"sharing and heat: NVML does not report them here ({error})"
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


def _throttle_count(folder: Path = Path("/sys/devices/system/cpu")) -> int | None:
    """Returns the number of thermal throttling events of all cores so far; None where the system does not count."""
    try:
        counts = [int(file.read_text()) for file in folder.glob("cpu*/thermal_throttle/core_throttle_count")]
    except (OSError, ValueError):
        return None
    return sum(counts) if counts else None


def _processor_seconds(file: Path = Path("/proc/stat")) -> float | None:
    """Returns the busy seconds of all processors so far, for all processes; None where there is no /proc.

    Time that the host of a virtual machine has taken ("steal") is included.
    """
    try:
        user, nice, system, _, _, irq, soft, steal = map(int, file.read_text().split(None, 9)[1:9])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def device_name(device: torch.device) -> str:
    """Returns the name of a device in records.

    A CPU's name ends in the instruction set that torch uses ("AVX2"): virtual machines give one name to processors
    with different instruction sets.
    """
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
