"""An error is one line that any terminal can print, whatever the thing is called."""

from __future__ import annotations

import pytest

from dvlt_ros.errors import ConfigError, DataError, WeightsError


@pytest.mark.parametrize("kind", [ConfigError, DataError, WeightsError])
@pytest.mark.parametrize(
    ("name", "shown"),
    [("a\nb", r"a\nb"), ("\x1b[2J", r"\x1b[2J"), ("\udcff", r"\udcff"), ("\u2028", r"\u2028"), ("Déjà 路", "Déjà 路")],
)
def test_names_are_shown_and_not_obeyed(kind, name, shown):
    assert str(kind(f"{name}: not read")) == f"{shown}: not read"
    assert str(kind()) == ""
