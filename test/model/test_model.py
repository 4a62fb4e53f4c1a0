import dataclasses
import warnings
from pathlib import Path

import pytest
import torch

from dvlt_ros.errors import InputError
from dvlt_ros.geometry import rotation_angle
from dvlt_ros.model import Dvlt, DvltConfig, Prediction
from dvlt_ros.model.layers import Block, Rope
from dvlt_ros.model.loop import intervals

FIELDS = [field.name for field in dataclasses.fields(Prediction)]
VARIANTS = [
    {},
    {"depth_head_type": "linear"},
    {"recurrence_mode": "no_sout"},
    {"recurrence_mode": "no_depthscale"},
    {"recurrence_mode": "none", "min_steps": 4},
    {"time_conditioning": "continuous"},
]


def run(model, images, num_steps=4):
    with torch.no_grad():
        return model(images, num_steps=num_steps)


def assert_equal_predictions(first, second, **tolerance):
    for name in FIELDS:
        torch.testing.assert_close(getattr(first, name), getattr(second, name), msg=name, **tolerance)


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_every_variant_predicts_the_promised_shapes(make_model, images, changes):
    prediction = run(make_model(**changes), images)
    assert prediction.depth.shape == prediction.depth_confidence.shape == (2, 4, 28, 42)
    assert prediction.ray_directions.shape == prediction.ray_origins.shape == (2, 4, 28, 42, 3)
    assert prediction.points.shape == (2, 4, 28, 42, 3)
    assert prediction.pose_encoding.shape == (2, 4, 9)
    assert (prediction.depth > 0).all()
    assert (prediction.depth_confidence > 1).all()
    assert (prediction.pose_encoding[..., 7:] >= 0).all()
    expected = prediction.ray_origins + prediction.depth[..., None] * prediction.ray_directions
    torch.testing.assert_close(prediction.points, expected)
    assert prediction.cameras().world_from_cam.shape == (2, 4, 4, 4)


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_every_used_parameter_gets_a_gradient(make_model, images, changes):
    model = make_model(**changes)
    prediction = model(images[:1], num_steps=4)
    sum(getattr(prediction, name).square().mean() for name in FIELDS).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == ["patch_embed_encoder.mask_token"]


def test_gradient_checkpointing_changes_no_gradient(make_model, images):
    gradients = []
    for recompute in (False, True):
        model = make_model()
        model.gradient_checkpointing = recompute
        model(images[:1]).points.mean().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    torch.testing.assert_close(gradients[0], gradients[1])


def test_stages_one_by_one_are_the_forward_pass(model, images):
    with torch.no_grad():
        state = model.begin(model.encode(images))
        states = list(model.states(state, 3))
        for step in model.schedule(3):
            state = model.step(state, step)
        staged = model.decode(state)
    assert len(states) == 3
    assert torch.equal(states[-1].tokens, state.tokens)
    assert not torch.equal(states[0].tokens, states[1].tokens)
    assert_equal_predictions(staged, run(model, images, 3), rtol=0, atol=0)


def test_an_impossible_number_of_steps_is_refused_before_the_encoder_works(model, images, monkeypatch):
    monkeypatch.setattr(model, "encode", lambda _: pytest.fail("the encoder was asked"))
    with pytest.raises(InputError, match="num_steps must be an integer of at least 1, got 0"):
        model(images, num_steps=0)


def test_features_of_a_view_do_not_depend_on_the_other_views(model, images):
    with torch.no_grad():
        together = model.encode(images).tokens
        alone = model.encode(images[:, 2:3]).tokens
    torch.testing.assert_close(together[:, 2:3], alone, rtol=1e-5, atol=1e-5)


def test_only_chosen_views_are_decoded(model, images):
    with torch.no_grad():
        state = model.begin(model.encode(images))
        everything, chosen = model.decode(state), model.decode(state, views=[3, 1])
    for name in FIELDS:
        torch.testing.assert_close(getattr(chosen, name), getattr(everything, name)[:, [3, 1]], rtol=1e-5, atol=1e-5)


