"""Checkpoints restore exactly, are whole or absent, and a damaged one is passed over and told of."""

import pytest
import torch
from torch import nn

from bridge import checkpoint


def trained(steps: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    adam = torch.optim.Adam(net.parameters(), lr=0.1)
    for i in range(steps):
        adam.zero_grad()
        net(torch.full((4, 3), float(i))).square().sum().backward()
        adam.step()
    return net, adam


def test_a_learner_comes_back_bit_for_bit(tmp_path):
    net, adam = trained(5)
    state = {"net": net.state_dict(), "adam": adam.state_dict(), "steps": 5, "name": "x", "none": None}
    checkpoint.save(tmp_path / "a.safetensors", state)
    back = checkpoint.load(tmp_path / "a.safetensors")
    assert (back["steps"], back["name"], back["none"]) == (5, "x", None)
    fresh, optimizer = trained(0)
    fresh.load_state_dict(back["net"])
    optimizer.load_state_dict(back["adam"])
    for one, two in zip(adam.state_dict()["state"].values(), optimizer.state_dict()["state"].values(), strict=True):
        assert all(torch.equal(torch.as_tensor(one[k]), torch.as_tensor(two[k])) for k in one)
    assert optimizer.state_dict()["param_groups"][0]["betas"] in ([0.9, 0.999], (0.9, 0.999))
    for a, b in zip(net.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(a, b)


def test_only_the_last_two_are_kept(tmp_path):
    for steps in (100, 20, 3000):
        checkpoint.save_step(tmp_path, steps, {"steps": steps})
    assert [int(p.stem) for p in sorted(tmp_path.iterdir())] == [100, 3000]
    assert checkpoint.load_last(tmp_path, print) == {"steps": 3000}


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"\0" * len(b)])
def test_a_damaged_checkpoint_is_passed_over_and_told_of(tmp_path, damage):
    for steps in (10, 20):
        checkpoint.save_step(tmp_path, steps, {"steps": steps, "w": torch.ones(100)})
    last = tmp_path / f"{20:015d}.safetensors"
    last.write_bytes(damage(last.read_bytes()))
    heard: list[str] = []
    state = checkpoint.load_last(tmp_path, heard.append)
    assert state is not None
    assert state["steps"] == 10
    assert "20.safetensors is damaged" in heard[0]


def test_no_checkpoint_is_none(tmp_path):
    assert checkpoint.load_last(tmp_path / "nothing", print) is None
