"""Checkpoints restore exactly, are whole or absent, and a damaged one is passed over and told of."""

import json
import random
import shutil
from contextlib import suppress

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bridge.errors import UserError
from bridge.training import checkpoint
from tests.permissions import forbidden, shared_path  # noqa: F401 - a fixture


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
    state = {
        "net": net.state_dict(),
        "adam": adam.state_dict(),
        "steps": 5,
        "name": "x",
        "none": None,
    }
    checkpoint.save(tmp_path / "a.safetensors", state)
    back = checkpoint.load(tmp_path / "a.safetensors")
    assert (back["steps"], back["name"], back["none"]) == (5, "x", None)
    fresh, optimizer = trained(0)
    fresh.load_state_dict(back["net"])
    optimizer.load_state_dict(back["adam"])
    for one, two in zip(
        adam.state_dict()["state"].values(), optimizer.state_dict()["state"].values(), strict=True
    ):
        assert all(torch.equal(torch.as_tensor(one[k]), torch.as_tensor(two[k])) for k in one)
    assert optimizer.state_dict()["param_groups"][0]["betas"] in ([0.9, 0.999], (0.9, 0.999))
    for a, b in zip(net.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(a, b)


def test_only_the_last_two_are_kept(tmp_path):
    for steps in (100, 20, 3000):
        checkpoint.save_step(tmp_path, steps, {"steps": steps})
    assert [int(p.stem) for p in sorted(tmp_path.iterdir())] == [100, 3000]
    assert checkpoint.load_last(tmp_path, print) == {"steps": 3000}


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"\0" * len(b)]
)
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


def test_a_flipped_bit_anywhere_is_found(tmp_path):
    """Each bit of a sample over the whole file: never another state."""
    net, adam = trained(2)
    state = {
        "net": net.state_dict(),
        "adam": adam.state_dict(),
        "steps": 5,
        "names": ["a", None, 0.5],
        "empty": torch.zeros(0),
    }
    path, broken = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    checkpoint.save(path, state)
    assert checkpoint.holds(path, state)
    whole, unchanged = path.read_bytes(), 0
    sample = random.Random(0).sample(range(8 * len(whole)), 300)
    for bit in sample:
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        broken.write_bytes(changed)
        with suppress(checkpoint.DamagedError):
            checkpoint.load(broken)
            assert checkpoint.holds(broken, state), (
                f"another state was read when bit {bit} had flipped"
            )
            unchanged += 1
    assert unchanged < 0.05 * len(sample)


def test_a_flipped_exponent_costs_one_checkpoint(tmp_path):
    for steps in (10, 20):
        checkpoint.save_step(tmp_path, steps, {"steps": steps, "w": torch.ones(100)})
    last = tmp_path / f"{20:015d}.safetensors"
    content = bytearray(last.read_bytes())
    content[-1] ^= 64
    last.write_bytes(content)
    heard: list[str] = []
    assert (checkpoint.load_last(tmp_path, heard.append) or {})["steps"] == 10
    assert heard == [
        f"{last} is damaged (its content is not that of its checksum); going on from the checkpoint before it."
    ]


def test_a_file_without_a_checksum_is_not_read(tmp_path):
    skeleton, tensors = checkpoint.pack({"steps": 5, "w": torch.arange(3.0)})
    for header in (skeleton, {"state": skeleton}):
        save_file(tensors, tmp_path / "bare.safetensors", {"state": json.dumps(header)})
        with pytest.raises(
            checkpoint.DamagedError, match="its content is not that of its checksum"
        ):
            checkpoint.load(tmp_path / "bare.safetensors")


def test_files_of_the_users_own_are_no_checkpoints(tmp_path):
    """They are neither taken for the newest one nor pruned."""
    own = [
        "best.safetensors",
        "0000000000000zz.safetensors",
        f"{9:014d}.safetensors",
        f"{9:015d}.safetensors.bak",
    ]
    for steps in (10, 20, 30):
        checkpoint.save_step(tmp_path, steps, {"steps": steps})
        for name in own:
            shutil.copy(
                tmp_path / f"{10:015d}.safetensors", tmp_path / name
            ) if steps == 10 else None
    assert checkpoint.load_last(tmp_path, print) == {"steps": 30}
    assert {path.name for path in tmp_path.iterdir()} == {
        *own,
        *(f"{steps:015d}.safetensors" for steps in (20, 30)),
    }


def test_one_that_may_not_be_read_is_not_passed_over(shared_path):  # noqa: F811
    for steps in (10, 20):
        checkpoint.save_step(shared_path, steps, {"steps": steps})
    with (
        forbidden(shared_path / f"{20:015d}.safetensors"),
        pytest.raises(UserError, match=r"20\.safetensors cannot be read: Permission denied"),
    ):
        checkpoint.load_last(shared_path, print)


def test_where_none_is_whole_that_is_an_error(tmp_path):
    for steps in (10, 20):
        checkpoint.save_step(tmp_path, steps, {"steps": steps})
        (tmp_path / f"{steps:015d}.safetensors").write_bytes(b"")
    heard: list[str] = []
    with pytest.raises(checkpoint.DamagedError, match=r"all 2 checkpoints in .* are damaged"):
        checkpoint.load_last(tmp_path, heard.append)
    assert [text.split("; ")[1] for text in heard] == [
        "going on from the checkpoint before it.",
        "there is none before it.",
    ]
