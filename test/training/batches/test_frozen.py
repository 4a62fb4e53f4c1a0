"""Training on what a frozen encoder said once: stored windows, kept features, sub-grids of pixels, descriptors."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("accelerate", reason="needs the training extra: pip install '.[training]'")
pytest.importorskip("hydra", reason="needs the training extra: pip install '.[training]'")

from frozen_runs import DESCRIBED, SIZE
from hydra import compose, initialize_config_module
from safetensors.torch import load_file

from dvlt_ros.errors import ConfigError, DataError, WeightsError
from dvlt_ros.model import Dvlt
from dvlt_ros.training.batches import kept, stored
from dvlt_ros.training.batches.batch import Batches
from dvlt_ros.training.batches.features import FeatureCache, encoder_digest, is_mirrored
from dvlt_ros.training.batches.frozen import FrozenWindows
from dvlt_ros.training.batches.rendering import mirror
from dvlt_ros.training.batches.stored import CHUNK, StoredWindows, StoreSpec
from dvlt_ros.training.config import TrainConfig, from_hydra
from dvlt_ros.training.optimisation.descriptors import start_descriptors
from dvlt_ros.training.optimisation.parameters import build_model
from dvlt_ros.training.synthetic import SyntheticConfig, sample_windows
from dvlt_ros.training.train import train

SPEC = StoreSpec(views=3, height=SIZE[0], width=SIZE[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with two chunks of windows."""
    path = tmp_path_factory.mktemp("store")
    assert list(StoredWindows(path, SPEC).render(range(2), None, None)) == [0, 1]
    return path


@pytest.fixture
def store(folder):
    store = StoredWindows(folder, SPEC)
    assert store.refresh() == 2 * CHUNK
    return store


def configuration(folder, tmp_path, *overrides: str) -> TrainConfig:
    with initialize_config_module("dvlt_ros.training.configs", version_base="1.3"):
        composed = compose("train", [
            "recipe=tiny", f"output={tmp_path / 'run'}", "trainable=all_but_encoder", "data.synthetic_windows=16",
            f"data.windows_folder={folder}", f"data.features_folder={tmp_path / 'features'}", "data.stored_views=3",
            "data.render_beside=false", "model.config.match_taps=[1,2]", "model.config.match_channels=8",
            "loss.correlation=1", "loss.pixel_stride=2", "log_with=none", "validation.windows=0", *overrides,
        ])  # fmt: skip
    return from_hydra(composed)


def test_stored_windows_are_the_rendered_ones(store):
    rendered = sample_windows([9], SyntheticConfig(augment=None), views=3, size=SIZE)
    order = torch.tensor([2, 0])
    stored = store.window(9, order)
    torch.testing.assert_close(stored.images, rendered.images[:, order], atol=0.5 / 255 + 1e-6, rtol=0)
    torch.testing.assert_close(stored.depth, rendered.depth[:, order], atol=0, rtol=1e-3)
    assert torch.equal(stored.world_from_cam, rendered.world_from_cam[:, order])
    assert torch.equal(stored.valid, rendered.valid[:, order])
    assert list(store.render(range(2), None, None)) == []  # all of them are there
    assert store.refresh(limit=CHUNK) == CHUNK


def test_the_renderers_command_fills_a_folder_and_ends_with_its_parent(tmp_path, capsys):
    command = [str(tmp_path), "--windows", "24", "--views", "2", "--size", "42x28"]
    stored.main([*command, "--parent", "-1"])  # a parent that is gone: it ends after the first chunk
    store = StoredWindows(tmp_path, StoreSpec(views=2, height=28, width=42))
    assert store.refresh() == CHUNK
    stored.main(command)
    assert store.refresh() == 3 * CHUNK
    assert "24 of 24 windows" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="holds windows with views 2, not 3"):
        stored.main([str(tmp_path), "--windows", "8", "--views", "3", "--size", "42x28"])


def test_windows_that_no_run_has_seen_begin_where_it_ended(tmp_path):
    command = [str(tmp_path), "--windows", "24", "--views", "2", "--size", "42x28", "--first"]
    stored.main([*command, "16"])
    store = StoredWindows(tmp_path, StoreSpec(views=2, height=28, width=42))
    assert store.refresh() == CHUNK
    assert store.place(0) == (2, 0)
    rendered = sample_windows([16], SyntheticConfig(augment=None), views=2, size=(28, 42))
    assert torch.equal(store.window(0, torch.arange(2)).world_from_cam, rendered.world_from_cam)
    for first in ("24", "12", "-8"):
        with pytest.raises(SystemExit, match=f"multiple of 8 below --windows 24, got {first}"):
            stored.main([*command, first])


