"""Windows for training: what a sampler's item becomes, the same in every worker, and past everything bad."""

from __future__ import annotations

import itertools
import json
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from dvlt_ros.errors import ConfigError, DataError, InputError
from dvlt_ros.geometry import invert_pose, project, transform_points, unproject
from dvlt_ros.model import DvltConfig
from dvlt_ros.training.batches.augment import ColourRule, DepthRule, Frame
from dvlt_ros.training.batches.batch import Batches
from dvlt_ros.training.batches.sampling import BatchSampler, Item, ViewRule
from dvlt_ros.training.config import Data, FolderSource, Shapes, TrainConfig
from dvlt_ros.training.data.dataset import Counts, SequenceDataset, open_recordings
from dvlt_ros.training.data.readers.layouts import open_dataset
from dvlt_ros.training.data.types import Views, concatenate
from dvlt_ros.training.data.writer import SequenceWriter

SIZE = 56
SHAPES = Shapes(image_size=SIZE, aspect=(0.5, 0.8), views=(2, 3), images_per_step=6, tokens_per_step=None)


def write(path: Path, scene, poses: np.ndarray) -> Path:
    with SequenceWriter(path) as writer:
        for i, pose in enumerate(poses):
            writer.add(Frame(*scene.render(pose), pose, scene.intrinsics), i)
    return path


@pytest.fixture
def dataset(tmp_path, box_scene) -> SequenceDataset:
    for i in range(3):
        write(tmp_path / f"run{i}", box_scene, box_scene.poses(4 + i))
    return SequenceDataset(open_dataset(tmp_path), SIZE, ViewRule(window_ratio=2), colour=ColourRule())


def same(a: Views, b: Views) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in Views.__dataclass_fields__)


def test_a_window_has_the_items_shape_and_true_geometry(dataset):
    views = dataset[Item(source=0, sequence=1, num_views=3, aspect=0.75, seed=5)]
    assert views.images.shape == (1, 3, 3, 42, SIZE)
    assert views.depth.shape == views.valid.shape == (1, 3, 42, SIZE)
    assert views.images.min() >= 0
    assert views.images.max() <= 1
    assert not views.is_synthetic.any()
    assert views.valid.float().mean() > 0.99
    points = transform_points(views.world_from_cam, unproject(views.depth, views.intrinsics))
    seen = transform_points(invert_pose(views.world_from_cam[:, 1]), points[:, 0])
    pixels = project(seen, views.intrinsics[:, 1])
    columns, rows = pixels.floor().long().unbind(-1)
    inside = (seen[..., 2] > 0) & (columns >= 0) & (columns < SIZE) & (rows >= 0) & (rows < 42)
    assert inside.sum() > 100
    found = views.depth[0, 1][rows[inside], columns[inside]]
    error = (found - seen[..., 2][inside]).abs() / found  # nearest pixels on slanted walls: a few per cent
    assert error.median() < 0.02


def test_equal_items_give_equal_windows_and_seeds_differ(dataset):
    item = Item(0, 0, 3, 0.6, seed=1)
    assert same(dataset[item], dataset[item])
    assert not same(dataset[item], dataset[Item(0, 0, 3, 0.6, seed=2)])


def test_without_a_colour_rule_images_are_only_resized(dataset, tmp_path):
    plain = SequenceDataset(dataset.sequences, SIZE, dataset.views)
    item = Item(0, 0, 2, 0.6, seed=1)
    assert same(plain[item], plain[item])
    assert torch.equal(plain[item].depth, dataset[item].depth)
    assert not torch.equal(plain[item].images, dataset[item].images)


def test_pose_ranking_and_depth_cap(dataset):
    item, rule = Item(0, 2, 2, 0.75, seed=3), ViewRule("pose", window=2)
    cap = float(SequenceDataset(dataset.sequences, SIZE, rule)[item].depth.median())
    views = SequenceDataset(dataset.sequences, SIZE, rule, DepthRule(max_depth=cap))[item]
    assert views.depth.max() <= cap
    assert 0 < views.valid.float().mean() < 1
    assert torch.equal(views.valid, views.depth > 0)


def test_a_loader_with_workers_gives_what_one_process_gives(dataset):
    def batches(workers: int) -> list[Views]:
        sampler = BatchSampler(SHAPES, [len(dataset)], [1.0], seed=7)
        loader = DataLoader(dataset, batch_sampler=sampler, num_workers=workers, collate_fn=concatenate)
        stream = iter(loader)
        return [next(stream) for _ in range(4)]

    single, parallel = batches(0), batches(2)
    assert all(same(a, b) for a, b in zip(single, parallel, strict=True))
    assert dataset.counts().windows >= 2 * sum(len(views.images) for views in single)  # workers' windows count
    assert dataset.counts().refused == 0


def test_it_pickles_for_workers_that_are_not_forked(dataset):
    item = Item(0, 1, 2, 0.6, seed=1)
    assert same(pickle.loads(pickle.dumps(dataset))[item], dataset[item])


