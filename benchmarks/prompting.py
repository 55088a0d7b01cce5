"""What does the cache save a prompted language model, and how fast does it play?

    make llm; python benchmarks/prompting.py [--threads 2] [--format log] [--trials 20]

Plays some trials of 100 pulls on the hard instance of Krishnamurthy et al. 2024. At every tenth pull the same decision
is also made from an emptied cache, which reads the whole prompt again. Prints the time of all trials, that of the
decisions at those pulls both ways with their ratio, and the largest difference of their scores.
"""

from __future__ import annotations

import argparse
import os
import time

import torch

from bridge.noise import TrialNoise
from bridge.play import play_episode
from bridge.protocol import Clues
from bridge.tasks import family as make_family
from llm_adapt.prompted import SmolLm2


def clocks() -> tuple[float, float]:
    """Wall and CPU seconds."""
    return time.perf_counter(), time.process_time()


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--format", default="log")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    family = make_family("bandit:k=5,n=100,arms=one_best_hard")
    agent = SmolLm2(format=asked.format, precision=asked.precision).agent(family, "prompted")
    rows, trial = torch.arange(asked.trials), family.trial("id")
    tasks, noise = family.sample("id", rows), TrialNoise.of("benchmark", rows)
    memory = agent.start(Clues(), trial, noise.agent)
    plain, spent = agent.act, {"cached": [0.0, 0.0], "again": [0.0, 0.0]}
    differences = [0.0]

    def timed(name: str, *given, **named):
        before = clocks()
        decision = plain(*given, **named)
        for i, (end, begin) in enumerate(zip(clocks(), before, strict=True)):
            spent[name][i] += end - begin
        return decision

    def both(memory, obs, rng, *, explore):
        pulls = int(memory.episode[0])
        if pulls % 10 != 9:
            return plain(memory, obs, rng, explore=explore)
        found = timed("cached", memory, obs, rng, explore=explore)
        length = torch.zeros_like(memory.cache.length)
        empty = memory._replace(cache=memory.cache._replace(length=length))
        again = timed("again", empty, obs, rng, explore=explore)
        differences.append(float((found.logits - again.logits).abs().max()))
        return found

    agent.act = both
    began = clocks()
    for episode in range(trial.episodes):
        memory, _ = play_episode(
            agent, family, tasks, memory, noise, episode=episode, horizon=trial.horizon
        )
    wall, cpu = (
        end - begin - more for end, begin, more in zip(clocks(), began, spent["again"], strict=True)
    )
    print(
        f"{asked.trials} trials of {trial.episodes} pulls, format={asked.format}, {asked.precision}, "
        f"{asked.threads} threads: {wall:.0f} s, {cpu:.0f} CPU s"
    )
    ratio = [again / cached for again, cached in zip(spent["again"], spent["cached"], strict=True)]
    print(
        f"the decisions at every tenth pull: {spent['cached'][0]:.1f} s with the cache, {spent['again'][0]:.1f} s "
        f"without: {ratio[0]:.1f} times ({ratio[1]:.1f} in CPU seconds)"
    )
    print(f"largest difference of a score: {max(differences):.1e}")


if __name__ == "__main__":
    main()
