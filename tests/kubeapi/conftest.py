"""A custom kind to write, and clients of the Python library to write it with."""

import itertools

import pytest
import yaml
from kubernetes import client, config

GROUP, VERSION, PLURAL = "tests.example.dev", "v1", "widgets"

WIDGETS = yaml.safe_load("""
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.tests.example.dev}
spec:
  group: tests.example.dev
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
    additionalPrinterColumns:
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            properties:
              size: {type: string, enum: [small, large], default: small}
              zones: {type: array, maxItems: 3, items: {type: string, pattern: '^[A-Z]{2}(-[A-Z0-9]+)*$'}}
              replicas: {type: integer, minimum: 0, default: 1}
              owner:
                type: string
                x-kubernetes-validations:
                - {rule: self == oldSelf, message: owner is immutable}
              ports:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name]
                  properties: {name: {type: string}, port: {type: integer}, open: {type: boolean, default: true}}
              earliest: {type: string, format: date-time}
              deadline: {type: string, format: date-time}
            x-kubernetes-validations:
            - rule: "!has(self.earliest) || !has(self.deadline) || self.earliest < self.deadline"
              message: the deadline must come after the earliest start
            - rule: "!has(self.ports) || self.ports.all(p, !has(p.port) || p.port > 0)"
              messageExpression: "'ports must be positive, and there are ' + string(size(self.ports))"
            - rule: "oldSelf.hasValue() || !has(self.replicas) || self.replicas < 50"
              message: start with fewer than 50
              optionalOldSelf: true
          status:
            type: object
            properties:
              phase: {type: string}
              replicas: {type: integer}
              conditions:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [type]
                items:
                  type: object
                  required: [type, status]
                  properties: {type: {type: string}, status: {type: string}}
""")

_numbers = itertools.count(1)


def client_for(kubeconfig) -> client.ApiClient:
    return config.new_client_from_config(str(kubeconfig))


class Widgets:
    """The widgets of one namespace, through the Python client."""

    def __init__(self, api_client, namespace):
        self.namespace = namespace
        self.custom = client.CustomObjectsApi(api_client)
        self.core = client.CoreV1Api(api_client)
        self.place = (GROUP, VERSION, namespace, PLURAL)

    def create(self, name, spec=None, **metadata):
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "Widget",
            "metadata": {"name": name, **metadata},
            "spec": spec or {},
        }
        return self.custom.create_namespaced_custom_object(*self.place, body)

    def get(self, name):
        return self.custom.get_namespaced_custom_object(*self.place, name)

    def list(self, **given):
        return self.custom.list_namespaced_custom_object(*self.place, **given)

    def names(self, **given):
        return [item["metadata"]["name"] for item in self.list(**given)["items"]]

    def replace(self, obj):
        return self.custom.replace_namespaced_custom_object(*self.place, obj["metadata"]["name"], obj)

    def patch(self, name, patch, **given):
        return self.custom.patch_namespaced_custom_object(*self.place, name, patch, **given)

    def patch_status(self, name, patch):
        return self.custom.patch_namespaced_custom_object_status(*self.place, name, patch)

    def delete(self, name, **given):
        return self.custom.delete_namespaced_custom_object(*self.place, name, **given)


def install_widgets(kube_api) -> client.ApiClient:
    """Register the CRD (unless it is) and return the administrator's client."""
    api_client = client_for(kube_api.kubeconfig)
    try:
        client.ApiextensionsV1Api(api_client).create_custom_resource_definition(WIDGETS)
    except client.ApiException as error:
        if error.status != 409:
            raise
    return api_client


def make_namespace(api_client) -> str:
    name = f"team-{next(_numbers)}"
    client.CoreV1Api(api_client).create_namespace({"metadata": {"name": name}})
    return name


@pytest.fixture
def widgets(shared_kube_api):
    """Widgets in a namespace of this test's own, on the shared server."""
    api_client = install_widgets(shared_kube_api)
    with api_client:
        yield Widgets(api_client, make_namespace(api_client))
