"""Exported graphs say what the network says, for any K and number of views, and refuse what they cannot do."""

import contextlib
import importlib.util
import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

if importlib.util.find_spec("onnxscript") is None:  # to import it takes seconds, of every process that collects tests
    pytest.skip("the extra `onnx` is not installed; `make venv` brings it", allow_module_level=True)
pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed; `make venv` brings it")

import onnxruntime

from dvlt_ros.checkpoints.digest import digest
from dvlt_ros.errors import ConfigError, InputError, WeightsError
from dvlt_ros.mapping.budget.config import BudgetConfig, WindowConfig
from dvlt_ros.mapping.budget.limits import Limits
from dvlt_ros.mapping.budget.quality_levels import levels_within
from dvlt_ros.mapping.config import MapperConfig
from dvlt_ros.mapping.data.frames import Frame, Picture
from dvlt_ros.mapping.inference.config import ModelConfig
from dvlt_ros.mapping.inference.dvlt_predictor import DvltPredictor
from dvlt_ros.mapping.inference.loading import load_predictor
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.model import Dvlt
from dvlt_ros.model.references import predict_paths
from dvlt_ros.runtimes import OnnxDvlt, export_graphs
from dvlt_ros.runtimes.command import main
from dvlt_ros.runtimes.graphs import LIMITS, demo_pictures, disagreement, reduce, stages
from dvlt_ros.runtimes.manifest import MANIFEST, Manifest, graph_path, stage_names
from dvlt_ros.runtimes.onnx_dvlt import chosen_providers

WIDTH, HEIGHT = 56, 42


@pytest.fixture(scope="module")
def network():
    return Dvlt.from_pretrained("dvlt-nano")  # the small one of two: its graphs are quick to write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """By the command, which says how close and how fast they are."""
    path, said = tmp_path_factory.mktemp("export") / "graphs", io.StringIO()
    with contextlib.redirect_stdout(said):
        main(["dvlt-nano", "--output", str(path), "--size", f"{WIDTH}x{HEIGHT}", "--views", "2"])
    assert "56 x 42 pixels, float32, relative error to the model" in said.getvalue()
    assert "a window of 2 views, K = 8, on this CPU: PyTorch" in said.getvalue()
    return path


@pytest.fixture(scope="module")
def graphs(folder):
    return OnnxDvlt(folder)


def largest_difference(found, expected):
    """Relative to the largest value, over all outputs."""
    pairs = [(getattr(found, name), getattr(expected, name)) for name in expected.__dataclass_fields__]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


@pytest.mark.parametrize("views", [1, 2, 7])
@pytest.mark.parametrize("num_steps", [4, 8, 16])
@pytest.mark.filterwarnings("ignore:num_steps")
def test_the_same_files_serve_any_k_and_number_of_views(network, graphs, views, num_steps):
    images = torch.rand(1, views, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(views))
    with torch.inference_mode():
        assert largest_difference(graphs(images, num_steps), network(images, num_steps)) <= 2e-4


def test_stages_stream_as_those_of_the_network_do(network, graphs):
    images = demo_pictures(4, WIDTH, HEIGHT)
    with torch.inference_mode():
        features = graphs.encode(images)
        apart = [graphs.encode(images[:, i : i + 1]) for i in range(4)]
        kept = features.concatenate(apart)
        torch.testing.assert_close(kept.tokens, features.tokens)
        state = graphs.run(graphs.begin(kept), 3)
        chosen = graphs.decode(state, views=[3, 1])
        whole = graphs.decode(state)
    torch.testing.assert_close(chosen.depth, whole.depth[:, [3, 1]])


def test_other_reference_views_answer_as_those_of_the_network_do(network, graphs):
    images = demo_pictures(4, WIDTH, HEIGHT)
    with torch.inference_mode():
        found, expected = (predict_paths(model, model.encode(images), 3, [0, 2]) for model in (graphs, network))
    for path, other in zip(found, expected, strict=True):
        assert largest_difference(path, other) <= 2e-4
    assert largest_difference(*found) > 1e-2  # the reference matters


