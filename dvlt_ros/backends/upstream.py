"""What the wrappers of other people's models share: a polite import, strict weights, one forward pass."""

from __future__ import annotations

import importlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from ..errors import ConfigError, WeightsError
from ..geometry import pixel_centers
from ..model.weights import locate_checkpoint, read_tensors
from .protocol import ModelCard, MultiViewPrediction, check_images, check_steps

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

logger = logging.getLogger(__name__)


class UpstreamModel(ABC):
    """A network without a loop: one forward pass over all views, under bfloat16 autocast on a GPU."""

    min_steps = max_steps = 1

    def __init__(self, card: ModelCard, network: nn.Module, device: torch.device) -> None:
        self.card = card
        self.device = device
        self.image_size = card.image_size
        self.network = network.to(device).eval()

    def predict(self, images: Tensor, num_steps: int | None = None) -> MultiViewPrediction:
        """See `MultiViewModel.predict`."""
        check_images(images, self.card)
        check_steps(num_steps, self.card)
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, self.device.type == "cuda"):
            answer = self.ask(images.to(self.device, torch.float32))
        with torch.inference_mode():  # geometry wants every digit
            return self.convert(answer)

    @abstractmethod
    def ask(self, images: Tensor) -> Any:
        """The network's own answer to images (S, 3, H, W) in [0, 1]."""

    @abstractmethod
    def convert(self, answer: Any) -> MultiViewPrediction:
        """That answer in the package's conventions."""


def upstream(card: ModelCard, module: str) -> Any:
    """A module of the model's own package.

    Raises:
        ConfigError: the package, or something that it needs, is not installed; the message has the command.
    """
    try:
        return importlib.import_module(module)
    except ImportError as cause:
        raise ConfigError(
            f"model {card.name} needs {card.package} ({cause}); install it with:  {card.install}"
        ) from cause


def load_strictly(
    network: nn.Module,
    weights: str,
    own_name: Callable[[str], str | None] = lambda name: name,
) -> nn.Module:
    """The network with the tensors of a ``.safetensors`` checkpoint; pickles are never read.

    Args:
        own_name: the network's name of a stored tensor; None: that tensor is of a part that is not used.

    Raises:
        WeightsError: no such checkpoint, or one that lacks a tensor of the network or has it in another shape.
    """
    path = locate_checkpoint(weights)
    stored = read_tensors(path)
    tensors = {name: value for old, value in stored.items() if (name := own_name(old)) is not None}
    expected = network.state_dict()
    _refuse_gaps(path, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, expected)
    if unknown := sorted(tensors.keys() - expected.keys()):
        logger.warning("%s: tensors that the installed version does not know are not used: %s", path, _some(unknown))
    # Nothing is missing any more but second names of tensors that share their memory with one that is stored.
    network.load_state_dict({name: tensors[name] for name in expected.keys() & tensors.keys()}, strict=False)
    return network


def from_hub(network_class: Any, weights: str) -> nn.Module:
    """For packages whose checkpoints describe their own architecture: a directory or a Hugging Face id.

    Upstream keeps random numbers where a checkpoint lacks a tensor, so what it loaded is compared afterwards.

    Raises:
        WeightsError: no such checkpoint, one without ``.safetensors``, one that upstream cannot load, or one that
            lacks a tensor of the network.
    """
    path = locate_checkpoint(weights)
    source = weights if not Path(weights).expanduser().exists() else str(path.parent)
    try:
        network: nn.Module = network_class.from_pretrained(source)
    except (OSError, RuntimeError, ValueError, TypeError) as cause:
        raise WeightsError(f"{weights}: {network_class.__name__} cannot load it: {cause}") from cause
    with safe_open(path, framework="pt") as stored:
        shapes = {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
    _refuse_gaps(path, shapes, network.state_dict())
    return network


def _refuse_gaps(path: Path, stored: Mapping[str, tuple[int, ...]], expected: Mapping[str, Tensor]) -> None:
    """Raises WeightsError where a tensor of the network is not among those stored, or there in another shape."""
    # Of names that share their memory a checkpoint may hold one.
    stored_at = {expected[name].data_ptr() for name in expected.keys() & stored.keys()}
    missing = sorted(n for n, own in expected.items() if n not in stored and own.data_ptr() not in stored_at)
    misshaped = sorted(n for n in expected.keys() & stored.keys() if tuple(expected[n].shape) != stored[n])
    if missing or misshaped:
        raise WeightsError(f"{path}: missing {_some(missing)}; of another shape {_some(misshaped)}")


def normalized(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Images (S, 3, H, W) in [0, 1] -> zero mean, unit deviation per channel."""
    return (images - images.new_tensor(mean).view(3, 1, 1)) / images.new_tensor(std).view(3, 1, 1)


def fitted_intrinsics(points_cam: Tensor) -> Tensor:
    """(S, 3, 3) of pixels that see points (S, h, w, 3) of their camera: least squares, without skew.

    Pixels whose point is not finite or not in front of the camera do not count; a view without any is NaN.
    """
    points = points_cam.flatten(1, 2).double()
    height, width = points_cam.shape[1:3]
    pixels = pixel_centers(height, width, like=points).flatten(0, 1)  # (N, 2)
    usable = torch.isfinite(points).all(-1) & (points[..., 2] > 1e-6)
    slopes = torch.where(usable.unsqueeze(-1), points[..., :2] / points[..., 2:], 0.0)  # (S, N, 2)
    weights = usable.double().unsqueeze(-1)
    count = weights.sum(1)
    mean_slope, mean_pixel = (weights * slopes).sum(1) / count, (weights * pixels).sum(1) / count
    centred = weights * (slopes - mean_slope.unsqueeze(1))
    focal = (centred * (pixels - mean_pixel.unsqueeze(1))).sum(1) / (centred * slopes).sum(1)  # (S, 2)
    principal = mean_pixel - focal * mean_slope
    intrinsics = torch.diag_embed(torch.cat([focal, torch.ones_like(focal[:, :1])], dim=-1))
    intrinsics[:, :2, 2] = principal
    return intrinsics.float()


def _some(names: list[str]) -> str:
    if not names:
        return "nothing"
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
