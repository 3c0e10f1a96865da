"""What people do with kubectl, beyond the conformance commands."""


def test_a_namespace_made_by_kubectl_is_listed(kube_api):
    made = kube_api.kubectl("create", "namespace", "team-a")
    assert (made.returncode, made.stdout) == (0, "namespace/team-a created\n"), made.stderr
    listed = kube_api.kubectl("get", "ns", "-o", "name")
    assert "namespace/team-a" in listed.stdout.split()


def test_manifests_of_built_in_kinds_apply_and_apply_again(shared_kube_api):
    manifest = """
apiVersion: v1
kind: ConfigMap
metadata: {name: facts, namespace: default, labels: {a: b}}
data: {region: "eu-north-1"}
---
apiVersion: v1
kind: Secret
metadata: {name: key, namespace: default}
stringData: {token: hidden}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "carbonfleet:test"}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]
"""
    assert shared_kube_api.kubectl("apply", "-f", "-", stdin=manifest).stdout.count("created") == 3
    assert shared_kube_api.kubectl("apply", "-f", "-", stdin=manifest).returncode == 0
    changed = manifest.replace("region:", "zone:").replace("[get]", "[get, list]")
    assert shared_kube_api.kubectl("apply", "-f", "-", stdin=changed).returncode == 0
    data = shared_kube_api.kubectl("get", "cm", "facts", "-o", "jsonpath={.data}").stdout
    verbs = shared_kube_api.kubectl("get", "clusterrole", "carbonfleet:test", "-o", "jsonpath={.rules[0].verbs}").stdout
    secret = shared_kube_api.kubectl("get", "secret", "key", "-o", "jsonpath={.data.token}").stdout
    assert (data, verbs, secret) == ('{"zone":"eu-north-1"}', '["get","list"]', "aGlkZGVu")


def test_roles_and_accounts_are_made_from_the_command_line(shared_kube_api):
    for command in (
        ("create", "serviceaccount", "agent"),
        ("create", "role", "reader", "--verb=get,list", "--resource=configmaps", "--resource-name=facts"),
        ("create", "rolebinding", "reader", "--role=reader", "--serviceaccount=default:agent"),
        ("create", "clusterrolebinding", "reader", "--clusterrole=any", "--user=carol"),
    ):
        made = shared_kube_api.kubectl(*command)
        assert made.returncode == 0, made.stderr
    can = ("auth", "can-i", "get", "configmaps/facts", "--as", "system:serviceaccount:default:agent")
    assert shared_kube_api.kubectl(*can).stdout == "yes\n"


def test_a_misspelt_field_of_a_built_in_kind_is_named(shared_kube_api):
    manifest = "{apiVersion: v1, kind: ConfigMap, metadata: {name: z}, dta: {a: b}}"
    refused = shared_kube_api.kubectl("apply", "-f", "-", stdin=manifest)
    assert 'strict decoding error: unknown field "dta"' in refused.stderr


def test_a_number_where_a_config_map_wants_text_is_named(shared_kube_api):
    manifest = "{apiVersion: v1, kind: ConfigMap, metadata: {name: z}, data: {a: 1}}"
    refused = shared_kube_api.kubectl("apply", "-f", "-", stdin=manifest)
    assert "json: cannot unmarshal number into Go struct field ConfigMap.data.a" in refused.stderr


def test_an_admission_policy_says_that_it_is_only_stored(shared_kube_api):
    manifest = """{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy,
                   metadata: {name: p}, spec: {validations: [{expression: "false"}]}}"""
    made = shared_kube_api.kubectl("apply", "-f", "-", stdin=manifest)
    assert "Warning: the embedded API stores admission policies but does not evaluate them" in made.stderr


def test_deleting_a_namespace_waits_until_it_is_gone(shared_kube_api):
    shared_kube_api.kubectl("create", "namespace", "short-lived")
    shared_kube_api.kubectl("-n", "short-lived", "create", "configmap", "cm")
    assert shared_kube_api.kubectl("delete", "namespace", "short-lived", "--timeout=170s").returncode == 0
    assert "NotFound" in shared_kube_api.kubectl("get", "namespace", "short-lived").stderr


def test_pods_can_be_listed_but_not_made(shared_kube_api):
    assert shared_kube_api.kubectl("get", "pods").stderr == "No resources found in default namespace.\n"
    assert "MethodNotAllowed" in shared_kube_api.kubectl("run", "x", "--image=y").stderr
