"""Writes the stages of a network as ONNX graphs, and compares them with it.

    encode    images (views, 3, H, W) in [0, 1] -> features (views, n, C)
    begin     features -> state (views, 5 + n, C); the first view is the reference
    schedule  times (K, 2), the interval of each step -> scales (K, 2, m, C) of frame and global attention
    step      state, frame_scales (m, C), global_scales (m, C) -> state
    decode    state -> depth, depth_confidence (views, H, W), ray_directions, ray_origins (views, H, W, 3),
              pose_encoding (views, 9)

Views and K are free, the image size is fixed: n = H / 14 * W / 14. `Dvlt` explains the values.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..checkpoints.digest import digest
from ..demo import DEMO_SEQUENCE
from ..errors import ConfigError, WeightsError
from ..model import Dvlt, Features, Prediction, State, Step
from ..model.config import PATCH_SIZE
from ..model.loop import LoopBlock, intervals
from ..model.stages import Looped
from .manifest import GraphPrecision, Manifest, graph_path, stage_names
from .onnx_dvlt import OnnxDvlt

INSTALL = "pip install 'onnx>=1.19,<2' 'onnxruntime>=1.23,<2' 'onnxscript>=0.5,<1'"
OPSET = 20  # of ONNX; TensorRT 10 and ONNX Runtime from 1.17 on know it
LIMITS: dict[GraphPrecision, float] = {"float32": 2e-4, "float16": 2e-2, "int8": 2e-2}  # see `disagreement`
DECODED = ("depth", "depth_confidence", "ray_directions", "ray_origins", "pose_encoding")


@dataclass(frozen=True, eq=False)
class Stage:
    """One graph to be: a function, its example inputs, and the names of inputs and outputs."""

    function: Callable[..., Any]
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    dynamic: dict[str, str]  # first axis that may vary, by input

    def write(self, path: Path) -> None:
        axes = {name: torch.export.Dim(axis, min=1, max=4096) for name, axis in self.dynamic.items()}
        shapes = tuple({0: axes[name]} if name in axes else None for name in self.inputs)
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of operators that are not needed
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporter's own insides
            program = torch.onnx.export(
                Wrapped(self.function).eval(), tuple(self.inputs.values()), dynamo=True, dynamic_shapes=(shapes,),
                input_names=list(self.inputs), output_names=list(self.outputs), opset_version=OPSET, verbose=False,
            )  # fmt: skip
        cast("Any", program).save(str(path))


class Wrapped(nn.Module):
    """A function as the module that the exporter wants."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def export_graphs(
    model: Dvlt, folder: Path, width: int, height: int, precision: GraphPrecision = "float32", checkpoint: str = ""
) -> float:
    """Writes the graphs of a model in evaluation mode on the CPU; returns their largest disagreement with it.

    ``folder`` appears when everything is written and compared; it must be new or empty. ``checkpoint``: digest of the
    weights, for place descriptors.

    Raises:
        ConfigError: an image size that is no multiple of 14, decoupled weights, a missing package, a folder with files.
        WeightsError: the graphs disagree with the model, see `disagreement`; nothing is left.
    """
    check(model, folder, width, height)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        written = Path(temporary) / "graphs"
        written.mkdir()
        for name, stage in stages(model, width, height).items():
            path = graph_path(written, name)
            stage.write(path)
            reduce(path, name, precision)
        digests = {name: digest(graph_path(written, name)) for name in stage_names(model.config)}
        Manifest(model.config, width, height, precision, checkpoint, digests).write(written)
        worst = disagreement(model, OnnxDvlt(written), width, height)
        if not worst <= LIMITS[precision]:
            raise WeightsError(
                f"{folder}: the graphs in {precision} differ from the model by {worst:.1e}, more than "
                f"{LIMITS[precision]:.0e}; nothing was written"
            )
        if folder.exists():
            folder.rmdir()  # it is empty, see `check`
        written.rename(folder)
    return worst


def check(model: Dvlt, folder: Path, width: int, height: int) -> None:
    if model.config.recurrence_mode == "none":
        raise ConfigError("decoupled weights have a block of their own per step; only a network with one block exports")
    if width < PATCH_SIZE or height < PATCH_SIZE or width % PATCH_SIZE or height % PATCH_SIZE:
        raise ConfigError(f"the image size must be positive multiples of {PATCH_SIZE}, got {width} x {height}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: it exists and is not an empty folder; choose another one")
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise ConfigError(f"the package {package} is not installed: {INSTALL}")


