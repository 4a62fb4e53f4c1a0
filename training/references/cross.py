"""A Déjà View whose paths, one for each reference view, exchange what they know in every step (arXiv 2412.06974).

step of every path; then, for each view, its tokens in all paths attend to each other

One sub-block with the weights of no step, as the loop's own two are. Its outputs start at zero: training begins with M
independent paths.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from dvlt_ros.errors import InputError
from dvlt_ros.model import Dvlt, DvltConfig, Features, Prediction, State
from dvlt_ros.model.layers import Rope
from dvlt_ros.model.loop import SubBlock, intervals
from dvlt_ros.model.references import fuse, reference_first, spread_references
from dvlt_ros.model.weights import check_tensors, read_checkpoint

from ..data.types import Views, concatenate


class CrossReferenceDvlt(Dvlt):
    """States hold M paths of each scene, (B * M, S, P, C), the views in their own order."""

    def __init__(self, config: DvltConfig, references: int) -> None:
        super().__init__(config)
        self.references = references
        self.cross_reference = SubBlock(config)
        for last in (self.cross_reference.attn.proj, self.cross_reference.mlp.fc2):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    @classmethod
    def on(cls, network: Dvlt, references: int) -> CrossReferenceDvlt:
        """A trained network with a new sub-block, which changes nothing yet."""
        model = cls(network.config, references)
        model.load_state_dict(network.state_dict() | _own(model.state_dict()))
        return model

    @classmethod
    def read(cls, source: str | Path, references: int) -> CrossReferenceDvlt:
        """What `save_pretrained` has written. Raises WeightsError."""
        checkpoint = read_checkpoint(source, None)
        model = cls(checkpoint.config, references)
        check_tensors(checkpoint.path, checkpoint.tensors, model.state_dict())
        model.load_state_dict(checkpoint.tensors)
        return model.eval()

    def begin(self, features: Features, references: Sequence[int] | None = None) -> State:
        """One path for each of M references, by default evenly spread views.

        Raises:
            InputError: more references than views, or another number of them than the network's.
        """
        num_views = features.tokens.shape[1]
        chosen = spread_references(num_views, self.references) if references is None else references
        if len(chosen) != self.references:
            raise InputError(f"this network has {self.references} references, got {len(chosen)}")
        paths = []
        for reference in chosen:
            order = reference_first(num_views, reference)
            tokens = super().begin(features.views(order)).tokens
            paths.append(tokens[:, [order.index(view) for view in range(num_views)]])
        return State(torch.stack(paths, dim=1).flatten(0, 1), features.grid)

    def states(self, state: State, num_steps: int) -> Iterator[State]:
        """See `Looped.states`; with one path the same as without the sub-block."""
        scales = self.cross_reference.schedule(intervals(num_steps, state.tokens.device))
        for step, of_step in zip(self.schedule(num_steps), scales, strict=True):
            state = self.step(state, step)
            if self.references > 1:
                state = self._exchange(state, of_step)
            yield state

    def paths(self, features: Features, num_steps: int, references: Sequence[int] | None = None) -> list[Prediction]:
        """One prediction per reference, each in the frame of its own."""
        found = self.decode(self.run(self.begin(features, references), num_steps))
        by_path = {name: value.unflatten(0, (-1, self.references)) for name, value in vars(found).items()}
        return [Prediction(**{name: value[:, m] for name, value in by_path.items()}) for m in range(self.references)]

    def forward(
        self, images: Tensor | Features, num_steps: int | None = None, references: int | None = None
    ) -> Prediction:
        """The paths' fused answer; ``references`` can only be the model's own."""
        if references not in (None, self.references):
            raise InputError(f"this network has {self.references} references, got {references}")
        features = images if isinstance(images, Features) else self.encode(images)
        num_steps = self.config.num_steps if num_steps is None else num_steps
        return fuse(self.paths(features, num_steps)).prediction

    def _exchange(self, state: State, scales: Tensor | None) -> State:
        paths = state.tokens.unflatten(0, (-1, self.references))  # (B, M, S, P, C)
        of_views = paths.transpose(1, 2)  # (B, S, M, P, C)
        rope = self._rope(state, self.config.embed_dim // self.config.num_heads)
        joined = of_views.flatten(0, 1).flatten(1, 2)  # (B * S, M * P, C)
        mixed = self.cross_reference(joined, _repeated(rope, self.references), scales)
        return State(mixed.view(of_views.shape).transpose(1, 2).flatten(0, 1), state.grid)


def each_reference_first(paths: Sequence[Prediction]) -> Prediction:
    """All paths as one batch (M * B), path after path, each with its reference first: as losses compare them."""
    num_views = paths[0].depth.shape[1]
    orders = _orders(num_views, len(paths))
    return Prediction(
        **{
            name: torch.cat([getattr(path, name)[:, order] for path, order in zip(paths, orders, strict=True)])
            for name in vars(paths[0])
        }
    )


def views_of_references(views: Views, references: int) -> Views:
    """The truth of `each_reference_first`."""
    orders = _orders(views.depth.shape[1], references)
    return concatenate([views.select_views(torch.tensor(order)) for order in orders])


def _orders(num_views: int, references: int) -> list[list[int]]:
    return [reference_first(num_views, reference) for reference in spread_references(num_views, references)]


def _repeated(rope: Rope, times: int) -> Rope:
    """The same positions for the tokens of every path."""
    rope.cos, rope.sin = rope.cos.repeat(times, 1), rope.sin.repeat(times, 1)
    return rope


def _own(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if name.startswith("cross_reference.")}
