"""The precision follows what the processor has and what was measured."""

import pytest
import torch

from dvlt_ros.fast import choice
from dvlt_ros.fast.choice import Choice, block_s, choose_precision, reduced_precisions
from dvlt_ros.fast.linear import Int8Linear, PackedLinear, PlainLinear
from dvlt_ros.mapping.inference.config import ModelConfig
from dvlt_ros.mapping.inference.loading import load_predictor

FEATURES = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")


def processor(monkeypatch, *features, machine="x86_64"):
    monkeypatch.setattr(choice.platform, "machine", lambda: machine)
    for feature in FEATURES:
        monkeypatch.setattr(torch.cpu, feature, lambda feature=feature: feature in features, raising=False)


def speeds(monkeypatch, **seconds):
    monkeypatch.setattr(choice, "block_s", seconds.__getitem__)


@pytest.mark.parametrize(
    ("features", "machine", "expected"),
    [
        ((), "aarch64", []),
        ((), "AMD64", ["int8"]),
        (("_is_amx_tile_supported",), "x86_64", ["bfloat16", "int8"]),
        (("_is_avx512_bf16_supported",), "aarch64", ["bfloat16"]),
        (FEATURES, "x86_64", ["bfloat16", "int8"]),
    ],
)
def test_what_the_processor_has_is_tried(monkeypatch, features, machine, expected):
    processor(monkeypatch, *features, machine=machine)
    assert reduced_precisions() == expected


def test_an_older_pytorch_that_does_not_know_a_feature_has_none(monkeypatch):
    processor(monkeypatch, machine="aarch64")
    for feature in FEATURES:
        monkeypatch.delattr(torch.cpu, feature, raising=False)
    assert choose_precision() == Choice("float32", "this processor has neither AMX nor AVX512-BF16, and is no x86")


@pytest.mark.parametrize(
    ("bfloat16", "int8", "expected"),
    [
        (0.25, 0.5, "bfloat16"), (0.5, 0.4, "bfloat16"), (0.5, 0.3, "int8"), (0.9, 0.95, "float32"),
        (0.9, 0.8, "int8"), (8, 2, "float32"),
    ],
)  # fmt: skip
def test_the_most_exact_wins_if_none_is_much_faster(monkeypatch, bfloat16, int8, expected):
    processor(monkeypatch, *FEATURES)
    speeds(monkeypatch, float32=1.0, bfloat16=bfloat16, int8=int8)
    chosen = choose_precision()
    assert chosen.precision == expected
    assert f"bfloat16 is {1 / bfloat16:.1f} times as fast as float32" in chosen.reason


def test_a_block_is_timed_in_every_precision():
    assert all(0 < block_s(precision) < 60 for precision in ("float32", "bfloat16", "int8"))


def test_packed_weights_give_the_same_products():
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this PyTorch has no oneDNN; one with it (x86, most of ARM) runs this")
    generator = torch.Generator().manual_seed(0)
    weight, bias, x = (torch.randn(*size, generator=generator) for size in ((40, 24), (40,), (2, 5, 24)))
    for own_bias, part in ((bias, x), (None, x[:, :1]), (bias, x.bfloat16())):
        found = PackedLinear(weight, own_bias)(part)
        torch.testing.assert_close(found, PlainLinear(weight, own_bias, torch.float32)(part))


def test_int8_weights_have_eight_bits_where_nothing_can_overflow(monkeypatch):
    weight = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    errors = {}
    for vnni in (False, True):
        monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda vnni=vnni: vnni, raising=False)
        rounded, _ = Int8Linear(weight, None).packed.unpack()
        errors[vnni] = float((rounded.dequantize() - weight).norm() / weight.norm())
    assert errors[True] == pytest.approx(errors[False] * 63 / 127, rel=0.1)


def test_the_predictor_says_which_and_why(monkeypatch):
    processor(monkeypatch)
    speeds(monkeypatch, float32=1.0, int8=0.5)
    automatic = load_predictor(ModelConfig(device="cpu"))
    assert automatic.model.precision == "int8"
    assert automatic.precision == "int8: int8 is 2.0 times as fast as float32"
    assert load_predictor(ModelConfig(device="cpu", precision="float32")).precision == "float32"