def stages(model: Dvlt, width: int, height: int) -> dict[str, Stage]:
    """By name, with the values of three random views as examples."""
    grid = height // PATCH_SIZE, width // PATCH_SIZE
    (block,) = cast("list[LoopBlock]", model.recurrent_blocks)

    def encode(images: Tensor) -> Tensor:
        return model.patch_embed_encoder(images)

    def begin(features: Tensor) -> Tensor:
        return model.begin(Features(features[None], grid)).tokens[0]

    def schedule(times: Tensor) -> Tensor:
        halves = (block.frame_attn.depth_scale, block.global_attn.depth_scale)
        return torch.stack([half(times) for half in halves if half is not None], dim=1)

    def step(state: Tensor, *scales: Tensor) -> Tensor:
        frame, global_ = scales or (None, None)
        return model.step(State(state[None], grid), Step(0, frame, global_)).tokens[0]

    def decode(state: Tensor) -> tuple[Tensor, ...]:
        prediction = model.decode(State(state[None], grid))
        return tuple(getattr(prediction, name)[0] for name in DECODED)

    views, example = "views", torch.rand(5, 3, height, width)
    with torch.no_grad():
        features = encode(example)
        state, times = begin(features), intervals(model.config.num_steps)
        step_inputs = {"state": state}
        if model.config.num_scales:
            step_inputs["frame_scales"], step_inputs["global_scales"] = schedule(times)[0]
    found = {
        "encode": Stage(encode, {"images": example}, ("features",), {"images": views}),
        "begin": Stage(begin, {"features": features}, ("state",), {"features": views}),
        "schedule": Stage(schedule, {"times": times}, ("scales",), {"times": "steps"}),
        "step": Stage(step, step_inputs, ("next_state",), {"state": views}),
        "decode": Stage(decode, {"state": state}, DECODED, {"state": views}),
    }
    return {name: found[name] for name in stage_names(model.config)}


def reduce(path: Path, name: str, precision: GraphPrecision) -> None:
    """Rewrites a stage's graph with smaller weights; inputs and outputs stay float32.

    No later step averages out int8 errors of a decoder, and the scales of the steps are few: these stay as they are.
    """
    if precision == "float16" and name != "schedule":
        onnx = importlib.import_module("onnx")
        float16 = importlib.import_module("onnxruntime.transformers.float16")
        onnx.save(float16.convert_float_to_float16(onnx.load(str(path)), keep_io_types=True), str(path))
    if precision == "int8" and name in ("encode", "step"):
        quantization = importlib.import_module("onnxruntime.quantization")
        quantization.quantize_dynamic(
            str(path), str(path), op_types_to_quantize=["MatMul", "Gemm"], per_channel=True, reduce_range=True,
            weight_type=quantization.QuantType.QInt8,
        )  # fmt: skip


def disagreement(model: Dvlt, graphs: Looped, width: int, height: int) -> float:
    """Largest relative L2 error of depth and of rays, over windows of one, two and five pictures of the demo."""
    pictures = demo_pictures(5, width, height)
    worst = 0.0
    with torch.inference_mode():
        for views, num_steps in ((1, model.config.num_steps), (2, model.config.min_steps), (5, model.config.num_steps)):
            images = pictures[:, :views]
            expected = model(images, num_steps)
            found = graphs.decode(graphs.run(graphs.begin(graphs.encode(images)), num_steps))
            for values, true in ((found.depth, expected.depth), (rays(found), rays(expected))):
                error = torch.linalg.vector_norm(values - true) / torch.linalg.vector_norm(true)
                worst = max(worst, float(error.nan_to_num(nan=float("inf"))))
    return worst


def rays(prediction: Prediction) -> Tensor:
    """(B, S, H, W, 6): direction, then origin."""
    return torch.cat([prediction.ray_directions, prediction.ray_origins], dim=-1)


def demo_pictures(count: int, width: int, height: int) -> Tensor:
    """(1, count, 3, H, W) in [0, 1]."""
    paths = sorted(DEMO_SEQUENCE.rglob("*.jpg"))
    chosen = paths[:: len(paths) // count][:count]
    pictures = [np.asarray(Image.open(path).convert("RGB").resize((width, height))) for path in chosen]
    return torch.from_numpy(np.stack(pictures)).movedim(-1, 1)[None].float() / 255
