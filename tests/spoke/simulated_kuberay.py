"""KubeRay and a kubelet as a test plays them: RayJobs' status on the embedded API, pods and logs beside it."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import requests

from carbonfleet.kube import Kube, KubeError, path
from fixtures.kubeapi_server import KubeApi
from kubeapi import write_kubeconfig

RAY = "apis/ray.io/v1"


@dataclass
class Pods:
    """Pods by name, with their labels, phases and logs."""

    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    phases: dict[str, str] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)

    def listed(self, selector: str) -> dict:
        """A PodList: selectors are `key` or `key=value`."""
        key, _, value = selector.partition("=")
        names = [n for n, labels in self.labels.items() if key in labels and value in ("", labels[key])]
        items = [
            {
                "metadata": {"name": name, "labels": self.labels[name], "creationTimestamp": "2026-01-31T12:00:00Z"},
                "status": {"phase": self.phases.get(name, "Running")},
            }
            for name in names
        ]
        return {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items}


class PodServer:
    """The embedded API with pods: it has none of its own. Everything else is handed on to it."""

    def __init__(self, api: KubeApi) -> None:
        self.pods = Pods()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(api, self.pods))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def connect(self, folder: Path, token: str) -> Kube:
        """A client that comes through here."""
        write_kubeconfig(folder / "kubeconfig-pods", self.url, token)
        return Kube.connect(folder / "kubeconfig-pods")

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def _handler(api: KubeApi, pods: Pods) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            place = parts.path.split("/")
            if place[:3] == ["", "api", "v1"] and place[5:6] == ["pods"]:
                self._pods(place, parse_qs(parts.query))
            else:
                self._hand_on()

        def do_POST(self) -> None:
            self._hand_on()

        def do_PATCH(self) -> None:
            self._hand_on()

        def do_DELETE(self) -> None:
            self._hand_on()

        def log_message(self, *_: object) -> None:
            pass

        def _pods(self, place: list[str], query: dict[str, list[str]]) -> None:
            if len(place) == 6:
                self._answer(200, json.dumps(pods.listed(query.get("labelSelector", [""])[0])).encode())
            else:
                lines = pods.logs.get(place[6], "").splitlines()[-int(query["tailLines"][0]) :]
                self._answer(200, "\n".join(lines).encode())

        def _hand_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            kept = ("Authorization", "Content-Type", "Accept")
            headers = {name: self.headers[name] for name in kept if name in self.headers}
            url = api.url + self.path
            verify = str(api.certificate)
            answer = requests.request(self.command, url, data=body, headers=headers, verify=verify, timeout=60)
            self._answer(answer.status_code, answer.content)

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


@dataclass
class SimulatedKubeRay:
    """What KubeRay would write, by hand."""

    kube: Kube
    pods: Pods
    namespace: str = "ml"

    def job(self, name: str) -> dict | None:
        """The RayJob; None where there is none."""
        try:
            return self.kube.get(path(RAY, "rayjobs", self.namespace, name))
        except KubeError as error:
            if not error.is_gone:
                raise
            return None

    def says(self, name: str, deployment: str, job: str = "", **more: object) -> None:
        """Write a RayJob's status."""
        status = {"jobDeploymentStatus": deployment, "jobStatus": job, **more}
        self.kube.patch(path(RAY, "rayjobs", self.namespace, name, "status"), {"status": status})

    def worker(self, cluster: str) -> None:
        """A pod that trains."""
        self.pods.labels[f"{cluster}-worker"] = {"ray.io/node-type": "worker", "ray.io/cluster": cluster}

    def submitter(self, name: str, log: str) -> None:
        """The pod that submits, and follows the training's log."""
        self.pods.labels[f"{name}-submit"] = {"job-name": name}
        self.pods.logs[f"{name}-submit"] = log
