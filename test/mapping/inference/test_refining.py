"""Refinement as a part of the pipeline: any predictor gets it, and the mapper's poses are better for it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from configs import mapper_config
from textured_room import INTRINSICS, MAP_SCALE, MAP_SIZE, SIZE, frames, network, pose_errors, walk

from dvlt_ros.errors import ConfigError
from dvlt_ros.mapping.data.frames import Frame, Picture
from dvlt_ros.mapping.data.views import View
from dvlt_ros.mapping.inference.prediction import PlaceRecognizer, TimeLimited, WindowPrediction
from dvlt_ros.mapping.inference.refining import RefinementConfig, RefiningPredictor, refining
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.model import PixelMapping

POSES = walk(11, step=0.1)
MAPPING = PixelMapping(SIZE, MAP_SIZE, MAP_SCALE, (0.0, 0.0))
OPTIONS = {
    "keyframes_min_change": 0.0, "confidence_cut_share": 0.0, "loops_mode": "never", "registration_max_residual": 1.0,
}  # fmt: skip


class WrongPoses:
    """Sees every window with poses that are wrong by 3 degrees and 6 cm."""

    device, min_steps, max_steps, has_fixed_steps, image_size = torch.device("cpu"), 2, 4, False, 84
    cut_share = 0.1

    def __init__(self):
        self.decoded = []

    def reset(self):
        pass

    def predict(self, views, num_steps, image_size, decoded):
        self.decoded.append(len(decoded))
        answer = network(POSES[[view.frame.stamp_ns - 1 for view in views]], turn=0.03, shift=0.06, bend=0.1)
        some = np.asarray(decoded)
        return WindowPrediction(
            answer.depth[some], answer.confidence[some], answer.window_from_cam[some], answer.intrinsics[some], MAPPING
        )


@pytest.fixture(scope="module")
def images():
    return [Picture(shown.image, INTRINSICS) for shown in frames(POSES)]


def mapped(images, mode):
    mapper = Mapper(mapper_config(**OPTIONS, refinement_mode=mode), WrongPoses())
    shown = [Frame(i + 1, "cam", i, lambda p=picture: p) for i, picture in enumerate(images)]
    updates = [update for frame in shown if (update := mapper.add(frame)) is not None]
    updates += mapper.finish()
    return mapper, np.stack([found.map_from_cam for update in updates for found in update.frames])


def test_refined_windows_make_a_better_path(images):
    _, plain = mapped(images, "off")
    mapper, refined = mapped(images, "tracks")
    assert len(plain) == len(refined) == len(POSES)
    assert pose_errors(refined, POSES)[1] < 0.3 * pose_errors(plain, POSES)[1]
    assert mapper.status.values["refinement"].startswith("refined: ")
    assert mapper.status.health["refinement"].text == ""


def test_without_refinement_the_predictor_is_the_same_object_and_the_status_says_nothing(images):
    predictor = WrongPoses()
    assert refining(predictor, RefinementConfig("off"), in_real_time=False) is predictor
    mapper, _ = mapped(images[:2], "off")
    assert "refinement" not in mapper.status.values


def test_all_views_are_decoded_and_the_chosen_ones_come_back(images):
    inner = WrongPoses()
    predictor = RefiningPredictor(inner, matching_share=0.0)
    views = [View(i, Frame(i + 1, "cam", 0, lambda: None), picture) for i, picture in enumerate(images[:6])]
    found = predictor.predict(views, 2, 84, [4, 5])
    assert inner.decoded == [6]
    assert found.depth.shape == (2, *MAP_SIZE)
    assert found.window_from_cam.shape == (2, 4, 4)


class Recognizes(WrongPoses):
    checkpoint = "abc"

    def describe(self, view, image_size):
        return np.zeros((8, 4), np.float32)

    def predict_apart(self, views, num_steps, image_size):
        return self.predict(views, num_steps, image_size, range(len(views)))


def test_places_are_recognized_only_if_the_network_does():
    assert not isinstance(RefiningPredictor(WrongPoses(), 0.0), PlaceRecognizer)
    assert isinstance(RefiningPredictor(Recognizes(), 0.0), PlaceRecognizer)


def joint_window(images):
    """Views of two places of one walk, as two maps would have them: numbered alike."""
    return [
        View(number, Frame(i + 1, "cam", 0, lambda: None), images[i])
        for number, i in [(0, 1), (1, 2), (2, 3), (0, 5), (1, 6)]
    ]


def test_joint_windows_are_refined_and_the_stream_knows_nothing_of_them(images):
    predictor, views = RefiningPredictor(Recognizes(), math.inf), joint_window(images)
    stream = [View(i, Frame(i + 1, "cam", 0, lambda: None), picture) for i, picture in enumerate(images[:6])]
    predictor.predict(stream[:4], 2, 84, range(4))
    report = predictor.report
    poses = POSES[[view.frame.stamp_ns - 1 for view in views]]
    plain = Recognizes().predict_apart(views, 2, 84)
    found = predictor.predict_apart(views, 2, 84)
    assert pose_errors(found.window_from_cam, poses)[1] < 0.3 * pose_errors(plain.window_from_cam, poses)[1]
    assert found.motion is not None
    assert predictor.report is report
    alone = RefiningPredictor(Recognizes(), math.inf)
    alone.predict(stream[:4], 2, 84, range(4))
    after = [each.predict(stream[1:6], 2, 84, range(5)).window_from_cam for each in (predictor, alone)]
    np.testing.assert_array_equal(*after)


def test_a_limit_holds_for_a_joint_window_too(images):
    predictor, views = RefiningPredictor(Recognizes(), math.inf), joint_window(images)
    plain = Recognizes().predict_apart(views, 2, 84)
    predictor.limit(0.0)
    np.testing.assert_array_equal(predictor.predict_apart(views, 2, 84).window_from_cam, plain.window_from_cam)
    refined = predictor.predict_apart(views, 2, 84).window_from_cam
    assert np.abs(refined - plain.window_from_cam).max() > 1e-3
    assert predictor.usual_joint_ms(5) > RefiningPredictor(Recognizes(), 0.0).usual_joint_ms(5) > 0


def test_a_limit_holds_for_the_next_window_alone_and_is_counted(images):
    predictor = RefiningPredictor(WrongPoses(), matching_share=0.0)
    views = [View(i, Frame(i + 1, "cam", 0, lambda: None), picture) for i, picture in enumerate(images[:6])]
    assert isinstance(predictor, TimeLimited)
    assert predictor.usual_beside_ms(1, 1) == 0.0
    assert predictor.usual_beside_ms(8, 5) > predictor.usual_beside_ms(4, 1) > 0
    predictor.limit(0.0)
    predictor.predict(views, 2, 84, range(6))
    assert predictor.described().startswith("the network's answer stays: no time left (tracking: 0 ms remained, ")
    predictor.predict(views, 2, 84, range(6))
    assert predictor.described().startswith("refined: ")
    assert predictor.beside_ms > 0
    assert predictor.cut_short() == "1 of 2 windows"


def test_an_unknown_mode_is_refused():
    with pytest.raises(ConfigError, match=r"refinement\.mode must be one of .*got 'on'"):
        RefinementConfig(mode="on")


def test_a_window_of_one_frame_is_the_networks(images):
    predictor = RefiningPredictor(WrongPoses(), matching_share=math.inf)
    found = predictor.predict([View(0, Frame(1, "cam", 0, lambda: None), images[0])], 2, 84, [0])
    assert len(found.depth) == 1
    assert not found.landmarks
    assert predictor.described() == "no window yet"
