"""Probes: what is tapped stays what it was, what is planted is found, and what is wrong says so."""

import pytest
import torch
from torch import nn

from dvlt_ros.backends import MultiViewPrediction, model_card
from dvlt_ros.errors import ConfigError, InputError, WeightsError
from dvlt_ros.model.stages import update_sizes
from dvlt_ros.training.losses.matching import find_matches
from dvlt_ros.training.probes import subject as subjects
from dvlt_ros.training.probes.attention import GlobalAttention, attention_weights, concentration, entropy, of_first_view
from dvlt_ros.training.probes.measure import movement, point_errors, probed
from dvlt_ros.training.probes.probe import (
    Origin,
    Probe,
    Truth,
    as_maps,
    by_patch,
    fit_probe,
    load_probes,
    probe_loss,
    save_probes,
)
from dvlt_ros.training.probes.subject import Subject, cache_tokens
from dvlt_ros.training.probes.taps import PATTERNS, Taps, patch_tokens

GRID = (2, 3)


class Stacked(nn.Module):
    """Two blocks per layer as a stacked transformer has them: tokens of a view, then of all."""

    def __init__(self):
        super().__init__()
        self.aggregator = nn.Module()
        self.aggregator.frame_blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
        self.aggregator.global_blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))

    def forward(self, images):
        tokens = torch.nn.functional.adaptive_avg_pool2d(images, GRID).flatten(2).transpose(1, 2).repeat(1, 1, 3)
        tokens = torch.cat([tokens.new_zeros(len(images), 2, 9), tokens], dim=1)[..., :8]  # two special tokens
        for within, over in zip(self.aggregator.frame_blocks, self.aggregator.global_blocks, strict=True):
            tokens = over(within(tokens).reshape(1, -1, 8)).reshape(len(images), -1, 8)
        return tokens


class StandIn:
    """A stacked network behind the protocol of all."""

    card, device, image_size, min_steps, max_steps = model_card("vggt"), torch.device("cpu"), 42, 1, 1

    def __init__(self):
        torch.manual_seed(1)
        self.network = Stacked()

    def predict(self, images, num_steps=None):
        with torch.inference_mode():
            depth = 1 + self.network(images).square().mean((1, 2))[:, None, None].expand(-1, *images.shape[-2:])
        intrinsics, poses = torch.eye(3).expand(len(images), 3, 3), torch.eye(4).expand(len(images), 4, 4)
        return MultiViewPrediction.of(depth, depth, intrinsics, poses)


@pytest.fixture
def stacked():
    return Subject("vggt", "vggt", StandIn(), PATTERNS["vggt"], 42, 14, 1)


def test_tapping_changes_no_bit_of_any_output(network, views):
    plain = network(views.images, num_steps=3)
    with Taps(network, PATTERNS["dvlt"]) as taps, GlobalAttention(network):
        tapped = network(views.images, num_steps=3)
    after = network(views.images, num_steps=3)
    for name in vars(plain):
        assert torch.equal(getattr(plain, name), getattr(tapped, name)), name
        assert torch.equal(getattr(plain, name), getattr(after, name)), name
    assert len(taps.layers(3, GRID)) == 7  # the start, and three steps of two halves each
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_layers_are_the_states_of_the_loop(network, views):
    with torch.inference_mode():
        begun = network.begin(network.encode(views.images))
        with Taps(network, PATTERNS["dvlt"]) as taps:
            states = [begun, *network.states(begun, 3)]
    layers = taps.layers(3, GRID)
    for state, layer in zip(states, layers[::2], strict=True):
        assert torch.equal(state.tokens[:, :, -6:], layer.tokens)


def test_a_stacked_network_has_layers_too_and_stays_what_it_was(stacked, views):
    plain = stacked.model.predict(views.images[0])
    cache = cache_tokens(stacked, [views], 1)
    assert cache.titles == ("0", "1 frame_blocks", "1", "2 frame_blocks", "2")
    assert all(tokens.shape == (1, 3, 6, 8) for tokens in cache.tokens)
    assert torch.equal(plain.depth, stacked.model.predict(views.images[0]).depth)


@pytest.mark.parametrize("shape", [(3, 8, 4), (1, 24, 4), (1, 3, 8, 4)])
def test_patches_are_the_last_tokens_of_each_view(shape):
    tokens = torch.arange(96.0).reshape(shape)
    assert torch.equal(patch_tokens(tokens, 3, GRID), torch.arange(96.0).view(1, 3, 8, 4)[:, :, 2:])


def test_tokens_of_too_few_patches_are_refused():
    with pytest.raises(InputError, match="not the tokens of 3 views"):
        patch_tokens(torch.zeros(3, 5, 4), 3, GRID)


def test_maps_come_back_from_patches():
    maps = torch.rand(2, 3, 28, 42)
    assert torch.equal(as_maps(by_patch(maps, 14), GRID), maps)


