"""The script of CONTRIBUTING prints the floors of both packages, as the tests read them."""

from __future__ import annotations

import re
import subprocess
import sys

from import_graph import ROOT, floors, graph_of


def test_the_script_prints_the_import_graph() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    [script] = re.findall(r"^python - <<'EOF'\n(.*?)^EOF$", text, re.M | re.S)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    expected = []
    for package in ("episodes", "fewshot"):
        found, circular = floors(graph_of(package))
        for number, names in enumerate(found):
            shown = " ".join(name.partition(".")[2] or name for name in names)
            expected.append(f"{package}, floor {number}: {shown}")
        expected.append(f"{package}: circles among {circular}" if circular else f"{package}: no circle")
    assert done.stdout.splitlines() == expected
