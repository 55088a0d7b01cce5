"""The prompted agent: a pretrained language model reads its trial as text and scores the names of the actions.

It is the text twin of ``llm_adapt/in_context.py``: no weight moves, and what adapts is the prompt. An action's logit is
the log-probability of its whole label after the prompt, so that drawing from the softmax of the logits is sampling from
the model among the labels.

Prompts are written anew in each step, and the cache keeps the tokens that a row's prompt shares with its last one: all
of them if the format appends, the longest common prefix if it rewrites (``llm_adapt/prompts/formats.py``).

With ``answer="generate"`` the model writes its answer token by token instead, and the action is read from the answer.
An answer that begins with no label is a failure: it is counted (``tally``), and a uniformly drawn action is played.

Shape letters: B trials, E episodes, H steps, A actions, L tokens of the longest prompt.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bridge.config import Bounded
from bridge.errors import UserError
from bridge.idle import Idle
from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.rng import Rows
from bridge.spaces import actions
from bridge.tasks.base import TaskFamily
from bridge.test_time.trial_buffer import TrialBuffer
from llm_adapt.cache import Cache, Entry, extend
from llm_adapt.language.generation import generate, named_action
from llm_adapt.language.models import LanguageModel, Precision, load
from llm_adapt.language.prompter import Prompter
from llm_adapt.language.reading import new_cache, read, score
from llm_adapt.language.token_tree import Ids, Question, common_prefix, grow
from llm_adapt.prompts.examples import examples
from llm_adapt.prompts.formats import named
from llm_adapt.prompts.renderer import Renderer


@dataclass(frozen=True, kw_only=True)
class Prompting(Bounded):
    """A language model and a prompt format."""

    model: str = ""
    """A model of a package (smollm2), a local folder with safetensors, or a name on the hub: owner/model."""
    format: str = "log"
    """Name of the prompt format."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "format", named(self.format).id)  # run folders keep the version
        self._check_model()

    def _check_model(self) -> None:
        if not self.model:
            raise UserError(
                "A prompted agent needs a language model: model=smollm2, or model=FOLDER."
            )

    def renderer(self, family: TaskFamily) -> Renderer:
        """The format for a family.

        Raises:
            UserError: the family has no description, or none for this format.
        """
        return Renderer(named(self.format), family, examples(named(self.format), family))