def test_a_bad_frame_is_passed_over_with_its_cause(dataset, tmp_path, caplog):
    for file in (tmp_path / "run0" / "images").iterdir():
        file.write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING):
        views = dataset[Item(0, 0, 2, 0.6, seed=4)]
    assert views.images.shape[1] == 2
    assert "run0/images" in caplog.text
    assert "unreadable image" in caplog.text
    assert dataset.counts() == Counts(windows=1, refused=dataset.counts().refused)
    assert dataset.counts().refused >= 1


def test_a_wholly_bad_data_set_ends_in_one_clear_error(dataset, tmp_path, caplog):
    for file in tmp_path.glob("run*/depth/*.png"):
        file.unlink()
    with pytest.raises(InputError, match=r"11 .*could not be used.*depth.*: missing depth"):
        dataset[Item(0, 0, 2, 0.6, seed=4)]
    assert dataset.counts() == Counts(windows=0, refused=11)
    assert caplog.text.count("missing depth") == 10


def test_a_sequence_with_fewer_frames_than_views_is_refused(dataset):
    views = dataset[Item(0, 0, 6, 0.6, seed=4)]  # only run2 has six frames
    assert views.images.shape[1] == 6
    short = SequenceDataset(dataset.sequences[:1], SIZE)
    with pytest.raises(InputError, match="run0: 4 usable frames are fewer than the 5 views asked for"):
        short[Item(0, 0, 5, 0.6, seed=4)]


def test_recordings_of_the_trainer(tmp_path, box_scene):
    write(tmp_path / "kitchen", box_scene, box_scene.poses(5))
    write(tmp_path / "hall", box_scene, box_scene.poses(3))
    kitchen, hall = str(tmp_path / "kitchen"), str(tmp_path / "hall")
    first, second = open_recordings([FolderSource(kitchen, frames=(0, 3)), FolderSource(hall, like="replica")], SIZE)
    assert (first.num_images, second.num_images) == (3, 3)
    assert (first.views.ranking, second.views.ranking, second.depth.max_depth) == ("index", "pose", 100)
    assert second[Item(2, 0, 2, 0.6, seed=3)].images.shape == (1, 2, 3, 28, SIZE)
    with pytest.raises(ConfigError, match="no set 'kitchen'; it has unrealstereo4k, replica"):
        open_recordings([FolderSource(kitchen, like="kitchen")], SIZE)


def test_folders_are_drawn_from_by_the_root_of_their_images(tmp_path, box_scene):
    for name, count in (("large", 8), ("small", 2)):
        write(tmp_path / name, box_scene, box_scene.poses(count))
    folders = tuple(FolderSource(str(tmp_path / name)) for name in ("large", "small"))
    data = Data(synthetic_share=1.0, folder_share=3.0, folders=folders)
    batches = Batches(TrainConfig(data=data, shapes=SHAPES), DvltConfig(), torch.device("cpu"), 0, 1)
    sources = np.array([item.source for items in itertools.islice(iter(batches.sampler), 3000) for item in items])
    np.testing.assert_allclose([(sources == i).mean() for i in range(3)], [0.25, 0.5, 0.25], atol=0.03)


def test_nothing_to_draw_from_is_refused():
    with pytest.raises(DataError, match="at least one sequence"):
        SequenceDataset([], SIZE)


def test_the_writer_is_all_or_nothing(tmp_path, box_scene):
    pose = box_scene.poses(1)[0]
    frame = Frame(*box_scene.render(pose), pose, box_scene.intrinsics)

    def write_and_fail() -> None:
        with SequenceWriter(tmp_path / "run", overwrite=True) as writer:
            writer.add(frame, 0)
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_and_fail()
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "run", box_scene, box_scene.poses(2))
    with pytest.raises(RuntimeError, match="stopped"):
        write_and_fail()
    assert len(json.loads((tmp_path / "run" / "transforms.json").read_text())["frames"]) == 2
    with pytest.raises(DataError, match="exists: choose another name, or pass --overwrite"):
        SequenceWriter(tmp_path / "run")
    with SequenceWriter(tmp_path / "run", overwrite=True, image_format="jpg") as writer:
        writer.add(frame, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert [path.name for path in (tmp_path / "run" / "images").iterdir()] == ["000000.jpg"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("important")
    with pytest.raises(DataError, match="is not a sequence"):
        SequenceWriter(tmp_path / "mine", overwrite=True)


def test_depth_that_16_bits_cannot_hold_becomes_invalid(tmp_path, box_scene):
    pose = box_scene.poses(1)[0]
    image, depth = box_scene.render(pose)
    depth[0, :3] = 70.0, np.inf, np.nan
    with SequenceWriter(tmp_path / "run") as writer:
        writer.add(Frame(image, depth, pose, box_scene.intrinsics), 0)
    (sequence,) = open_dataset(tmp_path)
    assert (sequence.frame(0).depth[0, :3] == 0).all()
    np.testing.assert_allclose(sequence.frame(0).depth[1:], depth[1:], atol=6e-4)
