"""Gaussian heads: what they start with, that they learn, whose they are; and the command that shows them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from plyfile import PlyData

from dvlt_ros.errors import ConfigError, InputError, WeightsError
from dvlt_ros.export.scenes.splats import OPACITY, SPREAD, write_splats
from dvlt_ros.model import Dvlt
from dvlt_ros.model.weights import digest_of
from dvlt_ros.training.config import Data, GaussianTraining, ModelSource, Optimizer, Shapes, TrainConfig
from dvlt_ros.training.gaussians.flight import poses_along
from dvlt_ros.training.gaussians.heads import GaussianHeads, gaussians_of_splats, splats_of_gaussians
from dvlt_ros.training.gaussians.novel_views import SeenScene, split_views
from dvlt_ros.training.gaussians.render import ONE_COLOUR, SPLATS, TRAINED, parse_arguments, render
from dvlt_ros.training.gaussians.splatter import torch_splatter
from dvlt_ros.training.gaussians.train import HEADS, train_heads, window_loss
from dvlt_ros.training.synthetic import SyntheticConfig, sample_windows


@pytest.fixture(scope="module")
def network():
    return Dvlt.from_pretrained("dvlt-nano")


@pytest.fixture(scope="module")
def window():
    return sample_windows([3], SyntheticConfig(views=4, height=56, width=70, augment=None))


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return TrainConfig(
        model=ModelSource(checkpoint="dvlt-nano"), gaussians=GaussianTraining(held_out=1), total_steps=2,
        shapes=Shapes(image_size=56, aspect=(0.75, 0.75), views=(3, 3), images_per_step=3, tokens_per_step=None),
        data=Data(synthetic_windows=1, augment=False), optimizer=Optimizer(learning_rate=3e-3),
        output=str(tmp_path_factory.mktemp("heads")), precision="no",
    )  # fmt: skip


def test_views_are_held_out_between_the_others():
    assert split_views(6, 2) == ([0, 2, 4, 5], [1, 3])
    assert split_views(3, 1) == ([0, 2], [1])
    with pytest.raises(InputError, match=r"^of 3 views 1 to 1 can be held out, got 2$"):
        split_views(3, 2)


def test_heads_start_as_opaque_round_gaussians_at_the_pixels_points(network, window):
    scene = SeenScene.of(network, window.images, 2)
    found = scene.gaussians(GaussianHeads(network))
    footprint = scene.prediction.depth[0] / scene.cameras.intrinsics[0, :, 0, 0, None, None]
    torch.testing.assert_close(found.deviations, SPREAD * footprint.reshape(-1, 1).expand(-1, 3))
    torch.testing.assert_close(found.opacities, torch.full_like(found.opacities, OPACITY))
    torch.testing.assert_close(found.centers, scene.prediction.points.reshape(-1, 3))
    torch.testing.assert_close(found.colors, window.images[0].movedim(1, -1).reshape(-1, 3))


def test_rendering_views_that_were_not_seen_teaches_the_heads_alone(network, window, config):
    heads = GaussianHeads(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.AdamW(heads.parameters(), 3e-3)
    losses = []
    for _ in range(4):
        loss = window_loss(network, heads, window, config, torch_splatter)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_run_leaves_heads_that_belong_to_their_checkpoint(network, config, tmp_path):
    heads = train_heads(config)
    path, checkpoint = f"{config.output}/{HEADS}", digest_of("dvlt-nano")
    read = GaussianHeads.read(path, network, checkpoint)
    assert all(torch.equal(value, heads.state_dict()[name]) for name, value in read.state_dict().items())
    with pytest.raises(WeightsError, match=r"heads of another checkpoint, .*; the network's is 0000"):
        GaussianHeads.read(path, network, "0000")
    with pytest.raises(WeightsError, match="no readable Gaussian heads"):
        GaussianHeads.read(tmp_path / "none.safetensors", network, checkpoint)
    (tmp_path / "odd.safetensors").write_bytes(b"no safetensors")
    with pytest.raises(WeightsError, match=r"odd\.safetensors: no readable Gaussian heads"):
        GaussianHeads.read(tmp_path / "odd.safetensors", network, checkpoint)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(config, tmp_path):
    config = replace(config, save_every=1, output=str(tmp_path))
    whole = train_heads(config)
    shutil.rmtree(tmp_path / "states" / "step-0000002")
    resumed = train_heads(config)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value)


def test_heads_of_another_network_are_not_gone_on_with(config, tmp_path):
    heads = GaussianHeads(Dvlt.from_pretrained("dvlt-nano"))
    heads.save(tmp_path / HEADS, "0000")
    with pytest.raises(WeightsError, match="heads of another checkpoint"):
        train_heads(replace(config, output=str(tmp_path)))


def test_what_cannot_train_heads_is_refused():
    with pytest.raises(ConfigError, match=r"name it as model\.checkpoint"):
        TrainConfig(gaussians=GaussianTraining(held_out=1))
    with pytest.raises(ConfigError, match=r"shapes\.views must be at least gaussians\.held_out \+ 2, got 2 and 1"):
        TrainConfig(model=ModelSource(checkpoint="dvlt-nano"), gaussians=GaussianTraining(held_out=1))


def test_gaussians_survive_the_file(network, window, tmp_path):
    found = SeenScene.of(network, window.images, 2).gaussians(GaussianHeads(network))
    found = replace(found, opacities=torch.linspace(0.1, 0.9, len(found)))
    splats = splats_of_gaussians(found)
    write_splats(tmp_path / "splats.ply", splats)
    rows = PlyData.read(tmp_path / "splats.ply")["vertex"]
    np.testing.assert_allclose(1 / (1 + np.exp(-rows["opacity"])), found.opacities, rtol=1e-4)
    np.testing.assert_allclose(np.exp(rows["scale_1"]), found.deviations[:, 1].detach(), rtol=1e-4)
    torch.testing.assert_close(gaussians_of_splats(splats).centers, found.centers.detach())


def test_a_flight_goes_through_every_camera():
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[1, :3, :3] = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    poses[:, 0, 3] = torch.tensor([0.0, 1, 3])
    flight = list(poses_along(poses, 5))
    for index, pose in enumerate(poses):
        torch.testing.assert_close(flight[2 * index], pose)
    torch.testing.assert_close(flight[1][:2, :2], 0.5**0.5 * torch.tensor([[1.0, -1], [1, 1]]))


def test_the_command_leaves_a_table_a_video_and_splats(tmp_path, network, window):
    heads = tmp_path / "heads.safetensors"
    GaussianHeads(network).save(heads, digest_of("dvlt-nano"))
    photos = tmp_path / "photos"
    photos.mkdir()
    for index, image in enumerate(window.images[0]):
        pixels = (255 * image.movedim(0, -1)).byte().numpy()[..., ::-1]
        cv2.imwrite(str(photos / f"{index}.png"), pixels)
    words = [str(photos), "--output", str(tmp_path / "out"), "--heads", str(heads), "--held-out", "1"]
    table = render(parse_arguments([*words, "--steps", "2", "--frames", "3", "--scale", "1"]))
    assert set(table) == {SPLATS, TRAINED, ONE_COLOUR}
    assert json.loads((tmp_path / "out" / "novel_views.json").read_text()) == table
    assert all(0 < row["psnr"] < 60 and row["ssim"] <= 1 for row in table.values())
    video = cv2.VideoCapture(str(tmp_path / "out" / "fly_through.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert (tmp_path / "out" / "splats.ply").stat().st_size > 1000
    with pytest.raises(InputError, match="4 images are too few to hold out 3"):
        render(parse_arguments([*words[:-1], "3"]))
