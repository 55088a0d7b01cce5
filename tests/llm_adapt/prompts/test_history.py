import torch

from bridge.noise import TrialNoise
from bridge.play import record_context
from bridge.protocol import Trial
from bridge.references.registry import reference
from bridge.tasks import family as make_family
from bridge.test_time.trial_buffer import TrialBuffer
from llm_adapt.prompts.formats import named
from llm_adapt.prompts.history import Line, Tally, histories, tallies
from llm_adapt.prompts.renderer import Renderer


def played(spec: str, trial: Trial, rows: int = 2) -> tuple:
    """A family, the buffer of trials of random play, and their steps."""
    family, numbers = make_family(spec), torch.arange(rows)
    tasks, noise = family.sample("id", numbers), TrialNoise.of("test", numbers)
    agent = reference("random", family, "id")
    episodes = record_context(agent, family, "id", tasks, noise, trial)
    buffer = TrialBuffer.empty(family.observation, family.action, trial, numbers)
    for number, steps in enumerate(episodes):
        for step in steps:
            buffer.record(step, torch.full_like(numbers, number))
    return family, buffer, episodes


def test_a_walk_is_its_steps_and_only_the_last_one_ends_the_episode():
    _, buffer, episodes = played("gridnavi", Trial(2, 15))
    for row, told in enumerate(histories(buffer, [1, 1], with_places=True)):
        assert [len(steps) for steps in told] == [15, 15]
        for steps, recorded in zip(told, episodes, strict=True):
            for t, (line, step) in enumerate(zip(steps, recorded, strict=True)):
                over = tuple(step.next_obs[row].tolist()) if t == 14 else None
                assert line == Line(
                    tuple(step.obs[row].tolist()),
                    int(step.action[row]),
                    float(step.reward[row]),
                    over,
                )


def test_a_played_walk_is_read_back_from_its_text():
    family, buffer, _ = played("tabular_mdp:n=3", Trial(3, 10))
    renderer, trial = Renderer(named("decimals"), family), Trial(3, 10)
    for told in histories(buffer, [2, 2], with_places=True):
        rounded = [
            [line._replace(reward=float(f"{line.reward:.2f}")) for line in steps] for steps in told
        ]
        assert renderer.read(renderer.write(told, (3,), trial), trial) == rounded


def test_a_history_ends_with_the_episode_that_goes_on():
    _, buffer, _ = played("bandit:k=3,n=6", Trial(6, 1))
    (first, second) = histories(buffer, [0, 4], with_places=False)
    assert (len(first), len(second)) == (1, 5)
    assert all(line.place == () and line.over == () for steps in second for line in steps)


def test_tallies_count_and_average():
    pulls = [
        [Line((), arm, reward, ())] for arm, reward in ((1, 1.0), (1, 0.0), (1, 0.0), (2, -0.5))
    ]
    assert tallies(pulls, 4) == [Tally(0, 0.0), Tally(3, 0.33), Tally(1, -0.5), Tally(0, 0.0)]
