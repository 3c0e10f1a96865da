"""What people do with kubectl, beyond the conformance commands."""


def test_a_namespace_made_by_kubectl_is_listed(kube_api):
    made = kube_api.kubectl("create", "namespace", "team-a")
    assert (made.returncode, made.stdout) == (0, "namespace/team-a created\n"), made.stderr
    listed = kube_api.kubectl("get", "ns", "-o", "name")
    assert "namespace/team-a" in listed.stdout.split()