def test_scenes_of_a_batch_do_not_mix(model, images):
    both, second = run(model, images), run(model, images[1:])
    for name in FIELDS:
        torch.testing.assert_close(getattr(both, name)[1:], getattr(second, name), rtol=1e-4, atol=1e-5)


def test_the_order_of_the_other_views_does_not_matter_but_the_reference_does(model, images):
    prediction = run(model, images)
    for order, same in (([0, 3, 1, 2], True), ([1, 0, 2, 3], False)):
        permuted = run(model, images[:, order])
        difference = (permuted.depth - prediction.depth[:, order]).abs().max()
        assert (difference < 1e-4) == same


def test_each_step_changes_the_answer(model, images):
    depths = [run(model, images, k).depth for k in (2, 3, 4)]
    assert (depths[0] - depths[1]).abs().max() > 1e-4
    assert (depths[1] - depths[2]).abs().max() > 1e-4


def test_steps_cover_the_unit_interval_and_the_last_ends_at_one():
    torch.testing.assert_close(intervals(3), torch.tensor([[0.0, 0.5], [0.5, 1.0], [1.0, 1.0]]))
    torch.testing.assert_close(intervals(1), torch.tensor([[0.0, 1.0]]))


def test_scales_depend_on_the_step_alone_and_are_float32_under_autocast(model):
    plain = model.schedule(4)
    with torch.autocast("cpu", torch.bfloat16):
        halved = model.schedule(4)
    for first, second in zip(plain, halved, strict=True):
        assert first.frame_scales.shape == first.global_scales.shape == (3, 32)
        assert second.frame_scales.dtype == torch.float32
        assert torch.equal(first.frame_scales, second.frame_scales)
    assert not torch.equal(plain[0].frame_scales, plain[3].frame_scales)


def test_a_new_network_starts_with_neutral_scales_and_small_branches():
    model = Dvlt(DvltConfig(embed_dim=384, num_heads=6, patch_embed="dinov2_vits14_reg"))
    for step in model.schedule(8):
        assert (step.frame_scales == 1).all()
        assert (step.global_scales == 1).all()
    (block,) = model.recurrent_blocks
    assert (block.frame_attn.ls1.gamma == 0.01).all()
    assert (model.patch_embed_encoder.blocks[0].ls1.gamma == 1).all()
    assert model.camera_token.abs().max() < 1e-5
    kernel = model.depth_decoder.upsample_blocks[0][0][0].weight
    assert torch.equal(kernel, kernel[:, :, :1, :1].expand_as(kernel))
    assert kernel.std() > 0


def test_bfloat16_stays_close_and_returns_float32(model, images):
    reference = run(model, images)
    with torch.autocast("cpu", torch.bfloat16):
        halved = run(model, images)
    for name in ("depth", "ray_directions", "ray_origins"):
        expected, found = getattr(reference, name), getattr(halved, name)
        assert found.dtype == torch.float32
        assert (found - expected).norm() / expected.norm() < 2e-2


def test_depth_is_clamped_before_the_exponential(make_model, images):
    model = make_model(depth_head_type="linear")
    with torch.no_grad():
        model.depth_decoder.head.bias[: 14 * 14] = 100.0
    prediction = run(model, images[:1])
    torch.testing.assert_close(prediction.depth, torch.full_like(prediction.depth, 15.0).exp())
    assert prediction.depth_confidence.isfinite().all()


