"""What a training step sees: which views of which sequence, in which shape, and how many steps K.

Every draw comes from a seed and counters, never from a generator that lives on: two ranks, or a run and its
resumed copy, draw the same. Source: the paper's recipe.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch

from dvlt_ros.errors import ConfigError, DvltError, InputError
from dvlt_ros.geometry import rotation_angle
from dvlt_ros.model.config import PATCH_SIZE

from ..config import Shapes

logger = logging.getLogger(__name__)

Ranking = Literal["index", "pose"]
Order = Literal["random", "random_ordered"]
T = TypeVar("T")

DEFAULT_WINDOW = 256  # frames, where a rule names neither a ratio nor a window
MIN_EPOCH = 1000  # entries; smaller mixtures are repeated within an epoch
RETRIES = 10  # other sequences tried in place of a bad one
_BATCH, _EPOCH, _STEPS, _UPRIGHT = 1, 2, 3, 4  # independent streams of one seed


@dataclass(frozen=True)
class ViewRule:
    """Which frames of a sequence may share a training sample."""

    ranking: Ranking = "index"  # neighbours in time, or in pose
    order: Order = "random"  # the anchor first, or all sorted by time
    window_ratio: float | None = None  # half window in frames per view drawn
    window: int | None = None  # half window in frames

    def __post_init__(self) -> None:
        for name, choices in (("ranking", get_args(Ranking)), ("order", get_args(Order))):
            if getattr(self, name) not in choices:
                raise ConfigError(f"view rule: {name} must be one of {choices}, got {getattr(self, name)!r}")
        if self.window_ratio is not None and self.window is not None:
            raise ConfigError(
                f"view rule: window_ratio {self.window_ratio} and window {self.window} exclude each other"
            )
        for name in ("window_ratio", "window"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"view rule: {name} must be above 0, got {value}")

    def half_window(self, num_views: int) -> int:
        """Frames on either side of the anchor, at least 1."""
        if self.window_ratio is not None:
            return max(1, int(num_views * self.window_ratio))
        return self.window or DEFAULT_WINDOW


def sample_views(
    rule: ViewRule,
    num_views: int,
    length: int,
    rng: np.random.Generator,
    world_from_cam: torch.Tensor | None = None,
) -> np.ndarray:
    """Indices (num_views,) of frames in a sequence of ``length``: a random anchor and others near it.

    The others are drawn with replacement, the anchor among them. ``world_from_cam`` (length, 4, 4) is needed
    for the pose ranking.

    Raises:
        InputError: an empty sequence, fewer than 1 view, or no poses of that length where they are needed.
    """
    if num_views < 1 or length < 1:
        raise InputError(f"cannot draw {num_views} views from a sequence of {length} frames")
    anchor, half = int(rng.integers(length)), rule.half_window(num_views)
    if rule.ranking == "index":
        candidates = np.arange(max(0, anchor - half), min(length, anchor + half))
    else:
        if world_from_cam is None or world_from_cam.shape != (length, 4, 4):
            got = None if world_from_cam is None else tuple(world_from_cam.shape)
            raise InputError(f"the pose ranking needs poses ({length}, 4, 4), got {got}")
        candidates = np.argsort(pose_distance(world_from_cam, anchor), kind="stable")[: 2 * half]
    views = np.concatenate([[anchor], rng.choice(candidates, size=num_views - 1)])
    return np.sort(views) if rule.order == "random_ordered" else views


def pose_distance(world_from_cam: torch.Tensor, anchor: int) -> np.ndarray:
    """Distance (L,) of cameras (L, 4, 4) to one of them: angle / pi + translation over its mean, no unit."""
    poses = world_from_cam.double()
    angle = rotation_angle(poses[anchor, :3, :3].T @ poses[:, :3, :3]).numpy() / np.pi
    translation = (poses[:, :3, 3] - poses[anchor, :3, 3]).norm(dim=-1).numpy()
    return angle + translation / max(float(translation.mean()), np.finfo(float).tiny)


def sample_aspect(rng: np.random.Generator, low: float, high: float) -> float:
    """Height over width, uniform, two decimals."""
    return round(float(rng.uniform(low, high)), 2)


def image_shape(image_size: int, aspect: float, portrait: bool = False) -> tuple[int, int]:
    """(height, width) in pixels for an aspect of two decimals: longer edge ``image_size``, shorter in whole patches.

    Raises:
        ConfigError: an image size that is not a multiple of the patch, or an aspect outside (0, 1].
    """
    if image_size < PATCH_SIZE or image_size % PATCH_SIZE:
        raise ConfigError(f"image_size must be a multiple of {PATCH_SIZE}, got {image_size}")
    if not 0 < aspect <= 1:
        raise ConfigError(f"aspect must be in (0, 1], got {aspect}")
    shorter = image_size * round(100 * aspect) // 100  # in integers: 100 * 0.29 is 28.999...
    shorter = max(PATCH_SIZE, shorter - shorter % PATCH_SIZE)
    return (image_size, shorter) if portrait else (shorter, image_size)


def scenes_per_step(shapes: Shapes, num_views: int, aspect: float) -> int:
    """Scenes of a step and process; a token budget overrides the number of images, both ways."""
    if shapes.tokens_per_step is None:
        return max(1, shapes.images_per_step // num_views)
    height, width = image_shape(shapes.image_size, aspect)
    tokens = (height // PATCH_SIZE) * (width // PATCH_SIZE)
    return max(1, shapes.tokens_per_step // (num_views * tokens))


def sample_num_steps(seed: int, step: int, min_steps: int, max_steps: int) -> int:
    """K of a step from m ~ Beta(2, 1), the same on every rank and in a resumed run (paper, step count)."""
    if not 1 <= min_steps <= max_steps:
        raise ConfigError(f"min_steps must be in 1 ... max_steps, got {min_steps} and {max_steps}")
    m = np.random.default_rng([seed, _STEPS, step]).beta(2.0, 1.0)
    span = max_steps - min_steps
    return min_steps + min(round(m * span), span)


def with_retries(load: Callable[[int], T], index: int, length: int, rng: np.random.Generator) -> T:
    """``load(index)``, or in its place one of up to ten other sequences of the data set, each with a warning.

    Raises:
        InputError: none of them could be read; it names the last cause.
    """
    for tries_left in reversed(range(RETRIES + 1)):
        try:
            return load(index)
        except (DvltError, OSError) as error:
            if not tries_left:
                raise InputError(f"{RETRIES + 1} sequences could not be used, the last one because: {error}") from error
            logger.warning("sequence %d left out: %s", index, error)
            index = int(rng.integers(length))
    raise AssertionError("unreachable")


@dataclass(frozen=True)
class Item:
    """One sample to load: ranks and workers need nothing else."""

    source: int  # position of the data set in the mixture
    sequence: int
    num_views: int
    aspect: float  # shorter over longer edge, two decimals
    seed: int  # of every draw within the sample
    portrait: bool = False  # the longer edge is the height

    def shape(self, image_size: int) -> tuple[int, int]:
        """(height, width) in pixels."""
        return image_shape(image_size, self.aspect, self.portrait)

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)


class EpochStream:
    """Endless (source, sequence) pairs. A repeat factor of r gives floor(r) fresh permutations of a source's
    sequences per epoch and a random fraction of one more; an epoch shuffles all sources together."""

    def __init__(self, lengths: Sequence[int], repeats: Sequence[float], seed: int) -> None:
        if not lengths or len(lengths) != len(repeats) or min(lengths) < 1:
            raise ConfigError(f"every source needs sequences and a repeat factor, got {lengths} and {repeats}")
        if min(repeats) < 0 or sum(repeats) == 0:
            raise ConfigError(f"repeat factors must be at least 0 and not all 0, got {list(repeats)}")
        size = sum(length * repeat for length, repeat in zip(lengths, repeats, strict=True))
        self.lengths, self.seed = list(lengths), seed
        self.repeats = [repeat * max(1, int(np.ceil(MIN_EPOCH / size))) for repeat in repeats]
        self._cached: tuple[int, np.ndarray] = (-1, np.empty((0, 2), dtype=np.int64))

    def epoch(self, epoch: int) -> np.ndarray:
        """Pairs (entries, 2) of one epoch."""
        if self._cached[0] != epoch:
            self._cached = epoch, self._shuffled(epoch)
        return self._cached[1]

    def _shuffled(self, epoch: int) -> np.ndarray:
        rng, parts = np.random.default_rng([self.seed, _EPOCH, epoch]), []
        for source, (length, repeat) in enumerate(zip(self.lengths, self.repeats, strict=True)):
            whole, fraction = int(repeat), repeat - int(repeat)
            partial = int(length * fraction + rng.uniform())  # unbiased for short sources
            sequences = [rng.permutation(length) for _ in range(whole)] + [rng.permutation(length)[:partial]]
            flat = np.concatenate(sequences)
            parts.append(np.stack([np.full_like(flat, source), flat], axis=1))
        return rng.permutation(np.concatenate(parts))

    def take(self, epoch: int, offset: int, count: int) -> tuple[np.ndarray, int, int]:
        """``count`` pairs from a position on, and the position after them."""
        taken: list[np.ndarray] = []
        while count:
            pairs = self.epoch(epoch)[offset : offset + count]
            taken.append(pairs)
            count, offset = count - len(pairs), offset + len(pairs)
            if offset >= len(self.epoch(epoch)):
                epoch, offset = epoch + 1, 0
        return np.concatenate(taken), epoch, offset


@dataclass(frozen=True)
class _Position:
    batch: int = 0
    epoch: int = 0
    offset: int = 0


class BatchSampler:
    """Endless batches of items for one rank; resumes exactly, whatever a loader has prefetched.

    All ranks draw the same number of views, aspect and pairs; each keeps every world_size-th pair. A batch
    counts as used once `commit` was called for it, in the order of drawing; `state_dict` and a new iterator
    start after the last committed batch. Give each rank its own sampler and its batches unchanged to a data
    loader.
    """

    def __init__(
        self,
        shapes: Shapes,
        lengths: Sequence[int],
        repeats: Sequence[float],
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ConfigError(f"rank must be in [0, world_size), got {rank} of {world_size}")
        image_shape(shapes.image_size, shapes.aspect[0])  # refuses here, not in the first batch
        self.shapes, self.seed, self.rank, self.world_size = shapes, seed, rank, world_size
        self._stream = EpochStream(lengths, repeats, seed)
        self._committed = _Position()
        self._drawn: deque[_Position] = deque()

    def __iter__(self) -> Iterator[list[Item]]:
        self._drawn.clear()
        position = self._committed
        while True:
            items, position = self._draw(position)
            self._drawn.append(position)
            yield items

    def _draw(self, at: _Position) -> tuple[list[Item], _Position]:
        rng = np.random.default_rng([self.seed, _BATCH, at.batch])
        num_views = int(rng.integers(self.shapes.views[0], self.shapes.views[1] + 1))
        aspect = sample_aspect(rng, *self.shapes.aspect)
        portrait = np.random.default_rng([self.seed, _UPRIGHT, at.batch]).random() < self.shapes.portrait
        count = scenes_per_step(self.shapes, num_views, aspect) * self.world_size
        pairs, epoch, offset = self._stream.take(at.epoch, at.offset, count)
        seeds = rng.integers(2**63, size=count)
        own = slice(self.rank, None, self.world_size)
        items = [
            Item(int(source), int(sequence), num_views, aspect, int(seed), portrait)
            for (source, sequence), seed in zip(pairs[own], seeds[own], strict=True)
        ]
        return items, _Position(at.batch + 1, epoch, offset)

    def commit(self) -> None:
        """The oldest drawn batch has been trained on."""
        if not self._drawn:
            raise InputError("commit without a drawn batch: call it once for every batch that the iterator gave")
        self._committed = self._drawn.popleft()

    def state_dict(self) -> dict[str, Any]:
        """The committed position, as plain numbers; it does not depend on rank or world size."""
        return {**vars(self._committed), "seed": self.seed, "lengths": list(self._stream.lengths)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on after the last committed batch; iterators made before must be made again.

        Raises:
            ConfigError: the state belongs to another seed or other data.
        """
        for name, own in (("seed", self.seed), ("lengths", self._stream.lengths)):
            if state[name] != own:
                raise ConfigError(f"cannot resume: the sampler's {name} was {state[name]} and is now {own}")
        self._committed = _Position(state["batch"], state["epoch"], state["offset"])
        self._drawn.clear()
