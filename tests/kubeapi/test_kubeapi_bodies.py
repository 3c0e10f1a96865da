"""Bodies that are broken, huge, or made to break things: a clear 4xx, and the server goes on."""

import json

import pytest
import urllib3

from fixtures.odd_yaml import ODD


@pytest.fixture
def send(widgets, shared_kube_api):
    """Send a body as it is; the code and the message of the answer."""
    pool = urllib3.PoolManager(ca_certs=str(shared_kube_api.certificate))
    url = f"{shared_kube_api.url}/apis/tests.example.dev/v1/namespaces/{widgets.namespace}/widgets"

    def post(body: bytes, media="application/json", method="POST", path="") -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {shared_kube_api.token}", "Content-Type": media}
        answer = pool.request(method, url + path, body=body, headers=headers, timeout=60, retries=False)
        return answer.status, json.loads(answer.data).get("message", "")

    yield post
    assert widgets.names() == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b'{"metadata": {"name": "a"}, "spec": {"replicas": NaN}}',
        b'{"metadata": {"name": "a"}, "spec": {"replicas": 1e999}}',
        b'{"metadata": []}',
        b'{"metadata": {"name": 5}}',
        b'{"kind": "Gadget", "metadata": {"name": "a"}}',
        b'{"apiVersion": "tests.example.dev/v2", "metadata": {"name": "a"}}',
        b"\xff\xfe{}",
        b"[" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    ],
)
def test_a_body_that_is_no_widget_is_a_bad_request(send, body):
    code, message = send(body)
    assert code == 400
    assert message


def test_a_body_that_is_too_large_is_refused(send):
    code, message = send(b'{"metadata": {"name": "a"}, "x": "' + b"x" * 4_000_000 + b'"}')
    assert (code, message) == (413, "Request entity too large: limit is 3145728")


def test_a_format_that_nobody_reads_is_refused(send):
    assert send(b"<widget/>", media="text/xml")[0] == 415
    assert send(b"{}", media="application/strategic-merge-patch+json", method="PATCH", path="/a")[0] == 415


def test_yaml_that_swells_is_refused(send):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    code, message = send("\n".join(lines).encode(), media="application/yaml")
    assert code == 400
    assert "more than 200000 values" in message


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "? " * 100_000, "a: " + "[" * 501])
def test_yaml_that_is_too_deep_is_a_bad_request_and_the_server_goes_on(send, text):
    code, message = send(text.encode(), media="application/yaml")
    assert (code, "nested deeper than 500" in message) == (400, True)


def test_an_odd_scalar_in_yaml_is_a_bad_request(send):
    for odd in ODD:
        body = f"kind: Gadget\nmetadata: {{name: a}}\nspec:\n  size: {odd}\n".encode("utf-8", "surrogatepass")
        code, message = send(body, media="application/yaml")
        assert (code, message != "") == (400, True), odd[:40]


def test_a_date_in_yaml_is_text(send):
    code, message = send(b"kind: 2026-02-30\nmetadata: {name: a}\n", media="application/yaml")
    assert code == 400
    assert "2026-02-30" in message


def test_a_path_that_leads_nowhere_is_not_found(send, shared_kube_api):
    pool = urllib3.PoolManager(ca_certs=str(shared_kube_api.certificate))
    headers = {"Authorization": f"Bearer {shared_kube_api.token}"}
    for path in ("/nope", "/api/v2", "/apis/none.example.dev/v1/things", "/api/v1/namespaces/%2e%2e%2f/configmaps/a"):
        assert pool.request("GET", shared_kube_api.url + path, headers=headers, timeout=60).status == 404, path


CRD = """{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition,
          metadata: {name: gizmos.tests.example.dev},
          spec: {group: tests.example.dev, scope: Cluster, names: {plural: gizmos, kind: Gizmo}, versions: [
            {name: v1, served: true, storage: true, schema: {openAPIV3Schema: SCHEMA}}]}}"""


@pytest.mark.parametrize(
    "schema",
    [
        "{type: object, properties: [a]}",
        "{type: object, required: 5, properties: {a: 1}}",
        "[]",
        "{type: object, not: 3, enum: 7}",
    ],
)
def test_a_schema_that_is_none_is_refused(shared_kube_api, schema):
    refused = shared_kube_api.kubectl("create", "-f", "-", stdin=CRD.replace("SCHEMA", schema))
    assert refused.returncode == 1
    assert "Internal" not in refused.stderr
    assert "openAPIV3Schema" in refused.stderr


def test_a_crd_without_its_parts_is_refused(shared_kube_api):
    for spec in ("{}", "{group: tests.example.dev}", "null", "5"):
        kind = "apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition"
        manifest = f"{{{kind}, metadata: {{name: a.b}}, spec: {spec}}}"
        refused = shared_kube_api.kubectl("create", "--validate=false", "-f", "-", stdin=manifest)
        assert refused.returncode == 1
        assert "Internal" not in refused.stderr, refused.stderr