def test_the_position_embedding_is_used_as_it_is_at_518_pixels_and_resized_elsewhere(model):
    encoder = model.patch_embed_encoder
    assert torch.equal(encoder.position_embedding(518, 518), encoder.pos_embed)
    for height, width in ((28, 42), (518, 504), (37 * 37 * 14, 14)):
        position = encoder.position_embedding(height, width)
        assert position.shape == (1, 1 + height * width // 14**2, 32)
        assert torch.equal(position[:, 0], encoder.pos_embed[:, 0])


def test_rotary_embedding_knows_only_relative_positions():
    rope = Rope((4, 5), num_special=5, head_dim=16, device=torch.device("cpu"))
    q, k = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    turned_q, turned_k = (rope.rotate(x.expand(1, 1, 25, 16))[0, 0] for x in (q, k))
    at = lambda row, col: 5 + 5 * row + col  # noqa: E731
    products = [turned_q[at(r, c)] @ turned_k[at(r + 1, c + 2)] for r, c in ((0, 0), (2, 1), (1, 2))]
    torch.testing.assert_close(products[0], products[1])
    torch.testing.assert_close(products[0], products[2])
    assert (turned_q[at(0, 0)] @ turned_k[at(0, 1)] - turned_q[at(0, 0)] @ turned_k[at(1, 0)]).abs() > 1e-3
    torch.testing.assert_close(turned_q[:5], q.expand(5, 16))


def test_stochastic_depth_drops_whole_entries_in_training_only():
    torch.manual_seed(0)
    block = Block(32, 2, qk_norm=True, drop_path=0.25).double()
    x = torch.randn(4000, 1, 32, dtype=torch.float64)
    with torch.no_grad():
        block.mlp.fc2.weight.zero_()
        block.mlp.fc2.bias.zero_()
        whole = block.eval()(x) - x
        dropped = block.train()(x) - x
    ratio = dropped / whole
    kept = ratio[:, 0, 0] > 0.5
    torch.testing.assert_close(ratio[kept], torch.full_like(ratio[kept], 4 / 3))
    assert (dropped[~kept] == 0).all()
    assert 0.7 < kept.float().mean() < 0.8


def test_steps_outside_the_trained_range_warn_once(make_model, images):
    model = make_model()
    with pytest.warns(UserWarning, match="num_steps 6 is outside the trained range 2 to 4"):
        run(model, images, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for num_steps in (6, 1, 7, 3):
            run(model, images, num_steps)
    with pytest.warns(UserWarning, match="num_steps 1 is outside"):
        make_model().schedule(1)


class Wrapped(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model(images, num_steps=5)


@pytest.mark.parametrize(
    "call",
    [
        lambda model, images: model(images, num_steps=5),
        lambda model, _: model.schedule(5),
        lambda model, images: Wrapped(model)(images),
    ],
    ids=["forward", "schedule", "inside another module"],
)
def test_the_warning_points_at_the_callers_line(make_model, images, call):
    with pytest.warns(UserWarning, match="num_steps 5") as warned, torch.no_grad():
        call(make_model(), images[:1, :1])
    assert [warning.filename for warning in warned] == [__file__]
    source = Path(__file__).read_text().splitlines()[warned[0].lineno - 1]
    assert "num_steps=5" in source or "schedule(5)" in source


def test_rays_of_a_camera_come_back_as_cameras(images):
    """`Prediction.cameras` fits what the rays say, with and without known intrinsics."""
    directions = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    intrinsics = torch.tensor([[30.0, 0, 21], [0, 30, 14], [0, 0, 1]])
    from dvlt_ros.cameras import Cameras, rays_from_cameras

    truth = Cameras(torch.eye(4).expand(1, 1, 4, 4), intrinsics.expand(1, 1, 3, 3))
    rays, origins = rays_from_cameras(truth, 28, 42)
    prediction = Prediction(torch.ones(1, 1, 28, 42), torch.ones(1, 1, 28, 42), rays, origins, torch.zeros(1, 1, 9))
    for fitted in (prediction.cameras(), prediction.cameras(truth.intrinsics)):
        assert rotation_angle(fitted.world_from_cam[..., :3, :3] @ directions).max() < 1e-4
        torch.testing.assert_close(fitted.intrinsics, truth.intrinsics, rtol=1e-4, atol=1e-3)
