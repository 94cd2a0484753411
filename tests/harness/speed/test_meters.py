"""What speaks against a number: a shared device, heat; with a driver's library and a /proc of our own."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from harness.speed import meters
from harness.speed.meters import Meter
from harness.timings import forget_peak_memory, peak_memory

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Driver:
    """NVML as far as it is asked."""

    NVMLError = ValueError
    NVML_PERF_POLICY_THERMAL = 1
    nvmlClocksThrottleReasonSwThermalSlowdown = 32
    nvmlClocksThrottleReasonHwSlowdown = 8

    def __init__(self, processes: list[int], clocks: int = 0, heat: tuple[int, int] = (5, 5)) -> None:
        self.processes, self.clocks = processes, clocks
        self.heat, self.joules = iter(heat), iter((1000, 43_000))

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object) -> int:
        return next(self.joules)

    def nvmlDeviceGetViolationStatus(self, handle: object, policy: int) -> Any:
        return SimpleNamespace(violationTime=next(self.heat))

    def nvmlDeviceGetComputeRunningProcesses(self, handle: object) -> list[Any]:
        return [SimpleNamespace(pid=pid) for pid in self.processes]

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: object) -> int:
        return self.clocks


def measured_on_a_gpu(monkeypatch: pytest.MonkeyPatch, driver: Driver | None) -> dict[str, Any]:
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
    (Driver([ME + 1]), []),  # a container: this process by the host's number
    (Driver([ME + 1, ME + 2]), ["the device is shared: 1 other processes compute on it"]),
    (Driver([ME], clocks=8), ["the device was throttled (heat or power brake)"]),
    (Driver([ME], clocks=4), []),  # the power cap, which is how it is sold
    (Driver([ME], heat=(5, 6)), ["the device was throttled: it was slowed down for its heat"]),
])  # fmt: skip
def test_a_gpu_that_is_shared_or_hot_is_said(
    monkeypatch: pytest.MonkeyPatch, driver: Driver, reasons: list[str]
) -> None:
    found = measured_on_a_gpu(monkeypatch, driver)
    assert found["reasons"] == reasons
    assert found["joules"] == 42  # 43,000 less 1,000 millijoules
    assert found["peak memory MiB"] == 3
    assert "not checked" not in found


def test_the_drivers_library_has_what_is_asked_of_it() -> None:
    """The stand-in's names are the real library's, and their numbers too."""
    pynvml = pytest.importorskip("pynvml")
    for name in vars(Driver):
        if not name.startswith("_"):
            assert hasattr(pynvml, name), name
    for name in ("NVML_PERF_POLICY_THERMAL", "nvmlClocksThrottleReasonSwThermalSlowdown"):
        assert getattr(pynvml, name) == getattr(Driver, name)
    if not torch.cuda.is_available():
        with pytest.raises(pynvml.NVMLError):
            pynvml.nvmlInit()


def test_without_the_drivers_library_it_is_said_what_was_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured_on_a_gpu(monkeypatch, None)
    assert found["reasons"] == []
    assert "joules" not in found
    assert found["not checked"].startswith("sharing, heat and energy")


def test_a_cpu_that_others_use_or_that_is_hot_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten seconds on two cores others took four: a fifth."""
    clock, worked, own, hot = (iter(values) for values in ((0.0, 10.0), (100.0, 113.0), (50.0, 59.0), (7, 8)))
    monkeypatch.setattr(meters, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(meters, "_processors", lambda: next(worked))
    monkeypatch.setattr(meters, "_cores_slowed", lambda: next(hot))
    monkeypatch.setattr(
        meters, "os", SimpleNamespace(times=lambda: SimpleNamespace(user=next(own), system=0.0), cpu_count=lambda: 2)
    )
    meter = object.__new__(Meter)
    meter.device, meter.nvml = CPU, None
    meter.start()
    found = meter.stop()
    assert found["others' share of the cores"] == pytest.approx(0.2)
    assert found["reasons"] == [
        "the device was throttled: it was slowed down for its heat",
        "the device is shared: others took 20% of the cores",
    ]


def test_what_a_driver_does_not_tell_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver([ME, ME + 1])

    def refuse(handle: object) -> int:
        raise ValueError("Not Supported")

    monkeypatch.setattr(driver, "nvmlDeviceGetCurrentClocksEventReasons", refuse)
    found = measured_on_a_gpu(monkeypatch, driver)
    assert found["reasons"] == ["the device is shared: 1 other processes compute on it"]
    assert found["not checked"] == "sharing and heat: NVML does not tell here (Not Supported)"


def test_how_often_cores_were_slowed_is_summed_and_none_where_nobody_counts(tmp_path: Path) -> None:
    assert meters._cores_slowed(tmp_path) is None
    for core, count in enumerate((0, 0)):
        folder = tmp_path / f"cpu{core}/thermal_throttle"
        folder.mkdir(parents=True)
        (folder / "core_throttle_count").write_text(f"{count}\n")
    assert meters._cores_slowed(tmp_path) == 0  # a count, beside which a first event is seen
    (tmp_path / "cpu1/thermal_throttle/core_throttle_count").write_text("5\n")
    assert meters._cores_slowed(tmp_path) == 5


def test_time_that_the_host_took_is_work_of_others(tmp_path: Path) -> None:
    """user, nice, system, idle, iowait, irq, softirq, steal, guest: all but idle and iowait, and guest is in user."""
    (tmp_path / "stat").write_text("cpu  100 20 3 7000 600 4 5 50 9 0\ncpu0 1 2 3\n")
    ticks = os.sysconf("SC_CLK_TCK")
    assert meters._processors(tmp_path / "stat") == (100 + 20 + 3 + 4 + 5 + 50) / ticks
    assert meters._processors(tmp_path / "none") is None


def test_peak_memory_is_counted_from_where_it_is_forgotten() -> None:
    before = peak_memory()
    np.ones(64 << 17)  # 64 MiB, gone at once
    assert peak_memory() >= before
    forget_peak_memory()
    lower = peak_memory()
    held = np.ones(64 << 17)
    assert peak_memory() - lower == pytest.approx(held.nbytes / 2**20, abs=8)
