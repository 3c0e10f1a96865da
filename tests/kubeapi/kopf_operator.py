"""A small Kopf operator that writes down what it saw; run as a process by test_kubeapi_kopf.py."""

import os
from pathlib import Path

import kopf

PLACE = ("tests.example.dev", "v1", "widgets")


def note(what: str, name: str) -> None:
    with Path(os.environ["SEEN"]).open("a") as seen:
        seen.write(f"{what} {name}\n")


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_):
    settings.posting.enabled = True
    settings.watching.server_timeout = 60
    settings.persistence.finalizer = "tests.example.dev/kopf"
    if "WEBHOOK_CERTIFICATE" in os.environ:
        certificate = os.environ["WEBHOOK_CERTIFICATE"]
        key = certificate.replace(".crt", ".key")
        settings.admission.managed = "auto.tests.example.dev"
        settings.admission.server = kopf.WebhookServer(
            addr="127.0.0.1", host="127.0.0.1", certfile=certificate, pkeyfile=key, cafile=certificate
        )


@kopf.on.create(*PLACE)
def created(name, patch, body, **_):
    note("created", name)
    patch.status["phase"] = "Created"
    kopf.info(body, reason="Created", message="seen by the operator")


@kopf.on.update(*PLACE, field="spec.replicas")
def updated(name, old, new, **_):
    note(f"updated {old}->{new}", name)


@kopf.on.delete(*PLACE)
def deleted(name, **_):
    note("deleted", name)


@kopf.daemon(*PLACE, annotations={"daemon": "yes"})
async def daemon(name, stopped, **_):
    note("daemon started", name)
    await stopped.wait()
    note("daemon stopped", name)


@kopf.timer(*PLACE, interval=0.2, annotations={"timer": "yes"})
def tick(name, **_):
    note("tick", name)


if "WEBHOOK_CERTIFICATE" in os.environ:

    @kopf.on.validate(*PLACE)
    def check(spec, **_):
        if spec.get("replicas") == 13:
            raise kopf.AdmissionError("13 brings bad luck", code=422)

    @kopf.on.mutate(*PLACE, operations=["CREATE"])
    def fill(spec, patch, **_):
        if spec.get("replicas") == 7:
            patch.spec["replicas"] = 8
