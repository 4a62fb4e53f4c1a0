"""The walk through the documentation's commands misses none; `make docs-commands` runs them."""

import shlex
import traceback

import pytest
from walk.commands import PAGES, Command, commands_of, without_comment
from walk.python import CHANGES, Block, blocks_of, changed, reason_for_leaving_out, run_blocks
from walk.python import LEFT_OUT as LEFT_OUT_PYTHON
from walk.python import idle_rules as idle_rules_of_python
from walk.rules import LEFT_OUT, MAY_END_WITH_1, SHORTENED, idle_rules, rule_for

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
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


def test_every_python_block_is_run_or_left_out_for_a_reason():
    assert len(BLOCKS) >= 8
    kept = [block for block in BLOCKS if not reason_for_leaving_out(block)]
    assert {block.page for block in kept} >= {"README.md", "docs/how-to/python.md"}
    assert idle_rules_of_python(BLOCKS) == []
    assert all(rule.reason for rule in (*LEFT_OUT_PYTHON, *CHANGES))
    for block in kept:
        text, reasons = changed(block.text)
        compile(text, block.page, "exec")
        assert bool(reasons) == (text != block.text)


def test_blocks_of_a_page_share_their_names_and_an_error_names_the_line():
    names = {"pictures": [1, 2, 3]}
    blocks = [Block("page.md", 10, "count = len(pictures)\n"), Block("page.md", 20, "count += 1\n\n1 / 0\n")]
    with pytest.raises(ZeroDivisionError) as raised:
        run_blocks(blocks, names)
    assert names["count"] == 4
    frame = traceback.extract_tb(raised.tb)[-1]
    assert (frame.filename, frame.lineno) == ("page.md", 22)
