"""Low-rank adapters of many tasks at once: equal to one model of peft a task, and apart from one another."""

import copy

import peft
import pytest
import torch
from torch.nn.functional import cross_entropy

from bridge.errors import UserError
from bridge.rng import Rows
from bridge.tasks.base import Discrete
from bridge.training.learner import seeded_init
from llm_adapt.base_policy import fingerprint
from llm_adapt.low_rank import Adapters, BatchedLora, load
from llm_adapt.policy import TransformerPolicy, build

N, EACH, STEPS = 3, 2, 7
TARGETS = {
    "llama": ("q_proj", "v_proj"),
    "qwen3": ("o_proj", "up_proj", "down_proj"),
    "gpt2": ("c_attn", "c_proj"),
}


def policy(
    name: str = "llama", dtype: torch.dtype = torch.float64, seed: int = 0
) -> TransformerPolicy:
    with seeded_init(seed):
        return (
            build(name, Discrete(4), Discrete(3), hidden=16, layers=2, heads=2, positions=16)
            .to(dtype)
            .eval()
        )


def data(made: TransformerPolicy) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens of N tasks, k sequences each, and labels."""
    rng = Rows.of("data", torch.arange(N * EACH))
    tokens = rng.normal(STEPS * made.layout.width).view(N * EACH, STEPS, -1).to(made.dtype)
    return tokens, (rng.at("label").uniform(STEPS) * 3).long()


def losses(out: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Each task's mean negative log-likelihood."""
    each = cross_entropy(out.flatten(0, 1), label.flatten(), reduction="none")
    return each.view(N, -1).mean(1)


def drawn(setting: BatchedLora, made: TransformerPolicy) -> Adapters:
    """Adapters that do change something, and ask for gradients."""
    adapters = setting.new(made, Rows.of("adapters", torch.arange(N)))
    for number, (name, up) in enumerate(adapters.up.items()):
        noise = Rows.of(f"up/{number}", torch.arange(N)).normal(up[0].numel()).view_as(up)
        adapters.up[name] = 0.1 * noise.to(up.dtype)
    for leaf in (*adapters.down.values(), *adapters.up.values()):
        leaf.requires_grad_()
    return adapters


def grad(leaf: torch.Tensor) -> torch.Tensor:
    assert leaf.grad is not None
    return leaf.grad


def in_peft(
    setting: BatchedLora, made: TransformerPolicy, adapters: Adapters, task: int
) -> peft.PeftModel:
    config = peft.LoraConfig(
        r=setting.rank,
        lora_alpha=setting.alpha,
        target_modules=list(setting.targets),
        fan_in_fan_out=made.config.backbone_config.model_type == "gpt2",
    )
    wrapped = peft.get_peft_model(copy.deepcopy(made), config, autocast_adapter_dtype=False)
    with torch.no_grad():
        for name, weights in wrapped.named_parameters():
            for side, rows in (("lora_A", adapters.down), ("lora_B", adapters.up)):
                if side in name:
                    weights.copy_(
                        rows[name.removeprefix("base_model.model.").partition(f".{side}")[0]][task]
                    )
    return wrapped


def of_peft(wrapped: peft.PeftModel, what: str) -> dict[str, torch.Tensor]:
    """Weights or gradients by side and module."""
    return {
        name.removeprefix("base_model.model.").replace(".default.weight", ""): getattr(
            weights, what
        ).detach()
        for name, weights in wrapped.named_parameters()
        if "lora_" in name
    }


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.filterwarnings("ignore")
def test_outputs_and_gradients_are_pefts(name, dtype, atol):
    made, setting = policy(name, dtype), BatchedLora(rank=3, alpha=5, targets=TARGETS[name])
    tokens, label = data(made)
    adapters = drawn(setting, made)
    with setting.on(made, adapters):
        out = made(tokens).out
    losses(out, label).sum().backward()
    for task in range(N):
        wrapped, mine = (
            in_peft(setting, made, adapters, task),
            slice(task * EACH, (task + 1) * EACH),
        )
        theirs = wrapped(tokens[mine]).out
        torch.testing.assert_close(out[mine], theirs, atol=atol, rtol=0)
        cross_entropy(theirs.flatten(0, 1), label[mine].flatten()).backward()
        for place, gradient in of_peft(wrapped, "grad").items():
            module, _, side = place.rpartition(".lora_")
            leaf = (adapters.down if side == "A" else adapters.up)[module]
            assert gradient.abs().max() > 1e-6
            torch.testing.assert_close(grad(leaf)[task], gradient, atol=atol, rtol=0)


