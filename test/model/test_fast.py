"""The fast path answers what the plain model answers: every variant, precision, K, choice of views and size."""

from __future__ import annotations

import pytest
import torch
from agreement import (
    BFLOAT16_TOLERANCE,
    SIZES,
    TOLERANCE,
    largest_difference,
    outputs,
    pictures,
    relative_l2,
)

from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.fast import FastDvlt
from dvlt_ros.fast.attention import SMALL, Attention
from dvlt_ros.fast.merging import Merging
from dvlt_ros.model import Dvlt, Features, State
from dvlt_ros.model.dvlt import NUM_SPECIAL

VARIANTS = {
    "gated": {},
    "no_sout": {"recurrence_mode": "no_sout"},
    "no_depthscale": {"recurrence_mode": "no_depthscale"},
    "none": {"recurrence_mode": "none", "min_steps": 4},
    "continuous": {"time_conditioning": "continuous"},
    "linear_head": {"depth_head_type": "linear"},
}


@pytest.fixture(scope="module", params=VARIANTS)
def model(request, make_model):
    return make_model(**VARIANTS[request.param])


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield


def possible_steps(model):
    return [4] if model.config.recurrence_mode == "none" else [1, 2, 3, 7]


@pytest.mark.filterwarnings("ignore:num_steps")
def test_every_variant_at_every_k(model):
    fast = FastDvlt(model)
    for steps in possible_steps(model):
        assert largest_difference(fast(pictures(), steps), model(pictures(), steps)) <= TOLERANCE, steps


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_reduced_precision_keeps_depth_and_rays(model, precision):
    steps = 4 if model.config.recurrence_mode == "none" else 3
    error = relative_l2(FastDvlt(model, precision)(pictures(), steps), model(pictures(), steps))
    assert 0 < error <= BFLOAT16_TOLERANCE


def test_sizes_may_change_and_come_again(make_model, monkeypatch):
    monkeypatch.setattr("dvlt_ros.fast.dvlt.REMEMBERED_SIZES", 2)
    model = make_model()
    fast = FastDvlt(model)
    for seed, size in enumerate((*SIZES, *SIZES)):
        images = pictures(1 + seed % 3, size, seed)
        assert largest_difference(fast(images, 2), model(images, 2)) <= TOLERANCE
    assert len(fast._tables) == 2


def test_chosen_views_are_those_of_all(make_model, monkeypatch):
    monkeypatch.setattr("dvlt_ros.fast.decoders.VIEWS_AT_ONCE", 2)
    fast = FastDvlt(make_model())
    state = fast.run(fast.begin(fast.encode(pictures(5))), 2)
    every, chosen = fast.decode(state), fast.decode(state, [4, 1, 2])
    torch.testing.assert_close(chosen.depth, every.depth[:, [4, 1, 2]])
    torch.testing.assert_close(chosen.ray_directions, every.ray_directions[:, [4, 1, 2]])
    torch.testing.assert_close(chosen.pose_encoding, every.pose_encoding[:, [4, 1, 2]])


def test_the_last_step_computes_the_chosen_views_alone(model):
    fast, steps, computed = FastDvlt(model), possible_steps(model)[-2:][0], []
    for _, global_ in fast.blocks:
        layer = global_.fc1
        global_.fc1 = lambda x, layer=layer: computed.append(x.shape[1]) or layer(x)
    begun = fast.begin(fast.encode(pictures(5)))
    found = fast.run_and_decode(begun, steps, [4, 1])
    tokens = begun.tokens.shape[2]
    assert computed == [5 * tokens] * (steps - 1) + [2 * tokens]
    expected = model.run_and_decode(model.begin(model.encode(pictures(5))), steps, [4, 1])
    assert largest_difference(found, expected) <= TOLERANCE
    with pytest.raises(InputError, match="views must be"):
        fast.run_and_decode(begun, steps, [5])
    with pytest.raises(InputError, match="run_and_decode takes a State"):
        fast.run_and_decode(begun.tokens, steps, [4])


@pytest.mark.parametrize("merged_keys", [1, 2])
def test_a_shorter_last_step_costs_int8_nothing(make_model, merged_keys):
    fast = FastDvlt(make_model(), "int8", merged_keys)
    begun = fast.begin(fast.encode(pictures(4)))
    assert relative_l2(fast.run_and_decode(begun, 3, [3]), fast.decode(fast.run(begun, 3), [3])) <= 5e-3


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", TOLERANCE), ("int8", BFLOAT16_TOLERANCE)])
def test_features_of_other_windows_serve(make_model, precision, tolerance):
    model = make_model()
    fast = FastDvlt(model, precision)
    images = pictures(4)
    kept, new = fast.encode(images[:, :3]).views([1, 2]), fast.encode(images[:, 3:])
    found = fast.decode(fast.run(fast.begin(Features.concatenate([kept, new])), 3))
    assert relative_l2(found, model(images[:, 1:], 3)) <= tolerance


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_the_same_window_twice_is_the_same_answer(make_model, precision):
    fast = FastDvlt(make_model(), precision)
    first = outputs(fast(pictures(), 3))
    fast(pictures(2, SIZES[1], seed=1), 2)
    for name, value in outputs(fast(pictures(), 3)).items():
        assert torch.equal(value, first[name]), name


