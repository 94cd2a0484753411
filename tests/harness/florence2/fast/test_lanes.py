"""Copies and side streams on a CPU, where the calls do the same work without overlap."""

from __future__ import annotations

import torch

from harness.florence2.fast.lanes import HostCopies, SideStream, to_device, wait_for

CPU = torch.device("cpu")


def test_numbers_on_a_device_are_an_int64_tensor_of_their_shape() -> None:
    assert torch.equal(to_device([3, 1, 2], CPU), torch.tensor([3, 1, 2], dtype=torch.int64))
    assert torch.equal(to_device([[3, 1], [2, 0]], CPU), torch.tensor([[3, 1], [2, 0]]))


def test_host_copies_are_ready_and_keep_their_values_if_the_tensors_change() -> None:
    flags, numbers = torch.tensor([True, False]), torch.arange(3)
    copies = HostCopies(flags, numbers)
    flags.fill_(False)
    numbers.zero_()
    assert copies.ready
    first, second = copies.wait()
    assert first.tolist() == [True, False]
    assert second.tolist() == [0, 1, 2]


def test_side_stream_runs_work_in_order_and_its_results_need_no_wait() -> None:
    stream, calls = SideStream(CPU), []

    def work(number: int) -> torch.Tensor:
        calls.append(number)
        return torch.tensor([number])

    results = [stream.run(lambda number=number: work(number)) for number in range(3)]
    assert calls == [0, 1, 2]
    for number, (result, event) in enumerate(results):
        assert event is None
        assert wait_for(result, event) is result
        assert result.tolist() == [number]
