"""create, replace, get, delete: what they print, send and refuse."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meshlab.istioctl.main import main

if TYPE_CHECKING:
    from conftest import Rules

ROUTE = "kind: RouteRule\nmetadata: {name: r, namespace: shop}\nspec: {destination: {name: svcb}, precedence: 1}\n"
PORTS = "[{port: 80, protocol: http}]"
EGRESS = f"kind: egress-rule\nmetadata: {{name: e}}\nspec: {{destination: {{service: a.com}}, ports: {PORTS}}}\n"
HANDLER = "kind: stdio\nmetadata: {name: h, namespace: istio-system}\nspec: {outputAsJson: true}\n"


class Istioctl:
    """Runs commands against the server and keeps what they said."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self.code = -1
        self.out = self.err = ""

    def __call__(self, command: str, stdin: str = "") -> str:
        out, err = io.StringIO(), io.StringIO()
        self.code = main([*command.split(), "-c", str(self.kubeconfig)], out, err, io.StringIO(stdin))
        self.out, self.err = out.getvalue(), err.getvalue()
        return self.out


@pytest.fixture
def istioctl(kubeconfig: Path) -> Istioctl:
    return Istioctl(kubeconfig)


def test_created_rules_are_told_with_type_namespace_and_revision(istioctl: Istioctl, rules: Rules) -> None:
    assert istioctl("create -f -", f"{ROUTE}---\n{EGRESS}---\n{HANDLER}") == (
        "Created config route-rule/shop/r at revision 101\n"
        "Created config egress-rule/default/e at revision 102\n"
        "Created config stdio/istio-system/h at revision 103\n"
    )
    assert (istioctl.code, istioctl.err) == (0, "")
    base = "/apis/config.istio.io/v1alpha2/namespaces"
    assert rules.objects[f"{base}/shop/routerules/r"]["spec"] == {"destination": {"name": "svcb"}, "precedence": 1}
    assert rules.objects[f"{base}/default/egressrules/e"]["kind"] == "EgressRule"
    assert rules.objects[f"{base}/istio-system/stdios/h"]["apiVersion"] == "config.istio.io/v1alpha2"


def test_replaced_rules_are_told_with_their_new_revision(istioctl: Istioctl, rules: Rules) -> None:
    istioctl("create -f -", f"{ROUTE}---\n{HANDLER}")
    assert istioctl("replace -f -", f"{ROUTE.replace('1}', '7}')}---\n{HANDLER}") == (
        "Updated config route-rule/shop/r to revision 103\nUpdated config stdio/istio-system/h to revision 104\n"
    )
    stored = rules.objects["/apis/config.istio.io/v1alpha2/namespaces/shop/routerules/r"]
    assert stored["spec"]["precedence"] == 7


def test_what_does_not_exist_cannot_be_replaced(istioctl: Istioctl) -> None:
    istioctl("replace -f -", ROUTE)
    assert (istioctl.code, istioctl.err) == (255, "Error: revision is required\n")


def test_what_exists_cannot_be_created(istioctl: Istioctl) -> None:
    istioctl("create -f -", ROUTE)
    istioctl("create -f -", ROUTE)
    assert istioctl.err == 'Error: routerules.config.istio.io "r" already exists\n'


def test_nothing_is_sent_if_one_document_is_bad(istioctl: Istioctl, rules: Rules) -> None:
    istioctl("create -f -", f"{ROUTE}---\n{ROUTE.replace('svcb', 'SVCB')}")
    assert istioctl.err == (
        'Error: configuration is invalid: 1 error occurred:\n\n* name "SVCB" must be a valid label\n'
    )
    assert not rules.objects


def test_unknown_kinds_are_named_after_the_known_ones_were_sent(istioctl: Istioctl) -> None:
    istioctl("create -f -", f"kind: Pod\nmetadata: {{name: p}}\n---\n{HANDLER}---\n{ROUTE}")
    assert istioctl.out == (
        "Created config route-rule/shop/r at revision 101\nCreated config stdio/istio-system/h at revision 102\n"
    )
    assert (istioctl.code, istioctl.err) == (255, "Error: 1 error occurred:\n\n* kind Pod is not known\n")


