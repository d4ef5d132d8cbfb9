"""Each field of AuthorizationPolicy and RequestAuthentication through real sidecars: it works, and does not leak."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pilot_cluster import Application

from tests.mesh.pilot.secured import Secured, shop

__all__ = ["shop"]  # a fixture

Spec = dict[str, Any]
Call = tuple[str, str, dict[str, str], str]  # pod, path, headers, method
SVCA, OTHER = "cluster.local/ns/default/sa/svca", "cluster.local/ns/default/sa/other"


@pytest.fixture(scope="module")
def permissive(shop: Secured) -> Secured:
    shop.peers("PERMISSIVE", namespace="istio-system")
    shop._stored.clear()  # stays for all tests here
    return shop


@pytest.fixture
def mesh(permissive: Secured) -> Iterator[Secured]:
    yield permissive
    permissive.clear()


def call(pod: str = "svca-1", path: str = "/pay", headers: dict[str, str] | None = None, method: str = "GET") -> Call:
    return pod, path, headers or {}, method


def status(mesh: Secured, wanted: Call) -> int:
    pod, path, headers, method = wanted
    if pod == "outside":
        return mesh.plain(path=path, headers=headers)
    host = headers.get("host", "svcb")
    return mesh.cluster.get(
        pod, f"http://{host}{path}", {k: v for k, v in headers.items() if k != "host"}, method=method
    ).status


def source(**fields: list[str]) -> Spec:
    return {"from": [{"source": fields}]}


def operation(**fields: list[str]) -> Spec:
    return {"to": [{"operation": fields}]}


def when(key: str, *values: str, none: tuple[str, ...] = ()) -> Spec:
    return {"when": [{"key": key, **({"values": list(values)} if values else {}),
                      **({"notValues": list(none)} if none else {})}]}


FIELDS: list[tuple[str, Spec, list[Call], list[Call]]] = [
    ("principals", source(principals=[SVCA]), [call()], [call("other-1"), call("outside")]),
    ("principals prefix", source(principals=["cluster.local/ns/default/*"]), [call(), call("other-1")],
     [call("outside")]),
    ("principals suffix", source(principals=["*/sa/svca"]), [call()], [call("other-1")]),
    ("principals any", source(principals=["*"]), [call(), call("other-1")], [call("outside")]),
    ("notPrincipals", source(notPrincipals=[OTHER]), [call(), call("outside")], [call("other-1")]),
    ("namespaces", source(namespaces=["default"]), [call(), call("other-1")], [call("outside")]),
    ("namespaces of others", source(namespaces=["def"]), [], [call()]),
    ("notNamespaces", source(notNamespaces=["default"]), [call("outside")], [call()]),
    ("serviceAccounts", source(serviceAccounts=["svca"]), [call()], [call("other-1")]),
    ("notServiceAccounts", source(notServiceAccounts=["svca"]), [call("other-1")], [call()]),
    ("serviceAccounts with namespace", source(serviceAccounts=["default/other"]), [call("other-1")], [call()]),
    ("hosts", operation(hosts=["SVCB"]), [call()], [call(headers={"host": "svcb.default"})]),
    ("hosts suffix", operation(hosts=["*.default"]), [call(headers={"host": "svcb.default"})], [call()]),
    ("notHosts", operation(notHosts=["svcb.default"]), [call()], [call(headers={"host": "svcb.default"})]),
    ("methods", operation(methods=["GET"]), [call()], [call(method="POST")]),
    ("notMethods", operation(notMethods=["POST"]), [call()], [call(method="POST")]),
    ("paths", operation(paths=["/pay"]), [call(), call(path="/pay?x=1")], [call(path="/pays"), call(path="/")]),
    ("paths prefix", operation(paths=["/pay*"]), [call(), call(path="/pay/1")], [call(path="/x/pay")]),
    ("paths suffix", operation(paths=["*.html"]), [call(path="/a/b.html")], [call(path="/b.htm")]),
    ("paths template", operation(paths=["/shop/{*}/cart"]), [call(path="/shop/1/cart")],
     [call(path="/shop/1/2/cart"), call(path="/shop/cart")]),
    ("paths shortened", operation(paths=["/pay*"]), [call(path="/x/../pay")], [call(path="/pay/../admin")]),
    ("notPaths", operation(notPaths=["/admin*"]), [call()], [call(path="/admin/x"), call(path="/x/../admin")]),
    ("ports", operation(ports=["8080"]), [call()], []),
    ("ports of others", operation(ports=["80"]), [], [call()]),
    ("notPorts", operation(notPorts=["8080"]), [], [call()]),
    ("header", when("request.headers[X-User]", "jason", "a*"), [call(headers={"x-user": "jason"}),
     call(headers={"x-user": "ann"})], [call(headers={"x-user": "bob"}), call()]),
    ("header absent", when("request.headers[x-user]", none=("*",)), [call()], [call(headers={"x-user": "jason"})]),
    ("header not", when("request.headers[x-user]", none=("bob",)), [call(), call(headers={"x-user": "ann"})],
     [call(headers={"x-user": "bob"})]),
    ("condition principal", when("source.principal", SVCA), [call()], [call("other-1")]),
    ("condition namespace", when("source.namespace", "default"), [call()], [call("outside")]),
    ("condition port", when("destination.port", "8080"), [call()], []),
    ("condition other port", when("destination.port", "8081"), [], [call()]),
    ("condition sni", when("connection.sni", "outbound_.80_._.svcb.default.svc.cluster.local"), [call()],
     [call("outside")]),
    ("both source and operation", {**source(principals=[SVCA]), **operation(methods=["GET"])}, [call()],
     [call("other-1"), call(method="POST")]),
    ("one of two sources", {"from": [{"source": {"principals": [SVCA]}}, {"source": {"principals": [OTHER]}}]},
     [call(), call("other-1")], [call("outside")]),
    ("everything", {}, [call(), call("outside")], []),
]


@pytest.mark.parametrize(("rule", "held", "not_held"), [row[1:] for row in FIELDS], ids=[row[0] for row in FIELDS])
def test_allow_lets_in_what_a_rule_matches_and_deny_keeps_it_out(
    mesh: Secured, rule: Spec, held: list[Call], not_held: list[Call]
) -> None:
    assert mesh.allow(rule).in_force
    assert [status(mesh, each) for each in held] == [200] * len(held)
    assert [status(mesh, each) for each in not_held] == [403] * len(not_held)
    mesh.clear()
    assert mesh.allow(rule, action="DENY").in_force
    assert [status(mesh, each) for each in held] == [403] * len(held)
    assert [status(mesh, each) for each in not_held] == [200] * len(not_held)
    assert mesh.cluster.get("svca-1", "http://other/").status == 200  # another pod's policy


def test_a_policy_comes_into_force_by_routes_alone_and_no_connection_ends(mesh: Secured) -> None:
    def listeners() -> bytes:
        return mesh.cluster.admin("svcb-1", "/config_dump?resource=dynamic_listeners").body

    assert mesh.allow({}).in_force
    before = listeners()
    assert mesh.allow(operation(methods=["GET"])).in_force
    assert (status(mesh, call()), status(mesh, call(method="POST"))) == (200, 403)
    assert listeners() == before  # also when each was last changed: one that is replaced ends its connections


@pytest.mark.parametrize(("field", "inverted", "key"), [
    ("ipBlocks", "notIpBlocks", "source.ip"), ("remoteIpBlocks", "notRemoteIpBlocks", "remote.ip"),
])
def test_addresses_of_callers(mesh: Secured, field: str, inverted: str, key: str) -> None:
    own, other = (mesh.cluster.pods[name][0] for name in ("svca-1", "other-1"))
    assert own != other
    mesh.allow(source(**{field: [f"{own}/32"]}))
    assert (status(mesh, call()), status(mesh, call("other-1"))) == (200, 403)
    mesh.allow(source(**{inverted: [own]}))
    assert (status(mesh, call()), status(mesh, call("other-1"))) == (403, 200)
    mesh.allow(when(key, f"{other}/32"))
    assert (status(mesh, call()), status(mesh, call("other-1"))) == (403, 200)


def test_the_original_client_counts_for_remote_ip_blocks_only(mesh: Secured) -> None:
    forwarded = call(headers={"x-forwarded-for": "192.0.2.7"})
    mesh.allow(source(remoteIpBlocks=["192.0.2.0/24"]))
    assert (status(mesh, forwarded), status(mesh, call())) == (200, 403)
    mesh.allow(source(ipBlocks=["192.0.2.0/24"]))
    assert status(mesh, forwarded) == 403


def test_deny_is_stronger_than_allow_and_several_allows_add_up(mesh: Secured) -> None:
    mesh.allow(operation(methods=["GET"]))
    mesh.allow(operation(methods=["POST"]), name="also")
    mesh.allow(operation(paths=["/admin*"]), name="never", action="DENY")
    assert status(mesh, call()) == status(mesh, call(method="POST")) == 200
    assert status(mesh, call(method="PUT")) == status(mesh, call(path="/admin")) == 403


def test_allow_without_rules_lets_nobody_in_and_says_so(mesh: Secured) -> None:
    mesh.store("AuthorizationPolicy", {})
    refused = mesh.call()
    assert (refused.status, refused.body) == (403, b"RBAC: access denied")
    assert mesh.cluster.get("svca-1", "http://other/").status == 403


def test_audit_changes_nothing_and_says_so(mesh: Secured) -> None:
    found = mesh.store("AuthorizationPolicy", {"action": "AUDIT", "rules": [{}]}, "a")
    assert "no effect" in found.rejected["AuthorizationPolicy/default/a"]
    assert status(mesh, call()) == 200


def test_whom_custom_would_have_somebody_ask_about_is_refused_and_nobody_else(mesh: Secured) -> None:
    rules = [{"to": [{"operation": {"paths": ["/asked"]}}]}]
    found = mesh.store("AuthorizationPolicy", {"action": "CUSTOM", "provider": {"name": "opa"}, "rules": rules}, "c")
    assert "CUSTOM is not offered" in found.rejected["AuthorizationPolicy/default/c"]
    assert (mesh.call("/asked").status, mesh.call("/other").status) == (403, 200)


def talk(mesh: Secured, pod: str = "svca-1") -> bool:
    """Whether a connection to the TCP service gets an answer."""
    with mesh.cluster.connect(pod, mesh.cluster.services["db"]["ip"], 5432) as raw:
        raw.sendall(b"GET / HTTP/1.0\r\n\r\n")
        try:
            return raw.recv(100).startswith(b"HTTP/1.")
        except ConnectionError:
            return False


@pytest.mark.parametrize(("action", "rule", "talks"), [
    ("ALLOW", source(principals=[SVCA]), [True, False]),
    ("DENY", source(principals=[SVCA]), [False, True]),
    # About requests on a port that has none: ALLOW matches nothing, DENY leaves that part out.
    ("ALLOW", operation(methods=["GET"]), [False, False]),
    ("DENY", operation(methods=["GET"]), [False, False]),
    ("DENY", {**source(principals=[SVCA]), **operation(methods=["GET"])}, [False, True]),
    ("ALLOW", {**source(principals=[SVCA]), **operation(ports=["8080"])}, [True, False]),
])
def test_rules_for_a_tcp_port_are_read_as_istiod_reads_them(
    mesh: Secured, action: str, rule: Spec, talks: list[bool]
) -> None:
    assert mesh.allow(rule, action=action, app="db").in_force
    assert [talk(mesh), talk(mesh, "other-1")] == talks


# Tokens

KEY = b"a key that only this test and the sidecars know"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


JWKS = json.dumps({"keys": [{"kty": "oct", "kid": "k", "alg": "HS256", "k": encoded(KEY)}]})


def token(key: bytes = KEY, **claims: object) -> str:
    payload = {"iss": "https://issuer.test/a", "sub": "jason", "exp": int(time.time()) + 60, **claims}
    text = encoded(b'{"alg":"HS256","kid":"k","typ":"JWT"}') + "." + encoded(json.dumps(payload).encode())
    return f"{text}.{encoded(hmac.digest(key, text.encode(), hashlib.sha256))}"


def bearing(text: str, **more: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}", **more}


def tokens(mesh: Secured, **fields: object) -> None:
    rule = {"issuer": "https://issuer.test/a", "jwks": JWKS, **fields}
    assert mesh.store("RequestAuthentication", {
        "selector": {"matchLabels": {"app": "svcb"}}, "jwtRules": [{k: v for k, v in rule.items() if v is not None}],
    }, "tokens").in_force


def test_a_good_token_passes_a_bad_one_does_not_and_none_is_nobodys_business(mesh: Secured) -> None:
    tokens(mesh)
    assert status(mesh, call(headers=bearing(token()))) == 200
    assert status(mesh, call()) == 200
    for bad, why in (
        (token(key=b"another key"), b"Jwt verification fails"), (token(exp=1), b"Jwt is expired"),
        (token(iss="x"), b"Jwt issuer is not configured"), ("nonsense", b"Jwt is not in the form"),
    ):
        refused = mesh.call(headers=bearing(bad))
        assert refused.status == 401
        assert why in refused.body
    assert mesh.cluster.get("svca-1", "http://other/", bearing("nonsense")).status == 200


def test_a_token_can_be_demanded_and_its_claims_judged(mesh: Secured) -> None:
    tokens(mesh)
    good, group = bearing(token()), bearing(token(groups=["a", "admins"], aud="shop", azp="app", nested={"x": "y"}))
    for rule, with_good, with_group in (
        (source(requestPrincipals=["*"]), 200, 200),
        (source(requestPrincipals=["https://issuer.test/a/jason"]), 200, 200),
        (source(requestPrincipals=["https://issuer.test/*"]), 200, 200),
        (source(requestPrincipals=["*/jason"]), 200, 200),
        (source(requestPrincipals=["https://issuer.test/a/bob"]), 403, 403),
        (source(requestPrincipals=["*"], notRequestPrincipals=["https://issuer.test/a/jason"]), 403, 403),
        (source(requestPrincipals=["*"], notRequestPrincipals=["https://issuer.test/a/bob"]), 200, 200),
        (when("request.auth.claims[groups]", "admins"), 403, 200),
        (when("request.auth.claims[nested][x]", "y"), 403, 200),
        (when("request.auth.audiences", "shop"), 403, 200),
        (when("request.auth.presenter", "app"), 403, 200),
        (when("request.auth.principal", "https://issuer.test/a/*"), 200, 200),
    ):
        mesh.allow(rule)
        assert [status(mesh, call(headers=each)) for each in (good, group)] == [with_good, with_group], rule
        assert status(mesh, call()) == 403


def test_where_tokens_are_found_and_what_the_application_sees(mesh: Secured) -> None:
    tokens(mesh, audiences=["shop"], fromHeaders=[{"name": "x-token", "prefix": "T "}], fromParams=["token"],
           fromCookies=["session"], forwardOriginalToken=True, outputPayloadToHeader="x-payload",
           outputClaimToHeaders=[{"header": "x-sub", "claim": "sub"}])
    mesh.allow(source(requestPrincipals=["*"]))
    good = token(aud="shop")
    seen = mesh.call(headers={"x-token": f"T {good}"}).seen["headers"]
    assert seen["x-token"] == f"T {good}"
    assert seen["x-sub"] == "jason"
    assert json.loads(base64.urlsafe_b64decode(seen["x-payload"] + "=="))["aud"] == "shop"
    assert status(mesh, call(path=f"/?token={good}")) == 200
    assert status(mesh, call(headers={"cookie": f"session={good}"})) == 200
    assert status(mesh, call(headers=bearing(good))) == 403  # not looked for there any more
    assert status(mesh, call(headers={"x-token": f"T {token(aud='other')}"})) == 403
    mesh.clear()
    tokens(mesh)
    assert "authorization" not in mesh.call(headers=bearing(token())).seen["headers"]


@pytest.mark.parametrize("field", ["jwksUri", "jwks_uri"])
def test_keys_are_fetched_from_a_server_and_until_it_answers_no_token_is_good(mesh: Secured, field: str) -> None:
    address, port = mesh.cluster.outside("keys")
    mesh.cluster.applications["keys"].do_GET = serve_keys
    tokens(mesh, jwks=None, **{field: f"http://{address}:{port}/keys"})
    mesh.allow(source(requestPrincipals=["*"]))
    mesh.cluster.eventually(lambda: status(mesh, call(headers=bearing(token()))) == 200, "keys are fetched")
    assert status(mesh, call(headers=bearing(token(key=b"x")))) == 401


def test_how_long_a_server_of_keys_may_take_stands_in_envoys_own_configuration(mesh: Secured) -> None:
    tokens(mesh, jwks=None, jwksUri="http://127.1.2.3:9/keys", timeout="0.25s")
    found = {pod: b'"timeout": "0.250s"' in mesh.cluster.admin(pod, "/config_dump").body for pod in ("svcb-1", "db-1")}
    assert found == {"svcb-1": True, "db-1": False}


def serve_keys(self: Application) -> None:
    self.send_response(200)
    self.send_header("Content-Length", str(len(JWKS)))
    self.end_headers()
    self.wfile.write(JWKS.encode())


@pytest.mark.parametrize(("kind", "spec"), [
    ("AuthorizationPolicy", {"rules": [source(principals=["a*b", "**", "*", ""])]}),
    ("AuthorizationPolicy", {"rules": [source(ipBlocks=["1.2.3.4/33"])]}),
    ("AuthorizationPolicy", {"rules": [operation(paths=["/{**}/{*}/{**}", "/a{*}", "{", "/x\n"])]}),
    ("AuthorizationPolicy", {"rules": [operation(ports=["99999999999", "http"])]}),
    ("AuthorizationPolicy", {"rules": [operation(methods=["GET\r\n"], hosts=["a b"])]}),
    ("AuthorizationPolicy", {"rules": [when("request.headers[a b:]", "x")]}),
    ("AuthorizationPolicy", {"rules": [when("request.headers[]", "x")]}),
    ("AuthorizationPolicy", {"rules": [when("no.such", "x")]}),
    ("AuthorizationPolicy", {"rules": [source(namespaces=["(((", "[a-"])]}),
    ("AuthorizationPolicy", {"rules": None, "action": "NONSENSE"}),
    ("AuthorizationPolicy", {"rules": [{"from": [None], "to": 3}]}),
    ("RequestAuthentication", {"jwtRules": [{"issuer": "i", "jwks": "{"}]}),
    ("RequestAuthentication", {"jwtRules": [{"issuer": "i", "jwks": '{"keys": [{"kty": "RSA", "n": "!"}]}'}]}),
    ("RequestAuthentication", {"jwtRules": [{"issuer": "i"}]}),
    ("RequestAuthentication", {"jwtRules": [{"issuer": "i", "jwksUri": "http://[::"}]}),
    ("RequestAuthentication", {"jwtRules": [{"issuer": "i", "jwksUri": "http://keys.invalid:99999/"}]}),
    ("RequestAuthentication", {"jwtRules": [{"issuer": "i", "jwks": JWKS, "fromHeaders": [{"name": "a b"}]}]}),
    ("RequestAuthentication", {"jwtRules": [{"issuer": "i", "jwks": JWKS, "outputPayloadToHeader": "a b"}]}),
    ("RequestAuthentication", {"jwtRules": [{"issuer": "i", "jwks": JWKS}, {"issuer": "i", "jwks": JWKS}]}),
    ("PeerAuthentication", {"mtls": {"mode": "MAYBE"}, "portLevelMtls": {"x": {}}}),
], ids=str)
def test_what_is_stored_past_validation_never_makes_envoy_refuse(mesh: Secured, kind: str, spec: Spec) -> None:
    found = mesh.store(kind, spec, "nasty")
    assert [each for each in found.rejected if "/" not in each] == []  # Pilot's own problems are named kind/…
    status, syncz = mesh.cluster.pilot("/debug/syncz")
    refused = [kind["nack"] for proxy in syncz["proxies"].values() for kind in proxy.values()
               if isinstance(kind, dict) and kind["nack"]]
    assert (status, refused) == (200, [])
    assert mesh.cluster.get("svca-1", "http://other/").status in (200, 403)
