"""What is masked has depth, and does not enter the map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from configs import mapper_config
from room import FRAME_NS, SIZE, FakePredictor, picture, walk

from dvlt_ros.mapping.data.frames import Frame
from dvlt_ros.mapping.data.turn import PORTRAIT
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.mapping.submaps.submap import StoredSubmap

COUNT = 16
NEAR = 0.3  # of the room's depth: somebody stands close before the camera, and walks with it
PERSON = np.zeros(SIZE, bool)
PERSON[6:, 10:16] = True


class WithPerson(FakePredictor):
    """Sees somebody, in each window somewhere else."""

    def predict(self, views, num_steps, image_size, decoded):
        found = super().predict(views, num_steps, image_size, decoded)
        depth = np.where(PERSON, found.depth * np.float32(NEAR * self.rng.uniform(0.5, 1.5)), found.depth)
        return replace(found, depth=depth.astype(np.float32))


def mapped(is_masked):
    predictor = WithPerson({(i + 1) * FRAME_NS: p for i, p in enumerate(walk(COUNT))})
    config = mapper_config(
        keyframes_min_change=0.0, confidence_cut_share=0.0, map_voxel_size=0.02, refinement_mode="off"
    )
    mapper = Mapper(config, predictor)
    updates = []
    for number in range(1, COUNT + 1):
        shown = picture(number)
        shown = replace(shown, masked=PERSON) if is_masked else shown
        frame = Frame(number * FRAME_NS, "cam", number * FRAME_NS, lambda shown=shown: shown)
        updates.append(mapper.add(frame))
    updates += mapper.finish()
    return mapper, [update for update in updates if update is not None]


@pytest.fixture(scope="module")
def masked():
    return mapped(is_masked=True)


def test_the_person_is_published_and_not_in_cloud_or_mesh(masked):
    mapper, updates = masked
    for frame in (frame for update in updates for frame in update.frames):
        assert np.isfinite(frame.depth).all()
        np.testing.assert_array_equal(frame.masked, PERSON)
        assert np.isnan(frame.for_map.depth[PERSON]).all()
    unmasked, _ = mapped(is_masked=False)
    scale = updates[0].frames[0].depth[0, 0] / 1.0
    near = [
        (np.linalg.norm(m.snapshot().cloud.points - m.snapshot().map_from_cam[0, :3, 3], axis=1) < 0.3 * scale).sum()
        for m in (mapper, unmasked)
    ]
    assert near[0] == 0 < near[1]
    mapper.surfaces.follow(at_most=1000)
    assert mapper.surfaces.num_keyframes


def test_the_status_counts_what_is_masked(masked):
    mapper, _ = masked
    assert mapper.status.values["masked"] == f"{PERSON.mean():.1%}"
    unmasked, _ = mapped(is_masked=False)
    assert "masked" not in unmasked.status.values


def test_windows_are_joined_by_what_stands_still(masked):
    _, updates = masked
    residuals = [update.window.registration.residual for update in updates[1:] if update.window is not None]
    assert residuals
    assert max(residuals) < 1e-4


def test_a_mask_turns_with_its_portrait_picture():
    shown = replace(picture(0), masked=PERSON)
    turned = PORTRAIT.picture(shown)
    assert turned.masked.shape == SIZE[::-1]
    np.testing.assert_array_equal(PORTRAIT.restored_picture(turned).masked, PERSON)


def test_places_remember_nobody(masked):
    mapper, _ = masked
    anchor = mapper._front_end._buffer._retained[-1]
    stored = StoredSubmap.of(0, [anchor], 28, np.zeros((8, 24), np.float32)).views[0].anchor
    np.testing.assert_array_equal(np.isnan(stored.depth), PERSON)