def test_a_folder_of_other_windows_is_refused(folder):
    with pytest.raises(DataError, match="holds windows with views 3, not 4"):
        StoredWindows(folder, replace(SPEC, views=4))


def test_features_are_those_of_the_images_augmented_and_mirrored_or_not(store, network, tmp_path):
    cache = FeatureCache(tmp_path, store, network, variants=2, photometric=None)
    order = torch.tensor([1, 2])
    for index, variant in ((3, 0), (3, 1), (12, 0)):
        views, features = cache.window(index, variant, order)
        window = store.window(index, order)
        if is_mirrored(index // CHUNK, variant):
            window = mirror(window, torch.tensor([True]))
        with torch.no_grad():
            expected = network.patch_embed_encoder.frozen(window.images[0])[None]
        torch.testing.assert_close(features, expected, atol=5e-3, rtol=2e-3)
        assert torch.equal(views.world_from_cam, window.world_from_cam)
        assert torch.equal(views.depth, window.depth)
        assert views.images.numel() == 0


def test_the_sign_of_a_zero_makes_no_other_encoder(network):
    """An average of weights that stay as they are turns -0 into 0."""
    bias = network.patch_embed_encoder.blocks[0].mlp.fc1.bias
    with torch.no_grad():
        digests = []
        for zero in (0.0, -0.0, 1e-3):
            bias[0] = zero
            digests.append(encoder_digest(network))
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_features_of_another_encoder_or_of_other_images_are_refused(folder, store, network, tmp_path):
    cache = FeatureCache(tmp_path / "features", store, network, variants=1, photometric=None)
    cache.window(0, 0, torch.tensor([0]))
    with torch.no_grad():
        network.patch_embed_encoder.descriptors.weight.add_(1.0)  # trained, and no part of what is kept
    FeatureCache(tmp_path / "features", store, network, variants=1, photometric=None)
    with pytest.raises(DataError, match="holds features with variants 1, not 2"):
        FeatureCache(tmp_path / "features", store, network, variants=2, photometric=None)
    bias = network.patch_embed_encoder.blocks[0].mlp.fc1.bias
    before = bias.detach().clone()
    with torch.no_grad():
        bias.add_(1e-3)
    with pytest.raises(DataError, match="holds features of another encoder"):
        FeatureCache(tmp_path / "features", store, network, variants=1, photometric=None)
    with torch.no_grad():
        bias.copy_(before)
    other = StoredWindows(tmp_path / "store", SPEC)
    list(other.render([1], None, None))
    other.path(1).rename(other.path(0))  # windows 8 to 15 in the place of 0 to 7
    other.refresh()
    index = json.loads((tmp_path / "features" / "features.json").read_text())
    cache = FeatureCache(tmp_path / "features", other, network, variants=1, photometric=None)
    assert json.loads((tmp_path / "features" / "features.json").read_text()) == index
    with pytest.raises(DataError, match="features of other images"):
        cache.window(0, 0, torch.tensor([0]))


def test_an_encoder_that_is_trained_has_no_kept_features(store, make_model, tmp_path):
    with pytest.raises(ConfigError, match="is trained"):
        FeatureCache(tmp_path, store, make_model(), variants=1, photometric=None)


def test_only_the_first_of_several_processes_starts_a_renderer(folder, tmp_path, network, monkeypatch):
    started = []
    monkeypatch.setattr(kept, "render_beside", lambda store, windows, compiled: started.append((store.folder, windows)))
    config = configuration(folder, tmp_path, "data.render_beside=true", "data.synthetic_windows=24")
    FrozenWindows(config, network, torch.device("cpu"), first=False)
    assert started == []
    FrozenWindows(config, network, torch.device("cpu"), first=True)
    assert started == [(folder, 24)]


def test_descriptors_learn_to_find_patches(folder, tmp_path, network):
    windows = FrozenWindows(configuration(folder, tmp_path), network, torch.device("cpu"))
    before = {k: v.clone() for k, v in network.state_dict().items()}
    errors = start_descriptors(network, windows, 100, seed=0)
    assert np.mean(errors[-10:]) < 0.98 * np.mean(errors[:10])
    changed = {k for k, v in network.state_dict().items() if not torch.equal(before[k], v)}
    assert changed == {
        "patch_embed_encoder.descriptors.weight", "patch_embed_encoder.descriptors.bias",
        "correlation.log_sharpness", "correlation.nowhere",
    }  # fmt: skip


def test_a_run_on_kept_features_trains_all_but_the_encoder_and_resumes_exactly(folder, tmp_path):
    first = configuration(folder, tmp_path, "total_steps=4", "save_every=2")
    start = torch.random.fork_rng()
    with start:
        network = train(first)
    assert network.config.match_taps == (1, 2)
    whole = load_file(tmp_path / "run" / "last" / "model.safetensors")
    split = replace(first, output=str(tmp_path / "split"))
    train(replace(split, total_steps=2, schedule_steps=4))
    train(split)
    again = load_file(tmp_path / "split" / "last" / "model.safetensors")
    assert [name for name in whole if not torch.equal(whole[name], again[name])] == []
    with pytest.raises(ConfigError, match="needs a frozen encoder"):
        replace(first, trainable="everything")


@pytest.fixture
def whole_network(folder, tmp_path):
    """A run that trains the encoder, too, so that windows are kept but no features."""
    return configuration(
        folder, tmp_path, "trainable=everything", "data.features_folder=null", "model.config.match_taps=[]",
        "loss.correlation=0", "total_steps=2", "save_every=1",
    )  # fmt: skip


def test_windows_of_a_folder_serve_a_network_whose_encoder_is_trained(whole_network, store):
    plain = replace(whole_network, data=replace(whole_network.data, augment=False))
    batches = Batches(plain, plain.model.dvlt, torch.device("cpu"), 0, 1)
    batch = next(batches)
    assert batch.frozen is None
    windows = [store.window(index, torch.arange(SPEC.views)) for index in range(len(store))]
    kept = torch.cat([window.images[0] for window in windows])
    for image in batch.views.images.flatten(0, 1):
        assert (kept - image).abs().amax(dim=(1, 2, 3)).min() == 0
    again = next(Batches(plain, plain.model.dvlt, torch.device("cpu"), 0, 1))
    assert torch.equal(again.views.images, batch.views.images)
    varied = next(Batches(whole_network, plain.model.dvlt, torch.device("cpu"), 0, 1))
    assert varied.views.images.shape == batch.views.images.shape
    assert not torch.equal(varied.views.images, batch.views.images)


def test_such_a_run_changes_the_encoder(whole_network):
    before = {k: v.clone() for k, v in build_model(whole_network.model).state_dict().items()}
    after = train(whole_network).state_dict()
    name = "patch_embed_encoder.blocks.0.mlp.fc1.weight"
    assert not torch.equal(before[name], after[name])


@pytest.mark.parametrize(
    ("override", "message"),
    [("shapes.views=[2,4]", "asks for 4 views, data.stored_views are 3"), ("shapes.portrait=true", "of one size")],
)
def test_windows_of_a_folder_are_of_one_size(folder, tmp_path, override, message):
    config = configuration(folder, tmp_path, "data.features_folder=null", "trainable=everything", override)
    with pytest.raises(ConfigError, match=message):
        Batches(config, config.model.dvlt, torch.device("cpu"), 0, 1)


def test_heads_of_a_file_must_be_all_of_the_rest(make_model, tmp_path):
    from safetensors.torch import save_file

    from dvlt_ros.training.optimisation.parameters import load_heads

    model = make_model(**DESCRIBED)
    heads = {k: v.clone() for k, v in make_model().state_dict().items() if not k.startswith("patch_embed_encoder.")}
    save_file(heads, tmp_path / "heads.safetensors")
    target = Dvlt(model.config)
    load_heads(target, str(tmp_path / "heads.safetensors"))
    assert torch.equal(target.camera_token, heads["camera_token"])
    del heads["camera_token"]
    save_file(heads, tmp_path / "heads.safetensors")
    with pytest.raises(WeightsError, match="missing tensors: camera_token"):
        load_heads(target, str(tmp_path / "heads.safetensors"))
