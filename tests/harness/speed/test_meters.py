"""Reasons of a meter: a shared device and throttling, with a driver's library and a /proc that the tests provide."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.speed import meters
from harness.speed.meters import Meter

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Driver:
    """The part of NVML that the meter calls."""

    NVMLError = ValueError
    NVML_PERF_POLICY_THERMAL = 1
    nvmlClocksThrottleReasonSwThermalSlowdown = 32
    nvmlClocksThrottleReasonHwSlowdown = 8

    def __init__(self, processes: list[int], clocks: int = 0, heat: tuple[int, int] = (5, 5)) -> None:
        self.processes, self.clocks, self.heat_values = processes, clocks, heat
        self.heat, self.joules = iter(heat), iter((1000, 43_000))

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object) -> int:
        return next(self.joules)

    def nvmlDeviceGetViolationStatus(self, handle: object, policy: int) -> Any:
        return SimpleNamespace(violationTime=next(self.heat))

    def nvmlDeviceGetComputeRunningProcesses(self, handle: object) -> list[Any]:
        return [SimpleNamespace(pid=pid) for pid in self.processes]

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: object) -> int:
        return self.clocks


def metered_gpu(monkeypatch: pytest.MonkeyPatch, driver: Driver | None) -> dict[str, Any]:
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 << 20)
    monkeypatch.setattr(meters, "_nvml", lambda device: None)
    meter = Meter(GPU)
    meter.nvml = None if driver is None else (driver, "handle")
    meter.start()
    return meter.stop()


ME = os.getpid()


@pytest.mark.parametrize(("driver", "reasons"), [
    (Driver([ME]), []),
    (Driver([]), []),
    (Driver([ME, ME + 1, ME + 2]), ["the device is shared: 2 other processes compute on it"]),
    (Driver([ME + 1]), []),  # a container: the driver lists this process under its id on the host
    (Driver([ME + 1, ME + 2]), ["the device is shared: 1 other processes compute on it"]),
    (Driver([ME], clocks=8), ["the device was throttled (heat or power brake)"]),
    (Driver([ME], clocks=4), []),  # the power cap, which is normal operation
    (Driver([ME], heat=(5, 6)), ["the device was throttled: its clocks were lowered because of heat"]),
])  # fmt: skip
def test_meter_of_gpu_reports_sharing_and_throttling(
    monkeypatch: pytest.MonkeyPatch, driver: Driver, reasons: list[str]
) -> None:
    driver = Driver(driver.processes, driver.clocks, driver.heat_values)  # its counters are read once
    used = metered_gpu(monkeypatch, driver)
    assert used["reasons"] == reasons
    assert used["joules"] == 42  # 43,000 less 1,000 millijoules
    assert used["peak memory MiB"] == 3
    assert "not checked" not in used


def test_driver_has_names_and_values_of_pynvml() -> None:
    pynvml = pytest.importorskip("pynvml")
    for name in vars(Driver):
        if not name.startswith("_"):
            assert hasattr(pynvml, name), name
    for name in ("NVML_PERF_POLICY_THERMAL", "nvmlClocksThrottleReasonSwThermalSlowdown"):
        assert getattr(pynvml, name) == getattr(Driver, name)
    if not torch.cuda.is_available():
        with pytest.raises(pynvml.NVMLError):
            pynvml.nvmlInit()


def test_meter_without_nvml_names_missing_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    used = metered_gpu(monkeypatch, None)
    assert used["reasons"] == []
    assert "joules" not in used
    assert used["not checked"].startswith("sharing, heat and energy")


def test_meter_of_cpu_reports_sharing_and_throttling(monkeypatch: pytest.MonkeyPatch) -> None:
    """All processes work 13 s and this one 9 s, within 10 s on two cores: others use 4 of 20 s, a fifth."""
    clock, worked, own, hot = (iter(values) for values in ((0.0, 10.0), (100.0, 113.0), (50.0, 59.0), (7, 8)))
    monkeypatch.setattr(meters, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(meters, "_processor_seconds", lambda: next(worked))
    monkeypatch.setattr(meters, "_throttle_count", lambda: next(hot))
    monkeypatch.setattr(
        meters, "os", SimpleNamespace(times=lambda: SimpleNamespace(user=next(own), system=0.0), cpu_count=lambda: 2)
    )
    meter = object.__new__(Meter)
    meter.device, meter.nvml, meter.alone = CPU, None, True
    meter.start()
    used = meter.stop()
    assert used["others' share of the cores"] == pytest.approx(0.2)
    assert used["reasons"] == [
        "the device was throttled: its clocks were lowered because of heat",
        "the device is shared: other processes used 20% of the cores",
    ]


def test_meter_names_checks_that_driver_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver([ME, ME + 1])

    def refuse(handle: object) -> int:
        raise ValueError("Not Supported")

    monkeypatch.setattr(driver, "nvmlDeviceGetCurrentClocksEventReasons", refuse)
    used = metered_gpu(monkeypatch, driver)
    assert used["reasons"] == ["the device is shared: 1 other processes compute on it"]
    assert used["not checked"] == "sharing and heat: NVML does not report them here (Not Supported)"


def test_throttle_count_sums_cores_and_is_none_without_counters(tmp_path: Path) -> None:
    assert meters._throttle_count(tmp_path) is None
    for core, count in enumerate((0, 0)):
        folder = tmp_path / f"cpu{core}/thermal_throttle"
        folder.mkdir(parents=True)
        (folder / "core_throttle_count").write_text(f"{count}\n")
    assert meters._throttle_count(tmp_path) == 0  # not None, so that a first event is noticed
    (tmp_path / "cpu1/thermal_throttle/core_throttle_count").write_text("5\n")
    assert meters._throttle_count(tmp_path) == 5


def test_processor_seconds_include_time_stolen_by_host(tmp_path: Path) -> None:
    """The columns are user, nice, system, idle, iowait, irq, softirq, steal and guest.

    Idle and iowait do not count, and user includes guest.
    """
    (tmp_path / "stat").write_text("cpu  100 20 3 7000 600 4 5 50 9 0\ncpu0 1 2 3\n")
    ticks = os.sysconf("SC_CLK_TCK")
    assert meters._processor_seconds(tmp_path / "stat") == (100 + 20 + 3 + 4 + 5 + 50) / ticks
    assert meters._processor_seconds(tmp_path / "none") is None


PEAK_PROGRAM = """
import numpy as np
import torch
from harness.speed.meters import Meter
from harness.timings import peak_memory

before = np.ones(256 << 17)
del before
highest = peak_memory()
meter = Meter(torch.device("cpu"))
meter.start()
lower = peak_memory()
held = np.ones(64 << 17)
print(highest - lower, meter.stop()["peak memory MiB"] - lower)
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="only Linux can reset peak memory")
def test_meter_start_resets_peak_memory() -> None:
    """In a process of its own, where no freed memory can be reused: blocks above 32 MiB (glibc's largest threshold) are
    mapped, and unmapped when they are freed.

    The first block has 256 MiB, the second 64 MiB.
    """
    done = subprocess.run([sys.executable, "-c", PEAK_PROGRAM], capture_output=True, text=True, check=True)
    freed, held = map(float, done.stdout.split())
    assert freed > 200
    assert held == pytest.approx(64, abs=8)
