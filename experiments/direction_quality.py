"""Do embeddings know the true directions? Pairs of paths of one question at one depth: same true state or not.

    python experiments/direction_quality.py --directions hidden --questions 40

Prints by depth: the chance that a same-state pair is closer than another (AUC), quantiles of the cosine of both kinds,
and the effective number of directions by uniqueness at T_s = 0.01 beside the true number of states.
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


async def pairs(given: argparse.Namespace) -> dict[int, list[tuple[FloatArray, list[object]]]]:
    world = find_world(given.world)
    policy = find_policy(given.policy, world.name)
    finder = find_directions(given.directions, world.name)
    found: dict[int, list[tuple[FloatArray, list[object]]]] = defaultdict(list)
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
            known = [one for one in await evidence.find(grown) if isinstance(one, Evidence)]
            embeddings = [one.embedding for one in known if one.embedding is not None]
            states = [world.state(problem, whole_steps(path.text, world.separator)) for path in grown]
            found[depth].append((np.array(embeddings), list(states)))
            active = [path.copy(0) for path in grown]
            session.retain([path.key[:-1] for path in active])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="countdown")
    parser.add_argument("--policy", default="trained")
    parser.add_argument("--directions", default="hidden")
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--budget", type=int, default=64)
    parser.add_argument("--level", type=int, default=5)
    parser.add_argument("--depth", type=int, default=4, help="the last depth that is looked at")
    for depth, many in sorted(asyncio.run(pairs(parser.parse_args())).items()):
        cosines, same, effective, true = [], [], [], []
        for embeddings, states in many:
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