def test_a_state_is_not_changed_by_the_steps_after_it(make_model):
    fast = FastDvlt(make_model())
    state = fast.begin(fast.encode(pictures()))
    before = state.tokens.clone()
    fast.run(state, 3)
    assert torch.equal(state.tokens, before)


@pytest.mark.filterwarnings("ignore:num_steps")
def test_the_model_may_be_let_go_and_changed(make_model):
    model = make_model()
    expected = model(pictures(), 2)
    fast = FastDvlt(model)
    assert not any("attn.qkv" in name or "decoder" in name for name, _ in fast._rest.named_parameters())
    assert {name for name, _ in model.named_parameters()} == {name for name, _ in Dvlt(model.config).named_parameters()}
    for parameter in model.recurrent_blocks.parameters():
        parameter.zero_()
    assert largest_difference(FastDvlt(model)(pictures(), 2), expected) > TOLERANCE
    fast.release()
    found = fast.decode(fast.run(fast.begin(fast.encode(pictures())), 1))
    assert found.depth.isfinite().all()


def test_a_batch_of_scenes(make_model):
    model = make_model()
    images = torch.cat([pictures(seed=1), pictures(seed=2)])
    assert largest_difference(FastDvlt(model)(images, 3), model(images, 3)) <= TOLERANCE


def with_equal_keys(x, grid):
    """x (..., S * P, D) with one value for every 2 x 2 patches of a view."""
    views = x.unflatten(-2, (-1, NUM_SPECIAL + grid[0] * grid[1])).clone()
    patches = views[..., NUM_SPECIAL:, :].unflatten(-2, grid)
    rows, columns = (torch.arange(n) // 2 * 2 for n in grid)
    views[..., NUM_SPECIAL:, :] = patches[..., rows, :, :][..., columns, :].flatten(-3, -2)
    return views.flatten(-3, -2)


@pytest.mark.parametrize("grid", [(4, 6), (3, 5)])  # squares that fit, and some that do not
def test_merged_keys_are_exact_where_keys_are_equal(grid):
    tokens = 3 * (NUM_SPECIAL + grid[0] * grid[1])
    q, k, v = torch.randn(3, 2, 2, tokens, 16, generator=torch.Generator().manual_seed(0)).unbind(0)
    k, v = with_equal_keys(k, grid), with_equal_keys(v, grid)
    merged = Merging.of(grid, 2, torch.device("cpu"))(q, k, v)
    assert merged[1].shape[-2] == 3 * (NUM_SPECIAL + 6)
    torch.testing.assert_close(Attention()(*merged)[..., :16], Attention()(q, k, v))


@pytest.mark.parametrize(("precision", "least"), [("float32", 0), ("bfloat16", 1e-3)])
def test_merged_keys_are_nothing_but_an_approximation(make_model, precision, least):
    model = make_model()
    error = {
        edge: relative_l2(FastDvlt(model, precision, edge)(pictures(), 3), model(pictures(), 3)) for edge in (1, 2)
    }
    assert error[1] <= BFLOAT16_TOLERANCE
    assert least < error[2] < 0.5
    whole = FastDvlt(model, precision, 2)(pictures(size=(14, 14)), 3)  # one patch: nothing to merge
    assert relative_l2(whole, model(pictures(size=(14, 14)), 3)) <= BFLOAT16_TOLERANCE


@pytest.mark.parametrize("tokens", [SMALL, SMALL + 1])
def test_attention_on_both_sides_of_its_threshold(tokens):
    q, k, v = torch.randn(3, 2, 2, tokens, 16, generator=torch.Generator().manual_seed(0)).unbind(0)
    expected = torch.softmax((q @ k.transpose(-2, -1)).double(), dim=-1) @ v.double()
    torch.testing.assert_close(Attention()(q, k, v), expected.float())


def test_what_cannot_be_is_refused(make_model):
    model = make_model(recurrence_mode="none", min_steps=4)
    with pytest.raises(ConfigError, match="precision must be float32, bfloat16 or int8, got 'int4'"):
        FastDvlt(model, "int4")
    with pytest.raises(ConfigError, match="precision int8 is for the CPU"):
        FastDvlt(Dvlt(model.config).to("meta"), "int8")
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        FastDvlt(model, merged_keys=0)
    fast = FastDvlt(model)
    with pytest.raises(InputError, match="num_steps must be 4, got 3"):
        fast(pictures(), 3)
    with pytest.raises(InputError, match="multiples of 14"):
        fast(pictures(size=(28, 30)), 4)
    with pytest.raises(InputError, match="run takes a State"):
        fast.run(pictures(), 4)
    with pytest.raises(InputError, match="views must be"):
        fast.decode(State(fast.begin(fast.encode(pictures())).tokens, (2, 3)), [3])
