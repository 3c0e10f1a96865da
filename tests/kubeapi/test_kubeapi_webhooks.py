"""Admission webhooks that fail, and whom they are asked about."""

import json

import pytest
from kubernetes import client
from kubernetes.client import ApiException


@pytest.fixture
def hook(widgets):
    """Registers a validating webhook for this test's namespace; takes it away afterwards."""
    hooks = client.AdmissionregistrationV1Api(widgets.core.api_client)
    name = f"hook-{widgets.namespace}"

    def register(url="https://127.0.0.1:1/", **more):
        rule = {
            "apiGroups": ["tests.example.dev"],
            "apiVersions": ["*"],
            "operations": ["CREATE"],
            "resources": ["widgets"],
        }
        webhook = {
            "name": "check.tests.example.dev",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "clientConfig": {"url": url},
            "rules": [rule],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": widgets.namespace}},
            **more,
        }
        hooks.create_validating_webhook_configuration({"metadata": {"name": name}, "webhooks": [webhook]})

    yield register
    hooks.delete_validating_webhook_configuration(name)


def test_a_webhook_that_cannot_be_reached_denies(widgets, hook):
    hook()
    with pytest.raises(ApiException) as error:
        widgets.create("a")
    message = json.loads(error.value.body)["message"]
    assert error.value.status == 500
    assert message.startswith('Internal error occurred: failed calling webhook "check.tests.example.dev"')
    assert widgets.names() == []


def test_a_webhook_that_may_be_ignored_is(widgets, hook):
    hook(failurePolicy="Ignore")
    widgets.create("a")


def test_a_webhook_is_not_asked_about_what_its_selectors_leave_out(widgets, hook):
    hook(objectSelector={"matchLabels": {"checked": "yes"}})
    widgets.create("a")
    with pytest.raises(ApiException):
        widgets.create("b", labels={"checked": "yes"})


def test_a_match_condition_decides_before_the_call(widgets, hook):
    hook(matchConditions=[{"name": "big", "expression": "object.spec.replicas > 10"}])
    widgets.create("a", {"replicas": 10})
    with pytest.raises(ApiException):
        widgets.create("b", {"replicas": 11})


def test_a_webhook_must_speak_tls(widgets):
    hooks = client.AdmissionregistrationV1Api(widgets.core.api_client)
    webhook = {
        "name": "a.b.c",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "clientConfig": {"url": "http://x/"},
    }
    with pytest.raises(ApiException) as error:
        hooks.create_validating_webhook_configuration({"metadata": {"name": "plain"}, "webhooks": [webhook]})
    assert "'https' is the only allowed URL scheme" in error.value.body
