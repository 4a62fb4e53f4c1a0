import json

import pytest
import torch

from dvlt_ros import benchmark
from dvlt_ros.checkpoints import DEFAULT
from dvlt_ros.model import DvltConfig


def test_the_released_model_costs_what_the_paper_says():
    """75.9 TFLOPs for 24 views of 504 x 504 and K = 16 (paper, table 3)."""
    case = benchmark.Case(views=24, width=504, height=504, steps=16)
    assert benchmark.count_gflop(DvltConfig(), case) / 1e3 == pytest.approx(75.9, abs=0.05)


def test_it_prints_a_row_per_case_and_writes_json(make_model, tmp_path, capsys):
    make_model().save_pretrained(tmp_path)
    config, report = tmp_path / "config.json", tmp_path / "report.json"
    arguments = f"--config {config} --views 1 2 --size 28x42 --steps 2 3 --repeats 1 --device cpu --json {report}"
    benchmark.main(arguments.split())
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 3 + 4
    assert printed[0].startswith(f"the architecture of {tmp_path.name}, ")
    assert "float32" in printed[1]
    rows = json.loads(report.read_text())["rows"]
    assert [(row["views"], row["steps"]) for row in rows] == [(1, 2), (1, 3), (2, 2), (2, 3)]
    assert all(row["size"] == "28x42" and row["gflop"] > 0 and row["total_ms"] > 0 for row in rows)


@pytest.mark.parametrize(
    ("asked", "named"), [("embedded", DEFAULT), ("dvlt-nano", "dvlt-nano"), ("released", "nvidia/dvlt")]
)
def test_networks_have_names(asked, named):
    assert benchmark.parse_config(asked).name == f"the architecture of {named}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--size 500", "--size: a size is WIDTHxHEIGHT in pixels, got '500'"),
        ("--size 28x42 30x28", "--size: width and height must be multiples of 14, got '30x28'"),
        ("--config missing.json", "--config: missing.json: not a readable JSON file"),
        ("--config decoupled.json --steps 3 4", "--steps: decoupled weights run at K = 4 alone, got [3, 4]"),
        ("--size 0x0", "--size: a size is WIDTHxHEIGHT in pixels, got '0x0'"),
        ("--views 4 -1", "--views: must be an integer of at least 1, got '-1'"),
        ("--steps 0", "--steps: must be an integer of at least 1, got '0'"),
        ("--repeats 1.5", "--repeats: must be an integer of at least 1, got '1.5'"),
        ("--device foo", "--device: must be cpu, cuda or cuda:INDEX, got 'foo'"),
        ("--device cuda:99", "--device: 'cuda:99' cannot be used: "),
        ("--json missing/report.json", "--json: 'missing/report.json' cannot be written: No such file or directory"),
        ("--json .", "--json: '.' cannot be written: Is a directory"),
    ],
)
def test_bad_arguments_end_with_the_argument_and_the_cause(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(benchmark, "run", lambda _: pytest.fail("work had started"))
    (tmp_path / "decoupled.json").write_text('{"recurrence_mode": "none", "min_steps": 4, "num_steps": 4}')
    with pytest.raises(SystemExit) as error:
        benchmark.main(arguments.split())
    assert error.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_an_earlier_report_stays_until_there_is_a_new_one(tmp_path):
    report = tmp_path / "report.json"
    report.write_text("earlier")
    with pytest.raises(SystemExit):
        benchmark.main(["--json", str(report), "--device", "cpu", "--config", "missing.json"])
    assert report.read_text() == "earlier"


def test_too_little_memory_shows_what_was_measured_before(make_model, tmp_path, capsys, monkeypatch):
    make_model().save_pretrained(tmp_path)
    measure = benchmark.measure

    def measure_on_a_small_gpu(model, case, *rest):
        if case.views > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return measure(model, case, *rest)

    monkeypatch.setattr(benchmark, "measure", measure_on_a_small_gpu)
    arguments = f"--config {tmp_path / 'config.json'} --views 1 2 --size 28x28 --steps 2 --repeats 1 --device cpu"
    with pytest.raises(SystemExit, match="dvlt_benchmark: 2 views of 28x28 do not fit into cpu"):
        benchmark.main(arguments.split())
    assert len(capsys.readouterr().out.splitlines()) == 3 + 1