@pytest.mark.filterwarnings("ignore")
def test_twenty_steps_of_adam_are_pefts():
    made, setting = policy(), BatchedLora(rank=2, alpha=4)
    tokens, label = data(made)
    adapters = drawn(setting, made)
    wrapped = [in_peft(setting, made, adapters, task) for task in range(N)]
    mine = torch.optim.Adam([*adapters.down.values(), *adapters.up.values()], lr=0.01)
    theirs = [
        torch.optim.Adam([w for w in one.parameters() if w.requires_grad], lr=0.01)
        for one in wrapped
    ]
    for _ in range(20):
        mine.zero_grad()
        with setting.on(made, adapters):
            losses(made(tokens).out, label).sum().backward()
        mine.step()
        for task, (one, adam) in enumerate(zip(wrapped, theirs, strict=True)):
            rows = slice(task * EACH, (task + 1) * EACH)
            adam.zero_grad()
            cross_entropy(one(tokens[rows]).out.flatten(0, 1), label[rows].flatten()).backward()
            adam.step()
    for task, one in enumerate(wrapped):
        for place, weights in of_peft(one, "data").items():
            module, _, side = place.rpartition(".lora_")
            leaf = (adapters.down if side == "A" else adapters.up)[module]
            torch.testing.assert_close(leaf[task].detach(), weights, atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", TARGETS)
def test_new_adapters_change_nothing_bitwise_and_leave_nothing_behind(name):
    made, setting = policy(name, torch.float32), BatchedLora(rank=2, targets=TARGETS[name])
    before, (tokens, _) = fingerprint(made), data(made)
    plain = made(tokens).out
    with setting.on(made, setting.new(made, Rows.of("a", torch.arange(N)))):
        assert torch.equal(made(tokens).out, plain)
    with setting.on(made, drawn(setting, made)):
        assert not torch.allclose(made(tokens).out, plain)
    assert torch.equal(made(tokens).out, plain)
    assert fingerprint(made) == before


def test_an_adapter_is_untouched_by_the_data_of_another_task():
    made, setting = policy(), BatchedLora(rank=2)
    tokens, label = data(made)
    adapters = drawn(setting, made)
    with setting.on(made, adapters):
        losses(made(tokens).out, label)[1].backward()
    for leaf in (*adapters.down.values(), *adapters.up.values()):
        assert not grad(leaf)[[0, 2]].any()
        assert grad(leaf)[1].any()


def test_new_adapters_are_drawn_as_peft_draws_them_each_by_its_row():
    """Uniform within 1 / sqrt(I): kaiming's rule with a slope of sqrt(5)."""
    made, setting = policy(), BatchedLora(rank=4)
    one, two = (
        setting.new(made, Rows.of("a", torch.arange(first, first + 200))) for first in (0, 100)
    )
    for name, down in one.down.items():
        assert torch.equal(down[100:], two.down[name][:100])
        assert down.abs().max() <= 0.25
        assert down.std().item() == pytest.approx(0.25 / 3**0.5, rel=0.02)
    assert len({tuple(down[0].flatten().tolist()) for down in one.down.values()}) == len(one.down)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.filterwarnings("ignore")
def test_files_are_pefts_in_both_directions(name, tmp_path):
    made, setting = policy(name, torch.float32), BatchedLora(rank=3, alpha=5, targets=TARGETS[name])
    adapters, (tokens, _) = drawn(setting, made), data(made)
    setting.save(made, adapters, 1, tmp_path / "ours")
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(made), str(tmp_path / "ours"))
    wrapped = in_peft(setting, made, adapters, 2)
    wrapped.peft_config["default"].base_model_name_or_path = fingerprint(made)
    wrapped.save_pretrained(str(tmp_path / "theirs"))
    for folder, task in (("ours", 1), ("theirs", 2)):
        found, one = load(made, tmp_path / folder)
        assert found.rank == 3
        assert found.alpha == 5
        assert set(found.targets) == setting.modules(made).keys()
        for leaf, rows in ((one.down, adapters.down), (one.up, adapters.up)):
            assert all(torch.equal(leaf[module][0], rows[module][task]) for module in rows)
    with setting.on(made, load(made, tmp_path / "ours")[1]):
        torch.testing.assert_close(made(tokens).out, theirs(tokens).out, atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_adapted_is_refused_with_the_remedy(tmp_path):
    made = policy(dtype=torch.float32)
    with pytest.raises(
        UserError, match=r"no module 'query'.*There are: down_proj, gate_proj, k_proj"
    ):
        BatchedLora(targets=("query",)).modules(made)
    for rank in (0, 17):
        with pytest.raises(
            UserError, match=rf"rank={rank} does not fit backbone.*16 x 16. Choose one from 1 to 16"
        ):
            BatchedLora(rank=rank).modules(made)
    setting = BatchedLora(rank=2)
    setting.save(made, drawn(setting, made), 0, tmp_path / "a")
    with pytest.raises(UserError, match="an adapter of the policy metabridge_policy"):
        load(policy(dtype=torch.float32, seed=1), tmp_path / "a")
    with pytest.raises(UserError, match="holds no adapter"):
        load(made, tmp_path)
    other = peft.get_peft_model(
        copy.deepcopy(made), peft.IA3Config(target_modules=["v_proj"], feedforward_modules=[])
    )
    other.save_pretrained(str(tmp_path / "ia3"))
    with pytest.raises(UserError, match=r"of kind .*IA3"):
        load(made, tmp_path / "ia3")
    (tmp_path / "a" / "adapter_model.safetensors").write_bytes(b"\x00" * 64)
    with pytest.raises(UserError, match="holds no adapter of peft"):
        load(made, tmp_path / "a")


@pytest.mark.parametrize(
    "more",
    [{"use_rslora": True}, {"alpha_pattern": {"q_proj": 2}}, {"rank_pattern": {"q_proj": 3}}],
)
@pytest.mark.filterwarnings("ignore")
def test_an_adapter_that_means_something_else_is_refused(more, tmp_path):
    made = policy(dtype=torch.float32)
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], **more)
    wrapped = peft.get_peft_model(copy.deepcopy(made), config)
    wrapped.peft_config["default"].base_model_name_or_path = fingerprint(made)
    wrapped.save_pretrained(str(tmp_path))
    with pytest.raises(
        UserError, match=f"an adapter with {next(iter(more))}=.*, which is not read here"
    ):
        load(made, tmp_path)