def test_rules_of_ingress_cannot_be_created(istioctl: Istioctl) -> None:
    istioctl("create -f -", "kind: IngressRule\nmetadata: {name: i}\nspec: {destination: {name: svcb}}\n")
    assert istioctl.err == 'Error: unrecognized type "ingress-rule"\n'


@pytest.mark.parametrize("flag", ["-n other", "-nother", "-n=other", "--namespace other", "--namespace=other"])
def test_the_namespace_of_flag_and_object_must_agree(istioctl: Istioctl, flag: str) -> None:
    istioctl(f"create -f - {flag}", ROUTE)
    assert istioctl.err == (
        'Error: the namespace from the provided object "shop" does not match the namespace "other". '
        "You must pass '--namespace=shop' to perform this operation\n"
    )
    assert istioctl(f"{flag} create -f -", EGRESS) == "Created config egress-rule/other/e at revision 101\n"


def test_rules_are_listed_in_columns(istioctl: Istioctl) -> None:
    istioctl("create -f -", f"{ROUTE}---\n{ROUTE.replace('name: r', 'name: route-rules-svcb')}")
    assert istioctl("get routerules") == "No resources found.\n"
    assert istioctl("get routerule -n shop") == (
        "NAME\t\t\tKIND\t\t\t\t\tNAMESPACE\n"
        "r\t\t\tRouteRule.v1alpha2.config.istio.io\tshop\n"
        "route-rules-svcb\tRouteRule.v1alpha2.config.istio.io\tshop\n"
    )


def test_a_rule_is_printed_in_canonical_form(istioctl: Istioctl) -> None:
    istioctl("create -f -", ROUTE.replace("precedence: 1", "http_req_timeout: {simple_timeout: {timeout: 1m}}"))
    assert istioctl("get routerules r -n shop -o yaml") == (
        "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata:\n  creationTimestamp: null\n  name: r\n"
        '  namespace: shop\n  resourceVersion: "101"\nspec:\n  destination:\n    name: svcb\n  httpReqTimeout:\n'
        "    simpleTimeout:\n      timeout: 60.000s\n---\n"
    )
    istioctl("get routerules -n shop -o json")
    assert istioctl.err == "Error: unknown output format json. Types are yaml|short\n"


def test_rules_are_deleted_by_name_or_by_file(istioctl: Istioctl, rules: Rules) -> None:
    istioctl("create -f -", f"{ROUTE}---\n{EGRESS}---\n{HANDLER}")
    istioctl("delete routerules r gone -n shop")
    assert istioctl.out == "Deleted config: routerules r\n"
    assert istioctl.err == (
        'Error: 1 error occurred:\n\n* cannot delete gone: routerules.config.istio.io "gone" not found\n'
    )
    assert istioctl("delete -f -", f"{EGRESS}---\n{HANDLER}") == (
        "Deleted config: egress-rule/default/e\nDeleted config: stdio/istio-system/h\n"
    )
    istioctl("delete -f -", EGRESS)
    assert "cannot delete egress-rule/default/e: " in istioctl.err
    assert not rules.objects


def test_a_cluster_without_istio_is_told_apart_from_a_missing_rule(istioctl: Istioctl, rules: Rules) -> None:
    rules.installed = False
    istioctl("get routerules")
    assert istioctl.err.startswith("Error: the server could not find the requested resource\n  next: ")


TYPES = (
    "routerule, gateway, egressrule, destinationpolicy, httpapispec, httpapispecbinding, quotaspec, "
    "quotaspecbinding, enduserauthenticationpolicyspec, enduserauthenticationpolicyspecbinding"
)


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("create", "filename not specified (see --filename or -f)"),
        ("create -f -", "nothing to create"),
        ("replace -f -", "nothing to replace"),
        ("delete -f -", "nothing to delete"),
        ("create -f /nowhere/x.yaml", "open /nowhere/x.yaml: no such file or directory"),
        ("create -f - more", "create takes no arguments"),
        ("delete -f - more", "delete takes no arguments when the file option is used"),
        ("delete routerule", "provide configuration type and name or -f option"),
        ("get", f"specify the type of resource to get. Types are {TYPES}"),
        ("get pods", f"configuration type pods not found, the types are {TYPES}"),
        ("get route-rules", '"route-rules" not recognized. Please use non-hyphenated resource name "routerules"'),
        ("get ingressrules", f"configuration type ingressrules not found, the types are {TYPES}"),
        ("get routerules --bogus", "unknown flag: --bogus"),
        ("get -x", "unknown shorthand flag: 'x' in -x"),
        ("frobnicate", 'unknown command "frobnicate" for "istioctl"\nRun \'istioctl --help\' for usage.'),
        ("mixer rule create -f x", "this method of configuring Mixer is removed in favor of kubectl"),
        ("kube-inject --debug=perhaps", 'invalid argument "perhaps" for "--debug" flag: strconv.ParseBool: parsing '
                                        '"perhaps": invalid syntax'),
    ],
)
def test_a_wrong_command_line_is_refused_in_the_words_of_the_original(
    istioctl: Istioctl, command: str, error: str
) -> None:
    istioctl(command)
    assert istioctl.code == 255
    assert istioctl.err.endswith(f"Error: {error}\n")