def test_a_planted_linear_point_map_is_recovered():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.nn.functional.layer_norm(torch.randn(40, 2, 36, 32, generator=generator), (32,))
    planted = torch.randn(32, 3, generator=generator).repeat(1, 4)  # a point for each patch, the same for its pixels
    points = (tokens @ planted).unflatten(-1, (4, 3)) + torch.tensor([0.0, 0.0, 8.0])
    truth = Truth(points, torch.ones(points.shape[:-1], dtype=torch.bool))
    probe = fit_probe(tokens[:32], Truth(truth.points[:32], truth.valid[:32]), updates=400)
    rest = Truth(truth.points[32:], truth.valid[32:])
    errors = point_errors(probed(probe, tokens[32:]), rest)
    blind = point_errors(rest.points.flip(0), rest)
    assert errors.rel_l2.mean() < 0.25 * blind.rel_l2.mean()


def test_the_loss_knows_no_scale():
    truth = Truth(torch.rand(2, 2, 3, 4, 3), torch.ones(2, 2, 3, 4, dtype=torch.bool))
    certain = torch.ones(2, 2, 3, 4)
    assert probe_loss(7 * truth.points, certain, truth) == pytest.approx(0, abs=1e-5)


def test_entropy_is_1_where_uniform_and_0_where_certain():
    assert entropy(torch.full((9,), 1 / 9)) == pytest.approx(1)
    assert entropy(torch.eye(9)[4]) == 0


def test_attention_is_what_the_network_attends_with(network):
    part = network.recurrent_blocks[0].global_attn.attn
    x = torch.randn(1, 30, 32)
    values = part.qkv(x).unflatten(-1, (3, 2, -1))[:, :, 2].transpose(1, 2)
    explicit = part.proj((attention_weights(part, x) @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(explicit, part(x))


def test_attention_on_the_match_alone_is_found_there(views):
    matches = find_matches(views)
    assert matches.seen.any()
    share = matches.share[0].unflatten(0, (3, 6))[0]  # (n, S, n)
    certain = torch.nn.functional.one_hot(share.argmax(-1), 6).float()
    weights = torch.zeros(1, 1, 33, 33)
    weights[0, 0].unflatten(-1, (3, 11))[5:11, :, 5:] = certain / 3
    found = concentration(weights, matches, GRID)
    assert (found.entropy, found.match_mass, found.match_distance) == (0, 1, 0)
    assert of_first_view(weights[:, 0], 3)[1].abs().max() < 1e-6


def test_a_state_that_rests_has_cosine_1_and_no_update():
    rest = movement([torch.ones(2, 2, 6, 8)] * 3)
    assert rest.cosine == pytest.approx([1, 1, 1])
    assert rest.update == [0, 0]
    assert update_sizes(torch.ones(2, 4), 3 * torch.ones(2, 4)).tolist() == [2, 2]


def test_what_has_no_such_module_says_what_it_has(network):
    with pytest.raises(ConfigError, match=r"no module aggregator\.blocks\.\* to tap; .*recurrent_blocks"):
        Taps(network, ["aggregator.blocks.*"])


def test_probes_come_back_and_belong_to_their_checkpoint(tmp_path):
    probes = [Probe(8, 2), Probe(8, 2)]
    save_probes(tmp_path / "p.safetensors", probes, Origin("a" * 64, ("0", "1"), 3, 0.1))
    loaded, origin = load_probes(tmp_path / "p.safetensors", "a" * 64)
    assert origin == Origin("a" * 64, ("0", "1"), 3, 0.1)
    tokens = torch.randn(2, 3, 6, 8)
    assert torch.equal(loaded[1](tokens)[0], probes[1](tokens)[0])
    with pytest.raises(WeightsError, match="another checkpoint"):
        load_probes(tmp_path / "p.safetensors", "b" * 64)
    (tmp_path / "odd.safetensors").write_bytes(b"odd")
    with pytest.raises(WeightsError, match="odd"):
        load_probes(tmp_path / "odd.safetensors", "a" * 64)


def test_more_steps_than_memory_are_refused_before_they_are_kept(stacked, views, monkeypatch):
    monkeypatch.setattr(subjects, "MEMORY_SHARE", 1e-9)
    with pytest.raises(InputError, match=r"layers of K = 1 take .* GiB are free: fewer --windows"):
        cache_tokens(stacked, [views], 1)


def test_steps_beyond_memory_are_refused_before_their_pass(network, views, monkeypatch):
    taken = []
    model = StandIn()
    model.network, model.predict = network, lambda images, steps: taken.append(steps) or network(images[None], steps)
    subject = Subject("tiny", "tiny", model, PATTERNS["dvlt"], 42, 14, 3)
    with pytest.raises(InputError, match=r"1 windows at all layers of K = 1000000000000 take .* GiB"):
        cache_tokens(subject, [views], 10**12)
    assert taken == [3]
