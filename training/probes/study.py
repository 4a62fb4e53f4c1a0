"""The whole study of one model: probes, lens, transfer, controls, movement of the state, attention."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from dvlt_ros.errors import ConfigError
from dvlt_ros.model import Dvlt
from dvlt_ros.model.stages import update_sizes

from ..data.types import Views
from ..evaluation.windows import means
from ..losses.matching import find_matches
from .attention import GlobalAttention, concentration, of_first_view
from .controls import chance_points, mixed_scenes, untrained
from .decoding import decoded
from .measure import Judged, PointErrors, movement, point_errors, probed
from .probe import Origin, Probe, fit_probe
from .settling import learn_threshold, smallest_steps
from .subject import Cache, Subject, cache_tokens

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """How much is done."""

    steps: int  # K
    updates: int = 120  # of each probe
    seeds: int = 3  # of each probe after a whole layer


@dataclass(frozen=True, eq=False)
class Pictures:
    """What is drawn beside the curves, of one window."""

    images: Tensor  # (S, 3, H, W)
    strips: list[Tensor]  # points (S, n, p * p, 3) of the probe of every whole layer
    truth: Tensor  # (S, n, p * p, 3)
    valid: Tensor
    query: int = 0  # patch of the first view
    looks: list[Tensor] = field(default_factory=list)  # (S, n) of every step
    matches: list[int | None] = field(default_factory=list)  # true patch in each view


@dataclass(eq=False)
class Findings:
    """Everything that was measured; all but ``probes`` and ``pictures`` is plain data."""

    curves: dict[str, object] = field(default_factory=dict)
    settled_update: float | None = None
    titles: tuple[str, ...] = ()
    probes: list[Probe] = field(default_factory=list)
    pictures: Pictures | None = None


def study(
    subject: Subject, train: Sequence[Views], judged: Sequence[Views], plan: Plan,
    earlier: tuple[list[Probe], Origin] | None = None,
) -> Findings:  # fmt: skip
    """Windows (1, S, ...) to train the probes on, and others to judge by; ``earlier``: probes of before, of seed 0.

    Raises:
        ConfigError: the earlier probes are those of other layers.
        InputError: tokens of all layers would not fit into the memory.
    """
    found, clock = Findings(), _Clock()
    cache = cache_tokens(subject, judged, plan.steps)
    if earlier is not None and earlier[1].layers != cache.titles:
        raise ConfigError(f"the probes are of layers {', '.join(earlier[1].layers)}, not {', '.join(cache.titles)}")
    scenes = Judged.of(judged, subject.patch_size)
    found.titles = cache.titles
    found.curves["titles"] = list(cache.titles)
    clock("tokens of the windows to judge by")
    if earlier is None:
        trained_on = Judged.of(train, subject.patch_size)
        learnt = cache_tokens(subject, train, plan.steps)
        clock("tokens of the windows to train on")
        found.probes = _train(learnt, trained_on, cache, scenes, plan, found, clock)
        _controls(subject, train, judged, trained_on, scenes, found, plan)
        clock("controls")
    else:
        found.probes = earlier[0]
        pairs = zip(found.probes, cache.tokens, strict=True)
        found.curves["probe"] = [[_mean(_errors(probe, tokens, scenes))] for probe, tokens in pairs]
    _movement(cache, scenes, found)
    if subject.looped is not None:
        judged = [views.to(subject.model.device) for views in judged]
        found.curves |= decoded(subject.looped, judged, plan.steps)
        clock("lens, full passes, stopped passes and K beyond the trained range")
        _attention(subject.looped, judged, plan.steps, found)
        clock("attention")
    _pictures(subject, judged, cache, scenes, found, plan)
    found.curves["seconds"] = clock.seconds
    return found


class _Clock:
    """Seconds of wall clock and of the processor by part, logged as they end."""

    def __init__(self) -> None:
        self.seconds: dict[str, tuple[float, float]] = {}
        self._last = time.perf_counter(), time.process_time()

    def __call__(self, part: str) -> None:
        now = time.perf_counter(), time.process_time()
        self.seconds[part] = now[0] - self._last[0], now[1] - self._last[1]
        self._last = now
        logger.info("%s: %.0f s, %.0f s of the processor", part, *self.seconds[part])


def _errors(probe: Probe, tokens: Tensor, scenes: Judged) -> PointErrors:
    return point_errors(probed(probe, tokens), scenes.truth)


def _mean(errors: PointErrors) -> dict[str, float]:
    return {name: float(values.nanmean()) for name, values in vars(errors).items()}


def _train(
    learnt: Cache, trained_on: Judged, cache: Cache, scenes: Judged, plan: Plan, found: Findings, clock: _Clock
) -> list[Probe]:
    """Seed 0 of every layer, the others of whole layers."""
    kept, rows = [], []
    for i, title in enumerate(cache.titles):
        seeds = range(plan.seeds if i in cache.main else 1)
        probes = [fit_probe(learnt.tokens[i], trained_on.truth, plan.updates, seed) for seed in seeds]
        rows.append([_mean(_errors(probe, cache.tokens[i], scenes)) for probe in probes])
        kept.append(probes[0])
        clock(f"probes of layer {title}")
    found.curves["probe"] = rows
    return kept


def _controls(
    subject: Subject, train: Sequence[Views], judged: Sequence[Views], trained_on: Judged, scenes: Judged,
    found: Findings, plan: Plan,
) -> None:  # fmt: skip
    """What a probe finds where there is nothing to find."""
    last = found.probes[-1]
    mixed = cache_tokens(subject, mixed_scenes(judged), plan.steps).tokens[-1]
    controls = {
        "mean point map": _mean(point_errors(chance_points(trained_on.truth, scenes.truth), scenes.truth)),
        "views of two scenes": _mean(_errors(last, mixed, scenes)),
    }
    if (twin := untrained(subject)) is not None:
        tokens = cache_tokens(twin, train, plan.steps).tokens[-1]
        probe = fit_probe(tokens, trained_on.truth, plan.updates)
        there = cache_tokens(twin, judged, plan.steps).tokens[-1]
        controls["untrained loop"] = _mean(_errors(probe, there, scenes))
    found.curves["controls"] = controls


def _movement(cache: Cache, scenes: Judged, found: Findings) -> None:
    states = [cache.tokens[i] for i in cache.main]
    found.curves["movement"] = vars(movement(states))
    last = found.probes[-1]
    found.curves["transfer"] = [_mean(_errors(last, state, scenes)) for state in states]
    own = [_errors(found.probes[i], cache.tokens[i], scenes).rel_l2 for i in cache.main]
    updates = torch.stack([update_sizes(a, b) for a, b in pairwise(states)], dim=1)
    errors = torch.stack(own[1:], dim=1)
    found.curves["settled_steps"] = smallest_steps(errors).tolist()
    found.settled_update = learn_threshold(updates, errors)
    found.curves["settled_update"] = found.settled_update


def _attention(network: Dvlt, judged: Sequence[Views], steps: int, found: Findings) -> None:
    rows: list[list[dict[str, float]]] = [[] for _ in range(steps)]
    for views in judged:
        with GlobalAttention(network) as watched, torch.inference_mode():
            features = network.encode(views.images)
            network.run(network.begin(features), steps)
            matches = find_matches(views)
            for step in range(steps):
                if (seen := concentration(watched.weights(step), matches, features.grid)) is not None:
                    rows[step].append(vars(seen))
    found.curves["attention"] = [means(row) for row in rows] if rows[0] else []


def _pictures(
    subject: Subject, judged: Sequence[Views], cache: Cache, scenes: Judged, found: Findings, plan: Plan
) -> None:
    i = max(range(len(judged)), key=lambda index: float(judged[index].images.std()))  # the most contrast
    views = judged[i]
    strips = [probed(found.probes[k], cache.tokens[k][i : i + 1])[0] for k in cache.main]
    shown = Pictures(views.images[0].cpu(), strips, scenes.truth.points[i], scenes.truth.valid[i])
    if subject.looped is not None:
        shown = _with_looks(subject.looped, views, plan.steps, shown)
    found.pictures = shown


def _with_looks(network: Dvlt, views: Views, steps: int, shown: Pictures) -> Pictures:
    """The patch of the first view that most other views see, the nearest to the middle, and where it looks."""
    matches, count = find_matches(views), views.images.shape[1]
    with GlobalAttention(network) as watched, torch.inference_mode():
        features = network.encode(views.images)
        network.run(network.begin(features), steps)
        looks = [of_first_view(watched.weights(k).mean(1), count)[0][0].cpu() for k in range(steps)]
    patches = features.grid[0] * features.grid[1]
    seen = matches.seen[0].cpu().unflatten(0, (count, patches))[0]  # (n, S)
    share = matches.share[0].cpu().unflatten(0, (count, patches))[0]
    query = int((seen.sum(-1) - _from_middle(features.grid)).argmax())
    truth = [int(share[query, s].argmax()) if seen[query, s] else None for s in range(count)]
    return Pictures(shown.images, shown.strips, shown.truth, shown.valid, query, [look[query] for look in looks], truth)


def _from_middle(grid: tuple[int, int]) -> Tensor:
    """Distance of each patch (n,) to the middle of the image, over the image's diagonal: below 1."""
    rows, columns = torch.meshgrid(*(torch.arange(size) - (size - 1) / 2 for size in grid), indexing="ij")
    return torch.hypot(rows, columns).flatten() / math.hypot(*grid)
