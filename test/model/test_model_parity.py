"""Agreement with the published implementation, on its own seeded weights and inputs."""

import pytest
import torch
from agreement import BFLOAT16_TOLERANCE, TOLERANCE, sampled

from dvlt_ros.fast import FastDvlt
from dvlt_ros.model import Dvlt, DvltConfig

CASES = {
    "released": (8, 12, 16),
    "linear_head": (10,),
    "no_sout": (12,),
    "no_depthscale": (12,),
    "decoupled": (16,),
    "continuous_time": (16,),
}


@pytest.fixture(scope="module", params=CASES)
def case(request, parity, make_model):
    """Name, model with seeded weights, and reference of one case."""
    described = parity("state_dicts.json")[request.param]
    return request.param, make_model(DvltConfig.from_dict(described["config"])), parity(f"model_{request.param}.npz")


def run(model, reference, steps, autocast=False):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        return sampled(model(torch.from_numpy(reference["images"]), num_steps=steps), reference)


def test_every_output_at_every_k(case):
    name, model, reference = case
    stored = {int(key.split("/")[0][1:]) for key in reference.files if "/" in key}
    assert stored == set(CASES[name])
    for steps in CASES[name]:
        for output, found in run(model, reference, steps).items():
            expected = torch.from_numpy(reference[f"k{steps}/{output}"])
            assert found.shape == expected.shape
            difference = (found - expected).abs().max() / expected.abs().max()
            assert difference <= TOLERANCE, f"{output} at K = {steps}"


def test_bfloat16_depth_and_rays(case):
    name, model, reference = case
    steps = CASES[name][0]
    found = run(model, reference, steps, autocast=True)
    for output in ("depth", "rays"):
        expected = torch.from_numpy(reference[f"k{steps}/{output}"])
        assert (found[output] - expected).norm() / expected.norm() <= BFLOAT16_TOLERANCE, output


@pytest.mark.parametrize("case", ["released"], indirect=True)
def test_the_path_for_inference_alone(case):
    _, model, reference = case
    found = sampled(FastDvlt(model)(torch.from_numpy(reference["images"]), 8), reference)
    for name, value in found.items():
        expected = torch.from_numpy(reference[f"k8/{name}"])
        assert (value - expected).abs().max() <= TOLERANCE * expected.abs().max(), name


@pytest.mark.parametrize("name", CASES)
def test_names_and_shapes_of_all_tensors(parity, name):
    described = parity("state_dicts.json")[name]
    with torch.device("meta"):
        model = Dvlt(DvltConfig.from_dict(described["config"]))
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == described["state_dict"]