def test_a_flag_without_its_value_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["create", "-f"]) == 255
    assert capsys.readouterr().err == "Error: flag needs an argument: 'f' in -f\n"


def test_help_is_given_for_all_and_for_one(istioctl: Istioctl) -> None:
    assert "kube-inject" in istioctl("")
    assert "mixer" not in istioctl("--help")
    assert "--includeIPRanges string" in istioctl("kube-inject --help")
    assert istioctl.code == 0


def test_the_version_is_told_in_five_lines(istioctl: Istioctl) -> None:
    lines = istioctl("version").splitlines()
    told = [line.split(":")[0] for line in lines]
    assert told == ["Version", "GitRevision", "GitBranch", "User", "GolangVersion", ""]
    assert lines[0] == "Version: 0.4.0"


def test_without_a_cluster_the_next_command_is_told(tmp_path: Path) -> None:
    err = io.StringIO()
    assert main(["get", "routerules", "-c", str(tmp_path / "none")], io.StringIO(), err) == 255
    assert "no kubeconfig at" in err.getvalue() and "meshlab up" in err.getvalue()


def test_a_bad_rule_is_refused_before_anybody_looks_for_a_cluster(tmp_path: Path) -> None:
    err, bad = io.StringIO(), io.StringIO(ROUTE.replace("svcb", "SVCB"))
    assert main(["create", "-f", "-", "-c", str(tmp_path / "none")], io.StringIO(), err, bad) == 255
    assert err.getvalue().startswith("Error: configuration is invalid: ")


def test_validate_says_one_line_per_document_and_needs_no_cluster(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(f"{ROUTE}---\n{HANDLER}")
    bad.write_text(
        f"{ROUTE.replace('svcb', 'SVCB')}---\nx: [\n---\nkind: Pod\n---\n{EGRESS}---\nspec: 1\n---\n"
        f"{json.dumps({'kind': 'RouteRule', 'spec': {'route': [{'weight': 50}]}})}\n"
    )
    out, err = io.StringIO(), io.StringIO()
    assert main(["validate", "-f", str(good)], out, err) == 0
    assert main(["validate", "-f", str(good), str(bad)], out, err) == 1
    lines = out.getvalue().splitlines()
    assert lines[:4] == [f"{good}: valid"] * 4
    reasons = [line.removeprefix(f"{bad}: ") for line in lines[4:]]
    assert reasons[0] == 'invalid: configuration is invalid: name "SVCB" must be a valid label'
    assert reasons[1].startswith("invalid: cannot parse proto message: error converting YAML to JSON: yaml: ")
    assert reasons[2] == "invalid: kind Pod is not known"
    assert reasons[3] == "valid"
    assert reasons[4].startswith("invalid: cannot parse proto message: error unmarshaling JSON: ")
    assert reasons[5] == (
        "invalid: configuration is invalid: route rule must have a destination service; "
        "route weights total 50 (must total 100)"
    )
    assert len(reasons) == 6


@pytest.mark.parametrize(
    ("content", "out"),
    [(b"", ""), (b"---\n# empty\n", ""), (b"kind: \xff\n", "f: invalid: the input is not UTF-8")],
)
def test_validate_takes_files_without_documents_and_refuses_what_is_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("f").write_bytes(content)
    said = io.StringIO()
    assert main(["validate", "-f", "f"], said, io.StringIO()) == int(bool(out))
    assert said.getvalue().startswith(out)
