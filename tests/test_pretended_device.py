"""What the pretended device refuses and allows, as PyTorch's notes on CUDA semantics and its errors say."""

import numpy as np
import pytest
import torch

from tests.pretended_device import pretended_device


def test_tensors_of_two_devices_are_refused_whichever_comes_first():
    with pretended_device() as device:
        here, there = torch.ones(3, 3), torch.ones(3, 3, device=device)
        for operation in (torch.add, torch.matmul, torch.mul, torch.maximum):
            for pair in ((here, there), (there, here)):
                with pytest.raises(RuntimeError, match="same device"):
                    operation(*pair)
        for parts in ([here, there], [there, here]):
            with pytest.raises(RuntimeError, match="same device"):
                torch.cat(parts)
        with pytest.raises(RuntimeError, match="same device"):
            here[there.long()]
        with pytest.raises(RuntimeError, match="same device"):
            there.view(9)[2:5].add_(here[0])  # a view knows where it is


def test_numbers_copies_and_places_of_the_cpu_are_taken():
    with pretended_device() as device:
        there = torch.arange(4.0, device=device)
        assert (there * torch.tensor(2.0)).device == device
        there[:2] = torch.tensor([7.0, 8.0])
        assert there[torch.tensor([1, 3])].tolist() == [8.0, 3.0]
        assert there.device == device
        assert there.cpu().numpy(force=True).tolist() == [7.0, 8.0, 2.0, 3.0]
        with pytest.raises(RuntimeError, match="same device"):
            torch.matmul(there[:1], torch.tensor([2.0]))


def test_numpy_does_not_read_memory_of_the_device():
    with pretended_device() as device:
        there = torch.ones(2, device=device)
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        with pytest.raises(TypeError, match="numpy"):
            np.asarray(there)
        assert there.numpy(force=True).tolist() == [1.0, 1.0]


def test_random_numbers_of_the_device_are_others():
    with pretended_device() as device:
        torch.manual_seed(0)
        drawn = torch.randn(4)
        torch.manual_seed(0)
        there, after = torch.randn(4, device=device), torch.randn(4)
        assert there.device == device
        assert there.tolist() != drawn.tolist()
        assert torch.equal(after, drawn)  # its stream is its own
        with pytest.raises(RuntimeError, match="generator"):
            torch.randn(4, generator=torch.Generator(), device=device)
        with pytest.raises(RuntimeError, match="generator"):
            torch.empty(4, device=device).normal_(generator=torch.Generator())


def test_modules_move_and_gradients_follow_them_back():
    layer = torch.nn.Linear(3, 2)
    x = torch.ones(4, 3, requires_grad=True)
    layer(x).sum().backward()
    wanted, x.grad, layer.weight.grad = (x.grad, layer.weight.grad), None, None
    with pretended_device() as device:
        assert layer.to(device).weight.device == device
        with pytest.raises(RuntimeError, match="same device"):
            layer(x)
        layer(x.to(device)).sum().backward()
        assert (x.grad.device.type, layer.weight.grad.device) == ("cpu", device)
        assert torch.equal(x.grad, wanted[0])
        assert torch.equal(layer.to("cpu").weight.grad, wanted[1])
        assert layer.weight.device.type == "cpu"


def test_nothing_is_left_of_it():
    with pretended_device() as device:
        there = torch.ones(2).to(device)
    assert there.device.type == "cpu"
    assert (there + torch.ones(2)).tolist() == [2.0, 2.0]
    assert "device" not in vars(torch.Tensor)
