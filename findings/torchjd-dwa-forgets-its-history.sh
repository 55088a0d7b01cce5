#!/usr/bin/env bash
# torchjd 0.18.0 (torch 2.13.0): the state of DWA, an nn.Module that remembers the losses of two epochs.
#
# Expected: a training that is saved and restored by state_dict goes on with the weights that it had.
# Seen: its state_dict is empty. A restored one has equal weights for two epochs, without a warning. That of UW, which is
# Stateful, too, holds its variances.
#
# For users: save _previous_averages, _loss_sum and _n_batches yourself, or use weights of your own.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/python" -m pip install -q torch==2.13.0 numpy==2.4.6 torchjd==0.18.0
cat > "$dir/run.py" <<'PY'
import torch
from torchjd.scalarization import DWA, UW


def weights(rule: torch.nn.Module) -> torch.Tensor:
    """The weights of a step on two losses."""
    losses = torch.ones(2, requires_grad=True)
    rule(losses).backward()
    return losses.grad


if __name__ == "__main__":
    before, after = DWA(), DWA()
    for losses in (torch.tensor([1.0, 4.0]), torch.tensor([1.0, 1.0])):
        before(losses)
        before.step()
    after.load_state_dict(before.state_dict())
    assert list(UW(2).state_dict()) == ["log_var"]
    assert not before.state_dict()
    kept, restored = weights(before), weights(after)
    print(f"weights before: {kept.tolist()}, of the restored one: {restored.tolist()}")
    assert kept[0] > 1.1
    assert torch.equal(restored, torch.ones(2))
PY
"$dir/venv/bin/python" "$dir/run.py"
echo "torchjd 0.18.0 behaves as described."
