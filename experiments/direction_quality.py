"""Do embeddings separate the true directions? Compares pairs of paths of the same question and depth.

    python experiments/direction_quality.py --directions hidden --questions 40

Two paths have the same direction if their true states are equal. For each depth the script prints the chance that a
pair with equal states is closer than a pair with different states (AUC), quantiles of the cosine of both kinds of
pairs, and the effective number of directions (uniqueness at T_s = 0.01) beside the true number of states.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import defaultdict

import numpy as np

from rollwise.calibration.estimators import area_under_curve
from rollwise.core import Evidence, FloatArray, Path, Sampling, Step, Stop, whole_steps
from rollwise.directions.kernel import from_embeddings, from_labels, uniqueness
from rollwise.registry import find_directions, find_policy, find_world


async def sampled(given: argparse.Namespace) -> dict[int, list[tuple[FloatArray, list[object]]]]:
    """For each depth, the embeddings (paths, d) and true states of the paths of every question."""
    world = find_world(given.world)
    policy = find_policy(given.policy, world.name)
    finder = find_directions(given.directions, world.name)
    by_depth: dict[int, list[tuple[FloatArray, list[object]]]] = defaultdict(list)
    for seed in range(given.questions):
        problem = world.problem(given.level, seed, "validation")
        session = policy.open(problem, Sampling(seed=seed))
        evidence = finder.open(problem, session)
        active = [Path((index,)) for index in range(given.budget)]
        for depth in range(1, given.depth + 1):
            outcomes = zip(active, await session.extend(active), strict=True)
            grown = [path.grown(step) for path, step in outcomes if isinstance(step, Step)]
            grown = [path for path in grown if path.steps[-1].stop is Stop.STEP]
            if len(grown) < 2:
                break
            known = [each for each in await evidence.find(grown) if isinstance(each, Evidence)]
            embeddings = [each.embedding for each in known if each.embedding is not None]
            states = [world.state(problem, whole_steps(path.text, world.separator)) for path in grown]
            by_depth[depth].append((np.array(embeddings), list(states)))
            active = [path.copy(0) for path in grown]
            session.retain([path.key[:-1] for path in active])
    return by_depth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="countdown")
    parser.add_argument("--policy", default="trained")
    parser.add_argument("--directions", default="hidden")
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--budget", type=int, default=64)
    parser.add_argument("--level", type=int, default=5)
    parser.add_argument("--depth", type=int, default=4, help="the last depth")
    for depth, questions in sorted(asyncio.run(sampled(parser.parse_args())).items()):
        cosines, same, effective, true = [], [], [], []
        for embeddings, states in questions:
            labels = from_labels(states)
            directions = from_embeddings(embeddings)
            assert directions.similarity is not None
            assert labels.labels is not None
            upper = np.triu_indices(len(states), 1)
            cosines.append(directions.similarity[upper])
            same.append((labels.labels[:, None] == labels.labels[None, :])[upper])
            effective.append(float(uniqueness(directions).sum()))
            true.append(int(labels.labels.max()) + 1)
        cosine, equal = np.concatenate(cosines), np.concatenate(same).astype(np.int64)
        print(
            f"depth {depth}: AUC {area_under_curve(cosine, equal):.3f}  "
            f"cosine same {np.quantile(cosine[equal == 1], [0.1, 0.5, 0.9]).round(4)}  "
            f"other {np.quantile(cosine[equal == 0], [0.1, 0.5, 0.9, 0.99]).round(4)}  "
            f"effective {np.mean(effective):.1f} of {np.mean(true):.1f} true"
        )


if __name__ == "__main__":
    main()