@pytest.mark.parametrize(
    ("variant", "stage"), [({"recurrence_mode": "no_depthscale"}, "step"), ({"depth_head_type": "conv"}, "decode")]
)
def test_stages_of_other_networks_are_exported_too(make_model, tmp_path, variant, stage):
    model = make_model(**variant)
    assert set(stages(model, WIDTH, HEIGHT)) == set(stage_names(model.config))
    exported = stages(model, WIDTH, HEIGHT)[stage]
    exported.write(tmp_path / "stage.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "stage.onnx"), providers=["CPUExecutionProvider"])
    inputs = [value[:2] if name in exported.dynamic else value for name, value in exported.inputs.items()]
    found = session.run(None, dict(zip(exported.inputs, (value.numpy() for value in inputs), strict=True)))
    with torch.inference_mode():
        expected = exported.function(*inputs)
    for output, true in zip(found, expected if stage == "decode" else [expected], strict=True):
        np.testing.assert_allclose(output, true.numpy(), rtol=2e-4, atol=2e-4 * float(true.abs().max()))


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_reduced_precision_is_smaller_and_close(network, folder, tmp_path, precision):
    reduced = tmp_path / "graphs"
    shutil.copytree(folder, reduced)
    manifest = Manifest.read(folder)
    for stage in manifest.stages:
        reduce(graph_path(reduced, stage), stage, precision)
    digests = {stage: digest(graph_path(reduced, stage)) for stage in manifest.stages}
    replace(manifest, precision=precision, digests=digests).write(reduced)
    assert disagreement(network, OnnxDvlt(reduced), WIDTH, HEIGHT) <= LIMITS[precision]
    size = [graph_path(path, "step").stat().st_size for path in (reduced, folder)]
    assert size[0] < 0.6 * size[1]


def test_the_files_run_with_onnxruntime_alone(network, folder, tmp_path):
    """What docs/how-to/export.md shows, in a process without PyTorch and this package."""
    images = demo_pictures(3, WIDTH, HEIGHT)
    np.save(tmp_path / "images.npy", images[0].numpy())
    code = """
import sys
import numpy as np
import onnxruntime as ort
folder, images = sys.argv[1], np.load("images.npy")
stage = {name: ort.InferenceSession(f"{folder}/{name}.onnx", providers=["CPUExecutionProvider"])
         for name in ("encode", "begin", "schedule", "step", "decode")}
K = 5
starts = np.linspace(0, 1, K, dtype=np.float32)
times = np.stack([starts, np.append(starts[1:], np.float32(1))], axis=1)
(features,) = stage["encode"].run(None, {"images": images})
(state,) = stage["begin"].run(None, {"features": features})
(scales,) = stage["schedule"].run(None, {"times": times})
for frame_scales, global_scales in scales:
    inputs = {"state": state, "frame_scales": frame_scales, "global_scales": global_scales}
    (state,) = stage["step"].run(None, inputs)
depth, *_ = stage["decode"].run(None, {"state": state})
np.save("depth.npy", depth)
assert "torch" not in sys.modules and "dvlt_ros" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, cwd=tmp_path)
    with torch.inference_mode():
        expected = network(images, 5).depth[0].numpy()
    np.testing.assert_allclose(np.load(tmp_path / "depth.npy"), expected, rtol=2e-4)


def test_the_mapper_maps_with_graphs_as_with_the_network(network, folder):
    """Places and poses agree, and the resolution never changes."""
    config = ModelConfig(weights=str(folder), runtime="onnxruntime")
    pictures = (demo_pictures(6, WIDTH, HEIGHT)[0].movedim(1, -1) * 255).byte().numpy()
    paths = []
    for predictor in (load_predictor(config), DvltPredictor(network, "cpu")):
        mapper = Mapper(MapperConfig(model=ModelConfig(image_size=WIDTH), window=WindowConfig(3, 1)), predictor)
        frames = [
            Frame(10**9 * i, "camera", 10**9 * i, lambda i=i: Picture(pictures[i - 1], None)) for i in range(1, 7)
        ]
        updates = [update for frame in frames if (update := mapper.add(frame)) is not None]
        updates += mapper.finish()
        paths.append(np.stack([f.map_from_cam for update in updates for f in update.frames]))
    assert len(paths[0]) == 6
    np.testing.assert_allclose(paths[0], paths[1], atol=1e-3)


def test_only_windows_shrink_when_time_is_short(folder):
    predictor = load_predictor(ModelConfig(weights=str(folder), runtime="onnxruntime"))
    limits = Limits.of(BudgetConfig(), WindowConfig(), 0, predictor, 1)
    assert {level.image_size for level in levels_within(limits)} == {WIDTH}
    with pytest.raises(ConfigError, match=f"must be 0 or {WIDTH}"):
        Limits.of(BudgetConfig(), WindowConfig(), 112, predictor, 1)


def test_images_of_another_size_are_refused_with_the_command_that_helps(graphs):
    with pytest.raises(InputError, match=r"56 x 42 pixels, got 56 x 56: export others with --size 56x56"):
        graphs.encode(torch.rand(1, 2, 3, 56, 56))


@pytest.mark.parametrize("size", [(50, 42), (56, 0), (0, 42)])
def test_impossible_sizes(network, tmp_path, size):
    with pytest.raises(ConfigError, match="positive multiples of 14"):
        export_graphs(network, tmp_path / "graphs", *size)
    assert not list(tmp_path.iterdir())


def test_decoupled_weights_are_refused(make_model, tmp_path):
    with pytest.raises(ConfigError, match="a block of their own per step"):
        export_graphs(make_model(recurrence_mode="none", min_steps=4), tmp_path / "graphs", WIDTH, HEIGHT)


def test_a_folder_with_files_is_left_alone(network, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not an empty folder"):
        export_graphs(network, tmp_path, WIDTH, HEIGHT)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("runtime", ["onnxruntime", "tensorrt"])
def test_a_missing_provider_is_named(folder, runtime):
    class OnlyCpu:
        __version__ = "1.32.0"
        get_available_providers = staticmethod(lambda: ["CPUExecutionProvider"])

    name = {"onnxruntime": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}[runtime]
    with pytest.raises(ConfigError, match=f"{name}; onnxruntime 1.32.0 here has CPUExecutionProvider"):
        chosen_providers(OnlyCpu, torch.device("cuda"), runtime, folder)
    if runtime == "tensorrt":
        with pytest.raises(ConfigError, match="needs an NVIDIA GPU"):
            chosen_providers(OnlyCpu, torch.device("cpu"), runtime, folder)


def spoil_format(folder):
    values = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(values | {"format": 99}))


def spoil_config(folder):
    values = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(values | {"config": {"embed_dim": 7}}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: graph_path(folder, "step").write_bytes(b"not a graph"), "step.onnx: not the graph"),
        (lambda folder: graph_path(folder, "decode").unlink(), "decode.onnx: No such file"),
        (lambda folder: (folder / MANIFEST).unlink(), "`dvlt_export` writes such a folder"),
        (lambda folder: (folder / MANIFEST).write_text("[]"), "not a description of exported graphs"),
        (spoil_format, "another version of dvlt_ros"),
        (spoil_config, "not a description of exported graphs"),
    ],
)
def test_damaged_folders_are_refused(folder, tmp_path, spoil, message):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    spoil(copy)
    with pytest.raises(WeightsError, match=message):
        OnnxDvlt(copy)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"runtime": "onnxruntime"}, "needs a folder of exported graphs"),
        ({"runtime": "tensorrt", "weights": "graphs", "precision": "int8"}, "a precision of their own"),
    ],
)
def test_parameters_that_do_not_fit_together(values, message):
    with pytest.raises(ConfigError, match=message):
        ModelConfig(**values)


def test_the_command_says_why_it_cannot(folder):
    with pytest.raises(SystemExit, match=r"dvlt_export: .*not an empty folder"):
        main(["--output", str(folder), "--size", f"{WIDTH}x{HEIGHT}"])


def test_graphs_that_disagree_are_not_written(make_model, tmp_path, monkeypatch):
    monkeypatch.setattr("dvlt_ros.runtimes.graphs.Stage.write", lambda stage, path: path.write_bytes(b""))
    monkeypatch.setattr("dvlt_ros.runtimes.graphs.OnnxDvlt", lambda folder: None)
    monkeypatch.setattr("dvlt_ros.runtimes.graphs.disagreement", lambda *_: float("nan"))
    with pytest.raises(WeightsError, match="differ from the model by nan"):
        export_graphs(make_model(), tmp_path / "graphs", WIDTH, HEIGHT)
    assert not list(tmp_path.iterdir())
