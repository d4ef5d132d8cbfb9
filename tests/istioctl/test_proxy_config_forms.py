"""`proxy-config` in the forms that scripts read, and the levels of an Envoy's loggers."""

from __future__ import annotations

import json

import pytest

from meshlab.errors import MeshlabError
from meshlab.istioctl.proxyconfig.command import KINDS, kind_of, printed
from meshlab.istioctl.proxyconfig.filters import Filters
from meshlab.istioctl.proxyconfig.log import changes, logged
from meshlab.istioctl.proxyconfig.names import camel

AT = "type.googleapis.com/envoy."
TABLE = {
    "@type": f"{AT}config.route.v3.RouteConfiguration", "name": "80",
    "virtual_hosts": [{"name": "a_b", "domains": ["*"], "routes": [{
        "match": {"path_separated_prefix": "/a"}, "typed_per_filter_config": {"x_y.z": {"@type": "t", "max_age": "1"}},
        "metadata": {"filter_metadata": {"my_filter": {"any_thing": 1}}},
    }]}],
}  # fmt: skip
DUMP = json.dumps({"configs": [
    {"@type": f"{AT}admin.v3.RoutesConfigDump", "dynamic_route_configs": [{"route_config": TABLE}]},
    {"@type": f"{AT}admin.v3.EcdsConfigDump", "ecds_filters": [
        {"ecds_filter": {"name": "b", "typed_config": {"@type": f"{AT}extensions.filters.http.rbac.v3.RBAC"}}},
    ]},
    {"@type": f"{AT}admin.v3.BootstrapConfigDump", "bootstrap": {"node": {"metadata": {"POD_IP": "127.0.0.1"}}}},
]})  # fmt: skip


def test_json_names_fields_as_istioctl_does_and_leaves_what_is_data() -> None:
    (table,) = json.loads(printed("route", DUMP, "json", Filters()))
    assert table == {
        "name": "80",
        "virtualHosts": [{"name": "a_b", "domains": ["*"], "routes": [{
            "match": {"pathSeparatedPrefix": "/a"},
            "typedPerFilterConfig": {"x_y.z": {"@type": "t", "maxAge": "1"}},
            "metadata": {"filterMetadata": {"my_filter": {"any_thing": 1}}},
        }]}],
    }  # fmt: skip
    assert json.loads(printed("bootstrap", DUMP, "", Filters())) == {
        "bootstrap": {"node": {"metadata": {"POD_IP": "127.0.0.1"}}}
    }
    assert camel({"http2_protocol_options": 1, "h2_upgrade_policy": 2}) == {
        "http2ProtocolOptions": 1, "h2UpgradePolicy": 2,
    }  # fmt: skip


def test_filters_with_a_configuration_of_their_own() -> None:
    (heading, row) = printed("ecds", DUMP, "short", Filters()).splitlines()
    assert heading.split() == ["ECDS", "NAME", "TYPE"]
    assert row.split() == ["b", "envoy.extensions.filters.http.rbac.v3.RBAC"]


@pytest.mark.parametrize("word", ["all", "cluster", "c", "ecds", "endpoints", "l", "log", "o", "routes", "secret", "b"])
def test_every_subcommand_of_todays_tool_is_one(word: str) -> None:
    assert kind_of(word) in KINDS


LOGGERS = "active loggers:\n  http: warning\n  router: warning\n"


def test_levels_are_shown_and_changed_all_of_them_first() -> None:
    asked: list[str] = []

    def ask(path: str) -> str:
        asked.append(path)
        return LOGGERS

    assert logged("a.default", ask, {}) == f"a.default:\n{LOGGERS}"
    logged("a.default", ask, changes("http:debug,info"))
    assert asked == ["logging", "logging", "logging?level=info", "logging?http=debug"]
    assert changes("", reset=True) == {"level": "warning"}
    with pytest.raises(MeshlabError, match="unrecognized logger name: rooter"):
        logged("a.default", ask, changes("rooter:debug"))


@pytest.mark.parametrize(("level", "reset"), [("loud", False), ("http:loud", False), ("debug", True)])
def test_levels_that_make_no_sense(level: str, reset: bool) -> None:
    with pytest.raises(MeshlabError):
        changes(level, reset=reset)