@dataclass(frozen=True, kw_only=True)
class Config(Prompting):
    """A language model as it is."""

    display_name: ClassVar[str] = "A prompted agent"

    answer: Literal["score", "generate"] = "score"
    """score: draw among the labels by their scores. generate: write an answer, and read the action from it."""
    precision: Precision = "float32"
    """Of weights and activations. bfloat16 is twice as fast, and its rounding depends on the batch."""

    run: str = ""
    """A trained run of prompted_lora_ad, whose model and adapter are played; empty: none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.run and self.precision != "float32":
            raise UserError("An adapter is added to float32 weights. Leave precision out.")

    def _check_model(self) -> None:
        if not self.run:
            super()._check_model()

    def agent(self, family: TaskFamily, name: str, trained: Prompted | None = None) -> Any:
        """The agent on a family.

        Args:
            family: the family.
            name: the method's name.
            trained: the agent of ``run``, in its own format; None: there is no run.

        Raises:
            UserError: as ``renderer`` and ``load``, or labels of which one begins with another.
        """
        renderer = self.renderer(family)
        language = trained.prompter.language if trained else load(self.model, self.precision)
        card = trained.card if trained else card_of(language, renderer, name)
        card = dataclasses.replace(card, method=name, prompt_format_id=renderer.format.id)
        return Prompted(language, renderer, card, answer=self.answer)


def card_of(language: LanguageModel, renderer: Renderer, name: str) -> Card:
    """The card of a prompted agent whose model is not trained."""
    return Card(
        method=name,
        adapts="context",
        params_total=sum(weights.numel() for weights in language.model.parameters()),
        model_id=language.name,
        prompt_format_id=renderer.format.id,
    )


@dataclass(frozen=True, kw_only=True)
class SmolLm2(Config):
    """SmolLM2-135M-Instruct as it is."""

    model: str = "smollm2"


class Memory(NamedTuple):
    """The trial so far, and the keys and values of the tokens of the last prompt."""

    buffer: TrialBuffer
    episode: Int[Tensor, " B"]
    cache: Cache
    tokens: Int[Tensor, "B L"]
    """The tokens in the cache."""
    read: Int[Tensor, " B"]
    """Number of tokens read so far, labels and generated ones aside."""
    failures: Int[Tensor, " B"]
    """Number of answers that named no action."""


class Read(NamedTuple):
    """The tokens that ``act`` has read, for the cache."""

    known: Int[Tensor, " B"]
    """Number of tokens of the prompt that were cached before."""
    count: Int[Tensor, " B"]
    """Number of tokens after these."""
    entry: Entry
    tokens: Int[Tensor, "B T"]
    failed: Bool[Tensor, " B"]
    """True if the answer named no action."""


class Prompted(Idle, nn.Module):
    """The agent of a language model and a prompt format.

    Args:
        language: the model.
        renderer: the format, for the family that is played.
        card: the card.
        answer: how an action is found: ``Config.answer``.
    """

    reads: ClassVar[Literal["trial"]] = "trial"

    def __init__(
        self,
        language: LanguageModel,
        renderer: Renderer,
        card: Card,
        *,
        answer: Literal["score", "generate"] = "score",
    ) -> None:
        super().__init__()
        self.answer: Literal["score", "generate"] = answer
        self.network, self.card = language.model, card
        self.policy_modules = (language.model.base_model_prefix,)
        self.prompter = Prompter(language, renderer)
        family = renderer.family
        self.observation, self.action = family.observation, family.action
        self.actions = actions(family.action)

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        longest = self.prompter.longest(trial)
        zeros = torch.zeros(len(rng), dtype=torch.int64, device=rng.device)
        return Memory(
            buffer=TrialBuffer.empty(self.observation, self.action, trial, zeros),
            episode=zeros,
            cache=new_cache(self.network, len(rng), longest),
            tokens=torch.zeros(len(rng), longest, dtype=torch.int64, device=rng.device),
            read=zeros.clone(),
            failures=zeros.clone(),
        )

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        return memory._replace(episode=torch.full_like(memory.episode, episode))

    @torch.no_grad()
    def act(self, memory: Memory, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        prompts = self.prompter.prompts(memory.buffer, memory.episode, obs)
        known = [
            min(common_prefix(prompt, cached[:length]), len(prompt) - 1)
            for prompt, cached, length in zip(
                prompts, memory.tokens.tolist(), memory.cache.length.tolist(), strict=True
            )
        ]
        questions = [[Question(prompt, self.prompter.labels)] for prompt in prompts]
        trees = grow(questions, known).to(obs.device)
        start = torch.tensor(known, device=obs.device)
        reading = read(self.network, trees, memory.cache._replace(length=start))
        if self.answer == "generate":
            action, failed = self._answered(prompts, known, memory.cache, rng, explore)
            decision = Decision(action)
        else:
            noise = rng if explore else None
            decision = self.actions.decide(reading.scores[:, 0], noise, self.card.temperature)
            failed = torch.zeros_like(start, dtype=torch.bool)
        count = torch.tensor([len(prompt) for prompt in prompts], device=obs.device) - start
        carry = Read(start, count, reading.entry, trees.token, failed)
        return decision._replace(carry=carry)

    def _answered(
        self, prompts: list[Ids], known: list[int], cache: Cache, rng: Rows, explore: bool
    ) -> tuple[Int[Tensor, " B"], Bool[Tensor, " B"]]:
        """The actions that written answers name, and True for rows whose answer names none: they draw a uniform one."""
        language = self.prompter.language
        answers = generate(
            self.network,
            prompts,
            known,
            cache,
            most=max(map(len, self.prompter.labels)) + 1,
            end=language.tokenizer.eos_token_id,
            rng=rng if explore else None,
            temperature=self.card.temperature,
        )
        labels = self.prompter.renderer.labels
        named = [named_action(language.tokenizer.decode(answer), labels) for answer in answers]
        failed = torch.tensor([action is None for action in named], device=rng.device)
        chosen = torch.tensor([action or 0 for action in named], device=rng.device)
        return torch.where(failed, rng.at("failed").integers(len(labels)), chosen), failed

    def tally(self, memory: Memory) -> dict[str, Int[Tensor, " B"]]:
        """Tokens read, and answers that named no action, in each trial so far."""
        failures = {"parse_fail": memory.failures} if self.answer == "generate" else {}
        return {"tokens": memory.read} | failures

    def observe(self, memory: Memory, step: Step, carry: Read | None = None) -> Memory:
        """Record the step. The next ``act`` reads its text; what the last ``act`` has read is kept."""
        memory.buffer.record(step, memory.episode)
        if carry is None:
            return memory
        count = torch.where(step.acted, carry.count, 0)
        known = torch.where(step.acted, carry.known, memory.cache.length)
        memory = _with_room(memory, int((known + count).max()))
        cache = extend(memory.cache._replace(length=known), carry.entry, count)
        row, t = (
            (torch.arange(carry.tokens.shape[1], device=count.device) < count[:, None]).nonzero().T
        )
        memory.tokens[row, known[row] + t] = carry.tokens[row, t]
        failures = memory.failures + (carry.failed & step.acted)
        return memory._replace(cache=cache, read=memory.read + count, failures=failures)

    def policy_outputs(self, memory: Memory, buffer: TrialBuffer) -> Float[Tensor, "B E H A"]:
        """The scores of all labels at every step of a trial, read in one pass; differentiable."""
        trial = memory.buffer.trial  # ``buffer`` may be of its first episodes alone
        trees = self.prompter.trees(buffer, buffer.live, trial).to(buffer.live.device)
        return buffer.unpacked(score(self.network, trees))


def _with_room(memory: Memory, tokens: int) -> Memory:
    """The memory with places for ``tokens`` tokens of each row, and a quarter more if it has to grow."""
    lacking = tokens - memory.cache.capacity
    if lacking <= 0:
        return memory
    lacking += tokens // 4
    keys, values = (
        tuple(nn.functional.pad(layer, (0, 0, 0, lacking)) for layer in layers)
        for layers in memory.cache[:2]
    )
    return memory._replace(
        cache=Cache(keys, values, memory.cache.length),
        tokens=nn.functional.pad(memory.tokens, (0, lacking)),
    )
