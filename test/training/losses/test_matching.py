"""Correspondences: where other views see what a patch sees, and a network that learns to look there."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("accelerate", reason="needs the training extra: pip install '.[training]'")
pytest.importorskip("hydra", reason="needs the training extra: pip install '.[training]'")

from dvlt_ros.errors import ConfigError
from dvlt_ros.geometry import pose_matrix, transform_points, unproject
from dvlt_ros.model.config import PATCH_SIZE
from dvlt_ros.training.config import ModelSource, TrainConfig
from dvlt_ros.training.data.types import Views
from dvlt_ros.training.losses import LossConfig
from dvlt_ros.training.losses.matching import DISPLACEMENT_UNIT, MatchingLoss, find_matches, first_head
from dvlt_ros.training.optimisation.start import restart_matching
from dvlt_ros.training.synthetic import SyntheticConfig, sample_windows
from dvlt_ros.training.train import compile_blocks

ROWS, COLUMNS = 3, 5
PATCHES = ROWS * COLUMNS
HEIGHT, WIDTH = PATCH_SIZE * ROWS, PATCH_SIZE * COLUMNS
FOCAL = 40.0


def wall(*translations):
    """Views of a wall 2 m ahead, moved sideways and along it but never turned."""
    shape = 1, len(translations)
    poses = pose_matrix(torch.eye(3).expand(*shape, 3, 3), torch.tensor([translations], dtype=torch.float32))
    camera = torch.tensor([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]]).expand(*shape, 3, 3)
    depth = (2 - poses[..., 2, 3])[..., None, None].expand(*shape, HEIGHT, WIDTH).clone()
    images = torch.rand(*shape, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    everywhere, synthetic = torch.ones_like(depth, dtype=torch.bool), torch.ones(1, dtype=torch.bool)
    return Views(images, poses, camera, depth, everywhere, synthetic)


def test_a_step_of_one_patch_to_the_right_moves_every_match_one_patch_to_the_left():
    step = 2 * PATCH_SIZE / FOCAL  # metres at 2 m
    matches = find_matches(wall((0.0, 0, 0), (step, 0, 0)))
    index = torch.arange(PATCHES)
    inside = index % COLUMNS > 0  # of the first view; its first column has left the second view
    assert torch.equal(matches.seen[0, :PATCHES, 1], inside)
    share = matches.share[0, :PATCHES, 1]  # (n, n); a patch's pixel is half a pixel beside its centre
    assert torch.equal(share.argmax(-1)[inside], index[inside] - 1)
    torch.testing.assert_close(share.sum(-1), inside.float())
    back = matches.displacement[0, 1][index % COLUMNS < COLUMNS - 1]
    torch.testing.assert_close(back, torch.tensor([PATCH_SIZE / WIDTH, 0.0]).expand_as(back), atol=1e-5, rtol=0)


def test_a_view_never_matches_itself_and_one_without_depth_matches_nothing():
    views = wall((0.0, 0, 0), (0.0, 0, 0), (0.1, 0, 0))
    matches = find_matches(views)
    for view in range(3):
        assert not matches.seen[0, view * PATCHES :][:PATCHES, view].any()
    assert matches.seen[0, :PATCHES, 1].all()
    blind = find_matches(replace(views, valid=torch.zeros_like(views.valid)))
    assert not blind.seen.any()
    assert blind.share.abs().sum() == 0


def test_what_stands_in_front_hides_what_is_behind():
    views = wall((0.0, 0, 0), (0.0, 0, 0))
    depth = views.depth.clone()
    depth[:, 1, :, : WIDTH // 2] = 1.0  # a board before the left half of the second view alone
    seen = find_matches(replace(views, depth=depth)).seen[0].view(2, ROWS, COLUMNS, 2)
    assert not seen[0, :, :2, 1].any()
    assert seen[0, :, 3:, 1].all()


def test_matches_agree_with_the_renderer():
    """A patch's point and the point that the first view has where the patch is said to lie are one, in the world."""
    height, width = 84, 112
    views = sample_windows(range(4), SyntheticConfig(views=3, height=height, width=width, augment=None))
    matches = find_matches(views)
    assert 0.2 < matches.seen.float().mean() < 2 / 3
    torch.testing.assert_close(matches.share.sum(-1), matches.seen.float())
    points = transform_points(views.world_from_cam, unproject(views.depth, views.intrinsics))  # (B, S, H, W, 3)
    checked = 0
    for window, view, patch in matches.in_first.nonzero().tolist():
        row, column = (PATCH_SIZE * n + PATCH_SIZE // 2 for n in divmod(patch, width // PATCH_SIZE))
        at = matches.displacement[window, view, patch] * width + torch.tensor([column + 0.5, row + 0.5])
        there = points[window, 0, int(at[1]), int(at[0])]
        error = (there - points[window, view, row, column]).norm() / views.depth[window, 0, int(at[1]), int(at[0])]
        checked += 1
        assert error < 0.15  # half a pixel and the tolerance of depth, on surfaces seen at any angle
    assert checked > 100


def test_a_network_learns_to_look_at_matches_and_to_say_how_far_away_they_are(make_model):
    views = sample_windows(range(2), SyntheticConfig(views=2, height=56, width=84, augment=None))
    model = make_model(embed_dim=128, num_heads=2).train()
    loss = MatchingLoss(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    course = []
    for _ in range(40):
        model(views.images, num_steps=2)
        terms = loss(views)
        course.append({name: value.item() for name, value in terms.named().items()})
        optimizer.zero_grad()
        (terms.match + terms.displacement).backward()
        optimizer.step()
    assert course[-1]["match"] < 0.8 * course[0]["match"]
    assert course[-1]["displacement"] < 0.7 * course[0]["displacement"]
    assert course[-1]["found"] > course[0]["found"]


def test_the_attention_that_is_judged_is_the_networks_own(make_model, monkeypatch):
    model = make_model()
    block, given, real = model.recurrent_blocks[0].global_attn, [], F.scaled_dot_product_attention
    x = torch.randn(2, 7, model.config.embed_dim, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda q, k, v: given.append((q, k, v)) or real(q, k, v))
    with torch.no_grad():
        block(x)
        q, k, v = (part[:, 0] for part in given[0])
        torch.testing.assert_close(first_head(block, x).exp() @ v, real(q, k, v))


@pytest.mark.filterwarnings("ignore:num_steps")
def test_the_terms_are_those_counted_by_hand(make_model):
    """One step, two views: patch by patch over the true matches."""
    model = make_model()
    views = wall((0.0, 0, 0), (2 * PATCH_SIZE / FOCAL, 0, 0))
    loss, entered = MatchingLoss(model), []
    model.recurrent_blocks[0].global_attn.register_forward_pre_hook(lambda part, given: entered.append(given[0]))
    with torch.no_grad():
        model(views.images, num_steps=1)
        terms, matches = loss(views), find_matches(views)
        log = first_head(model.recurrent_blocks[0].global_attn, entered[0])[0]
    errors, found = [], []
    for view in range(2):
        other, special = 1 - view, model.camera_token.shape[2] + model.register_token.shape[2]
        for patch in range(PATCHES):
            share = matches.share[0, view * PATCHES + patch, other]
            if share.sum() == 0:
                continue
            row = log[view * (special + PATCHES) + special + patch][other * (special + PATCHES) + special :][:PATCHES]
            errors.append(float(-(share * row).sum()))
            found.append(float(share[row.argmax()] > 0))
    assert len(errors) == 2 * (PATCHES - ROWS)
    assert float(terms.match) == pytest.approx(np.mean(errors), rel=1e-4)
    assert float(terms.found) == pytest.approx(np.mean(found))


def test_compiled_blocks_are_watched_and_compiled_once_whatever_the_steps(make_model, monkeypatch):
    from torch._dynamo.testing import CompileCounter  # seconds, for this test alone

    views = wall((0.0, 0, 0), (0.3, 0, 0))
    plain, compiled = make_model(), make_model()
    counter, real = CompileCounter(), torch.compile
    monkeypatch.setattr(torch, "compile", lambda function: real(function, backend=counter))
    losses = MatchingLoss(plain), MatchingLoss(compiled)
    compile_blocks(compiled)
    counts = []
    for steps in (2, 3, 4, 4):
        for model in (plain, compiled):
            model(views.images, num_steps=steps)
        expected, found = (loss(views) for loss in losses)
        torch.testing.assert_close(found.match, expected.match)
        torch.testing.assert_close(found.displacement, expected.displacement)
        counts.append(counter.frame_count)
    assert counts[0] > 0
    assert counts[-1] == counts[0]


def test_it_watches_one_network_and_keeps_nothing(make_model):
    model = make_model()
    views = wall((0.0, 0, 0), (0.3, 0, 0))
    averaged = copy.deepcopy(model)
    loss = MatchingLoss(model)
    averaged(views.images)
    model(views.images, num_steps=3)
    first = loss(views)
    model(views.images, num_steps=3)
    torch.testing.assert_close(loss(views).match, first.match)


def test_views_without_a_match_cost_nothing(make_model):
    model = make_model()
    views = wall((0.0, 0, 0), (50.0, 0, 0))
    loss = MatchingLoss(model)
    model(views.images)
    terms = loss(views)
    assert {name: value.item() for name, value in terms.named().items()} == dict.fromkeys(terms.named(), 0.0)
    terms.match.backward()


def test_the_carried_displacement_is_read_from_two_channels_of_the_normalised_state(make_model):
    model = make_model()
    views = wall((0.0, 0, 0), (0.3, 0, 0))
    matches = find_matches(views)
    wanted = torch.zeros(1, 2, 5 + PATCHES, model.config.embed_dim)
    wanted[..., 2::2], wanted[..., 3::2] = 1.0, -1.0  # mean 0 and, nearly, variance 1
    wanted[:, :, 5:, :2] = matches.displacement / DISPLACEMENT_UNIT
    loss = MatchingLoss(model)
    handle = model.recurrent_blocks[0].register_forward_hook(lambda *_: wanted, prepend=True)
    model(views.images)
    handle.remove()
    assert loss(views).displacement < 0.05


def test_a_checkpoint_gets_new_queries_and_keys_that_are_alike(make_model):
    model = make_model()
    before = {name: value.clone() for name, value in model.named_parameters()}
    restart_matching(model)
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert all(".global_attn.attn." in name for name in changed)
    attention = model.recurrent_blocks[0].global_attn.attn
    queries, keys, values = attention.qkv.weight.chunk(3)
    assert torch.equal(queries, keys)
    assert torch.equal(values, before["recurrent_blocks.0.global_attn.attn.qkv.weight"].chunk(3)[2])
    assert (attention.q_norm.weight == 1).all()


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match=r"model\.new_matching needs model\.checkpoint"):
        ModelSource(new_matching=True)
    with pytest.raises(ConfigError, match=r"loss\.match must be at least 0, got -1"):
        LossConfig(match=-1)
    with pytest.raises(ConfigError, match="trainable=heads never trains"):
        TrainConfig(model=ModelSource(checkpoint="nano", new_matching=True), trainable="heads")
    with pytest.raises(ConfigError, match="gradient_checkpointing"):
        TrainConfig(loss=LossConfig(match=1.0), model=ModelSource(gradient_checkpointing=True))
