"""`istioctl convert` and `istioctl analyze` on the command line."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import yaml

from meshlab.istioctl.analyze import FOUND
from meshlab.istioctl.main import main

RULE = """\
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata:
  name: route-rules-svcb
spec:
  destination:
    name: svcb
  precedence: 1
  route:
  - labels:
      version: v0.1
    weight: 50
  - labels:
      version: v0.2
    weight: 50
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: svcb
spec:
  ports:
  - port: 80
"""


def istioctl(*words: str, stdin: str = "") -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = main(words, out, err, io.StringIO(stdin))
    return code, out.getvalue(), err.getvalue()


def test_convert_writes_documents_and_says_what_changes(tmp_path: Path) -> None:
    file = tmp_path / "rule.yaml"
    file.write_text(RULE)
    code, out, err = istioctl("convert", "-f", str(file))
    assert code == 0
    assert [each["kind"] for each in yaml.safe_load_all(out)] == ["DestinationRule", "VirtualService"]
    assert err.startswith("changed: route-rule/default/route-rules-svcb: without websocketUpgrade")
    assert istioctl("validate", "-f", "-", stdin=out)[0] == 0


def test_convert_takes_several_files_as_one_set_and_writes_a_file(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(RULE)
    two.write_text(RULE.replace("route-rules-svcb", "another").replace("precedence: 1", "precedence: 2"))
    code, out, _ = istioctl("convert", "-f", str(one), "-f", str(two), "-o", str(tmp_path / "out.yaml"))
    assert (code, out) == (0, "")
    text = (tmp_path / "out.yaml").read_text()
    assert "route-rule/default/another takes every request before it: not converted" in text


def test_convert_names_the_line_of_what_it_leaves_out(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(RULE)
    two.write_text(SERVICE + "---\n" + RULE.replace("weight: 50", "weight: 5"))
    code, out, err = istioctl("convert", str(one), str(two))
    assert code == 1
    assert f"Error: {two}:9: left out, it is invalid: route weights total 10 (must total 100)" in err
    assert "VirtualService" in out, "the others are converted"


def test_convert_without_a_file_says_so() -> None:
    assert istioctl("convert")[::2] == (255, "Error: filename not specified (see --filename or -f)\n")


def test_analyze_points_to_the_tutorials_unnamed_port() -> None:
    code, out, err = istioctl("analyze", "-", "--use-kube=false", stdin=SERVICE + "---\n" + RULE)
    assert code == 0, "warnings alone do not fail"
    assert out.startswith("Warning [IST0118] (Service default/svcb -:7) Port name  (port: 80, targetPort: 80)")
    assert "RouteRule route-rules-svcb cannot have any effect; name the port http." in out
    assert err == "Analyzers found issues when analyzing files.\n"


def test_analyze_fails_at_its_threshold_and_passes_over_what_is_suppressed() -> None:
    text = SERVICE + "---\n" + RULE
    words = ("analyze", "-", "--use-kube=false")
    assert istioctl(*words, "--failure-threshold", "Warning", stdin=text)[0] == FOUND
    assert istioctl(*words, "--failure-threshold", "Warning", "-S", "IST0118=Service svcb.*", stdin=text)[0] == 0
    assert istioctl(*words, "--failure-threshold", "loud", stdin=text)[0] == 255


def test_analyze_says_when_nothing_is_wrong() -> None:
    text = SERVICE.replace("- port: 80", "- {port: 80, name: http}")
    code, out, err = istioctl("analyze", "-", "--use-kube=false", stdin=text)
    assert (code, out, err) == (0, "", "\u2714 No validation issues found when analyzing files.\n")


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_analyze_for_programs(output: str) -> None:
    _, out, _ = istioctl("analyze", "-", "--use-kube=false", "-o", output, stdin=SERVICE)
    (only,) = json.loads(out) if output == "json" else yaml.safe_load(out)
    assert (only["code"], only["level"], only["reference"]) == ("IST0118", "Warning", "-:7")


def test_analyze_reads_folders(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.yaml").write_text(SERVICE)
    (tmp_path / "notes.txt").write_text("not: [yaml")
    _, out, _ = istioctl("analyze", str(tmp_path), "--use-kube=false")
    assert f"{tmp_path}/deep/a.yaml:7" in out


def test_analyze_lists_what_it_looks_for() -> None:
    code, out, _ = istioctl("analyze", "-L")
    assert code == 0 and "IST0101  Error    something that is referred to does not exist\n" in out


def test_todays_documents_are_judged_by_todays_rules() -> None:
    text = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec: {servers: []}\n"
    code, out, _ = istioctl("validate", "-f", "-", stdin=text)
    assert (code, out) == (1, "-: invalid: configuration is invalid: spec.servers: must have at least 1 items\n")
