#!/usr/bin/env bash
# torch 2.13.0: a class under TorchDispatchMode that does nothing but pass operations on.
#
# Expected: to look at operations costs about what the operations cost.
# Seen: the first operation that is dispatched to it imports torch's compiler (torch._dynamo, with sympy): some 800 modules and
# a second or more of CPU time, in a process that compiles nothing. Nothing of it is imported when the class is made or
# entered. A class whose _should_skip_dynamo returns False imports none of it and sees the same operations.
#
# For users: a short command that counts memory or operations by such a mode pays for the compiler at its first operation.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/python" -m pip install -q torch==2.13.0 numpy==2.4.6
cat > "$dir/run.py" <<'PY'
import sys

import torch
from torch.utils._python_dispatch import TorchDispatchMode

seen = []


class Looks(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        seen.append(str(func))
        return func(*args, **(kwargs or {}))


class LooksAlone(TorchDispatchMode):
    @classmethod
    def _should_skip_dynamo(cls):
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        seen.append(str(func))
        return func(*args, **(kwargs or {}))


def compiler():
    """The packages of torch's compiler that are imported."""
    return sorted({"sympy", "torch._dynamo"} & sys.modules.keys())


if __name__ == "__main__":
    before = len(sys.modules)
    with LooksAlone():
        torch.zeros(3) + 1
    print(f"without: {len(sys.modules) - before} modules, {compiler()}, operations {seen}")
    assert not compiler()
    operations = list(seen)
    seen.clear()
    mode = Looks()
    with mode:
        assert not compiler()
        torch.zeros(3) + 1
    print(f"as usual: {len(sys.modules) - before} modules, {compiler()}, operations {seen}")
    assert compiler() == ["sympy", "torch._dynamo"]
    assert len(sys.modules) - before > 500
    assert seen == operations
PY
"$dir/venv/bin/python" -W ignore "$dir/run.py"
echo "torch 2.13.0 behaves as described."
