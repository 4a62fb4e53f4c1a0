"""The walk through the documentation's commands misses none; `make docs-commands` runs them."""

import shlex

import pytest
from walk.commands import PAGES, Command, commands_of, without_comment
from walk.rules import LEFT_OUT, MAY_END_WITH_1, SHORTENED, idle_rules, rule_for

EVERY = [command for page in PAGES for command in commands_of(page)]


def test_blocks_become_commands_as_they_are_typed(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(
        "# Title\n```bash\nmake demo     # a comment\n# only a comment\ndvlt_train a='[{b: 1}]' \\\n    c=2\n"
        "python3 -c \"\nimport os\nprint('#')\"\n```\n```python\nnot_a_command()\n```\n"
    )
    monkeypatch.setattr("walk.commands.ROOT", tmp_path)
    assert [(command.line, command.text) for command in commands_of(page)] == [
        (3, "make demo"),
        (5, "dvlt_train a='[{b: 1}]' c=2"),
        (7, "python3 -c \"\nimport os\nprint('#')\""),
    ]
    assert without_comment("a '# no' # yes") == "a '# no' "


def test_the_documentation_has_commands_that_can_be_read():
    assert len(EVERY) > 80
    for command in EVERY:
        assert shlex.split(command.text), command


def test_every_rule_is_needed_and_has_a_reason():
    assert idle_rules(EVERY) == []
    assert all(rule.reason for rule in (*LEFT_OUT, *SHORTENED))
    assert all(rule.appended is None for rule in LEFT_OUT)
    assert all(rule.appended for rule in SHORTENED)


def test_what_runs_here_is_not_left_out():
    """Of the commands of this package only those that need data, weights or a node."""
    ours = [
        command for command in EVERY if command.runs.startswith("dvlt_") and not command.page.startswith("docs/lab")
    ]
    left_out = [command for command in ours if rule_for(command, LEFT_OUT)]
    assert len(left_out) < len(ours) / 3


@pytest.mark.parametrize(("text", "may"), [("dvlt_evaluate a --gate b", True), ("dvlt_evaluate a", False)])
def test_only_a_gate_may_say_no(text, may):
    assert MAY_END_WITH_1.covers(Command("page.md", 1, text)) == may
