"""A `Dvlt` whose stages are graphs that ONNX Runtime runs, on a CPU, by CUDA or by TensorRT."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError, InputError, WeightsError
from ..model import Features, Prediction, State, Step
from ..model.checks import check_image_shape, check_steps, checked_views
from ..model.dvlt import NUM_SPECIAL
from ..model.loop import intervals
from ..model.references import predict
from ..model.stages import Looped, require_state
from .manifest import Manifest, graph_path

Runtime = Literal["onnxruntime", "tensorrt"]


class OnnxDvlt(Looped):
    """Inference with exported graphs: the stages of `Dvlt`, for one image size.

    Inputs and outputs are tensors on ``device``, which the graphs read and write in place.

    Raises:
        ConfigError: onnxruntime is not installed, or lacks the provider of this device and runtime.
        WeightsError: not a folder of exported graphs, or graphs that were changed.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu", runtime: Runtime = "onnxruntime") -> None:
        self.device = torch.device(device)
        self.manifest = Manifest.read(folder)
        self.config = self.manifest.config
        self._schedules: dict[int, list[Step]] = {}
        onnxruntime = imported()
        providers = chosen_providers(onnxruntime, self.device, runtime, folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors only
        self._sessions: dict[str, Any] = {}
        for stage in self.manifest.stages:
            path = graph_path(folder, stage)
            try:
                self._sessions[stage] = onnxruntime.InferenceSession(str(path), options, providers=providers)
            except Exception as error:  # ONNX Runtime has no common class of its errors
                raise WeightsError(f"{path}: ONNX Runtime refuses it: {str(error).splitlines()[0]}") from error

    def __call__(self, images: Tensor, num_steps: int | None = None, references: int = 1) -> Prediction:
        """All stages, as in `Dvlt`."""
        num_steps = self.config.num_steps if num_steps is None else num_steps
        return predict(self, self.encode(images), num_steps, references)

    def encode(self, images: Tensor) -> Features:
        """Patch features of every view (1, S, 3, H, W).

        Raises:
            InputError: images of another size than that of the graphs, or more than one window.
        """
        check_image_shape(images)
        height, width = images.shape[-2:]
        if (width, height) != (self.manifest.width, self.manifest.height):
            raise InputError(
                f"these graphs are for images of {self.manifest.width} x {self.manifest.height} pixels, "
                f"got {width} x {height}: export others with --size {width}x{height}"
            )
        if len(images) != 1:
            raise InputError(f"exported graphs take one window at a time, got {len(images)}")
        rows, columns = self.manifest.grid
        channels = self.config.embed_dim + self.config.num_descriptor_channels
        (tokens,) = self._run("encode", [images[0]], [(images.shape[1], rows * columns, channels)])
        return Features(tokens[None], self.manifest.grid)

    def begin(self, features: Features) -> State:
        """See `Dvlt.begin`."""
        tokens = features.tokens[0]
        rows, columns = features.grid
        (state,) = self._run("begin", [tokens], [(len(tokens), NUM_SPECIAL + rows * columns, self.config.embed_dim)])
        return State(state[None], features.grid)

    def schedule(self, num_steps: int) -> list[Step]:
        """The K steps of the loop; computed once for every K."""
        if num_steps not in self._schedules:
            check_steps(num_steps)
            if not self.config.num_scales:
                return [Step(0, None, None)] * num_steps
            shape = (num_steps, 2, self.config.num_scales, self.config.embed_dim)
            (scales,) = self._run("schedule", [intervals(num_steps, self.device)], [shape])
            self._schedules[num_steps] = [Step(0, frame, global_) for frame, global_ in scales]
        return self._schedules[num_steps]

    def step(self, state: State, step: Step) -> State:
        """See `Dvlt.step`."""
        require_state(state, "step")
        tokens = state.tokens[0]
        scales = [scale for scale in (step.frame_scales, step.global_scales) if scale is not None]
        (tokens,) = self._run("step", [tokens, *scales], [tuple(tokens.shape)])
        return State(tokens[None], state.grid)

    def decode(self, state: State, views: Sequence[int] | None = None) -> Prediction:
        """See `Dvlt.decode`."""
        require_state(state, "decode")
        tokens = state.tokens[0]
        if views is not None:
            tokens = tokens[checked_views(views, state.num_views)]
        count, height, width = len(tokens), self.manifest.height, self.manifest.width
        maps, rays = (count, height, width), (count, height, width, 3)
        outputs = self._run("decode", [tokens], [maps, maps, rays, rays, (count, 9)])
        return Prediction(*(output[None] for output in outputs))

    def release(self) -> None:
        """Nothing is cached that could be freed; ONNX Runtime keeps its own arenas."""

    def _run(self, stage: str, inputs: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        session = self._sessions[stage]
        held = [value.to(self.device, torch.float32).contiguous() for value in inputs]
        results = [torch.empty(shape, device=self.device) for shape in shapes]
        binding, place = session.io_binding(), (self.device.type, self.device.index or 0, np.float32)
        for node, value in zip(session.get_inputs(), held, strict=True):
            binding.bind_input(node.name, *place, tuple(value.shape), value.data_ptr())
        for node, value in zip(session.get_outputs(), results, strict=True):
            binding.bind_output(node.name, *place, tuple(value.shape), value.data_ptr())
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()  # ONNX Runtime has a stream of its own
        session.run_with_iobinding(binding)
        return results


def imported() -> Any:
    """Raises ConfigError: it is not installed."""
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ConfigError(f"onnxruntime cannot be imported: {error}; pip install 'onnxruntime>=1.23,<2'") from error


def chosen_providers(onnxruntime: Any, device: torch.device, runtime: Runtime, folder: Path) -> list[Any]:
    """Raises ConfigError: this onnxruntime lacks what the device and the runtime need."""
    cuda = ("CUDAExecutionProvider", {"device_id": str(device.index or 0)})
    engines = {
        "device_id": str(device.index or 0),
        "trt_engine_cache_enable": "1",  # building an engine takes minutes
        "trt_engine_cache_path": str(folder / "engines"),
        "trt_fp16_enable": "1",
    }
    if runtime == "tensorrt" and device.type != "cuda":
        raise ConfigError(f"runtime tensorrt needs an NVIDIA GPU, got device {device}")
    wanted: list[tuple[str, dict[str, str]]] = [("CPUExecutionProvider", {})]
    if device.type == "cuda":
        wanted = [("TensorrtExecutionProvider", engines), cuda] if runtime == "tensorrt" else [cuda]
    there = onnxruntime.get_available_providers()
    for name, _ in wanted:
        if name not in there:
            raise ConfigError(
                f"runtime {runtime} on {device} needs {name}; onnxruntime {onnxruntime.__version__} here has "
                f"{', '.join(there)}"
            )
    return wanted
