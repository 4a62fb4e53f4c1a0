"""What the model refuses: images, step counts, views, types and configurations that cannot be, by name."""

import numpy as np
import pytest
import torch

from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.model import Features, State


def nan_pixel() -> torch.Tensor:
    images = torch.rand(1, 1, 3, 14, 14)
    images[0, 0, 1, 3, 3] = torch.nan
    return images


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(1, 2, 3, 28, 40), "multiples of 14, got 28 x 40"),
        (torch.rand(1, 2, 3, 0, 28), "multiples of 14, got 0 x 28"),
        (torch.rand(1, 2, 4, 28, 28), r"3 channels \(RGB\), got 4"),
        (torch.rand(2, 3, 28, 28), r"\(B, S, 3, H, W\), got 4 dimensions"),
        (torch.rand(1, 0, 3, 28, 28), "at least one view"),
        (torch.zeros(1, 2, 3, 28, 28, dtype=torch.uint8), "floating point in .*, got torch.uint8"),
        (nan_pixel(), "NaN or infinite"),
        (nan_pixel().nan_to_num(nan=torch.inf), "NaN or infinite"),
        ([torch.rand(1, 2, 3, 28, 28)], "must be a tensor .*, got list"),
        (255 * torch.ones(1, 2, 3, 28, 28), r"in \[0, 1\], got values from 255 to 255"),
    ],
)
def test_bad_images_are_refused_by_name(model, images, message):
    with pytest.raises(InputError, match=message):
        model(images)


@pytest.mark.parametrize("num_steps", [0, -3, 2.0, True])
def test_bad_step_counts_are_refused(model, images, num_steps):
    with pytest.raises(InputError, match="num_steps must be an integer of at least 1"):
        model(images, num_steps=num_steps)


def test_decoupled_weights_run_at_their_own_step_count_only(make_model, images):
    model = make_model(recurrence_mode="none", min_steps=4)
    with pytest.raises(InputError, match="num_steps must be 4, got 3"):
        model(images, num_steps=3)


BAD_VIEWS = [[], [4], [-1], [0.5], [True, False], 0, "0", {0, 1}, [None], torch.tensor([0, 1])]


@pytest.mark.parametrize("views", BAD_VIEWS, ids=repr)
def test_views_that_do_not_exist_are_refused(model, views):
    tokens = torch.zeros(1, 4, 5 + 6, 32)
    with pytest.raises(InputError, match="views must be a sequence of indices from 0 to 3, got"):
        model.decode(State(tokens, (2, 3)), views=views)
    with pytest.raises(InputError, match="views must be a sequence of indices from 0 to 3, got"):
        Features(tokens, (2, 3)).views(views)


@pytest.mark.parametrize("views", [[3, 1], (3, 1), range(3, 0, -2), list(np.array([3, 1]))], ids=repr)
def test_every_sequence_of_integers_chooses_views(views):
    tokens = torch.arange(4.0).view(1, 4, 1, 1)
    assert Features(tokens, (1, 1)).views(views).tokens.flatten().tolist() == [3, 1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_weights_of_another_type_are_refused(make_model, images, dtype):
    with pytest.raises(InputError, match=f"weights are {str(dtype)[6:]}; keep them float32 and use torch.autocast"):
        make_model().to(dtype)(images)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recurrence_mode": "gate"}, "recurrence_mode must be one of .*, got 'gate'"),
        ({"k_sampling": "uniform"}, "k_sampling"),
        ({"embed_dim": 0}, "embed_dim must be an integer of at least 1, got 0"),
        ({"embed_dim": 34}, "embed_dim must be num_heads times a multiple of 4"),
        ({"num_steps": 1}, "num_steps 1 is below min_steps 2"),
        ({"recurrence_mode": "none"}, "min_steps must equal num_steps, got 2 and 4"),
        ({"encoder_depth": None}, "vit14_reg needs encoder_depth"),
        ({"patch_embed": "dinov2_vitb14_reg"}, "embed_dim 768 and num_heads 12, got 32 and 2"),
        ({"depth_head_channels": (16, 16)}, "depth_head_channels"),
        ({"depth_head_channels": "wide"}, "depth_head_channels must be three multiples of 16, got wide"),
        ({"drop_path": "none"}, "drop_path must be in .*, got 'none'"),
        ({"drop_path": 1.0}, r"drop_path must be in \[0, 1\), got 1.0"),
        ({"image_size": 500}, "image_size must be a multiple of 14, got 500"),
        ({"image_size": 504.0}, "image_size must be an integer of at least 1, got 504.0"),
        ({"image_size": None}, "image_size must be an integer of at least 1, got None"),
        ({"num_steps": "4"}, "num_steps must be an integer of at least 1, got '4'"),
    ],
)
def test_bad_configurations_are_refused_by_field(make_model, changes, message):
    with pytest.raises(ConfigError, match=message):
        make_model(**changes)
