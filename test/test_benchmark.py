import json

import pytest

from dvlt_ros import benchmark
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
    assert len(printed) == 2 + 4
    assert "float32" in printed[0]
    rows = json.loads(report.read_text())["rows"]
    assert [(row["views"], row["steps"]) for row in rows] == [(1, 2), (1, 3), (2, 2), (2, 3)]
    assert all(row["size"] == "28x42" and row["gflop"] > 0 and row["total_ms"] > 0 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--size 500", "WIDTHxHEIGHT"),
        ("--device cpu --size 30x28 --views 1 --steps 2", "multiples of 14"),
        ("--config missing.json", "missing.json: not a readable JSON file"),
    ],
)
def test_bad_arguments_end_with_a_message(arguments, message, capsys):
    with pytest.raises(SystemExit) as error:
        benchmark.main(arguments.split())
    assert message in str(error.value) + capsys.readouterr().err
