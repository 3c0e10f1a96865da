"""CustomResourceDefinitions and JSON Schemas, generated from the models so that they never disagree."""

from carbonfleet.api.crd.files import differing, generated, write
from carbonfleet.api.crd.manifest import RESOURCES, Resource, manifest

__all__ = ["RESOURCES", "Resource", "differing", "generated", "manifest", "write"]
