"""The two implementations that `speed.py` compares, stage by stage and window by window."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from dvlt_ros.model import Dvlt, Features, Prediction, State, prepare_images

MOST_WINDOWS = 6  # of recorded pictures
EAGER_BACKENDS = (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)


class Path(Protocol):
    """The methods of a model that a window calls."""

    device: torch.device

    def encode(self, images: Tensor) -> Features: ...
    def begin(self, features: Features) -> State: ...
    def run(self, state: State, num_steps: int) -> State: ...
    def decode(self, state: State, views: Sequence[int] | None = None) -> Prediction: ...
    def run_and_decode(self, state: State, num_steps: int, views: Sequence[int] | None = None) -> Prediction: ...


class Eager:
    """The baseline: the plain model without caches, with one attention backend."""

    def __init__(self, model: Dvlt, dtype: torch.dtype, backend: SDPBackend | None = None) -> None:
        self.model = model
        self.device = model.camera_token.device
        self.dtype = dtype
        self.backend = backend

    @contextmanager
    def _settings(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32))
            if self.backend is not None:
                stack.enter_context(sdpa_kernel(self.backend))
            yield

    def encode(self, images: Tensor) -> Features:
        with self._settings():
            return self.model.encode(images)

    def begin(self, features: Features) -> State:
        return self.model.begin(features)

    def run(self, state: State, num_steps: int) -> State:
        with self._settings():
            return self.model.run(state, num_steps)

    def decode(self, state: State, views: Sequence[int] | None = None) -> Prediction:
        with self._settings():
            return self.model.decode(state, views)

    def run_and_decode(self, state: State, num_steps: int, views: Sequence[int] | None = None) -> Prediction:
        return self.decode(self.run(state, num_steps), views)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed_ms(function: Callable[[], object], device: torch.device) -> float:
    wait(device)
    start = time.perf_counter()
    function()
    wait(device)
    return 1e3 * (time.perf_counter() - start)


def interleaved(
    functions: Mapping[str, Callable[[], object]], device: torch.device, repeats: int
) -> dict[str, list[float]]:
    """Milliseconds of each, measured in turns, so that other load affects all of them alike."""
    for function in functions.values():
        function()
        function()  # the second call of a shape captures its graph
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            times[name].append(timed_ms(function, device))
    return times


def pictures(num_views: int, width: int, height: int) -> list[np.ndarray]:
    """(H', W', 3) uint8, 640 pixels wide, smooth as pictures are; the network sees them at width x height."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.random((num_views, 3, 9, 12), dtype=np.float32))
    fine = torch.nn.functional.interpolate(coarse, (round(640 * height / width), 640), mode="bicubic").clamp(0, 1)
    return [np.ascontiguousarray(image) for image in (255 * fine).byte().permute(0, 2, 3, 1).numpy()]


def recorded(folder: FilePath, num_views: int) -> list[list[np.ndarray]]:
    """Windows of neighbours among a folder's pictures in the order of their names, spread over all of them."""
    from dvlt_ros.sources.folder import find_images, read_image  # need OpenCV, which the other pictures do without

    files = [path for _, path in find_images(folder, rate_hz=1.0)[0]]
    if len(files) < num_views:
        raise SystemExit(f"{folder} has {len(files)} pictures, a window has {num_views}")
    starts = sorted(set(np.linspace(0, len(files) - num_views, MOST_WINDOWS).round().astype(int).tolist()))
    return [[read_image(path) for path in files[start : start + num_views]] for start in starts]


def prepared(images: Sequence[np.ndarray], image_size: int, device: torch.device) -> Tensor:
    """From uint8 on the host to (1, S, 3, H, W) on the device."""
    if device.type != "cuda":
        return prepare_images(images, image_size).images
    pinned = [torch.from_numpy(image).pin_memory() for image in images]
    return prepare_images([p.to(device, non_blocking=True).permute(2, 0, 1) for p in pinned], image_size).images


def copied_out(prediction: Prediction, world_from_cam: Tensor) -> list[Tensor]:
    tensors = [prediction.depth, prediction.depth_confidence, world_from_cam]
    host = [tensor.to("cpu", non_blocking=True) for tensor in tensors]
    wait(prediction.depth.device)
    return host


@dataclass
class Window:
    """A window of a stream: the last ``num_new`` pictures are new, all of them for the baseline."""

    path: Path
    images: Sequence[np.ndarray]
    image_size: int
    num_steps: int
    kept: Features | None = None  # of the pictures before the new ones

    def __call__(self) -> Prediction:
        num_kept = 0 if self.kept is None else self.kept.tokens.shape[1]
        new = self.path.encode(prepared(self.images[num_kept:], self.image_size, self.path.device))
        features = new if self.kept is None else Features.concatenate([self.kept, new])
        decoded = None if self.kept is None else range(num_kept, len(self.images))
        prediction = self.path.run_and_decode(self.path.begin(features), self.num_steps, decoded)
        copied_out(prediction, prediction.cameras().world_from_cam)
        return prediction

    def keeping(self, num_kept: int) -> Window:
        """The same window in a stream that has seen its first pictures before."""
        kept = self.path.encode(prepared(self.images[:num_kept], self.image_size, self.path.device))
        return Window(self.path, self.images, self.image_size, self.num_steps, kept)

    def stages(self) -> dict[str, Callable[[], object]]:
        path = self.path
        images = prepared(self.images, self.image_size, path.device)
        features = path.encode(images)
        state = path.begin(features)
        prediction = path.decode(state)
        cameras = prediction.cameras()
        return {
            "prepare": lambda: prepared(self.images, self.image_size, path.device),
            "encode": lambda: path.encode(images),
            "loop": lambda: path.run(state, self.num_steps),
            "decode": lambda: path.decode(state),
            "cameras": lambda: prediction.cameras(),
            "copy": lambda: copied_out(prediction, cameras.world_from_cam),
        }


def fastest_eager(model: Dvlt, dtype: torch.dtype, window: Callable[[Path], Window]) -> Eager:
    """On a GPU the backend of attention that is fastest for this window; PyTorch's own choice on a CPU."""
    plain = Eager(model, dtype)
    if plain.device.type != "cuda":
        return plain
    times: dict[SDPBackend, float] = {}
    for backend in EAGER_BACKENDS:
        run = window(Eager(model, dtype, backend))
        try:
            times[backend] = min(interleaved({"": run}, plain.device, repeats=2)[""])
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # it does not take these tensors
            continue
    return Eager(model, dtype, min(times, key=lambda backend: times[backend])) if times else plain


def relative_error(found: Prediction, expected: Prediction) -> float:
    """The larger relative L2 difference, of depth or of the ray map of six channels."""
    return max(relative_l2(found.depth, expected.depth), relative_l2(ray_map(found), ray_map(expected)))


def ray_map(prediction: Prediction) -> Tensor:
    return torch.cat([prediction.ray_directions, prediction.ray_origins], dim=-1)


def relative_l2(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())
