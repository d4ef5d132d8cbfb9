"""The mesh's own configuration: defaults and verdicts."""

import pytest

from meshlab.errors import ManifestError
from meshlab.mesh.config.durations import Duration
from meshlab.mesh.config.meshconfig import IngressMode, MeshConfig, parse_mesh_config


@pytest.mark.parametrize("text", ["", "{}", "# nothing\n"])
def test_what_is_left_out_has_its_default(text: str) -> None:
    assert parse_mesh_config(text) == MeshConfig()


def test_defaults_within_the_proxys_configuration_stay_as_well() -> None:
    mesh = parse_mesh_config(
        "enableTracing: false\ningressControllerMode: DEFAULT\nauthPolicy: MUTUAL_TLS\n"
        "mtlsExcludedServices: [a.b]\ndefaultConfig:\n  drainDuration: 45s\n  parentShutdownDuration: 1m\n"
    )
    assert (mesh.enable_tracing, mesh.ingress_controller_mode) == (False, IngressMode.DEFAULT)
    assert (mesh.auth_policy, mesh.mtls_excluded_services) == ("MUTUAL_TLS", ("a.b",))
    assert mesh.default_config.drain_duration == Duration.of(seconds=45)
    assert mesh.default_config.discovery_address == "istio-pilot:15003"
    assert mesh.connect_timeout == Duration.of(seconds=1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("colour: red", 'unknown field "colour"'),
        ("a: b: c", "mapping values"),
        ("[]", "unmarshal array"),
        ("mixerAddress: nowhere", "':' separator not found in \"nowhere\""),
        ("mixerAddress: a:99999", "port number 99999"),
        ("proxyListenPort: 0", "invalid proxy listen port"),
        ("connectTimeout: 31s", "time 31s must be >1ms and <30s"),
        ("rdsRefreshDelay: 500ms", "invalid refresh delay: time 500ms must be >1s and <10m0s"),
        ("authPolicy: 7", 'unrecognized auth policy "7"'),
        ("defaultConfig: {drainDuration: 3s}", "parent shutdown time 3s must be greater than drain time 3s"),
        ("defaultConfig: {drainDuration: 1500ms}", "drain time only supports durations to seconds precision"),
        ("defaultConfig: {configPath: ''}", "config path must be set"),
        ("defaultConfig: {zipkinAddress: 'a_b:1'}", '"a_b" is not a valid hostname or an IPv4 address'),
    ],
)
def test_what_cannot_work_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_mesh_config(text)
    assert reason in str(caught.value)
