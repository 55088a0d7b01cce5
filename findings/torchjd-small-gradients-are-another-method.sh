#!/usr/bin/env bash
# torchjd 0.18.0 (torch 2.13.0): UPGrad and CAGrad of two conflicting gradients, as they are and 1,000 times smaller.
#
# Expected: a gradient that is 1,000 times smaller is combined in the same direction.
# Seen: below a squared Frobenius norm of about 1e-4, UPGrad returns the plain mean of the gradients and CAGrad a zero
# vector: the terms that regularise the Gramian are absolute. No warning is given. Policy gradients are often that small.
#
# For users: divide the Jacobian by its norm before it is aggregated, and multiply after.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/python" -m pip install -q torch==2.13.0 numpy==2.4.6 torchjd==0.18.0 quadprog==0.1.14 \
    qpsolvers==4.13.0 cvxpy==1.9.3 clarabel==0.11.1
cat > "$dir/run.py" <<'PY'
import torch
from torchjd.aggregation import CAGrad, UPGrad

if __name__ == "__main__":
    gradients = torch.tensor([[1.0, 0.2], [-0.6, 0.9]])
    for aggregator in (UPGrad(), CAGrad(c=0.5)):
        usual = aggregator(gradients)
        small = aggregator(gradients * 1e-3) * 1e3
        print(f"{aggregator}: {usual.tolist()}, of gradients 1,000 times smaller, scaled back: {small.tolist()}")
        assert not torch.allclose(usual, small, rtol=0.2)
    mean = gradients.mean(0)
    assert torch.allclose(UPGrad()(gradients * 1e-3) * 1e3, mean, rtol=1e-2)
    assert torch.equal(CAGrad(c=0.5)(gradients * 1e-3), torch.zeros(2))
PY
"$dir/venv/bin/python" "$dir/run.py"
echo "torchjd 0.18.0 behaves as described."
